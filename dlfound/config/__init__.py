"""The configuration: words to values, checked. The only importer of Hydra; knows no other room."""

"""The configuration: overrides to checked values. The only importer of Hydra; imports no other room."""

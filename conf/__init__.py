"""The defaults, one file an option. A package only so that Hydra and the wheel find the files."""

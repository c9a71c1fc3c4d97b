"""The defaults, one file per option. This is a package so that an installed dlfound finds the files."""

"""The verbs of the command line, one file each, and helpers that print tables."""

"""The run folder: the only room that writes files."""

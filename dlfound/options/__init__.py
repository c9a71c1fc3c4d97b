"""The groups of all rooms joined into one table, and the rules that hold across groups."""

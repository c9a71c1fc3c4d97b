"""The options: the groups of all rooms joined into one table, and rules on several groups."""

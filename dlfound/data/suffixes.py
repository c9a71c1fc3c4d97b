"""Kinds of files by the ends of their names."""

from pathlib import Path

RUNNING = (".pkl", ".pickle", ".pt", ".pth", ".pt2", ".joblib", ".feather")  # could run code when they are read
PARQUET = (".parquet", ".pq")
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", *PARQUET)


def is_table(path: Path) -> bool:
    """True where the name is that of a table."""
    return path.name.lower().endswith(TABLES)

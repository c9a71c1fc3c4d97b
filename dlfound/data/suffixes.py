"""Kinds of files by the ends of their names."""

from pathlib import Path

RUNNING = (".pkl", ".pickle", ".pt", ".pth", ".pt2", ".joblib", ".feather")  # could run code when they are read
PARQUET = (".parquet", ".pq")
TABLES = (*(f".{name}{gz}" for name in ("csv", "tsv", "txt", "data") for gz in ("", ".gz")), *PARQUET)


def is_table(path: Path) -> bool:
    """True where the name is that of a table."""
    return path.name.lower().endswith(TABLES)

"""Kinds of files by the ends of their names."""

from pathlib import Path

from dlfound.errors import Code, Error, printable

RUNNING = (
    ".pkl",
    ".pickle",
    ".pt",
    ".pth",
    ".pt2",
    ".joblib",
    ".feather",
)  # could run code when they are read
PARQUET = (".parquet", ".pq")
OTHERS = (  # neither text nor Parquet
    *(
        ".xlsx",
        ".xls",
        ".ods",
        ".docx",
        ".pdf",
        ".json",
        ".zip",
        ".bz2",
        ".xz",
        ".zst",
        ".npy",
        ".npz",
        ".h5",
    ),
    *(".sqlite", ".db"),
)
TABLES = (*(f".{name}{gz}" for name in ("csv", "tsv", "txt", "data") for gz in ("", ".gz")), *PARQUET)


def refuse_running(path: Path, fix: str) -> None:
    """Raise where a file is of a kind that could run code when it is read (code 7); `fix`: what to save instead."""
    suffix = path.suffix.lower()
    if suffix in RUNNING:
        what = f"{printable(path)} is refused by its type ({suffix}): such a file can run code"
        raise Error(what, fix, Code.UNSAFE)


def is_table(path: Path) -> bool:
    """True where the name is that of a table."""
    return path.name.lower().endswith(TABLES)

"""Parquet files. pyarrow reads their pages: it verifies checksums, and no damaged page ends the process. What a file
says of itself polars reads as well: it is stricter there. Sizes are bounded before, and only plain types are taken."""

from collections.abc import Collection
from pathlib import Path

import lazy_loader

from dlfound.data.table_cells import number_problem, present, stripped
from dlfound.data.table_csv import LARGEST_INTEGER
from dlfound.data.table_text import check_file
from dlfound.errors import Code, Error, Problem, printable

pl = lazy_loader.load("polars")

MAGIC = b"PAR1"
OTHERS = (OSError, MemoryError, UnicodeError)  # that a damaged file brings about
CELL = 8  # bytes of a cell in memory, at least


def read_parquet(
    path: Path, *, na: Collection[str], text: Collection[str], max_bytes: int, max_columns: int
) -> "tuple[pl.DataFrame, dict[str, Problem]]":
    """The columns of a file, and what is wrong with numbers in them.

    Args:
        text: columns of numbers or truth values to be given as text.

    Raises:
        Error: damaged, empty, too large, or a column of another type than numbers, booleans, text, dates (code 3).
    """
    name = printable(path)
    _check_ends(path, max_bytes)
    frame = _read_sound(path, max_bytes, max_columns)
    problems: dict[str, Problem] = {}
    columns = [plain_column(column, na, text, name, problems) for column in frame.iter_columns()]
    return pl.DataFrame(columns), problems


def _check_ends(path: Path, max_bytes: int) -> None:
    """A Parquet file begins and ends with its magic word, before which stands the length of what describes it."""
    name, size = printable(path), check_file(path)
    if size == 0:
        raise Error(f"{name} is empty", "give a file with rows", Code.DATA)
    if size > max_bytes:
        raise _too_large(name, f"{size:,} bytes", max_bytes)
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(max(0, size - 8))
            tail = file.read(8)
    except OSError as error:
        what = f"cannot read '{name}': {error.strerror}"
        raise Error(what, "check the file and its permissions", Code.DATA) from None
    if head != MAGIC:
        raise _damaged(name, f"it begins with {head.hex()}, no Parquet file")
    if tail[4:] != MAGIC:
        raise _damaged(name, "it ends early")
    if int.from_bytes(tail[:4], "little") > size - 12:
        raise _damaged(name, "its description is longer than the file")


def _read_sound(path: Path, max_bytes: int, max_columns: int) -> "pl.DataFrame":
    import pyarrow as pa

    name = printable(path)
    try:
        return _read(path, max_bytes, max_columns)
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException, *OTHERS) as error:
        raise _damaged(name, getattr(error, "strerror", None) or str(error)) from None  # of memory: a page asks for it


def _read(path: Path, max_bytes: int, max_columns: int) -> "pl.DataFrame":
    """The frame, once its sizes and types are known to be in bounds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = printable(path)
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        rows = file.metadata.num_rows
        schema = pa.schema([(field.name, field.type) for field in file.schema_arrow])  # without notes of other programs
        _check_header(name, schema.names, max_columns)
        check_types(name, pl.from_arrow(schema.empty_table()).schema)
        if rows == 0 or not schema:
            raise Error(f"{name} has no rows", "give a file with rows", Code.DATA)
        if rows < 0 or rows * len(schema) * CELL > max_bytes:
            raise _too_large(name, f"{rows:,} rows of {len(schema)} columns", max_bytes)
        table = file.read().cast(schema)
    table.validate(full=True)
    if list(pl.read_parquet_schema(path)) != schema.names:  # not before: where the pages are damaged too, it may panic
        raise _damaged(name, "two readers find other columns")
    if table.num_rows != rows:
        raise _damaged(name, f"{table.num_rows} rows, its description says {rows}")
    return pl.from_arrow(table)


def _check_header(name: str, columns: list[str], max_columns: int) -> None:
    if len(columns) > max_columns:
        what = f"{name}: {len(columns):,} columns exceed data.max_columns ({max_columns:,})"
        raise Error(what, "raise data.max_columns", Code.DATA)
    places: dict[str, int] = {}
    for place, column in enumerate(columns, 1):
        column.encode()  # raises where it is no text
        if column in places:
            what = f"{name}: duplicate column name '{printable(column)}' (columns {places[column]} and {place})"
            raise Error(what, "rename one of them", Code.DATA)
        places[column] = place


def _too_large(name: str, what: str, max_bytes: int) -> Error:
    return Error(
        f"{name}: {what}: more than {max_bytes:,} bytes in memory (data.max_bytes)",
        "raise data.max_bytes if the file is sound",
        Code.DATA,
    )


def _damaged(name: str, why: str) -> Error:
    first = printable(why.strip().split("\n")[0])[:200]
    return Error(f"{name}: damaged ({first})", "write or fetch the file anew", Code.DATA)


def check_types(name: str, schema: "pl.Schema") -> None:
    """Raise where a column holds neither numbers nor text, truth values or dates (code 3)."""
    plain = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Date, pl.Datetime, pl.Time, pl.Null)
    for key, dtype in schema.items():
        if not key.strip():
            raise Error(f"{name}: a column has no name", "name it", Code.DATA)
        if not (dtype.is_integer() or dtype.is_float() or dtype in plain):
            what = f"{name}: column '{printable(key)}' has type {str(dtype).lower()}"
            raise Error(f"{what}, only numbers, strings, booleans, dates", "convert or drop the column", Code.DATA)


def plain_column(
    column: "pl.Series", na: Collection[str], text: Collection[str], name: str, problems: dict[str, Problem]
) -> "pl.Series":
    dtype = column.dtype
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return stripped(column.cast(pl.String), na)
    if column.name in text and (dtype.is_integer() or dtype == pl.Boolean):
        return column.cast(pl.String)
    if dtype == pl.Null:
        return column.cast(pl.Float64)
    if dtype.is_integer() or dtype.is_float():
        return present(_numbers(column, name, problems), na)
    return column


def _numbers(column: "pl.Series", name: str, problems: dict[str, Problem]) -> "pl.Series":
    """Int64 or Float64, NaN as null; the first value that is infinite or not exact as a float is written down."""
    whole = column.dtype.is_integer()
    values = column.cast(pl.Float64).fill_nan(None)
    exact = column.cast(pl.Int64, strict=False) if whole else values
    large = (exact > LARGEST_INTEGER) | (exact < -LARGEST_INTEGER) if whole else values.is_infinite()
    large |= exact.is_null() & column.is_not_null() if whole else pl.Series([False])
    if large.any():
        row = int(large.arg_true()[0])
        said = f"{name}:{row + 1}: column '{printable(column.name)}': "
        problems[column.name] = number_problem(said, column.name, column[row], not whole)
        return values if (exact.is_null() & column.is_not_null()).any() else exact  # to be kept beside predictions
    return exact

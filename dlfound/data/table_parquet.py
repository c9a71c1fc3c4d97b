"""Parquet files. pyarrow reads their pages: it verifies checksums, and no damaged page ends the process. What a file
says of itself polars reads as well: it is stricter there. Sizes are bounded before, and only plain types are taken.

A page may hold a text once for a million cells. So texts are read with the dictionaries that pages have, and measured
before they are written out; where pages have none but leave out what a text shares with the one before it, some cells
at once are written out to be measured."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader

from dlfound.data.table_cells import number_problem, present, stripped
from dlfound.data.table_csv import LARGEST_INTEGER, MAX_CELL
from dlfound.data.table_text import check_file
from dlfound.errors import Code, Error, Problem, printable

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

pl = lazy_loader.load("polars")

MAGIC = b"PAR1"
OTHERS = (OSError, MemoryError, UnicodeError)  # that a damaged file brings about
CELL = 8  # bytes of a cell in memory, beside those of a text
BATCH = 1 << 16  # cells that are measured at once


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
        raise _damaged(
            name, getattr(error, "strerror", None) or str(error)
        ) from None  # of memory: a page asks for it


def _read(path: Path, max_bytes: int, max_columns: int) -> "pl.DataFrame":
    """The frame, once its sizes and types are known to be in bounds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = printable(path)
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        metadata = file.metadata
        schema = pa.schema(
            [(field.name, field.type) for field in file.schema_arrow]
        )  # without notes of other programs
        _check_header(name, schema.names, max_columns)
        plain = pl.from_arrow(schema.empty_table()).schema
        check_types(name, plain)
        if metadata.num_rows == 0 or not schema:
            raise Error(f"{name} has no rows", "give a file with rows", Code.DATA)
        size = _check_sizes(name, metadata, max_bytes)
    texts = [key for key, dtype in plain.items() if _is_text(dtype)]
    try:
        table = _read_measured(path, texts, size, max_bytes)
    except OSError:  # damaged; or pages that leave out what a text shares with the one before: no dictionary
        table = _read_shortened(path, texts, size, max_bytes)
    if (
        list(pl.read_parquet_schema(path)) != schema.names
    ):  # not before: where the pages are damaged too, it may panic
        raise _damaged(name, "two readers find other columns")
    if table.num_rows != metadata.num_rows:
        raise _damaged(name, f"{table.num_rows} rows, its description says {metadata.num_rows}")
    wide = [(field.name, pa.large_string() if field.name in texts else field.type) for field in schema]
    return pl.from_arrow(table.cast(pa.schema(wide)))


def _check_sizes(name: str, metadata: "pq.FileMetaData", max_bytes: int) -> int:
    """Bytes in memory without those of texts. Raises where these, or the pages, are too large (code 3).

    Nothing is asked of a column: where what describes it is damaged, pyarrow ends the process.
    """
    rows, columns = metadata.num_rows, metadata.num_columns
    if rows < 0 or rows * columns * CELL > max_bytes:
        raise _too_large(name, f"{rows:,} rows of {columns} columns", max_bytes)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) != rows or any(group.num_rows < 0 for group in groups):
        raise _damaged(name, f"its parts have not the {rows} rows of its description")
    pages = sum(abs(group.total_byte_size) for group in groups)
    if pages > max_bytes:
        raise _too_large(name, f"{pages:,} bytes of pages", max_bytes)
    return rows * columns * CELL


def _read_measured(path: Path, texts: list[str], size: int, max_bytes: int) -> "pa.Table":
    """The table, texts as dictionaries."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts) as file:
        table = file.read()
    table.validate(full=True)
    for key in texts:
        size = _check_texts(printable(path), table[key].chunks, size, max_bytes)
    return table


def _read_shortened(path: Path, texts: list[str], size: int, max_bytes: int) -> "pa.Table":
    """The table, once its texts are measured, so many at once as fit `max_bytes`: none is longer than all pages."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        longest = max(group.total_byte_size for group in groups)
        count = min(BATCH, max(1, max_bytes // max(1, longest)))
        for key in texts:
            cells = (batch.column(0) for batch in file.iter_batches(count, columns=[key]))
            size = _check_texts(printable(path), cells, size, max_bytes)
        table = file.read()
    table.validate(full=True)
    return table


def _check_texts(name: str, chunks: "Iterable[pa.Array]", size: int, max_bytes: int) -> int:
    """`size` and the bytes of all cells of a column. Raises where this, or a cell, is too large (code 3)."""
    import pyarrow.compute as pc

    row = 1
    for chunk in chunks:
        characters = _of_cells(chunk, pc.utf8_length)
        if (pc.max(characters).as_py() or 0) > MAX_CELL:
            row += pc.index(pc.greater(characters, MAX_CELL), True).as_py()
            what = f"{name}:{row}: field larger than {MAX_CELL >> 20} MB"
            raise Error(what, "check the file; a cell of a table is short", Code.DATA)
        size += pc.sum(_of_cells(chunk, pc.binary_length)).as_py() or 0
        if size > max_bytes:
            raise _too_large(name, f"{size:,} bytes of cells or more", max_bytes)
        row += len(chunk)
    return size


def _of_cells(chunk: "pa.Array", measure: "Callable[[pa.Array], pa.Array]") -> "pa.Array":
    """A number for each cell; those of a dictionary are not written out."""
    indices = getattr(chunk, "indices", None)
    words = chunk if indices is None else chunk.dictionary
    numbers = measure(words.cast("large_string"))  # of a view no function measures the texts
    return numbers if indices is None else numbers.take(indices)


def _check_header(name: str, columns: list[str], max_columns: int) -> None:
    if len(columns) > max_columns:
        what = f"{name}: {len(columns):,} columns exceed data.max_columns ({max_columns:,})"
        raise Error(what, "raise data.max_columns", Code.DATA)
    places: dict[str, int] = {}
    for place, column in enumerate(columns, 1):
        column.encode()  # raises where it is no text
        if column in places:
            what = (
                f"{name}: duplicate column name '{printable(column)}' (columns {places[column]} and {place})"
            )
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
            raise Error(
                f"{what}, only numbers, strings, booleans, dates", "convert or drop the column", Code.DATA
            )


def _is_text(dtype: "pl.DataType") -> bool:
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def plain_column(
    column: "pl.Series", na: Collection[str], text: Collection[str], name: str, problems: dict[str, Problem]
) -> "pl.Series":
    dtype = column.dtype
    if _is_text(dtype):
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
        return (
            values if (exact.is_null() & column.is_not_null()).any() else exact
        )  # to be kept beside predictions
    return exact

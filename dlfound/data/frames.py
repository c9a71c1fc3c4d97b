"""Rows like those of a table that a net was trained on: from a file, or as Python holds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lazy_loader

from dlfound.data.columns import CATEGORY, Column, Encoder
from dlfound.data.dataset import Dataset
from dlfound.data.suffixes import PARQUET
from dlfound.data.table import read, rows_with, weights_of
from dlfound.data.table_csv import LARGEST_INTEGER
from dlfound.data.table_parquet import check_types, plain_column
from dlfound.data.tables import Table
from dlfound.data.targets import known_target
from dlfound.errors import Code, Error, Problem, printable

np = lazy_loader.load("numpy")
pl = lazy_loader.load("polars")

MOST_NAMED = 5  # columns that a message lists


def columns_of(schema: Mapping[str, Any]) -> list[Column]:
    """What the columns of the training held, from a run's `schema.json`."""
    return [Column(**column) for column in schema["columns"]]


def read_rows(
    path: Path, schema: Mapping[str, Any], settings: Mapping[str, Any], keep: Sequence[str], unseen: str
) -> "tuple[np.ndarray, dict[str, list], list[str]]":
    """The rows of a file as numbers (rows, columns); the columns to keep, as they stand there; and what to tell.

    Args:
        settings: those of the run's `data`.
        unseen: count categories that training did not have, or raise an error.

    Raises:
        Error: a column is missing or of another kind than in training, or the file is damaged (code 3).
    """
    columns = columns_of(schema)
    numbers = [column.name for column in columns if column.kind != CATEGORY]
    text = [column.name for column in columns if column.kind == CATEGORY]
    exact = [] if path.suffix.lower() in PARQUET else [name for name in keep if name not in numbers]
    table = read(str(path), [*text, *exact], settings)
    if lost := [name for name in keep if name not in table.columns]:
        listed = ", ".join(map(printable, table.columns[:20]))
        what = f"--keep {printable(lost[0])}: there is no such column; there are: {listed}"
        raise Error(what, "name columns of the file", Code.CONFIG)
    kept = {name: _kept(table.frame[name]) for name in keep}
    encoder = Encoder(columns)
    notes = [*table.notes, *_extra(table, schema, keep)]
    found = encoder(table)
    if unseen == "error" and encoder.strange:
        problems = [Problem(text, "correct it, or leave --unseen out") for text in encoder.strange.values()]
        raise Error.of(problems, Code.DATA)
    return found, kept, [*notes, *encoder.told()]


def _kept(series: "pl.Series") -> "pl.Series":
    """Whole numbers without a fraction; texts as numbers where those are written the same."""
    if series.dtype == pl.String:
        numbers = series.cast(pl.Float64, strict=False)
        same = [
            text is None or f"{number!r}" in (text, f"{text}.0")
            for text, number in zip(series, numbers, strict=True)
        ]
        series = numbers if all(same) else series
    whole = series.dtype.is_float() and (series.drop_nulls() % 1 == 0).all()
    return series.cast(pl.Int64) if whole and not (series.abs() > LARGEST_INTEGER).any() else series


def _extra(table: Table, schema: Mapping[str, Any], keep: Sequence[str]) -> list[str]:
    """A note on columns that training did not have."""
    known = {*schema["header"], *keep}
    extra = [printable(name) for name in table.columns if name not in known]
    more = f" and {len(extra) - MOST_NAMED} more" * (len(extra) > MOST_NAMED)
    return [f"columns that training did not have are not used: {', '.join(extra[:MOST_NAMED])}{more}"] * bool(
        extra
    )


def read_labelled(path: Path, schema: Mapping[str, Any], settings: Mapping[str, Any]) -> Dataset:
    """The rows of a file with their targets, all of them in one part called data.

    Args:
        settings: those of the run's `data`.

    Raises:
        Error: as `read_rows`; or a target is missing, or a class that training did not have (code 3).
    """
    columns = columns_of(schema)
    text = [column.name for column in columns if column.kind == CATEGORY]
    table = read(str(path), text, settings)
    for name in settings["target"]:
        if name not in table.columns:
            what = f"target column '{printable(name)}' is missing in {printable(path)}"
            raise Error(what, "dlfound predict needs no target", Code.DATA)
    notes: list[str] = []
    table = rows_with(table, settings["target"], "without a target", notes)
    found = [known_target(table, name, schema, k) for k, name in enumerate(settings["target"])]
    targets = found[0] if schema["classes"] else np.stack(found, 1)
    weight = settings["weight"] if settings["weight"] in table.columns else None
    weights = None if weight is None else weights_of(table, weight)
    encoder = Encoder(columns)
    inputs = encoder(table)
    names = {"names": schema["targets"], "labels": schema["labels"], "weights": weights}
    told = [*table.notes, *notes, *encoder.told()]
    parts = {"data": np.arange(len(inputs))}
    return Dataset(
        inputs,
        targets,
        schema["task"],
        schema["classes"],
        schema["features"],
        None,
        parts,
        notes=told,
        **names,
    )


def encoded(
    rows: Any, schema: Mapping[str, Any], settings: Mapping[str, Any], name: str = "rows"
) -> "tuple[np.ndarray, list[str]]":
    """Rows that Python holds, as numbers (rows, columns); and what to tell.

    Args:
        rows: a polars or pandas frame, a mapping of columns, or an array (rows, columns) in the order of training.
        name: what messages call them.

    Raises:
        Error: a column is missing or of another kind than in training (code 3).
    """
    columns = columns_of(schema)
    names = [column.name for column in columns]
    held = _columns(rows, names)
    try:
        frame = pl.DataFrame({name: _series(name, values) for name, values in held.items() if name in names})
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise Error(f"rows are no table: {error}", "give columns of equal length", Code.DATA) from None
    check_types(name, frame.schema)
    text = [column.name for column in columns if column.kind == CATEGORY]
    problems: dict = {}
    plain = [plain_column(series, settings["na"], text, name, problems) for series in frame.iter_columns()]
    encoder = Encoder(columns)
    numbers = encoder(Table(list(held), pl.DataFrame(plain), [], ".", problems, {}, [(0, name, 0)]))
    return numbers, encoder.told()


def _columns(rows: Any, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(rows, pl.LazyFrame):
        rows = rows.collect()
    if isinstance(rows, Mapping):
        return {str(name): values for name, values in rows.items()}
    if hasattr(rows, "columns") and hasattr(rows, "__getitem__"):
        return {str(name): rows[name] for name in rows.columns}
    array = np.array(rows, dtype=object) if isinstance(rows, list | tuple) else np.asarray(rows)
    if array.ndim != 2 or array.shape[1] != len(names):
        what = f"rows have shape {array.shape}, not (rows, {len(names)})"
        raise Error(what, "give a frame, a mapping of columns, or one column a feature", Code.DATA)
    return dict(zip(names, array.T, strict=True))


def _series(name: str, values: Any) -> "pl.Series":
    """One column; what pandas calls missing is missing."""
    if isinstance(values, pl.Series):
        return values.alias(name)
    if hasattr(values, "isna"):
        array = values.to_numpy()
        values = array if array.dtype.kind in "biufM" else np.where(values.isna(), None, array.astype(object))
    if isinstance(values, np.ndarray) and values.dtype.kind == "O":
        values = [None if value != value else value for value in values.tolist()]  # NaN, the only such value
    return pl.Series(name, values, nan_to_null=True)

"""What a table is to be predicted for: classes, numbers or several labels, from its target columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import lazy_loader

from dlfound.config.suggest import override_text
from dlfound.data.arrays import LARGEST, MOST_CLASSES
from dlfound.data.columns import places_of, stray_cell, texts_of
from dlfound.data.dataset import Dataset, classification, multilabel, regression
from dlfound.data.split import Parts
from dlfound.data.tables import Table
from dlfound.errors import Code, Error, Problem, printable

np = lazy_loader.load("numpy")
pl = lazy_loader.load("polars")

DIFFERENT = 0.5  # share of rows with a class of their own from which on they are no classes


class Answers:
    """The targets of all rows as numbers.

    Args:
        tables: those that hold the rows, one after the other; no target of theirs is missing.
        names: of the target columns.
        task: auto, classification or regression.

    Attributes:
        values: (rows,) class numbers, (rows, columns) numbers, or (rows, labels) of 0 and 1.
        classes: the classes' names; labels: the two names of each label's values; both empty for numbers.

    Raises:
        Error: a target that cannot be predicted, or not as the task says (code 3).
    """

    def __init__(self, tables: Sequence[Table], names: Sequence[str], task: str):
        self.names, self.classes, self.labels = list(names), [], []
        columns = [_column(tables, name) for name in names]
        if len(columns) > 1:
            self._read_several(columns, tables, task)
        elif task == "classification" or (task == "auto" and _looks_like_classes(columns[0])):
            self.classes, self.values = _classes(columns[0], tables)
        else:
            self.values = _numbers(columns[0], tables)[:, None]

    def _read_several(self, columns: "list[pl.Series]", tables: Sequence[Table], task: str) -> None:
        if task == "classification" or (task == "auto" and all(_is_label(column) for column in columns)):
            pairs = [_classes(column, tables) for column in columns]
            for column, (names, _) in zip(columns, pairs, strict=True):
                if len(names) > 2:
                    what = f"target '{printable(column.name)}' has {len(names)} classes: of several targets each has two"
                    raise Error(what, "train a net for each target that has more", Code.DATA)
            self.labels = [names for names, _ in pairs]
            self.values = np.stack([numbers for _, numbers in pairs], 1)
        else:
            _check_kinds(columns, task)
            self.values = np.stack([_numbers(column, tables) for column in columns], 1)

    def dataset(self, inputs: "np.ndarray", features: list[str], parts: Parts, **more: Any) -> Dataset:
        """The data with these targets. `more`: other attributes of Dataset."""
        if self.classes:
            return classification(inputs, self.values, self.classes, features, parts, **more)
        if self.labels:
            return multilabel(
                inputs, self.values, features, parts, names=self.names, labels=self.labels, **more
            )
        return regression(inputs, self.values, features, parts, names=self.names, **more)


def known_target(table: Table, name: str, schema: Mapping[str, Any], number: int) -> "np.ndarray":
    """(rows,) one target of new rows, as in training: class numbers, 0 and 1 of a label, or numbers.

    Args:
        schema: the run's; number: which of its targets.

    Raises:
        Error: a class that training did not have, or text for numbers (code 3).
    """
    classes = schema["classes"] or (schema["labels"][number] if schema["labels"] else [])
    if not classes:
        return _numbers(_column([table], name), [table], constant=True)
    series = table.frame[name]
    found = places_of(series, classes)
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        text = texts_of(series)[row][:80]
        what = f"{table.place_of(row)}: class '{printable(text)}' of '{printable(name)}' was not in training"
        raise Error(what, f"training had {', '.join(map(printable, classes[:10]))}", Code.DATA)
    return found


def _column(tables: Sequence[Table], name: str) -> "pl.Series":
    """The target of all tables, of one type."""
    found = [table.frame[name] for table in tables]
    numbers = all(series.dtype.is_numeric() for series in found)
    if len({series.dtype for series in found}) > 1 and not numbers:
        kinds = " and ".join(sorted({str(series.dtype).lower() for series in found}))
        raise Error(
            f"target '{printable(name)}' is {kinds} in different files",
            f"write the files alike, or {override_text('data.categorical', [name])}",
            Code.DATA,
        )
    return pl.concat([series.cast(pl.Float64) if numbers else series for series in found])


def _check_kinds(columns: "Sequence[pl.Series]", task: str) -> None:
    """Raise where several targets are neither all labels nor all numbers (code 3)."""
    other = next((column for column in columns if not _is_label(column)), None)
    text = next((column for column in columns if not column.dtype.is_numeric()), None)
    if task == "regression" or other is None or text is None:
        return
    what = f"target '{printable(other.name)}' has {other.n_unique():,} values, and '{printable(text.name)}' holds text"
    raise Error(what, "of several targets each has two values, or each holds numbers", Code.DATA)


def _first(tables: Sequence[Table], what: str, name: str) -> "Problem | None":
    """What is wrong with a column, in the first table where something is."""
    return next((found[name] for found in (getattr(table, what) for table in tables) if name in found), None)


def _looks_like_classes(column: "pl.Series") -> bool:
    if column.dtype.is_numeric():
        distinct = column.unique()
        return len(distinct) <= MOST_CLASSES and bool((distinct % 1 == 0).all())
    return not column.dtype.is_temporal()


def _is_label(column: "pl.Series") -> bool:
    return _looks_like_classes(column) and column.n_unique() <= 2


def _classes(column: "pl.Series", tables: Sequence[Table]) -> "tuple[list[str], np.ndarray]":
    """Names in order, and (rows,) class numbers."""
    distinct, shown = column.unique().sort(), printable(column.name)
    if problem := _first(tables, "problems", column.name):
        raise Error.of([problem], Code.DATA)
    if len(distinct) < 2:
        what = f"target '{shown}' has a single class ('{printable(texts_of(distinct)[0])}'); nothing to learn"
        raise Error(what, "give rows of another class", Code.DATA)
    numbers = column.dtype.is_float()
    if numbers and not (distinct % 1 == 0).all() and len(distinct) > MOST_CLASSES:
        what = f"target '{shown}' has {len(distinct):,} distinct numbers, some of them no whole ones"
        raise Error(what, "data.task=regression", Code.DATA)
    if len(distinct) > max(MOST_CLASSES, DIFFERENT * len(column)):
        strays = [stray_cell(table, column.name) for table in tables]
        if found := [problem for problem in strays if problem is not None]:
            fix = "correct it, or add it to data.na if it means missing, or data.decimal=comma if that is its sign"
            raise Error.of([Problem(p.what, fix) for p in found[:1]], Code.DATA)
        what = (
            f"target '{shown}' has {len(distinct):,} different values in {len(column):,} rows: hardly classes"
        )
        other = "name another column as data.target; data.task=regression tells which cell is no number"
        raise Error(what, "data.task=regression" if numbers else other, Code.DATA)
    return texts_of(distinct).to_list(), column.rank("dense").to_numpy().astype(np.int64) - 1


def _numbers(column: "pl.Series", tables: Sequence[Table], constant: bool = False) -> "np.ndarray":
    """(rows,) numbers; `constant`: also where they are all alike."""
    shown = printable(column.name)
    problem = _first(tables, "problems", column.name)
    if column.dtype == pl.String:
        problem = _first(tables, "others", column.name)
        what = problem.what if problem else f"target '{shown}' holds text"
        raise Error(f"{what}, as a regression needs", "data.task=classification, or correct it", Code.DATA)
    if problem:
        raise Error.of([problem], Code.DATA)
    if not column.dtype.is_numeric():
        what = f"target '{shown}' holds {str(column.dtype).lower()}, not numbers"
        raise Error(what, "name another column as data.target", Code.DATA)
    values = column.to_numpy()
    if not (np.abs(values) < LARGEST).all():
        raise Error(
            f"target '{shown}' has values of {LARGEST:g} and more", "give it in another unit", Code.DATA
        )
    if not constant and (values == values[0]).all():
        raise Error(
            f"target '{shown}' is constant ({values[0]:g}); nothing to learn", "give other rows", Code.DATA
        )
    return values

"""What the columns of a table hold, and the numbers that stand for it: (rows, columns) float64.

A number is itself, NaN where it is missing; a date is days since 1970, and a time a share of a day; a category is its
place in the list of those known: 0 is unknown, 1 missing, 2 the first.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import lazy_loader

from dlfound.config.suggest import override_text
from dlfound.data.table_cells import GROUPED
from dlfound.data.table_cells import NUMBER as NUMERAL
from dlfound.data.table_csv import LARGEST_INTEGER
from dlfound.errors import Code, Error, Problem, printable

if TYPE_CHECKING:
    from dlfound.data.tables import Table

np = lazy_loader.load("numpy")
pl = lazy_loader.load("polars")

NUMBER, DATE, CATEGORY = "number", "date", "category"
UNKNOWN, MISSING, FIRST = 0, 1, 2  # places of a category
NAMED = 5  # columns that a message lists
IDENTIFIER, FEW = (
    0.9,
    10,
)  # texts of which more than this share, and number, are distinct tell rows apart, not kinds
HALF = 0.5  # of the cells: where so many are numbers and the column is text all the same, that is told
MOSTLY = 0.9  # of a column's cells: where so many are numbers, or dates, a word among them is a mistake, no category
_NUMERAL = rf"^({NUMERAL.pattern})$"
_GROUPED = rf"^({GROUPED.pattern})$"
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
_TIMES = ("%H:%M:%S%.f", "%H:%M:%S%.fZ", "%H:%M:%S%.f%:z", "%H:%M")
FORMATS = (*_DAYS, *(f"{day}{gap}{time}" for day in _DAYS for time in _TIMES for gap in " T"))
DAY = 86400 * 10**6  # microseconds
TRUTHS = {"true", "false"}
PLAUSIBLE = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"  # what any of them looks like


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        kind: number, date or category.
        form: how dates are written, where they are text.
        categories: all texts of a category, in order.
    """

    name: str
    kind: str
    form: str = ""
    categories: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Understood:
    """What a table's columns were taken for; `dropped`: name -> why it is left out."""

    columns: list[Column]
    dropped: dict[str, str]
    notes: list[str]
    warnings: list[str]


def understand(
    table: "Table", names: Sequence[str], numeric: Collection[str], categorical: Collection[str]
) -> Understood:
    """Tell for each of the named columns what it holds, or why it is of no use.

    Args:
        numeric, categorical: those that a person calls so.

    Raises:
        Error: a column called numeric holds text, a word stands among numbers, a number is infinite or too large; or no
            column is left (code 3).
    """
    problems = [_numeric_problem(table, name) for name in names if name in numeric]
    problems += [table.problems[name] for name in names if name in table.problems]
    told = {*numeric, *categorical}
    problems += [stray_cell(table, name) for name in names if name not in told]
    if problems := [problem for problem in problems if problem is not None]:
        raise Error.of(problems, Code.DATA)
    found = Understood([], {}, [], [])
    for name in names:
        _look(table, name, name in numeric, name in categorical, found)
        if name not in told and (note := _half_numbers(table, name)):
            found.notes.append(note)
    if not found.columns:
        told = "; ".join(f"'{printable(name)}' {why}" for name, why in list(found.dropped.items())[:5])
        what = f"no usable feature column{': ' * bool(told)}{told}"
        kept = ", or name one in data.categorical" * ("different texts" in told)
        raise Error(what, f"give a column that varies{kept}", Code.DATA)
    return found


def _look(table: "Table", name: str, numeric: bool, categorical: bool, found: Understood) -> None:
    """What one column is."""
    series, shown = table.frame[name], printable(name)
    first = series.drop_nulls().head(1)
    if first.is_empty():
        found.dropped[name] = "is empty"
        found.warnings.append(f"column '{shown}' is empty: dropped")
    elif not series.null_count() and (series == first[0]).all():
        found.dropped[name] = f"is constant ({printable(first[0])})"
        found.warnings.append(f"column '{shown}' is constant ({printable(first[0])}): dropped")
    elif categorical or (series.dtype == pl.Boolean and not numeric):
        found.columns.append(_category(series))
    elif series.dtype.is_temporal():
        found.columns.append(Column(name, DATE))
    elif series.dtype != pl.String:
        found.columns.append(Column(name, NUMBER))
    elif len(forms := _date_forms(series)) == 1:
        found.columns.append(Column(name, DATE, forms[0]))
        found.notes.append(f"column '{shown}' holds dates ({forms[0]})")
    else:
        if forms:
            both = " or ".join(forms)
            found.notes.append(f"column '{shown}' could hold dates of the form {both}: taken as text")
        _look_text(series, found)


def _look_text(series: "pl.Series", found: Understood) -> None:
    present = len(series) - series.null_count()
    distinct = series.n_unique() - bool(series.null_count())
    if distinct <= max(FEW, IDENTIFIER * present):
        found.columns.append(_category(series))
        return
    shown = printable(series.name)
    found.dropped[series.name] = f"has {distinct:,} different texts"
    said = f"column '{shown}' has {distinct:,} different texts in {present:,} rows: dropped"
    found.notes.append(f"{said} ({override_text('data.categorical', [series.name])} keeps it)")


def _category(series: "pl.Series") -> Column:
    return Column(series.name, CATEGORY, "", texts_of(series).drop_nulls().unique().sort().to_list())


def _numeric_problem(table: "Table", name: str) -> Problem | None:
    """Why a column that must hold numbers does not."""
    dtype, shown = table.frame[name].dtype, printable(name)
    if dtype.is_numeric() or dtype == pl.Boolean:
        return None
    fix = f"{override_text('data.categorical', [name])}, or {override_text('data.drop', [name])}"
    return table.others.get(name) or Problem(f"column '{shown}' holds {str(dtype).lower()}, not numbers", fix)


def stray_cell(table: "Table", name: str) -> Problem | None:
    """The first cell that is no number, or no date, in a column where nearly all are; None where there is none."""
    texts = table.frame[name].drop_nulls()
    if texts.dtype != pl.String or texts.is_empty():
        return None
    numbers = texts.str.contains(_NUMERAL)
    grouped = texts.str.contains(_GROUPED) & ~numbers
    if grouped.any() and (numbers | grouped).sum() >= MOSTLY * len(texts):
        return table.others.get(name)  # which tells of the comma
    if texts.n_unique() <= FEW:
        return None
    if numbers.sum() >= MOSTLY * len(texts) and texts.filter(numbers).n_unique() > FEW:
        return _stray(table, name, ~numbers, "number")
    if texts.str.contains(PLAUSIBLE).sum() < MOSTLY * len(texts):
        return None  # parsing all texts in every form takes long
    dates = max((_parsed(texts, form).is_not_null() for form in _DAYS), key=lambda found: found.sum())
    if len(texts) > dates.sum() >= MOSTLY * len(texts):
        return _stray(table, name, ~dates, "date")
    return None


def _stray(table: "Table", name: str, other: "pl.Series", kind: str) -> Problem:
    present = table.frame[name].is_not_null().arg_true()
    row = int(present.filter(other)[0])
    what = f"{table.place_of(row)}: column '{printable(name)}': '{printable(table.frame[name][row][:80])}'"
    told = f"{what} is not a {kind}, as {len(other) - other.sum():,} of {len(other):,} cells are"
    fix = f"correct it, or add it to data.na if it means missing, or {override_text('data.categorical', [name])}"
    return Problem(told, f"{fix}, or {override_text('data.drop', [name])}")


def _half_numbers(table: "Table", name: str) -> str | None:
    """A note on a column that is taken as text though half of its cells and more are numbers."""
    texts = table.frame[name].drop_nulls()
    if texts.dtype != pl.String or name not in table.others:
        return None
    count = int(texts.str.contains(_NUMERAL).sum())
    if not HALF * len(texts) <= count < len(texts):
        return None
    return f"{table.others[name].what}, as {count:,} of {len(texts):,} cells are: the column is taken as text"


def _is_empty(series: "pl.Series") -> bool:
    """All of it is missing: it may have any type then."""
    return series.null_count() == len(series)


# ---- dates


def _date_forms(series: "pl.Series") -> list[str]:
    """The forms in which all texts are dates."""
    texts = series.drop_nulls()
    if not texts.head(100).str.contains(PLAUSIBLE).all():
        return []
    forms = [form for form in FORMATS if not _parsed(texts.head(100), form).has_nulls()]
    return [form for form in forms if len(texts) <= 100 or not _parsed(texts, form).has_nulls()]


def _parsed(texts: "pl.Series", form: str) -> "pl.Series":
    kind = pl.Date if form in _DAYS else pl.Datetime("us", "UTC" if form.endswith("%:z") else None)
    return texts.str.strptime(kind, form, strict=False)


def _since_1970(series: "pl.Series") -> "pl.Series":
    """Days: the same for a date, and for a time stamp at its midnight; a share of a day for a time of the day."""
    if series.dtype == pl.Date:
        return series.to_physical().cast(pl.Float64)
    if series.dtype == pl.Time:
        return series.to_physical().cast(pl.Float64) / (1000 * DAY)
    return series.dt.cast_time_unit("us").to_physical().cast(pl.Float64) / DAY


# ---- to numbers


def _lost(names: Sequence[str], table: "Table") -> Problem:
    """Columns of the training that a table has not."""
    listed = ", ".join(f"'{printable(name)}'" for name in names[:NAMED]) + ", ..." * (len(names) > NAMED)
    what = (
        f"column {listed} is missing" if len(names) == 1 else f"{len(names):,} columns are missing: {listed}"
    )
    what = f"{table.name}: {what}"
    there = ", ".join(map(printable, table.columns[:20])) + ", ..." * (len(table.columns) > 20)
    fix = (
        f"give it a column {printable(names[0])}"
        if len(names) == 1
        else "give a table with the columns of the training"
    )
    return Problem(f"{what}; there are: {there}", fix)


class Encoder:
    """Tables with the same columns as the training's, as numbers.

    Attributes:
        missing: column -> cells without a value; unknown: column -> cells of a category that training did not have.
        strange: an example of each unknown category, by column, with its place.
    """

    def __init__(self, columns: Sequence[Column]):
        self.columns = columns
        self.missing: dict[str, int] = {}
        self.unknown: dict[str, int] = {}
        self.strange: dict[str, str] = {}

    def __call__(self, table: "Table") -> "np.ndarray":
        """(rows, columns) float64, column by column in memory; a long table's own columns are given up on the way.

        Raises:
            Error: a column is missing, or holds another kind of thing than in training (code 3).
        """
        self._check(table)
        height = table.frame.height
        numbers = np.empty((len(self.columns), height))
        long = height > len(self.columns)
        take = (
            table.frame.drop_in_place if long else table.frame.get_column
        )  # to drop one of very many takes long
        for k, column in enumerate(self.columns):
            series = take(column.name)  # once it is copied, the memory of one that was dropped is free again
            numbers[k] = self._numbers(column, series, table)
            if lost := series.null_count():
                self.missing[column.name] = self.missing.get(column.name, 0) + lost
        return numbers.T

    def told(self) -> list[str]:
        """What a person should know of the tables so far."""
        lost = ", ".join(f"{printable(name)} {count:,}" for name, count in self.missing.items())
        notes = [f"missing values: {lost}"] if lost else []
        for name, count in self.unknown.items():
            more = {1: "", 2: ", nor was 1 more cell"}.get(count, f", nor were {count - 1:,} more cells")
            notes.append(f"{self.strange[name]}{more}: taken as unknown")
        return notes

    def _check(self, table: "Table") -> None:
        given = set(table.frame.columns)
        lost = [column.name for column in self.columns if column.name not in given]
        problems = [_lost(lost, table)] if lost else []
        there = [column for column in self.columns if column.name in given]
        problems += [problem for column in there if (problem := self._problem(column, table))]
        if problems:
            raise Error.of(problems, Code.DATA)

    def _problem(self, column: Column, table: "Table") -> Problem | None:
        """Why a column cannot be taken for what it was in training."""
        if column.name in table.problems:
            return Problem(table.problems[column.name].what, "correct it")
        if column.kind != NUMBER or _is_empty(table.frame[column.name]):
            return None  # what is all missing is of no kind
        problem = _numeric_problem(table, column.name)
        return problem and Problem(f"{problem.what}, and it held numbers in training", "correct it")

    def _numbers(self, column: Column, series: "pl.Series", table: "Table") -> "np.ndarray":
        if _is_empty(series):
            return np.full(len(series), MISSING if column.kind == CATEGORY else np.nan)
        if column.kind == NUMBER:
            return series.cast(pl.Float64).to_numpy()
        if column.kind == DATE:
            return _since_1970(_dates(column, series, table)).to_numpy()
        return self._places(column, series, table)

    def _places(self, column: Column, series: "pl.Series", table: "Table") -> "np.ndarray":
        found = places_of(series, column.categories)
        if (found < 0).all() and _numerals(series) == 1 and not _numerals(pl.Series(column.categories)):
            what = (
                f"{table.name}: column '{printable(column.name)}' holds numbers, and it held text in training"
            )
            named = ", ".join(map(printable, column.categories[:NAMED]))
            raise Error(what, f"write it as in training: {named}", Code.DATA)
        places = np.where(found < 0, UNKNOWN, found + FIRST)
        places[series.is_null().to_numpy()] = MISSING
        strange = np.flatnonzero(places == UNKNOWN)
        if count := len(strange):
            row = int(strange[0])
            texts, name, place = texts_of(series), column.name, table.place_of(row)
            self.unknown[name] = self.unknown.get(name, 0) + count
            text = f"column '{printable(name)}': '{printable(texts[row][:80])}' was not in training ({place})"
            self.strange.setdefault(name, text)
        return places


def _numerals(series: "pl.Series") -> float:
    """The share of cells that are numbers."""
    texts = series.drop_nulls().cast(pl.String)
    return float(texts.str.contains(_NUMERAL).mean() or 0)


def places_of(series: "pl.Series", known: Sequence[str]) -> "np.ndarray":
    """(rows,) the place of each cell among known texts, -1 where it is none of them.

    Where texts differ, numbers are found by their value, and truth values however they are written (True, true).
    """
    texts = texts_of(series)
    places = _replaced(texts, {text: place for place, text in enumerate(known)})
    if series.dtype.is_numeric() and (places < 0).any():
        values = [float(text) if NUMERAL.fullmatch(text) else None for text in known]
        other = _replaced(series.cast(pl.Float64), _once(values))
    elif (places < 0).any() and {text.lower() for text in known} <= TRUTHS:
        other = _replaced(texts.str.to_lowercase(), _once([text.lower() for text in known]))
    else:
        return places
    return np.where(places < 0, other, places)


def _once(values: Sequence[Any]) -> dict[Any, int]:
    """Value -> its place, for those that stand at one place only."""
    counts = Counter(values)
    return {value: place for place, value in enumerate(values) if value is not None and counts[value] == 1}


def _replaced(series: "pl.Series", places: Mapping[Any, int]) -> "np.ndarray":
    if not places:
        return np.full(len(series), -1)
    found = series.replace_strict(list(places), list(places.values()), default=-1, return_dtype=pl.Int64)
    return found.fill_null(-1).to_numpy()


def texts_of(series: "pl.Series") -> "pl.Series":
    """A category's cells; whole numbers lose what a float adds to them."""
    if (
        series.dtype.is_float()
        and (series.drop_nulls() % 1 == 0).all()
        and not (series.abs() > LARGEST_INTEGER).any()
    ):
        series = series.cast(pl.Int64)
    return series.cast(pl.String)


def _dates(column: Column, series: "pl.Series", table: "Table") -> "pl.Series":
    if series.dtype.is_temporal():
        return series
    shown, wanted = printable(column.name), column.form or "dates"
    if series.dtype != pl.String or not column.form:
        kind = "numbers" if series.dtype.is_numeric() else "text" if series.dtype == pl.String else "no dates"
        what = f"{table.name}: column '{shown}' holds {kind}, and it held dates in training"
        raise Error(what, "write it as in training", Code.DATA)
    found = _parsed(series, column.form)
    bad = found.is_null() & series.is_not_null()
    if bad.any():
        row = int(bad.arg_true()[0])
        what = f"{table.place_of(row)}: column '{shown}': '{printable(series[row][:80])}' is no date like {wanted}"
        raise Error(what, "write it as in training", Code.DATA)
    return found

"""Your own table as a source: the meaning of its columns, its target, and the split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import lazy_loader

from dlfound.config.setting_types import (
    SIGN,
    Count,
    File,
    FlagOrAuto,
    Names,
    OptionalName,
    OptionalText,
    Seed,
    Split,
    Text,
    Whole,
    either,
    word,
)
from dlfound.config.suggest import nearest, override_text
from dlfound.data.arrays import Task
from dlfound.data.columns import CATEGORY, UNKNOWN, Column, Encoder, understand
from dlfound.data.dataset import Dataset, Preparation
from dlfound.data.split import Parts, check_rows, cut_classes, cut_groups, cut_in_order, cut_randomly
from dlfound.data.tables import Table, read_table
from dlfound.data.targets import Answers
from dlfound.errors import Code, Error, Problem, printable

np = lazy_loader.load("numpy")
pl = lazy_loader.load("polars")

SplitBy = Annotated[str, word("auto", "random", "stratified", "group", "order")]
Missing = Annotated[str, word("impute", "drop", "error")]
Scale = Annotated[str, word("robust", "standard", "quantile")]
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
DECIMALS = {"point": ".", "comma": ","}
Separator = Annotated[str, either(word("auto", *SEPARATORS), SIGN)]
Decimal = Annotated[str, word("auto", *DECIMALS, *DECIMALS.values())]

MIX = 0x9E3779B97F4A7C15  # odd, its bits in no order: 2^64 over the golden ratio
PARTS = ("train", "val", "test")
WORDS = {"train": "training", "val": "validation", "test": "test"}
MOST_NAMED = 5  # classes that a message lists
OTHER_SHARE = 0.05  # of all rows: by so much a part may have more or fewer than was asked for
READING = ("header", "sep", "decimal", "encoding", "na", "max_bytes", "max_columns")


def table(
    *,
    path: File,
    target: Names,
    val_path: OptionalText,
    test_path: OptionalText,
    split_by: SplitBy,
    group: OptionalName,
    task: Task,
    weight: OptionalName,
    numeric: Names,
    categorical: Names,
    drop: Names,
    missing: Missing,
    scale: Scale,
    one_hot: Whole,
    embedding: Count,
    rare: Count,
    header: FlagOrAuto,
    sep: Separator,
    decimal: Decimal,
    encoding: Text,
    na: Names,
    max_bytes: Count,
    max_columns: Count,
    seed: Seed,
    split: Split,
) -> Dataset:
    """Your own CSV (also .gz) or Parquet file, or several files with the same columns (data.path=parts/*.csv).

    dlfound infers the types: numbers are numbers, text and truth values are categories, dates become numbers, and
    columns of nearly unique texts are dropped. `numeric`, `categorical` and `drop` change that; `dlfound train
    --dry-run` shows the result. `target` names one column or several. Text, truth values and at most 10 distinct
    whole numbers are classes; other targets are numbers. A missing number is replaced by the median of the training
    rows, and a column of 0 and 1 marks it.
    """
    reading = {name: value for name, value in locals().items() if name in READING}
    roles, notes = Roles(target, group, weight, numeric, categorical, drop), []
    files = {"train": path, "val": val_path, "test": test_path}
    tables = _read_all(files, roles, missing, reading, notes)
    main, answers = tables["train"], Answers(list(tables.values()), target, task)
    understood = understand(main, roles.features(main), numeric, categorical)
    by, shares = _way(split_by, group, answers), dict(zip(PARTS, split, strict=True))
    parts, groups = _parts(tables, by, group, answers, shares, seed, notes)
    encoder = Encoder(understood.columns)
    weights = None if weight is None else _weights(tables, weight, parts)
    inputs = _stacked([encoder(found) for found in tables.values()])
    prepared = Preparation(
        understood.columns, scale, one_hot, embedding, rare, main.columns, understood.dropped
    )
    odd = [*_unlearnt(answers, parts), *_all_rare(inputs[parts["train"]], understood.columns, rare)]
    odd += [*_leaks(inputs, answers, understood.columns), *_repeats(inputs, answers, parts)]
    told = {"notes": [*notes, *understood.notes, *encoder.told()], "warnings": [*understood.warnings, *odd]}
    fixed = {"order": "rows in the order of time"}.get(
        by, "validation rows in a file of their own" if val_path else ""
    )
    features = [column.name for column in understood.columns]
    return answers.dataset(
        inputs, features, parts, weights=weights, groups=groups, fixed=fixed, preparation=prepared, **told
    )


@dataclass(frozen=True)
class Roles:
    """Columns that a person names for something."""

    target: Sequence[str]
    group: str | None
    weight: str | None
    numeric: Sequence[str]
    categorical: Sequence[str]
    drop: Sequence[str]

    def check(self, table: Table) -> None:
        """Raise where a name is no column's, or one column is named for two things (code 3)."""
        alone = {"data.group": [self.group], "data.weight": [self.weight], "data.drop": self.drop}
        roles = {
            "data.target": self.target,
            **alone,
            "data.numeric": self.numeric,
            "data.categorical": self.categorical,
        }
        named = [(key, name) for key, names in roles.items() for name in names if name is not None]
        problems = [_no_column(key, name, table) for key, name in named if name not in table.columns]
        taken: dict[str, str] = {}
        for key, name in named:
            if name in taken and not (taken[name] == "data.target" and key == "data.categorical"):
                what = f"column '{printable(name)}' is named by {taken[name]} and by {key}"
                problems.append(Problem(what, "leave it out of one of them"))
            taken.setdefault(name, key)
        if problems:
            raise Error.of(problems, Code.DATA)

    def features(self, table: Table) -> list[str]:
        """The columns to learn from."""
        others = {*self.target, self.group, self.weight, *self.drop}
        return [name for name in table.columns if name not in others]


def read(path: str, text: Sequence[str], reading: Mapping[str, Any]) -> Table:
    """The table that a path names; `reading`: the settings READING, `text`: columns that are no numbers."""
    sep, decimal, header = reading["sep"], reading["decimal"], reading["header"]
    known = {
        **{name: reading[name] for name in READING},
        "sep": None if sep == "auto" else SEPARATORS.get(sep, sep),
        "header": None if header == "auto" else header,
        "decimal": None if decimal == "auto" else DECIMALS.get(decimal, decimal),
    }
    return read_table(str(Path(path).expanduser()), text=text, **known)


def _read_all(
    files: Mapping[str, str | None],
    roles: "Roles",
    missing: str,
    reading: Mapping[str, Any],
    notes: list[str],
) -> dict[str, Table]:
    """Part -> the rows of its file that can be used; what is told goes to `notes`."""
    text = [
        *roles.categorical,
        *([roles.group] if roles.group else []),
    ]  # long numbers of groups are not rounded
    tables = {part: read(file, text, reading) for part, file in files.items() if file is not None}
    notes += dict.fromkeys(note for found in tables.values() for note in found.notes)
    tables = {part: _sound_rows(found, part, roles, missing, notes) for part, found in tables.items()}
    check_rows(
        tables["train"].frame.height, [part for part in PARTS if part == "train" or part not in tables]
    )
    return tables


def _no_column(key: str, name: str, table: Table) -> Problem:
    shown, role = printable(name), key.removeprefix("data.")
    fix = f"did you mean {override_text(key, nearest(name, table.columns))}?"
    if len(table.columns) == 1:
        fix = f"if the first line names several columns, set data.sep, such as data.sep=tab; else {fix}"
    return Problem(f"{role} column '{shown}' not in header; columns: {_listed(table)}", fix)


def _listed(table: Table) -> str:
    return ", ".join(map(printable, table.columns[:20])) + ", ..." * (len(table.columns) > 20)


def _sound_rows(table: Table, part: str, roles: Roles, missing: str, notes: list[str]) -> Table:
    """The rows that can be used: those with a target, and where `missing` says so, those without a missing value."""
    if part == "train":
        roles.check(table)
    elif lost := [name for name in (*roles.target, roles.weight) if name and name not in table.columns]:
        what = f"{table.name}: column '{printable(lost[0])}' is missing; there are: {_listed(table)}"
        raise Error(what, "give the file the columns of data.path", Code.DATA)
    table = rows_with(table, roles.target, f"without {' or '.join(map(printable, roles.target))}", notes)
    features = roles.features(table)
    if missing == "drop":
        table = rows_with(table, features, "with a missing value", notes)
    if missing == "error":
        problems = [_missing(table, name) for name in features if table.frame[name].null_count()]
        if problems:
            raise Error.of(problems, Code.DATA)
    return table


def rows_with(table: Table, names: Sequence[str], what: str, notes: list[str]) -> Table:
    """The rows in which none of these columns is missing; the others are counted."""
    whole = table.frame.select(pl.all_horizontal(pl.col(list(names)).is_not_null())).to_series()
    lost = len(whole) - whole.sum()
    if lost == len(whole):
        raise Error(f"there is no row but {lost:,} {what}", "give other rows, or another column", Code.DATA)
    if not lost:
        return table
    notes.append(f"{lost:,} row{'s' * (lost != 1)} {what} dropped")
    return table.keep(whole)


def _missing(table: Table, name: str) -> Problem:
    gaps = table.frame[name].is_null()
    count, place = int(gaps.sum()), table.place_of(int(gaps.arg_true()[0]))
    what = f"column '{printable(name)}': {count:,} missing value{'s' * (count != 1)} (first at {place})"
    return Problem(what, "fill them, or data.missing=impute or drop")


def weights_of(table: Table, name: str) -> "np.ndarray":
    """(rows,) how much each row counts.

    Raises:
        Error: text, missing or negative weights, or no weight at all (code 3).
    """
    series, shown = table.frame[name], printable(name)
    if not series.dtype.is_numeric():
        raise Error(
            f"weight column '{shown}' holds {str(series.dtype).lower()}", "give numbers >= 0", Code.DATA
        )
    bad = (series.is_null() | (series < 0) | series.is_infinite()).fill_null(True)
    if bad.any():
        place = table.place_of(int(bad.arg_true()[0]))
        raise Error(f"{place}: weight column '{shown}' holds no number >= 0", "correct it", Code.DATA)
    if not series.sum():
        raise Error(f"weight column '{shown}' holds only 0", "give some rows a weight", Code.DATA)
    return series.cast(pl.Float64).to_numpy()


def _weights(tables: Mapping[str, Table], name: str, parts: Parts) -> "np.ndarray":
    """(rows,) how much each row of all tables counts.

    Raises:
        Error: as `weights_of`; or the rows of a part all count nothing (code 3).
    """
    weights = np.concatenate([weights_of(found, name) for found in tables.values()])
    for part, rows in parts.items():
        if not weights[rows].any():
            what = f"weight column '{printable(name)}' holds only 0 in the {WORDS[part]} rows"
            raise Error(what, "give some of them a weight, or split in another way", Code.DATA)
    return weights


# ---- the split


def _way(split_by: str, group: str | None, answers: Answers) -> str:
    """What `data.split_by=auto` stands for, and whether another one can be had."""
    if split_by == "stratified" and not answers.classes:
        what = "data.split_by=stratified needs one target with classes"
        raise Error(what, "data.split_by=random", Code.CONFIG)
    if split_by != "auto":
        return split_by
    return "group" if group else "stratified" if answers.classes else "random"


def _parts(
    tables: Mapping[str, Table],
    by: str,
    group: str | None,
    answers: Answers,
    shares: Mapping[str, float],
    seed: int,
    notes: list[str],
) -> "tuple[Parts, np.ndarray | None]":
    """Rows of each part: a file's own where there is one, the rest cut from the first; and the groups of those."""
    rows, groups = tables["train"].frame.height, None
    left = [part for part in PARTS if part not in tables or part == "train"]
    held_out = {part: shares[part] / sum(shares[name] for name in left) for part in left[1:]}
    if group is not None:
        column = tables["train"].frame[group]
        groups = np.unique(column.rank("dense").fill_null(0).to_numpy(), return_inverse=True)[1]
        if lost := column.null_count():
            notes.append(f"{lost:,} row{'s' * (lost != 1)} without {printable(group)} stay together")
    if not held_out:
        parts = {"train": np.arange(rows)}
    elif by == "group":
        parts = cut_groups(groups, held_out, seed)
    elif by == "order":
        parts = cut_in_order(rows, held_out)
    elif by == "stratified":
        parts, rare = cut_classes(answers.values[:rows], held_out, seed)
        notes += [_rare(label, answers, rows, [*held_out]) for label in rare]
        notes += [_other_share(parts, part, share, rows) for part, share in held_out.items()]
    else:
        parts = cut_randomly(rows, held_out, seed)
    for part in PARTS[1:]:
        if part in tables:
            parts[part] = np.arange(rows, rows + tables[part].frame.height)
            rows += tables[part].frame.height
    if by != "stratified" and answers.classes:
        notes += [_absent(part, answers, parts) for part in PARTS[1:]]
    notes[:] = filter(None, notes)
    return {part: parts[part] for part in PARTS}, groups


def _rare(label: int, answers: Answers, rows: int, others: Sequence[str]) -> str:
    count, name = int((answers.values[:rows] == label).sum()), printable(answers.classes[label])
    return f"class '{name}' has {count} row{'s' * (count != 1)}, too few for {' and '.join(others)}: kept in training"


def _other_share(parts: Parts, part: str, share: float, rows: int) -> str | None:
    """Where classes have few rows each, a row of each is more than the part's share."""
    found = len(parts[part]) / rows
    if abs(found - share) <= OTHER_SHARE:
        return None
    return f"{part} has {found:.0%} of the rows, not {share:.0%}: each class that can has a row in each part"


def _absent(part: str, answers: Answers, parts: Parts) -> str | None:
    """Classes that training has and a part held out has not."""
    lost = np.setdiff1d(answers.values[parts["train"]], answers.values[parts[part]])
    named = ", ".join(printable(answers.classes[k]) for k in lost[:MOST_NAMED])
    more = f" and {len(lost) - MOST_NAMED:,} more" * (len(lost) > MOST_NAMED)
    return f"no {WORDS[part]} row has the class {named}{more}" if len(lost) else None


def _stacked(numbers: "Sequence[np.ndarray]") -> "np.ndarray":
    """The rows of all, column by column in memory."""
    return numbers[0] if len(numbers) == 1 else np.concatenate([n.T for n in numbers], 1).T


# ---- what is likely wrong


def _unlearnt(answers: Answers, parts: Parts) -> list[str]:
    """Classes that no training row has.

    Raises:
        Error: all training rows have the same one (code 3).
    """
    if not answers.classes:
        return []
    counts = np.bincount(answers.values[parts["train"]], minlength=len(answers.classes))
    if (counts > 0).sum() == 1:
        name = printable(answers.classes[int(counts.argmax())])
        what = (
            f"all training rows have the class '{name}' of '{printable(answers.names[0])}'; nothing to learn"
        )
        raise Error(what, "data.split_by=stratified, or give rows of another class", Code.DATA)
    lost = [printable(answers.classes[k]) for k in np.flatnonzero(counts == 0)]
    more = f" and {len(lost) - MOST_NAMED:,} more" * (len(lost) > MOST_NAMED)
    return [f"no training row has the class {', '.join(lost[:MOST_NAMED])}{more}"] if lost else []


def _all_rare(inputs: "np.ndarray", columns: Sequence[Column], rare: int) -> list[str]:
    """Categories of which no text stands in enough training rows to be learnt."""
    told = []
    for column, codes in zip(columns, inputs.T, strict=True):
        if (
            column.kind == CATEGORY
            and np.bincount(codes.astype(np.int64)[codes != UNKNOWN]).max(initial=0) < rare
        ):
            count = len(column.categories)
            what = f"column '{printable(column.name)}': none of its {count:,} texts stands in {rare} training rows"
            told.append(f"{what} (data.rare): nothing is learnt of it")
    return told


def _leaks(inputs: "np.ndarray", answers: Answers, columns: Sequence[Any]) -> list[str]:
    """Columns that say the same as a target, value by value."""
    told = []
    targets = answers.values.reshape(len(inputs), -1)
    for name, target in zip(answers.names, targets.T, strict=True):
        firsts = np.unique(target, return_index=True)[1]
        for column, values in zip(columns, inputs.T, strict=True):
            if (
                _same(values, target, firsts)
                if answers.classes or answers.labels
                else np.array_equal(values, target)
            ):
                told.append(f"column '{printable(column.name)}' equals the target '{printable(name)}'")
    return told


def _same(values: "np.ndarray", target: "np.ndarray", firsts: "np.ndarray") -> bool:
    """True where each value goes with one class, and each class with one value; `firsts`: a row of each class."""
    names = values[firsts]
    if np.isnan(names).any() or len(np.unique(names)) < len(names):
        return False
    return bool((names[target.astype(np.int64)] == values).all())


def _repeats(inputs: "np.ndarray", answers: Answers, parts: Parts) -> list[str]:
    """How many rows to validate or test on stand in training too, target and all."""
    hashes = np.zeros(len(inputs), np.uint64)
    for values in (*inputs.T, *answers.values.reshape(len(inputs), -1).T):
        hashes = (hashes ^ (values + 0.0).view(np.uint64)) * np.uint64(MIX)
        hashes ^= hashes >> np.uint64(32)
    counts = {part: int(np.isin(hashes[parts[part]], hashes[parts["train"]]).sum()) for part in PARTS[1:]}
    return [
        f"{count:,} of {len(parts[part]):,} {WORDS[part]} rows stand in training too"
        for part, count in counts.items()
        if count
    ]

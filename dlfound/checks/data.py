"""The data themselves: columns that say nothing or too much, rows that stand in two parts, classes and scales."""

from collections.abc import Sequence

import numpy as np

from dlfound.checks.context import Subject
from dlfound.checks.labels import judge_labels
from dlfound.checks.result import FAIL, WARN, Checked, Finding, sound
from dlfound.checks.thresholds import COPY, FEWEST, IMBALANCE, LEAKED, OUTLYING, UNEVEN, UNLIKE
from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.objective import loss as losses

MANY = 10_000  # training rows that columns are judged by: enough for any share
NAMED = 4  # columns that are named; the others are counted


def check(subject: Subject) -> Checked:
    """Everything that can be seen without a net."""
    data = subject.dataset
    rows = np.sort(data.parts["train"])[:: -(-len(data.parts["train"]) // MANY)]
    inputs, targets = _numbers(data.inputs[rows]), target_columns(data, rows)
    findings = _copying(data, inputs, targets) + _overlap(data) + _imbalance(data, subject.config)
    if data.image is None:
        findings += _idle(data, inputs)
    findings += _scales(subject, inputs) + judge_labels(subject)
    counts = {name: len(part) for name, part in data.parts.items()}
    meaning = (
        f"rows in {inputs.shape[1]} columns: {', '.join(f'{count} {name}' for name, count in counts.items())}"
    )
    return Checked("data", findings or [sound(float(sum(counts.values())), meaning)], {"rows": counts})


def _numbers(values: np.ndarray) -> np.ndarray:
    """As float64; what is missing gets the column's mean."""
    values = values.astype(np.float64)
    missing = ~np.isfinite(values)
    if missing.any():
        kept = np.where(missing, 0, values)
        mean = kept.sum(0) / np.maximum((~missing).sum(0), 1)
        values = np.where(missing, mean, values)
    return values


def target_columns(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """(rows, classes) zeros and ones, or (rows, columns) numbers."""
    targets = data.targets[rows]
    return np.eye(len(data.classes))[targets] if data.classes else targets.astype(np.float64)


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


# Columns.


def _copying(data: Dataset, inputs: np.ndarray, targets: np.ndarray) -> list[Finding]:
    """Columns that are the target: one by one for numbers and classes, together where each marks a class."""
    left = _unexplained(inputs, targets) if data.classes else _unlike(inputs, targets)
    copies = np.flatnonzero(left < COPY) if len(inputs) >= FEWEST else np.array([], int)
    if not len(copies):
        return []
    names = [data.features[c] for c in copies]
    if data.classes:
        counts = targets.sum(0)
        means = (targets.T @ inputs[:, copies])[counts > 0] / counts[counts > 0, None]
        spread = inputs[:, copies].std(0)
        apart = np.abs(means[:, None] - means[None]) > 1e-3 * spread
        if not (apart.any(2) | np.eye(len(means), dtype=bool)).all():
            meaning = f"columns say of some class whether a row is in it: {_list(names)}"
            return [
                Finding("telling", WARN, float(len(names)), meaning, "", "would they be known at prediction?")
            ]
    meaning = f"columns copy the target: {_list(names)}"
    return [Finding("copies", FAIL, float(len(names)), meaning, "", "leave them out of the data")]


def _unexplained(inputs: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The share of each column's variance that lies within classes; 1 for a constant."""
    counts = np.maximum(members.sum(0), 1)[:, None]
    middle = inputs.mean(0)
    centred = inputs - middle
    means = (members.T @ centred) / counts
    whole, between = np.square(centred).sum(0), (counts * np.square(means)).sum(0)
    constant = whole <= len(inputs) * np.square(1e-12 * np.abs(middle))
    return np.where(constant, 1.0, 1 - between / np.where(constant, 1.0, whole))


def _unlike(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """1 - r2 of each input column with the target column that is most like it."""
    x, y = (_standard(values) for values in (inputs, targets))
    return 1 - np.square(x.T @ y / len(x)).max(1)


def _standard(values: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1; zeros where a column is constant."""
    middle, spread = values.mean(0), values.std(0)
    constant = spread <= 1e-12 * np.abs(middle)
    return np.where(constant, 0.0, (values - middle) / np.where(constant, 1.0, spread))


def _idle(data: Dataset, inputs: np.ndarray) -> list[Finding]:
    """Constant columns, and columns that are equal to another one. Of images both are usual: blank edges."""
    findings = []
    same = inputs == inputs[:1]
    if constant := [data.features[c] for c in np.flatnonzero(same.all(0))]:
        meaning = f"columns are constant on the training rows: {_list(constant)}"
        findings.append(
            Finding("constant", WARN, float(len(constant)), meaning, "", "leave them out of the data")
        )
    first: dict[bytes, str] = {}
    twins = []
    for c in np.flatnonzero(~same.all(0)):
        key = inputs[:, c].tobytes()
        if key in first:
            twins.append(f"{data.features[c]} = {first[key]}")
        first.setdefault(key, data.features[c])
    if twins:
        meaning = f"columns are equal to another one: {_list(twins)}"
        findings.append(
            Finding("duplicate", WARN, float(len(twins)), meaning, "", "leave one of each out of the data")
        )
    return findings


# Rows.


def _overlap(data: Dataset) -> list[Finding]:
    """Test rows that are training rows too, target and all, beyond what few distinct values make natural."""
    test = _keys(data, data.parts["test"])
    known = set(train := _keys(data, data.parts["train"]))
    shared = sum(key in known for key in test)
    natural = 0.0
    if _coincidences(data) >= 1:
        counts = dict.fromkeys(known, 0)
        for key in train:
            counts[key] += 1
        natural = sum(counts[key] > 1 for key in train) / len(train)
        natural += 3 * (natural * (1 - natural) / len(test)) ** 0.5
    share = shared / len(test)
    if share <= natural:
        return []
    meaning = f"of the {len(test)} test rows stand among the training rows too ({shared} of them)"
    verdict = FAIL if share - natural > LEAKED else WARN
    return [Finding("overlap", verdict, share, meaning, "", "remove duplicates before the data are split")]


def _keys(data: Dataset, rows: np.ndarray) -> list[bytes]:
    inputs, targets = np.ascontiguousarray(data.inputs[rows]), np.ascontiguousarray(data.targets[rows])
    return [x.tobytes() + y.tobytes() for x, y in zip(inputs, targets, strict=True)]


def _coincidences(data: Dataset) -> float:
    """How many pairs of equal rows chance would make, were the columns independent."""
    rows = data.parts["train"][:MANY]
    logarithm = np.log(len(rows)) + np.log(max(len(rows) - 1, 1)) - np.log(2)
    for column in data.inputs[rows].T:
        shares = np.unique(column, return_counts=True)[1] / len(rows)
        logarithm += np.log(np.square(shares).sum())
        if logarithm < -50:
            return 0.0
    return float(np.exp(min(logarithm, 50)))


def _imbalance(data: Dataset, config: Config) -> list[Finding]:
    counts = data.class_counts()
    if not counts:
        return []
    if absent := [name for name, count in zip(data.classes, counts, strict=True) if not count]:
        meaning = f"classes have no training row: {_list(absent)}"
        return [Finding("absent", WARN, float(len(absent)), meaning, "", "give rows of each class")]
    ratio = max(counts) / min(counts)
    if ratio <= IMBALANCE:
        return []
    most, least = (data.classes[counts.index(extreme(counts))] for extreme in (max, min))
    meaning = f"times as many training rows are of class {most} as of {least}"
    loss = config.name("loss") if "class_weight" in config["loss"] else losses.recipe(data.task)
    advice = "and watch train.monitor=balanced_accuracy"
    return [Finding("imbalance", WARN, ratio, meaning, f"loss={loss} loss.class_weight=balanced", advice)]


# Scales.


def _scales(subject: Subject, inputs: np.ndarray) -> list[Finding]:
    """Outliers that squeeze a column, parts in another unit, columns that stay uneven after normalisation."""
    data = subject.dataset
    findings = _outlying(data, inputs) if data.image is None else []
    parts = subject.base.parts
    ready = {name: _sampled(subject, part.inputs) for name, part in parts.items()}
    names, spread = data.features, ready["train"].std(0)
    varying = spread[spread > 1e-9]
    if len(varying) > 1 and (ratio := float(varying.max() / np.median(varying))) > UNEVEN:
        meaning = "times the median deviation is that of the widest column, after normalisation"
        findings.append(Finding("uneven", WARN, ratio, meaning, "", "bring the columns to one scale"))
    for name in ("val", "test"):
        beyond = np.abs(ready[name]).max(0) / np.maximum(np.abs(ready["train"]).max(0), 1.0)
        if len(names) == len(beyond) and (far := [names[c] for c in np.flatnonzero(beyond > UNLIKE)]):
            meaning = (
                f"times the largest training value is that of the {name} rows in {_list(far)}: another unit?"
            )
            findings.append(
                Finding("unlike", WARN, float(beyond.max()), meaning, "", "give all rows in the same unit")
            )
    return findings


def _outlying(data: Dataset, inputs: np.ndarray) -> list[Finding]:
    if data.preparation:  # scaled by rank or quartiles, or categories
        return []
    gaps = np.abs(inputs - np.median(inputs, 0))
    typical = np.array([np.median(gap[gap > 0]) if gap.any() else np.inf for gap in gaps.T])
    ratio = gaps.max(0) / typical
    far = [data.features[c] for c in np.flatnonzero(ratio > OUTLYING)]
    if not far:
        return []
    meaning = f"times the median deviation is the largest of {_list(far)}: normalised, all its other values are nearly one"
    return [
        Finding("outliers", WARN, float(ratio.max()), meaning, "", "take logarithms, or mend the outliers")
    ]


def _sampled(subject: Subject, inputs) -> np.ndarray:
    """Rows as the net gets them, at most MANY of them."""
    ready = subject.base.network.ready(inputs[:: -(-len(inputs) // MANY)]).double().cpu().numpy()
    return ready[:, : ready.shape[1] - subject.base.network.body.places]  # the place of a category is no size

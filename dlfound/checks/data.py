"""Check the data without a net: columns, rows shared by two parts, class frequencies, scales and targets."""

from collections import Counter

import numpy as np

from dlfound.checks import FAIL, WARN, CheckResult, Finding, count_named, exceeding, sound
from dlfound.checks.context import CheckContext
from dlfound.checks.labels import check_targets, standardised, target_columns
from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.objective import loss as losses

# None of these thresholds is a setting.
COPY = 1e-4  # share of a column's variance that the target leaves unexplained: below it the column is a copy
COPY_ROWS = 10  # with fewer rows, many a column resembles the target by chance
LEAKED = 0.01  # share of the test rows that also occur in training
IMBALANCE = 10.0  # the largest class over the smallest
OUTLYING = 1e3  # largest over median deviation: normalisation then squeezes all other values together
UNLIKE = 100.0  # deviations: validation or test values so far out have another unit
UNEVEN = 100.0  # largest over median deviation of the normalised columns
MANY = 10_000  # training rows that columns are judged by: enough for any share


def check_data(context: CheckContext) -> CheckResult:
    """Run every test that needs no net."""
    data = context.dataset
    rows = _some(np.sort(data.parts["train"]))
    values = np.ma.masked_invalid(data.inputs[rows].astype(np.float64))
    inputs = values.filled(values.mean(0).filled(0))  # a missing value becomes its column's mean
    findings = _copies(data, inputs, target_columns(data, rows))
    findings += _overlap(data)
    findings += _class_frequencies(data, context.config)
    if data.image is None:  # constant and equal columns are usual in images: blank edges
        findings += _constant(data, inputs) + _duplicates(data, inputs)
    findings += _outliers(data, inputs) + _scales(context) + check_targets(context)
    counts = {name: len(part) for name, part in data.parts.items()}
    if not findings:
        parts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        meaning = f"rows ({parts}) in {inputs.shape[1]:,} columns; no fault found"
        findings = [sound(float(sum(counts.values())), "", meaning)]
    return CheckResult(findings, {"rows": counts})


def _some(rows):
    """Return at most MANY rows, evenly spread."""
    return rows[:: -(-len(rows) // MANY)]


def _names(data: Dataset, columns: np.ndarray) -> list[str]:
    return [data.features[column] for column in np.flatnonzero(columns)]


# Columns.


def _copies(data: Dataset, inputs: np.ndarray, targets: np.ndarray) -> list[Finding]:
    """Find columns that contain the target, or that mark one class among several."""
    if len(inputs) < COPY_ROWS:
        return []
    suspects = 1 - _explained(data, inputs, targets) < COPY
    names = _names(data, suspects)
    if data.classes and not _tell_all_apart(inputs[:, suspects], targets):
        advice = "leave them out of the data unless they are known at prediction time"
        return count_named("telling", WARN, "columns that mark one class", names, advice=advice)
    advice = "leave them out of the data"
    return count_named("copies", FAIL, "columns that contain the target", names, advice=advice)


def _explained(data: Dataset, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the share of each column's variance between classes, or its r2 with the target most like it."""
    products = targets.T @ standardised(inputs)
    if data.classes:
        return (np.square(products) / np.maximum(targets.sum(0), 1)[:, None]).sum(0) / len(inputs)
    return np.square(products / len(inputs)).max(0)


def _tell_all_apart(columns: np.ndarray, members: np.ndarray) -> bool:
    """True if the columns together distinguish each class from every other."""
    counts = members.sum(0)
    present = counts > 0
    means = (members.T @ columns)[present] / counts[present, None]
    differ = np.abs(means[:, None] - means[None]) > 1e-3 * columns.std(0)
    return bool((differ.any(2) | np.eye(len(means), dtype=bool)).all())


def _constant(data: Dataset, inputs: np.ndarray) -> list[Finding]:
    names = _names(data, (inputs == inputs[:1]).all(0))
    advice = "leave them out of the data"
    return count_named("constant", WARN, "columns that are constant on the training rows", names, "", advice)


def _duplicates(data: Dataset, inputs: np.ndarray) -> list[Finding]:
    """Find columns that equal an earlier column; constant ones are another finding."""
    first: dict[bytes, int] = {}
    twins = []
    for column in np.flatnonzero((inputs != inputs[:1]).any(0)):
        equal = first.setdefault(inputs[:, column].tobytes(), column)
        if equal != column:
            twins.append(f"{data.features[column]} = {data.features[equal]}")
    advice = "leave one of each pair out of the data"
    return count_named("duplicate", WARN, "columns that equal another column", twins, advice=advice)


# Rows.


def _overlap(data: Dataset) -> list[Finding]:
    """Find test rows that are training rows too, beyond what a table of few distinct values makes natural."""
    test = _row_keys(data, data.parts["test"])
    train = Counter(_row_keys(data, data.parts["train"]))
    shared = sum(key in train for key in test)
    natural = _natural_overlap(data, train, len(test))
    share = shared / len(test)
    if share <= natural:
        return []
    verdict = FAIL if share - natural > LEAKED else WARN
    usual = f"at most {natural:.2g}" if natural else "0"
    meaning = f"share of the test rows that are training rows too ({shared} of {len(test)})"
    advice = "remove duplicate rows before the data are split"
    return [Finding("overlap", verdict, share, usual, meaning, "", advice)]


def _row_keys(data: Dataset, rows: np.ndarray) -> list[bytes]:
    pairs = zip(data.inputs[rows], data.targets[rows], strict=True)
    return [x.tobytes() + y.tobytes() for x, y in pairs]


def _natural_overlap(data: Dataset, train: Counter[bytes], tested: int) -> float:
    """Return the share of training rows with a twin in training, plus three standard errors of a test share.

    0 if chance would hardly make two rows equal: then each equal row counts.
    """
    if not _may_have_twins(data):
        return 0.0
    share = sum(count for count in train.values() if count > 1) / train.total()
    return share + 3 * (share * (1 - share) / tested) ** 0.5


def _may_have_twins(data: Dataset) -> bool:
    """True if some rows would be equal if the columns were independent."""
    rows = data.parts["train"][:MANY]
    pairs = len(rows) * (len(rows) - 1) / 2  # of equal rows that are expected
    for column in data.inputs[rows].T:
        shares = np.unique(column, return_counts=True)[1] / len(rows)
        pairs *= np.square(shares).sum()
        if pairs < 1:
            return False
    return True


def _class_frequencies(data: Dataset, config: Config) -> list[Finding]:
    if not data.classes:
        return []
    counts = dict(zip(data.classes, data.class_counts(), strict=True))
    absent = [name for name, count in counts.items() if not count]
    if absent:
        advice = "add rows of each class"
        return count_named("absent", WARN, "classes without a training row", absent, advice=advice)
    most = max(counts, key=counts.__getitem__)
    least = min(counts, key=counts.__getitem__)
    ratio = counts[most] / counts[least]
    if ratio <= IMBALANCE:
        return []
    meaning = f"training rows of class {most} for each row of class {least}"
    loss = config.name("loss") if "class_weight" in config["loss"] else losses.AUTO[data.task]
    override = f"loss={loss} loss.class_weight=balanced"
    advice = "judge the net by train.monitor=balanced_accuracy"
    return [Finding("imbalance", WARN, ratio, f"at most {IMBALANCE:g}", meaning, override, advice)]


# Scales.


def _outliers(data: Dataset, inputs: np.ndarray) -> list[Finding]:
    """Find values so far out that normalisation makes all others in their column nearly equal."""
    if data.image is not None or data.preparation:  # a table's columns are scaled by rank or quartiles
        return []
    gaps = np.abs(inputs - np.median(inputs, 0))
    typical = np.array([np.median(gap[gap > 0]) if gap.any() else np.inf for gap in gaps.T])
    ratios = zip(data.features, gaps.max(0) / typical, strict=True)
    effect = "normalisation makes all other values nearly equal"
    advice = "take logarithms, or correct the outliers"
    return exceeding("outliers", ratios, OUTLYING, "largest over median deviation", effect, "", advice)


def _scales(context: CheckContext) -> list[Finding]:
    """Find columns that stay uneven after normalisation, and validation or test values in another unit."""
    parts = {name: context.numeric(_some(part.inputs)) for name, part in context.base.parts.items()}
    spread = parts["train"].std(0)
    varying = spread[spread > 1e-9]
    findings = []
    ratio = float(varying.max() / np.median(varying)) if len(varying) > 1 else 1.0
    if ratio > UNEVEN:
        meaning = "deviation of the widest column over that of the median column, after normalisation"
        advice = "bring all columns to one scale"
        findings.append(Finding("uneven", WARN, ratio, f"at most {UNEVEN:g}", meaning, "", advice))
    features = context.dataset.features
    largest = {name: np.abs(rows).max(0) for name, rows in parts.items()}
    beyond = np.maximum(largest["train"], 1.0)
    for part in ("val", "test"):
        if len(features) == len(beyond):
            ratios = zip(features, largest[part] / beyond, strict=True)
            quantity = f"largest {part} value over the largest training value"
            advice = "give all rows in the same unit"
            findings += exceeding("unlike", ratios, UNLIKE, quantity, "is it another unit?", "", advice)
    return findings

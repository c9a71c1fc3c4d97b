"""Check the data without a net: columns, rows shared by two parts, class frequencies, scales and targets."""

from collections.abc import Sequence

import numpy as np

from dlfound.checks.context import CheckContext
from dlfound.checks.labels import check_targets, target_columns
from dlfound.checks.result import FAIL, WARN, CheckResult, Finding, sound
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
NAMED = 4  # columns that a message names; it counts the others


def check(context: CheckContext) -> CheckResult:
    """Run every test that needs no net."""
    data = context.dataset
    rows = np.sort(data.parts["train"])[:: -(-len(data.parts["train"]) // MANY)]
    inputs = _without_missing(data.inputs[rows])
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
    return CheckResult("data", findings, {"rows": counts})


def _without_missing(values: np.ndarray) -> np.ndarray:
    """Convert to float64 and replace missing values by their column's mean."""
    values = values.astype(np.float64)
    missing = ~np.isfinite(values)
    if missing.any():
        sums = np.where(missing, 0, values).sum(0)
        values = np.where(missing, sums / np.maximum((~missing).sum(0), 1), values)
    return values


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _names(data: Dataset, columns: np.ndarray) -> list[str]:
    return [data.features[column] for column in np.flatnonzero(columns)]


# Columns.


def _copies(data: Dataset, inputs: np.ndarray, targets: np.ndarray) -> list[Finding]:
    """Find columns that contain the target, or that mark one class among several."""
    if len(inputs) < COPY_ROWS:
        return []
    unexplained = _within_classes(inputs, targets) if data.classes else _uncorrelated(inputs, targets)
    suspects = unexplained < COPY
    if not suspects.any():
        return []
    names = _names(data, suspects)
    count = float(len(names))
    if data.classes and not _tell_all_apart(inputs[:, suspects], targets):
        meaning = f"columns that mark one class: {_list(names)}"
        advice = "leave them out of the data unless they are known at prediction time"
        return [Finding("telling", WARN, count, "0", meaning, "", advice)]
    meaning = f"columns that contain the target: {_list(names)}"
    return [Finding("copies", FAIL, count, "0", meaning, "", "leave them out of the data")]


def _within_classes(inputs: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the share of each column's variance that lies within classes; 1 for a constant column."""
    counts = np.maximum(members.sum(0), 1)[:, None]
    middle = inputs.mean(0)
    centred = inputs - middle
    means = (members.T @ centred) / counts
    total = np.square(centred).sum(0)
    between = (counts * np.square(means)).sum(0)
    constant = total <= len(inputs) * np.square(1e-12 * np.abs(middle))
    return np.where(constant, 1.0, 1 - between / np.where(constant, 1.0, total))


def _uncorrelated(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return 1 - r2 of each input column with the target column that is most like it."""
    x = _standardised(inputs)
    y = _standardised(targets)
    return 1 - np.square(x.T @ y / len(x)).max(1)


def _standardised(values: np.ndarray) -> np.ndarray:
    """Scale each column to mean 0 and deviation 1; a constant column becomes zeros."""
    middle = values.mean(0)
    spread = values.std(0)
    constant = spread <= 1e-12 * np.abs(middle)
    return np.where(constant, 0.0, (values - middle) / np.where(constant, 1.0, spread))


def _tell_all_apart(columns: np.ndarray, members: np.ndarray) -> bool:
    """True if the columns together distinguish each class from every other."""
    counts = members.sum(0)
    present = counts > 0
    means = (members.T @ columns)[present] / counts[present, None]
    differ = np.abs(means[:, None] - means[None]) > 1e-3 * columns.std(0)
    return bool((differ.any(2) | np.eye(len(means), dtype=bool)).all())


def _constant(data: Dataset, inputs: np.ndarray) -> list[Finding]:
    names = _names(data, (inputs == inputs[:1]).all(0))
    if not names:
        return []
    meaning = f"columns that are constant on the training rows: {_list(names)}"
    return [Finding("constant", WARN, float(len(names)), "0", meaning, "", "leave them out of the data")]


def _duplicates(data: Dataset, inputs: np.ndarray) -> list[Finding]:
    """Find columns that equal an earlier column; constant ones are another finding."""
    first: dict[bytes, str] = {}
    twins = []
    for column in np.flatnonzero((inputs != inputs[:1]).any(0)):
        key = inputs[:, column].tobytes()
        if key in first:
            twins.append(f"{data.features[column]} = {first[key]}")
        else:
            first[key] = data.features[column]
    if not twins:
        return []
    meaning = f"columns that equal another column: {_list(twins)}"
    advice = "leave one of each pair out of the data"
    return [Finding("duplicate", WARN, float(len(twins)), "0", meaning, "", advice)]


# Rows.


def _overlap(data: Dataset) -> list[Finding]:
    """Find test rows that are training rows too, beyond what a table of few distinct values makes natural."""
    test = _row_keys(data, data.parts["test"])
    train = _row_keys(data, data.parts["train"])
    distinct = set(train)
    shared = sum(key in distinct for key in test)
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
    inputs = np.ascontiguousarray(data.inputs[rows])
    targets = np.ascontiguousarray(data.targets[rows])
    return [x.tobytes() + y.tobytes() for x, y in zip(inputs, targets, strict=True)]


def _natural_overlap(data: Dataset, train: Sequence[bytes], tested: int) -> float:
    """Return the share of training rows with a twin in training, plus three standard errors of a test share.

    0 if independent columns would hardly make two rows equal: then each equal row counts.
    """
    if _expected_twins(data) < 1:
        return 0.0
    counts: dict[bytes, int] = {}
    for key in train:
        counts[key] = counts.get(key, 0) + 1
    share = sum(counts[key] > 1 for key in train) / len(train)
    return share + 3 * (share * (1 - share) / tested) ** 0.5


def _expected_twins(data: Dataset) -> float:
    """Return the expected number of pairs of equal rows if the columns were independent."""
    rows = data.parts["train"][:MANY]
    logarithm = np.log(len(rows)) + np.log(max(len(rows) - 1, 1)) - np.log(2)
    for column in data.inputs[rows].T:
        shares = np.unique(column, return_counts=True)[1] / len(rows)
        logarithm += np.log(np.square(shares).sum())
        if logarithm < -50:
            return 0.0
    return float(np.exp(min(logarithm, 50)))


def _class_frequencies(data: Dataset, config: Config) -> list[Finding]:
    counts = data.class_counts()
    if not counts:
        return []
    absent = [name for name, count in zip(data.classes, counts, strict=True) if not count]
    if absent:
        meaning = f"classes without a training row: {_list(absent)}"
        return [Finding("absent", WARN, float(len(absent)), "0", meaning, "", "add rows of each class")]
    ratio = max(counts) / min(counts)
    if ratio <= IMBALANCE:
        return []
    most = data.classes[counts.index(max(counts))]
    least = data.classes[counts.index(min(counts))]
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
    ratio = gaps.max(0) / typical
    if ratio.max() <= OUTLYING:
        return []
    names = _list(_names(data, ratio > OUTLYING))
    meaning = f"largest over median deviation in {names}: normalisation makes all other values nearly equal"
    advice = "take logarithms, or correct the outliers"
    usual = f"at most {OUTLYING:g}"
    return [Finding("outliers", WARN, float(ratio.max()), usual, meaning, "", advice)]


def _scales(context: CheckContext) -> list[Finding]:
    """Find columns that stay uneven after normalisation, and validation or test values in another unit."""
    parts = {name: _network_inputs(context, part.inputs) for name, part in context.base.parts.items()}
    spread = parts["train"].std(0)
    varying = spread[spread > 1e-9]
    findings = []
    ratio = float(varying.max() / np.median(varying)) if len(varying) > 1 else 1.0
    if ratio > UNEVEN:
        meaning = "deviation of the widest column over that of the median column, after normalisation"
        advice = "bring all columns to one scale"
        findings.append(Finding("uneven", WARN, ratio, f"at most {UNEVEN:g}", meaning, "", advice))
    features = context.dataset.features
    for part in ("val", "test"):
        beyond = np.abs(parts[part]).max(0) / np.maximum(np.abs(parts["train"]).max(0), 1.0)
        if len(features) == len(beyond) and beyond.max() > UNLIKE:
            names = _list(_names(context.dataset, beyond > UNLIKE))
            meaning = f"largest {part} value over the largest training value in {names}: is it another unit?"
            advice = "give all rows in the same unit"
            usual = f"at most {UNLIKE:g}"
            findings.append(Finding("unlike", WARN, float(beyond.max()), usual, meaning, "", advice))
    return findings


def _network_inputs(context: CheckContext, inputs) -> np.ndarray:
    """Return at most MANY rows as the net receives them, without the columns that hold category numbers."""
    network = context.base.network
    ready = network.ready(inputs[:: -(-len(inputs) // MANY)]).double().cpu().numpy()
    return ready[:, : ready.shape[1] - network.body.embedded_columns]

"""Do the targets follow from the inputs at all? A linear model and nearest neighbours, on training rows only."""

import numpy as np

from dlfound.checks.context import Subject
from dlfound.checks.result import WARN, Finding
from dlfound.checks.thresholds import CHANCE, CONTRADICTION, LABELLED, MINGLED, SHIFTED, TOO_FEW
from dlfound.data.dataset import Dataset

RIDGE = 1e-2  # of the mean squared value of an input: steadies columns that are nearly equal
NEIGHBOURS = 5
CUTS = (0.25, 0.5, 0.75)  # of the rows in their order: where a mistake may begin
ALIKE = 0.2  # how far the shares of the classes may differ on both sides of a cut,
DRIFT = 0.5  # and the means of numbers, in deviations


def judge_labels(subject: Subject) -> list[Finding]:
    """Chance, contradictions between stretches of rows, and classes that are a number apart."""
    data = subject.dataset
    train = data.parts["train"]
    places = np.argsort(train)  # in the order of the source
    places = places[:: -(-len(places) // LABELLED)]
    if len(places) < TOO_FEW:
        return []
    part = subject.base.parts["train"]
    x = subject.base.network.ready(part.inputs[places.copy()]).double().cpu().numpy()
    x = x[:, : x.shape[1] - subject.base.network.body.places]
    y = _columns(data, train[places])
    near = _distances(x)
    return _chance(x, y, near, bool(data.classes)) or _contradiction(data, y, near) or _shifted(data, y, near)


def _columns(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """(rows, classes) zeros and ones, or (rows, columns) numbers, normalised."""
    targets = data.targets[rows]
    if data.classes:
        return np.eye(len(data.classes))[targets]
    targets = targets.astype(np.float64)
    return (targets - targets.mean(0)) / np.where(targets.std(0) > 0, targets.std(0), 1.0)


def _distances(x: np.ndarray) -> np.ndarray:
    """Squared ones of all pairs; infinite of a row to itself."""
    squares = np.square(x).sum(1)
    found = squares[:, None] + squares[None] - 2 * x @ x.T
    np.fill_diagonal(found, np.inf)
    return found


# Chance.


def _chance(x: np.ndarray, y: np.ndarray, near: np.ndarray, classes: bool) -> list[Finding]:
    """The targets against what is predicted of rows that the model has not seen."""
    linear, local = _linear(x, y), y[np.argpartition(near, NEIGHBOURS, 1)[:, :NEIGHBOURS]].mean(1)
    scores = [
        _correlations(linear, y),
        np.abs(_correlations(local, y)),
    ]  # of parity, neighbours know the opposite
    best = max(float(score.max()) for score in scores)
    errors = best * len(y) ** 0.5
    if errors > CHANCE:
        return []
    what = "classes" if classes else "numbers"
    meaning = f"is the largest correlation of the {what} with what a linear model or nearest neighbours say of unseen rows"
    advice = "are the targets in the order of the rows?"
    return [Finding("chance", WARN, best, f"{meaning}: no better than chance", "", advice)]


def _linear(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Ridge regression, each half of the rows by the other one."""
    x, found = np.column_stack([x, np.ones(len(x))]), np.empty_like(y)
    halves = np.arange(len(x)) % 2
    for half in (0, 1):
        seen, unseen = x[halves != half], halves == half
        steady = RIDGE * max(float(np.square(seen).mean()), 1e-12) * len(seen)
        weights = np.linalg.solve(seen.T @ seen + steady * np.eye(x.shape[1]), seen.T @ y[~unseen])
        found[unseen] = x[unseen] @ weights
    return found


def _correlations(predicted: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each column with its prediction; 0 where one of them is constant."""
    p, t = predicted - predicted.mean(0), y - y.mean(0)
    norms = np.linalg.norm(p, axis=0) * np.linalg.norm(t, axis=0)
    return np.where(norms > 1e-12, (p * t).sum(0) / np.where(norms > 1e-12, norms, 1.0), 0.0)


# Contradictions.


def _contradiction(data: Dataset, y: np.ndarray, near: np.ndarray) -> list[Finding]:
    """Rows that look alike must have like targets, also where one stands before and one behind a cut."""
    worst = (0.0, 0.0, 0.0, 0)
    for share in CUTS:
        cut = round(share * len(y))
        first, second = np.arange(cut), np.arange(cut, len(y))
        if _sorted(data, y, near, cut):
            continue  # what lies behind the cut is of another kind: neighbours across it need not agree
        within = max(_agreement(y, near, part, part) for part in (first, second))
        across = min(_agreement(y, near, first, second), _agreement(y, near, second, first))
        worst = max(worst, (within - across, within, across, cut))
    gap, within, across, cut = worst
    if gap < CONTRADICTION or across > within / 2:
        return []
    row = int(np.sort(data.parts["train"])[:: -(-len(data.parts["train"]) // LABELLED)][cut])
    meaning = (
        f"is how far neighbours agree across row {row}, and {within:.2g} on one side of it: the targets on the other "
        "side are not those of their rows"
    )
    return [Finding("contradiction", WARN, across, meaning, "", "are all targets in the order of the rows?")]


def _sorted(data: Dataset, y: np.ndarray, near: np.ndarray, cut: int) -> bool:
    """True where the targets on both sides are others, as of rows sorted by class, or the inputs, as by place."""
    apart = np.abs(y[:cut].mean(0) - y[cut:].mean(0))
    other = apart.sum() / 2 > ALIKE if data.classes else apart.max() > DRIFT
    return bool(other or _mingled(near, cut) < MINGLED)


def _mingled(near: np.ndarray, cut: int) -> float:
    """How many rows have their nearest one on the other side of a cut, over how many would in rows of no order."""
    behind = np.arange(len(near)) >= cut
    across = float((behind[near.argmin(1)] != behind).mean())
    return across / (2 * behind.mean() * (1 - behind.mean()))


def _agreement(y: np.ndarray, near: np.ndarray, rows: np.ndarray, others: np.ndarray) -> float:
    """Between the rows' targets and those of their nearest others: 0 is chance, 1 is all alike."""
    nearest = others[near[np.ix_(rows, others)].argmin(1)]
    spread = np.square(y - y.mean(0)).sum(1).mean()
    return 1 - float(np.square(y[rows] - y[nearest]).sum(1).mean()) / max(2 * float(spread), 1e-12)


def _shifted(data: Dataset, y: np.ndarray, near: np.ndarray) -> list[Finding]:
    """Neighbours whose classes are always the same number apart, the last class and the first one too."""
    classes = len(data.classes)
    if classes < 4:
        return []
    own = y.argmax(1)
    other = own[near.argmin(1)]
    apart = (other - own) % classes
    counts = np.bincount(np.minimum(apart, classes - apart), minlength=classes // 2 + 1)[1:]
    step, share = int(counts.argmax()) + 1, counts.max() / len(own)
    if share < SHIFTED or counts.max() < 0.9 * counts.sum():
        return []
    pairs = np.bincount(own[(apart == step) | (apart == classes - step)], minlength=classes)
    if pairs.min() < pairs.mean() / 4 or not _wraps(own, other, classes, step):
        return []
    meaning = f"of rows have a class {step} beside that of the row most like them: in part of the rows classes are shifted"
    return [Finding("shifted", WARN, float(share), meaning, "", "are classes numbered from 0 everywhere?")]


def _wraps(own: np.ndarray, other: np.ndarray, classes: int, step: int) -> bool:
    """True where such pairs also lead from the last classes to the first: classes in an order would not."""
    return bool((np.abs(own - other) == classes - step).any())

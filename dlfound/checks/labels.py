"""Check whether the targets follow from the inputs, by a linear model and nearest neighbours."""

import numpy as np
import torch

from dlfound.checks import WARN, Finding
from dlfound.checks.context import CheckContext
from dlfound.data.dataset import Dataset

ROWS = 2000  # that are compared in pairs: 4 million distances, about 0.1 s
TOO_FEW = 40  # rows that say nothing about labels
RIDGE = 1e-2  # times the mean squared input: keeps nearly equal columns stable
NEIGHBOURS = 5
CHANCE = 4.0  # standard errors of a correlation: chance exceeds them once in 16,000
CUTS = (0.25, 0.5, 0.75)  # of the rows in their order: where a mistake may begin
ALIKE = 0.2  # how far class shares may differ across a cut,
DRIFT = 0.5  # and means of numbers, in deviations
CONTRADICTION = 0.3  # by how much less neighbours agree across a cut than on one side of it
MINGLED = 0.45  # nearest rows across a cut over that of unordered rows: 0.33 in rows sorted by place
SHIFTED = 0.15  # share of rows whose neighbour's class number differs by the same amount
ORDER = "check that the targets are in the same order as the rows"


def check_targets(context: CheckContext) -> list[Finding]:
    """Find targets that are chance, that contradict similar rows, or whose class numbers are shifted."""
    data = context.dataset
    train = data.parts["train"]
    places = np.argsort(train)  # the order of the source
    places = places[:: -(-len(places) // ROWS)]
    if len(places) < TOO_FEW:
        return []
    x = context.numeric(context.base.parts["train"].inputs[places.copy()])
    y = target_columns(data, train[places])
    rows = torch.from_numpy(x)
    distances = torch.cdist(rows, rows).fill_diagonal_(torch.inf).numpy()
    findings = _chance(x, y, distances, bool(data.classes))
    findings = findings or _contradiction(y, distances, bool(data.classes), train[places])
    return findings or _shifted(data, y, distances)


def target_columns(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return (rows, classes) zeros and ones, or (rows, targets) standardised numbers."""
    targets = data.targets[rows]
    return np.eye(len(data.classes))[targets] if data.classes else standardised(targets.astype(np.float64))


def standardised(values: np.ndarray) -> np.ndarray:
    """Scale each column to mean 0 and deviation 1; a constant column becomes zeros."""
    middle = values.mean(0)
    spread = values.std(0)
    constant = spread <= 1e-12 * np.abs(middle)
    return np.where(constant, 0.0, (values - middle) / np.where(constant, 1.0, spread))


# Chance.


def _chance(x: np.ndarray, y: np.ndarray, distances: np.ndarray, classes: bool) -> list[Finding]:
    """Compare the targets with predictions for rows that the model has not seen."""
    neighbours = y[np.argpartition(distances, NEIGHBOURS, 1)[:, :NEIGHBOURS]].mean(1)
    linear = _correlations(_ridge(x, y), y).max()
    local = np.abs(_correlations(neighbours, y)).max()  # under parity, neighbours predict the opposite
    best = float(max(linear, local))
    bound = CHANCE / len(y) ** 0.5
    if best > bound:
        return []
    targets = "classes" if classes else "targets"
    meaning = f"correlation of {targets} with a linear model and nearest neighbours: no better than chance"
    return [Finding("chance", WARN, best, f"above {bound:.2g}", meaning, "", ORDER)]


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Predict every second row by a ridge regression on the others, and the others by these."""
    x = np.column_stack([x, np.ones(len(x))])
    predicted = np.empty_like(y)
    odd = np.arange(len(x)) % 2 == 1
    for unseen in (odd, ~odd):
        seen = x[~unseen]
        penalty = RIDGE * max(float(np.square(seen).mean()), 1e-12) * len(seen)
        gram = seen.T @ seen + penalty * np.eye(x.shape[1])
        predicted[unseen] = x[unseen] @ np.linalg.solve(gram, seen.T @ y[~unseen])
    return predicted


def _correlations(predicted: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return each column's correlation with its prediction; 0 if one of them is constant."""
    return (standardised(predicted) * standardised(y)).mean(0)


# Contradictions.


def _contradiction(y: np.ndarray, distances: np.ndarray, classes: bool, rows: np.ndarray) -> list[Finding]:
    """Find a cut in the order of rows across which similar rows have different targets.

    Args:
        rows: the index of each row in the source.
    """
    worst = (0.0, 0.0, 0.0, 0)
    for share in CUTS:
        cut = round(share * len(y))
        if _is_sorted(y, distances, cut, classes):
            continue  # the rows behind the cut are of another kind: neighbours across it need not agree
        first = np.arange(cut)
        second = np.arange(cut, len(y))
        within = max(_agreement(y, distances, side, side) for side in (first, second))
        across = min(_agreement(y, distances, first, second), _agreement(y, distances, second, first))
        worst = max(worst, (within - across, within, across, cut))
    gap, within, across, cut = worst
    if gap < CONTRADICTION or across > within / 2:
        return []
    meaning = f"agreement of similar rows across row {rows[cut]}: on one side targets do not fit their rows"
    return [Finding("contradiction", WARN, across, f"about {within:.2g}", meaning, "", ORDER)]


def _is_sorted(y: np.ndarray, distances: np.ndarray, cut: int, classes: bool) -> bool:
    """True if targets or inputs differ across a cut, as in rows sorted by class or by place."""
    difference = np.abs(y[:cut].mean(0) - y[cut:].mean(0))
    differs = difference.sum() / 2 > ALIKE if classes else difference.max() > DRIFT
    behind = np.arange(len(y)) >= cut
    across = (behind[distances.argmin(1)] != behind).mean()  # rows whose nearest row is across the cut
    unordered = 2 * behind.mean() * (1 - behind.mean())
    return bool(differs or across / unordered < MINGLED)


def _agreement(y: np.ndarray, distances: np.ndarray, rows: np.ndarray, others: np.ndarray) -> float:
    """Return how well the targets of rows agree with those of their nearest others: 0 is chance, 1 equal."""
    nearest = others[distances[np.ix_(rows, others)].argmin(1)]
    spread = np.square(y - y.mean(0)).sum(1).mean()
    return 1 - float(np.square(y[rows] - y[nearest]).sum(1).mean()) / max(2 * float(spread), 1e-12)


# Shifted classes.


def _shifted(data: Dataset, y: np.ndarray, distances: np.ndarray) -> list[Finding]:
    """Find class numbers that differ by the same amount from those of similar rows."""
    classes = len(data.classes)
    if classes < 4:
        return []
    numbers = y.argmax(1)
    nearest = numbers[distances.argmin(1)]
    difference = (nearest - numbers) % classes
    counts = np.bincount(np.minimum(difference, classes - difference), minlength=classes // 2 + 1)[1:]
    step = int(counts.argmax()) + 1
    share = float(counts.max() / len(numbers))
    if share < SHIFTED or counts.max() < 0.9 * counts.sum():
        return []
    pairs = np.bincount(numbers[(difference == step) | (difference == classes - step)], minlength=classes)
    wraps = (np.abs(numbers - nearest) == classes - step).any()  # from last to first: ordered classes do not
    if pairs.min() < pairs.mean() / 4 or not wraps:
        return []
    meaning = f"share of rows whose class number is shifted by {step} from that of the most similar row"
    advice = "check that all classes are numbered from 0"
    return [Finding("shifted", WARN, share, f"below {SHIFTED:g}", meaning, "", advice)]

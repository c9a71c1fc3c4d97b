"""Toy problems in a few dimensions: each shows one property of nets."""

from typing import Annotated

import lazy_loader

from dlfound.config.setting_types import (
    Fraction,
    NonNegative,
    Positive,
    Rows,
    Seed,
    Shrink,
    Split,
    whole,
    word,
)
from dlfound.data.dataset import Dataset, classification, regression
from dlfound.data.known_task import known_task
from dlfound.data.split import cut

np = lazy_loader.load("numpy")

PLANE = ["x1", "x2"]
Arms = Annotated[int, whole("a whole number in 2...10", 2, 10)]
Bits = Annotated[int, whole("a whole number in 2...64", 2, 64)]
Judged = Annotated[str, word("pass", "grade")]


def _points(seed: int) -> "np.random.Generator":
    """Return the random stream of a toy's points; the split has another one."""
    return np.random.default_rng([seed, 1])


@known_task("binary")
def xor(*, rows: Rows, noise: NonNegative, seed: Seed, split: Split) -> Dataset:
    """Four clouds in the corners of a square; opposite corners share a class.

    The smallest problem that needs a hidden layer: no straight line separates the classes.

    Source: Minsky & Papert 1969: no perceptron can separate them.
    """
    rng = _points(seed)
    corners = rng.integers(0, 2, (rows, 2))
    labels = corners[:, 0] ^ corners[:, 1]
    inputs = corners + noise * rng.standard_normal((rows, 2))
    return classification(inputs, labels, ["same", "different"], PLANE, cut(rows, split, seed))


@known_task(lambda settings: "binary" if settings["classes"] == 2 else "multiclass")
def spirals(
    *, rows: Rows, classes: Arms, turns: Positive, noise: NonNegative, seed: Seed, split: Split
) -> Dataset:
    """Interleaved spiral arms around a centre, one per class.

    The border between two classes is a spiral too: the more `turns`, the more units it needs.

    Source: Lang & Witbrock 1988.
    """
    rng = _points(seed)
    arm = rng.integers(0, classes, rows)
    radius = np.sqrt(rng.uniform(0.01, 1, rows))
    angle = 2 * np.pi * (arm / classes + turns * radius)
    inputs = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + noise * rng.standard_normal(
        (rows, 2)
    )
    return classification(
        inputs, arm, [f"arm {k + 1}" for k in range(classes)], PLANE, cut(rows, split, seed)
    )


@known_task("binary")
def circles(*, rows: Rows, factor: Shrink, noise: NonNegative, seed: Seed, split: Split) -> Dataset:
    """A ring inside a ring: a straight line cannot separate them, but one hidden layer can.

    Source: the lecture, minute 8.
    """
    rng = _points(seed)
    inner = rng.integers(0, 2, rows)
    angle = rng.uniform(0, 2 * np.pi, rows)
    radius = np.where(inner == 1, factor, 1.0)
    inputs = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + noise * rng.standard_normal(
        (rows, 2)
    )
    return classification(inputs, inner, ["outer", "inner"], PLANE, cut(rows, split, seed))


@known_task("binary")
def moons(*, rows: Rows, noise: NonNegative, seed: Seed, split: Split) -> Dataset:
    """Two interleaved half circles, one per class.

    A straight line separates most rows; a curve separates all but the noise.

    Source: Pedregosa et al. 2011, scikit-learn's make_moons.
    """
    rng = _points(seed)
    lower = rng.integers(0, 2, rows)
    angle = rng.uniform(0, np.pi, rows)
    x1 = np.where(lower == 1, 1 - np.cos(angle), np.cos(angle))
    x2 = np.where(lower == 1, 0.5 - np.sin(angle), np.sin(angle))
    inputs = np.stack([x1, x2], 1) + noise * rng.standard_normal((rows, 2))
    return classification(inputs, lower, ["upper", "lower"], PLANE, cut(rows, split, seed))


@known_task(lambda settings: "binary" if settings["target"] == "pass" else "regression")
def passfail(*, rows: Rows, target: Judged, noise: NonNegative, seed: Seed, split: Split) -> Dataset:
    """Lectures attended (0 to 10) and hours worked (0 to 40): pass or fail, or the grade (0 to 100).

        grade = 100 / (1 + exp(-z)) + noise, z = 0.4 (lectures - 5) + 0.1 (hours - 20)

    A grade of 50 passes. With target=grade, the net predicts the grade as a number.

    Source: MIT 6.S191, lecture 1 ("will I pass this class?").
    """
    rng = _points(seed)
    lectures, hours = rng.integers(0, 11, rows), rng.uniform(0, 40, rows)
    earned = 100 / (1 + np.exp(-(0.4 * (lectures - 5) + 0.1 * (hours - 20))))
    grade = np.clip(earned + noise * rng.standard_normal(rows), 0, 100)
    inputs, features, parts = np.stack([lectures, hours], 1), ["lectures", "hours"], cut(rows, split, seed)
    if target == "grade":
        return regression(inputs, grade, features, parts)
    return classification(inputs, grade >= 50, ["fail", "pass"], features, parts)


@known_task("regression")
def sine(*, rows: Rows, periods: Positive, noise: NonNegative, seed: Seed, split: Split) -> Dataset:
    """y = sin(x), x uniform over the given number of periods around zero.

    A regression whose true function is known, also between the rows.

    Source: the lecture, minute 9: one hidden layer can approximate any continuous function.
    """
    rng = _points(seed)
    x = np.pi * periods * rng.uniform(-1, 1, rows)
    y = np.sin(x) + noise * rng.standard_normal(rows)
    return regression(x[:, None], y, ["x"], cut(rows, split, seed))


@known_task("binary")
def parity(*, rows: Rows, bits: Bits, noise: Fraction, seed: Seed, split: Split) -> Dataset:
    """Random bits; the class says whether the number of ones is odd.

    No proper subset of the bits carries information about the class.

    Source: the lecture, minute 47: with few layers some functions need exponentially many units.
    """
    rng = _points(seed)
    inputs = rng.integers(0, 2, (rows, bits))
    labels = (inputs.sum(1) + (rng.uniform(size=rows) < noise)) % 2
    names = [f"bit_{b + 1}" for b in range(bits)]
    return classification(inputs, labels, ["even", "odd"], names, cut(rows, split, seed))

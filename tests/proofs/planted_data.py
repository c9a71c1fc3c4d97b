"""Data sources to register, which draw from the seed of the split: each but one has a fault."""

from collections.abc import Callable

import numpy as np

from dlfound.data.dataset import Dataset, classification, regression
from dlfound.data.digits import digits
from dlfound.data.split import cut

SPLIT = [0.7, 0.15, 0.15]


def clouds(seed: int, rows: int = 600, classes: int = 3, columns: int = 8):
    """Return inputs and class numbers of clouds that overlap a little."""
    rng = np.random.default_rng([seed, 7])
    y = rng.integers(0, classes, rows)
    centres = 1.5 * rng.standard_normal((classes, columns))
    return centres[y] + rng.standard_normal((rows, columns)), y


def of_classes(seed: int, x, y, parts=None, image=None) -> Dataset:
    """Build a dataset of class numbers."""
    classes = [str(k) for k in range(int(y.max()) + 1)]
    return classification(x, y, classes, feature_names(x), parts or cut(len(x), SPLIT, seed), image)


def of_numbers(seed: int, x, target) -> Dataset:
    """Build a dataset of a numeric target."""
    return regression(x, target, feature_names(x), cut(len(x), SPLIT, seed))


def feature_names(x) -> list[str]:
    """Name the columns c0, c1, ..."""
    return [f"c{k}" for k in range(x.shape[1])]


def source(build: Callable[[int], Dataset]) -> Callable[..., Dataset]:
    """Turn a function of the seed into a source that can be registered."""

    def load(*, seed: int, split: list) -> Dataset:
        return build(seed)

    return load


def with_column(column: Callable) -> Callable[..., Dataset]:
    """Add one or more columns, a function of (x, y, generator), to the clouds."""

    def build(seed: int) -> Dataset:
        x, y = clouds(seed)
        return of_classes(seed, np.column_stack([x, column(x, y, np.random.default_rng(seed))]), y)

    return source(build)


def with_targets(change: Callable) -> Callable[..., Dataset]:
    """Change the labels of the digits by a function of (labels, generator)."""

    def build(seed: int) -> Dataset:
        data = digits(seed=seed, split=SPLIT)
        labels = change(data.targets.copy(), np.random.default_rng(seed))
        return of_classes(seed, data.inputs, labels, data.parts, data.image)

    return source(build)


def leaked_number(seed: int) -> Dataset:
    x, _ = clouds(seed)
    target = x[:, 0] * x[:, 1] + x[:, 2]
    return of_numbers(seed, np.column_stack([x, 3 * target + 40]), target)


def shuffled_numbers(seed: int) -> Dataset:
    x, _ = clouds(seed)
    return of_numbers(seed, x, np.random.default_rng(seed).permutation(x[:, 0] + x[:, 1]))


def test_in_training(share: float) -> Callable[..., Dataset]:
    """Add some test rows, at least one, to the training rows."""

    def build(seed: int) -> Dataset:
        x, y = clouds(seed)
        parts = cut(len(x), SPLIT, seed)
        count = max(1, round(share * len(parts["test"])))
        train = np.concatenate([parts["train"], parts["test"][:count]])
        return of_classes(seed, x, y, {**parts, "train": train})

    return source(build)


def all_rows_twice(seed: int) -> Dataset:
    x, y = clouds(seed)
    return of_classes(seed, np.concatenate([x, x]), np.concatenate([y, y]))


def rare_class(seed: int) -> Dataset:
    x, y = clouds(seed, 3000)
    remaining = (y != 2) | (np.arange(len(y)) % 25 == 0)
    return of_classes(seed, x[remaining], y[remaining])


def outlier(seed: int) -> Dataset:
    x, y = clouds(seed)
    x[cut(len(x), SPLIT, seed)["train"][5], 3] = 1e8
    return of_classes(seed, x, y)


def other_unit(seed: int) -> Dataset:
    x, y = clouds(seed)
    x[cut(len(x), SPLIT, seed)["test"], 3] *= 1e4
    return of_classes(seed, x, y)


def large_column(seed: int) -> Dataset:
    """A column of size 1e4 among columns of size 1, normalised together because an image has one channel."""
    x, y = clouds(seed, columns=9)
    x[:, 4] = 1e4 * np.random.default_rng(seed).standard_normal(len(x))
    return of_classes(seed, x, y, image=(1, 3, 3))


def shift_second_half(labels, rng):
    return (labels + (np.arange(len(labels)) >= len(labels) // 2)) % 10


def delay_second_half(labels, rng):
    """From the middle on, each row gets the label of the row before it."""
    middle = len(labels) // 2
    labels[middle:] = np.roll(labels[middle:], 1)
    return labels


def sorted_by_place(seed: int) -> Dataset:
    """Sound data: prices that depend on the place, with rows sorted by one of its two coordinates."""
    rng = np.random.default_rng([seed, 9])
    x = np.column_stack(
        [np.sort(rng.uniform(0, 12, 1500)), rng.uniform(0, 3, 1500), rng.standard_normal((1500, 2))]
    )
    return of_numbers(
        seed, x, np.sin(x[:, 0]) * np.cos(x[:, 1]) + 0.3 * x[:, 2] + 0.05 * rng.standard_normal(1500)
    )


def constant_inputs(seed: int) -> Dataset:
    x, y = clouds(seed)
    return of_classes(seed, np.ones_like(x), y)


def random_rows(seed: int) -> Dataset:
    """Rows that are different each time."""
    x, y = clouds(seed)
    return of_classes(seed, x + np.random.default_rng().standard_normal(x.shape), y)


BUILT = (
    leaked_number,
    shuffled_numbers,
    all_rows_twice,
    rare_class,
    outlier,
    other_unit,
    large_column,
    sorted_by_place,
    constant_inputs,
    random_rows,
)
DATA = {build.__name__: source(build) for build in BUILT} | {
    "leaked_class": with_column(lambda x, y, rng: 10.0 * y - 3),
    "leaked_one_hot": with_column(lambda x, y, rng: np.eye(3)[y]),
    "leaked_nearly": with_column(lambda x, y, rng: y + 1e-3 * rng.standard_normal(len(y))),
    "constant_column": with_column(lambda x, y, rng: np.full(len(y), 4.2)),
    "duplicate_column": with_column(lambda x, y, rng: x[:, 2]),
    "shuffled_digits": with_targets(lambda labels, rng: rng.permutation(labels)),
    "half_shifted": with_targets(lambda labels, rng: (labels + rng.permutation(len(labels)) % 2) % 10),
    "second_half_shifted": with_targets(shift_second_half),
    "second_half_delayed": with_targets(delay_second_half),
    "one_test_row_in_training": test_in_training(0),
    "test_rows_in_training": test_in_training(0.05),
}

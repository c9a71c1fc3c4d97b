"""What a source yields, and the split into training, validation and test rows."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import lazy_loader

from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")


@dataclass(frozen=True)
class Dataset:
    """All rows of a source, and which of them are for what.

    Attributes:
        inputs: (rows, columns), numbers; an image is a row of its pixels.
        targets: (rows,) class numbers, or (rows, columns) numbers for regression.
        task: binary, multiclass or regression.
        classes: the classes' names in order; empty for regression.
        features: the columns' names.
        image: (channels, height, width) where a row is an image, else None.
        parts: train, val and test -> the numbers of their rows.
    """

    inputs: "np.ndarray"
    targets: "np.ndarray"
    task: str
    classes: list[str]
    features: list[str]
    image: tuple[int, int, int] | None
    parts: "dict[str, np.ndarray]"

    def fingerprint(self) -> str:
        """SHA-256 over all values, their types and shapes, and the split."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for array in (self.inputs, self.targets, *self.parts.values()):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def class_counts(self) -> list[int]:
        """Training rows of each class; empty for regression."""
        train = self.targets[self.parts["train"]]
        return np.bincount(train, minlength=len(self.classes)).tolist() if self.classes else []

    def schema(self) -> dict:
        """What `schema.json` says of the data."""
        return {
            "task": self.task,
            "rows": len(self.inputs),
            "features": self.features,
            "image": self.image and list(self.image),
            "classes": self.classes,
            "class_counts": self.class_counts(),
            "targets": [] if self.classes else [f"y{k + 1}" for k in range(self.targets.shape[1])],
            "split": {name: len(rows) for name, rows in self.parts.items()},
            "fingerprint": self.fingerprint(),
        }


def cut(rows: int, fractions: list[float], seed: int) -> "dict[str, np.ndarray]":
    """Row numbers for train, val and test: a random order cut at the fractions, at least one row each.

    Raises:
        Error: too few rows to give each part one (code 3).
    """
    held_out = [max(1, round(rows * share)) for share in fractions[1:]]
    while rows >= 3 and rows - sum(held_out) < 1:
        held_out[held_out.index(max(held_out))] -= 1
    if rows < 3:
        what = f"{rows} row{'s' * (rows != 1)}: need at least 3 to make train, val and test"
        raise Error(what, "give more rows", Code.DATA)
    order = np.random.default_rng([seed, 0]).permutation(rows)
    train = rows - sum(held_out)
    return dict(zip(("train", "val", "test"), np.split(order, [train, train + held_out[0]]), strict=True))


def cut_training(train: int, rows: int, fractions: list[float], seed: int) -> "dict[str, np.ndarray]":
    """Row numbers where the source has a test set of its own: the rows from `train` on. The others are cut in two.

    Raises:
        Error: fewer than two rows to train and validate on (code 3).
    """
    held_out = max(1, round(train * fractions[1]))
    if train - held_out < 1:
        raise Error(f"{train} training images: too few to train and validate on", "give more rows", Code.DATA)
    order = np.random.default_rng([seed, 0]).permutation(train)
    return {"train": order[:-held_out], "val": order[-held_out:], "test": np.arange(train, rows)}


def classification(
    inputs: "np.ndarray",
    targets: "np.ndarray",
    classes: list[str],
    features: list[str],
    parts: "dict[str, np.ndarray]",
    image: tuple[int, int, int] | None = None,
) -> Dataset:
    """Rows with a class each: two classes are a binary task."""
    task = "binary" if len(classes) == 2 else "multiclass"
    return Dataset(inputs, targets.astype(np.int64), task, classes, features, image, parts)


def regression(
    inputs: "np.ndarray", targets: "np.ndarray", features: list[str], parts: "dict[str, np.ndarray]"
) -> Dataset:
    """Rows with one number or several each."""
    return Dataset(inputs, targets.reshape(len(targets), -1), "regression", [], features, None, parts)

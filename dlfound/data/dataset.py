"""What a source yields: all its rows, what they mean, and which of them are for what."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import lazy_loader

from dlfound.data.columns import Column
from dlfound.data.split import Parts, fold
from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")

PIECE = 65536  # rows


@dataclass(frozen=True)
class Preparation:
    """How the columns of a table become inputs of a net; `nn.columns` does it.

    Attributes:
        columns: what each column of `Dataset.inputs` holds.
        scale: robust, standard or quantile: how numbers are brought to one size.
        one_hot: the most categories that are given as a column of 0 and 1 each; columns of more are embedded.
        embedding: numbers that stand for an embedded category.
        rare: a category of fewer training rows counts as unknown.
        header: all columns of the table, also those that are no inputs.
        dropped: column -> why it is left out.
    """

    columns: list[Column]
    scale: str
    one_hot: int
    embedding: int
    rare: int
    header: list[str]
    dropped: dict[str, str]


@dataclass(frozen=True)
class Dataset:
    """All rows of a source, and which of them are for what.

    Attributes:
        inputs: (rows, columns), numbers; an image is a row of its pixels. Of a table, a missing number is NaN and a
            category its number in `Column.categories`.
        targets: (rows,) class numbers, or (rows, columns): numbers for regression, 0 and 1 for several labels.
        task: binary, multiclass, multilabel or regression.
        classes: the classes' names in order; empty for numbers and for several labels.
        features: the columns' names.
        image: (channels, height, width) where a row is an image, else None.
        parts: train, val and test -> the numbers of their rows.
        names: of the columns of `targets`; none for classes.
        labels: of several labels, what 0 and 1 stand for in each column of `targets`.
        weights: (rows,) how much a row counts in the loss, or None.
        groups: (rows,) numbers of the groups that stay together in a fold, or None.
        fixed: why the rows cannot be dealt to folds; empty where they can.
        preparation: of a table; None where all columns are plain numbers.
        notes: what is told about the data; warnings: what is likely wrong with them.
    """

    inputs: "np.ndarray"
    targets: "np.ndarray"
    task: str
    classes: list[str]
    features: list[str]
    image: tuple[int, int, int] | None
    parts: Parts
    names: Sequence[str] = ()
    labels: Sequence[Sequence[str]] = ()
    weights: "np.ndarray | None" = None
    groups: "np.ndarray | None" = None
    fixed: str = ""
    preparation: Preparation | None = None
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def fingerprint(self) -> str:
        """SHA-256 over all values, their types and shapes, and the split."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        arrays = [self.inputs, self.targets, *self.parts.values()]
        for array in arrays if self.weights is None else [*arrays, self.weights]:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            for first in range(0, len(array), PIECE):  # row by row, however it lies in memory
                digest.update(np.ascontiguousarray(array[first : first + PIECE]).data)
        return digest.hexdigest()

    def class_counts(self) -> list[int]:
        """Training rows of each class; empty for numbers and for several labels."""
        train = self.targets[self.parts["train"]]
        return np.bincount(train, minlength=len(self.classes)).tolist() if self.classes else []

    def schema(self) -> dict[str, Any]:
        """What `schema.json` says of the data."""
        columns = self.preparation.columns if self.preparation else []
        return {
            "task": self.task,
            "rows": len(self.inputs),
            "features": self.features,
            "columns": [asdict(column) for column in columns],
            "header": self.preparation.header if self.preparation else [],
            "image": self.image and list(self.image),
            "classes": self.classes,
            "class_counts": self.class_counts(),
            "targets": list(self.names),
            "labels": [list(pair) for pair in self.labels],
            "split": {name: len(rows) for name, rows in self.parts.items()},
            "fingerprint": self.fingerprint(),
        }

    def folded(self, folds: int, number: int, seed: int) -> "Dataset":
        """The same rows with fold `number` of a cross-validation to validate on; the test rows stay.

        Raises:
            Error: too few rows, or such that must stay where they are (code 3).
        """
        if self.fixed:
            raise Error(f"{self.fixed}: they cannot be dealt to folds", "train.folds=0", Code.DATA)
        labels = self.targets if self.classes else None
        return replace(self, parts=fold(self.parts, folds, number, seed, labels, self.groups))


def classification(
    inputs: "np.ndarray",
    targets: "np.ndarray",
    classes: list[str],
    features: list[str],
    parts: Parts,
    image: tuple[int, int, int] | None = None,
    **more: Any,
) -> Dataset:
    """Rows with a class each: two classes are a binary task. `more`: other attributes of Dataset."""
    task = "binary" if len(classes) == 2 else "multiclass"
    return Dataset(inputs, targets.astype(np.int64), task, classes, features, image, parts, **more)


def regression(
    inputs: "np.ndarray", targets: "np.ndarray", features: list[str], parts: Parts, **more: Any
) -> Dataset:
    """Rows with one number or several each. `more`: other attributes of Dataset."""
    targets = targets.reshape(len(targets), -1)
    more = {"names": [f"y{k + 1}" for k in range(targets.shape[1])], **more}
    return Dataset(inputs, targets, "regression", [], features, None, parts, **more)


def multilabel(
    inputs: "np.ndarray", targets: "np.ndarray", features: list[str], parts: Parts, **more: Any
) -> Dataset:
    """Rows with several labels each, (rows, labels) of 0 and 1. `more`: other attributes of Dataset."""
    return Dataset(inputs, targets, "multilabel", [], features, None, parts, **more)

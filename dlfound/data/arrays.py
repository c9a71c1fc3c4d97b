"""Arrays of NumPy as a source: from files, or handed over by a program, `dlfound.train(..., data=(X, y))`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import lazy_loader

from dlfound.config.setting_types import OptionalText, Seed, Split, word
from dlfound.data.dataset import Dataset, classification, regression
from dlfound.data.npy import ALSO_TEXT, read_npy, read_npz
from dlfound.data.split import cut
from dlfound.data.suffixes import is_table, refuse_running
from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")

Task = Annotated[str, word("auto", "classification", "regression")]
LARGEST = 1e100  # squares of it are still numbers
MOST_CLASSES = 10  # distinct whole numbers that still count as classes


def arrays(
    data: tuple[Any, Any] | None = None,
    *,
    path: OptionalText,
    target_path: OptionalText,
    task: Task,
    seed: Seed,
    split: Split,
) -> Dataset:
    """Arrays of NumPy: X (rows, columns) numbers, y classes or numbers; from files, or from Python as data=(X, y).

        dlfound.train(["train.epochs=20"], data=(X, y))

    `path` is a .npz with arrays X and y, or a .npy with X beside the `target_path` of y. Text, truth values and at most
    10 distinct whole numbers are classes, other numbers are a regression; `task` decides otherwise.
    """
    if (data is None) == (path is None):
        what = (
            "data=arrays has no arrays"
            if data is None
            else "data=(X, y) was handed over, and data.path named too"
        )
        fix = "data.path=FILE.npz; or from Python dlfound.train([...], data=(X, y))"
        raise Error(what, fix if data is None else "leave one of them out", Code.CONFIG)
    data = data if path is None else _read(Path(path).expanduser(), target_path)
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise Error("data must be a pair (X, y)", "call dlfound.train([...], data=(X, y))", Code.DATA)
    inputs, targets = as_array("X", data[0]), as_array("y", data[1])
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim not in (1, 2) or 0 in targets.shape:
        raise Error(
            f"y has shape {targets.shape}", "give one class or number a row, or several numbers", Code.DATA
        )
    if inputs.ndim != 2 or inputs.shape[1] == 0 or len(inputs) != len(targets):
        what = f"X has shape {inputs.shape} and y {targets.shape}"
        raise Error(what, "give X as (rows, columns) and y with as many rows", Code.DATA)
    inputs = _numbers("X", inputs)
    features, parts = [str(column) for column in range(inputs.shape[1])], cut(len(inputs), split, seed)
    if task == "regression" or (task == "auto" and not _looks_like_classes(targets)):
        return regression(inputs, _numbers("y", targets), features, parts)
    if targets.ndim != 1:
        raise Error(
            f"y has shape {targets.shape}", "give one class a row, or data.task=regression", Code.DATA
        )
    if targets.dtype.kind == "f":
        targets = _numbers("y", targets)
    classes, numbers = np.unique(targets, return_inverse=True)
    if len(classes) < 2:
        raise Error(
            f"y has a single class ({classes[0]!s}); nothing to learn", "give rows of two classes", Code.DATA
        )
    return classification(inputs, numbers, [str(c) for c in classes], features, parts)


def _read(path: Path, target_path: str | None) -> "tuple[np.ndarray, np.ndarray]":
    """X and y from files."""
    target = None if target_path is None else Path(target_path).expanduser()
    for file in (path, target):
        if file is not None and not file.is_file():
            raise Error(f"data file '{file}' not found", "check data.path and data.target_path", Code.DATA)
        if file is not None:
            refuse_running(file, "save arrays with numpy.save or numpy.savez")
        if file is not None and is_table(file):
            raise Error(f"{file} is a table", f"data=table data.path={file} data.target=COLUMN", Code.CONFIG)
    if target is None:
        if path.suffix.lower() != ".npz":
            raise Error(
                f"{path} holds no y", "data.target_path=FILE.npy, or a .npz with X and y", Code.CONFIG
            )
        return read_npz(path, "X", alone=False)[0], read_npz(path, "y", ALSO_TEXT, alone=False)[0]
    x = read_npz(path, "X")[0] if path.suffix.lower() == ".npz" else read_npy(path)
    return x, read_npz(target, "y", ALSO_TEXT)[0] if target.suffix == ".npz" else read_npy(target, ALSO_TEXT)


def as_array(name: str, values: Any) -> "np.ndarray":
    """Values as an array of numbers, truth values or text; Python objects become what they all are.

    Raises:
        Error: rows of unequal length, missing or mixed values (code 3).
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            kinds = {type(v) for v in array.ravel()}
            array = np.array(array.tolist()) if len(kinds) == 1 or kinds <= {int, float} else array
    except (ValueError, TypeError, RuntimeError) as error:
        raise Error(
            f"{name} is no array: {error}", f"give {name} as rows of equal length", Code.DATA
        ) from None
    if array.dtype.kind not in "biufUS":
        raise Error(f"{name} holds {array.dtype}, not numbers or text", f"convert {name}", Code.DATA)
    return array


def plain_numbers(array: "np.ndarray") -> "np.ndarray":
    """The same numbers in a layout and type that torch takes: bytes stay bytes, all else is float64."""
    return np.array(array, dtype=np.uint8 if array.dtype == np.uint8 else np.float64, order="C")


def unfolded(array: "np.ndarray", image: Sequence[int] | None) -> "np.ndarray":
    """Images (rows, height, width), (rows, channels, height, width) or with their channels last, as rows of pixels.

    Arrays of other shapes stay as they are, and so does everything where `image` (channels, height, width) is None.
    """
    if image is None:
        return array
    channels, height, width = image
    if array.shape[1:] == (height, width, channels) != (channels, height, width):
        array = array.transpose(0, 3, 1, 2)
    if array.shape[1:] == (channels, height, width) or (channels == 1 and array.shape[1:] == (height, width)):
        return array.reshape(len(array), channels * height * width)
    return array


def _numbers(name: str, array: "np.ndarray") -> "np.ndarray":
    if array.dtype.kind not in "biuf":
        raise Error(f"{name} holds {array.dtype}, not numbers", f"convert {name} to numbers", Code.DATA)
    array = array.astype(np.float64)
    bad = ~(np.abs(array) < LARGEST)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        what = f"{name} has {int(bad.sum())} missing, infinite or huge values (first in row {row})"
        raise Error(what, "fill or drop them", Code.DATA)
    return array


def _looks_like_classes(targets: "np.ndarray") -> bool:
    if targets.dtype.kind in "bUS":
        return True
    distinct = np.unique(targets)
    return (
        targets.ndim == 1 and len(distinct) <= MOST_CLASSES and bool((distinct == np.floor(distinct)).all())
    )

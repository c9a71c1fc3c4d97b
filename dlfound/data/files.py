"""Files whose rows wait for predictions: images, folders of images, arrays of NumPy, tables. One reader a kind."""

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import lazy_loader

from dlfound.data.arrays import unfolded
from dlfound.data.frames import encoded, read_rows
from dlfound.data.image_folder import read_images
from dlfound.data.npy import read_npy, read_npz
from dlfound.data.suffixes import TABLES, is_table, refuse_running
from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")

WHITE = {"digits": 16}  # the brightest pixel of a source whose images do not end at 255


@dataclass(frozen=True)
class Rows:
    """What waits for predictions, to be read piece by piece.

    Attributes:
        kind: what one of them is: a file, or a row.
        names: each one's name.
        read: (first, last) -> those of them, (rows, columns), in the range of the run's own data.
        white: the brightest pixel in that range; the darkest is 0.
        encoded: True where the rows are those of a table, as numbers already.
        notes: what a person should know of them.
        kept: columns of the file to stand beside the predictions.
    """

    kind: str
    names: Sequence[str | int]
    read: "Callable[[int, int], np.ndarray]"
    white: int
    encoded: bool = False
    notes: Sequence[str] = ()
    kept: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def white_of(source: str) -> int:
    """The brightest pixel that images of a source have; the darkest is 0."""
    return WHITE.get(source, 255)


Reader = Callable[[Path, dict[str, Any], dict[str, Any]], Rows]


def find_reader(path: Path) -> Reader:
    """The reader of a file or folder: called with it, the run's schema and its `data` settings, it gives the rows.

    Raises:
        Error: nothing there, or of a kind that is not read (code 3), or that could run code (code 7).
    """
    suffix = path.suffix.lower()
    if os.path.isdir(path):
        return _read_folder
    if not os.path.exists(path) and glob.has_magic(str(path)) and is_table(path):
        return _read_table
    if not os.path.exists(path):
        raise Error(f"{path}: no such file or folder", "check the path", Code.DATA)
    if not os.path.isfile(path):
        raise Error(f"{path} is no plain file", "give an image, a folder of images, .npy or .npz", Code.DATA)
    refuse_running(path, "save plain numbers with numpy.save as .npy, or a table as .csv or .parquet")
    if is_table(path):
        return _read_table
    return {".npy": _read_npy, ".npz": _read_npz}.get(suffix, _read_image)


# ---- images


def _read_image(path: Path, schema: dict[str, Any], settings: dict[str, Any]) -> Rows:
    return _images([path], path, schema, settings)


def _read_folder(path: Path, schema: dict[str, Any], settings: dict[str, Any]) -> Rows:
    """All images below a folder, in the order of their paths."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    files = [
        Path(top) / name
        for top, _, names in os.walk(path, onerror=_closed, followlinks=True)
        for name in names
    ]
    images = sorted(file for file in files if file.name.lower().endswith(IMG_EXTENSIONS))
    if not images:
        what = f"{path} holds no images ({', '.join(IMG_EXTENSIONS)})"
        raise Error(what, "name a folder with images in it or below it", Code.DATA)
    return _images(images, path, schema, settings, len(files) - len(images))


def _closed(error: OSError) -> NoReturn:
    what = f"cannot read {error.filename}: {error.strerror}"
    raise Error(what, "check the folder and its permissions", Code.DATA) from None


def _images(
    files: list[Path], path: Path, schema: dict[str, Any], settings: dict[str, Any], skipped: int = 0
) -> Rows:
    shape, white = schema["image"], white_of(settings["name"])
    if shape is None:
        columns = len(schema["features"])
        if schema["columns"]:
            raise Error(
                f"{path}: the run takes tables, not images", f"give one of {', '.join(TABLES)}", Code.DATA
            )
        what = f"{path}: the run takes arrays with {columns} column{'s' * (columns != 1)} (.npy or .npz), not images"
        raise Error(what, "give an array with a row for each prediction", Code.DATA)

    def read(first: int, last: int) -> "np.ndarray":
        pixels = unfolded(read_images(files[first:last], shape), shape)
        return (
            pixels if white == 255 else np.rint(pixels * (white / 255)).astype(np.uint8)
        )  # 0...255 -> 0...white

    told = f"skipped {skipped} {'file that is no image' if skipped == 1 else 'files that are no images'}"
    return Rows("file", [str(file) for file in files], read, white, notes=[told] * bool(skipped))


# ---- tables


def _read_table(
    path: Path,
    schema: dict[str, Any],
    settings: dict[str, Any],
    keep: Sequence[str] = (),
    unseen: str = "count",
) -> Rows:
    """All rows of a table, as numbers.

    Args:
        keep: columns to stand beside the predictions.
        unseen: count categories that training did not have, or error.
    """
    if not schema["columns"]:
        what = f"{path}: the run was not trained on a table"
        raise Error(what, "give images or arrays like those of its training", Code.DATA)
    numbers, kept, notes = read_rows(path, schema, settings, keep, unseen)
    return Rows("row", range(len(numbers)), lambda first, last: numbers[first:last], 0, True, notes, kept)


# ---- arrays


def _read_npy(path: Path, schema: dict[str, Any], settings: dict[str, Any]) -> Rows:
    return _array(read_npy(path), str(path), schema, settings)


def _read_npz(path: Path, schema: dict[str, Any], settings: dict[str, Any]) -> Rows:
    """The only array of a .npz, or the one that is called X."""
    array, name = read_npz(path, "X")
    return _array(array, name, schema, settings)


def _array(array: "np.ndarray", name: str, schema: dict[str, Any], settings: dict[str, Any]) -> Rows:
    rows = _as_rows(array, name, schema)
    if schema["columns"]:
        numbers, notes = encoded(rows, schema, settings, name)
        return Rows("row", range(len(rows)), lambda first, last: numbers[first:last], 0, True, notes)

    def read(first: int, last: int) -> "np.ndarray":
        piece = unfolded(np.asarray(rows[first:last]), schema["image"])
        bad = ~np.isfinite(piece).all(1)
        if bad.any():
            what = f"{name}: row {first + int(bad.argmax())} holds a value that is no finite number"
            raise Error(what, "fill or drop it", Code.DATA)
        return piece

    return Rows("row", range(len(rows)), read, white_of(settings["name"]))


def _as_rows(array: "np.ndarray", name: str, schema: dict[str, Any]) -> "np.ndarray":
    """The array itself where it holds rows, or as one row."""
    columns, image = len(schema["features"]), schema["image"]
    for rows in (array, array[None]):
        if rows.ndim > 1 and unfolded(rows[:0], image).shape == (0, columns):
            return rows
    pictures = f" or (rows, {', '.join(map(str, image))})" if image else ""
    what = f"{name} has shape {array.shape}; the run takes (rows, {columns}){pictures}"
    raise Error(what, "give one column a feature of schema.json", Code.DATA)

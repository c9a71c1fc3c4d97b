"""Files whose rows wait for predictions: images, folders of images, arrays of NumPy. One reader a kind of file."""

import lzma
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import lazy_loader

from dlfound.data.arrays import unfolded
from dlfound.data.image_folder import read_images
from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")

WHITE = {"digits": 16}  # the brightest pixel of a source whose images do not end at 255
MAX_BYTES = 1 << 31  # of an array in a .npz, unpacked
TABLES = (".csv", ".tsv", ".parquet", ".xlsx")
RUNNING = (".pkl", ".pickle", ".pt", ".pth", ".pt2", ".joblib", ".feather")  # could run code when they are read


@dataclass(frozen=True)
class Rows:
    """What waits for predictions, to be read piece by piece.

    Attributes:
        kind: what one of them is: a file, or a row.
        names: each one's name.
        read: (first, last) -> those of them, (rows, columns), in the range of the run's own data.
        white: the brightest pixel in that range; the darkest is 0.
        skipped: how many files of a folder are no images, by their names.
    """

    kind: str
    names: Sequence[str | int]
    read: "Callable[[int, int], np.ndarray]"
    white: int
    skipped: int = 0


def white_of(source: str) -> int:
    """The brightest pixel that images of a source have; the darkest is 0."""
    return WHITE.get(source, 255)


Reader = Callable[[Path, dict[str, Any], int], Rows]


def find_reader(path: Path) -> Reader:
    """The reader of a file or folder: called with it, the run's schema and its brightest pixel, it gives the rows.

    Raises:
        Error: nothing there, or of a kind that is not read (code 3), or that could run code (code 7).
    """
    suffix = path.suffix.lower()
    if os.path.isdir(path):
        return _read_folder
    if not os.path.exists(path):
        raise Error(f"{path}: no such file or folder", "check the path", Code.DATA)
    if not os.path.isfile(path):
        raise Error(f"{path} is no plain file", "give an image, a folder of images, .npy or .npz", Code.DATA)
    if suffix in TABLES:
        raise Error(f"{path}: tables ({suffix}) are not read", "save its numbers with numpy.save as .npy", Code.DATA)
    if suffix in RUNNING:
        what = f"{path} is refused by its type ({suffix}): such a file can run code"
        raise Error(what, "save plain numbers with numpy.save as .npy", Code.UNSAFE)
    return {".npy": _read_npy, ".npz": _read_npz}.get(suffix, _read_image)


# ---- images


def _read_image(path: Path, schema: dict[str, Any], white: int) -> Rows:
    return _images([path], path, schema, white)


def _read_folder(path: Path, schema: dict[str, Any], white: int) -> Rows:
    """All images below a folder, in the order of their paths."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    files = [Path(top) / name for top, _, names in os.walk(path, onerror=_closed, followlinks=True) for name in names]
    images = sorted(file for file in files if file.name.lower().endswith(IMG_EXTENSIONS))
    if not images:
        what = f"{path} holds no images ({', '.join(IMG_EXTENSIONS)})"
        raise Error(what, "name a folder with images in it or below it", Code.DATA)
    return _images(images, path, schema, white, len(files) - len(images))


def _closed(error: OSError) -> NoReturn:
    what = f"cannot read {error.filename}: {error.strerror}"
    raise Error(what, "check the folder and its permissions", Code.DATA) from None


def _images(files: list[Path], path: Path, schema: dict[str, Any], white: int, skipped: int = 0) -> Rows:
    shape = schema["image"]
    if shape is None:
        columns = len(schema["features"])
        what = f"{path}: the run takes arrays with {columns} column{'s' * (columns != 1)} (.npy or .npz), not images"
        raise Error(what, "give an array with a row for each prediction", Code.DATA)

    def read(first: int, last: int) -> "np.ndarray":
        pixels = unfolded(read_images(files[first:last], shape), shape)
        return pixels if white == 255 else np.rint(pixels * (white / 255)).astype(np.uint8)  # 0...255 -> 0...white

    return Rows("file", [str(file) for file in files], read, white, skipped)


# ---- arrays


def _read_npy(path: Path, schema: dict[str, Any], white: int) -> Rows:
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file, str(path), path.stat().st_size)
            array = np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")
    except OSError as error:
        raise Error(f"cannot read {path}: {error.strerror}", "check the file and its permissions", Code.DATA) from None
    return _array(array, str(path), schema, white)


def _read_npz(path: Path, schema: dict[str, Any], white: int) -> Rows:
    """The only array of a .npz, or the one that is called X."""
    try:
        with zipfile.ZipFile(path) as stored:
            member = _member(stored, path)
            name = f"{path}:{member.filename}"
            with stored.open(member) as file:
                shape, fortran, dtype = _header(file, name, member.file_size)
                array = np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError) as error:
        what = f"{path} cannot be read: {str(error) or type(error).__name__}"
        raise Error(what, "write it anew with numpy.savez", Code.DATA) from None
    return _array(array, name, schema, white)


def _member(stored: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    found = {m.filename.removesuffix(".npy"): m for m in stored.infolist() if m.filename.endswith(".npy")}
    if len(found) != 1 and "X" not in found:
        what = f"{path} holds {len(found)} arrays{': ' * bool(found)}{', '.join(found)}"
        raise Error(what, "keep a single one, or call it X", Code.DATA)
    member = found["X"] if "X" in found else next(iter(found.values()))
    if member.file_size > MAX_BYTES:
        what = f"{path}:{member.filename} is larger than {MAX_BYTES >> 20} MB when unpacked"
        raise Error(what, "save it with numpy.save as .npy", Code.DATA)
    return member


def _header(file: BinaryIO, name: str, size: int) -> tuple[tuple[int, ...], bool, "np.dtype"]:
    """Shape, order and type that a .npy states, where `size` bytes agree with it.

    Raises:
        Error: no .npy, damaged, empty or no numbers (code 3); Python objects (code 7).
    """
    form = np.lib.format
    headers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    try:
        with warnings.catch_warnings(action="error"):  # of headers that need a second look
            shape, fortran, dtype = headers[form.read_magic(file)](file)
    except Exception:  # NumPy's parser raises of every kind, and what it says is for programmers
        what = f"{name} is no array of NumPy, or a damaged one"
        raise Error(what, "write it anew with numpy.save", Code.DATA) from None
    if dtype.hasobject:
        what = f"{name} holds Python objects: such a file can run code"
        raise Error(what, "convert the array to numbers before it is saved", Code.UNSAFE)
    if dtype.kind not in "biuf":
        raise Error(f"{name} holds {dtype}, not numbers", "convert it to numbers", Code.DATA)
    stated, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if stated != held:
        what = f"{name}: its header says {shape} = {stated} bytes, it has {held}"
        raise Error(what, "write the file anew", Code.DATA)
    if stated == 0:
        raise Error(f"{name} has shape {shape}: it holds no rows", "give at least one row", Code.DATA)
    return shape, fortran, dtype


def _array(array: "np.ndarray", name: str, schema: dict[str, Any], white: int) -> Rows:
    rows = _as_rows(array, name, schema)

    def read(first: int, last: int) -> "np.ndarray":
        piece = unfolded(np.asarray(rows[first:last]), schema["image"])
        bad = ~np.isfinite(piece).all(1)
        if bad.any():
            what = f"{name}: row {first + int(bad.argmax())} holds a value that is no finite number"
            raise Error(what, "fill or drop it", Code.DATA)
        return piece

    return Rows("row", range(len(rows)), read, white)


def _as_rows(array: "np.ndarray", name: str, schema: dict[str, Any]) -> "np.ndarray":
    """The array itself where it holds rows, or as one row."""
    columns, image = len(schema["features"]), schema["image"]
    for rows in (array, array[None]):
        if rows.ndim > 1 and unfolded(rows[:0], image).shape == (0, columns):
            return rows
    pictures = f" or (rows, {', '.join(map(str, image))})" if image else ""
    what = f"{name} has shape {array.shape}; the run takes (rows, {columns}){pictures}"
    raise Error(what, "give one column a feature of schema.json", Code.DATA)

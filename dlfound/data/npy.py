"""Arrays of NumPy from files: .npy and .npz, numbers and text only, their headers checked before anything is read."""

import lzma
import math
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import lazy_loader

from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")

MAX_BYTES = 1 << 31  # of an array in a .npz, unpacked
NUMBERS, ALSO_TEXT = "biuf", "biufUS"  # kinds of types


def read_npy(path: Path, kinds: str = NUMBERS) -> "np.ndarray":
    """The array of a .npy, read from the disk where it is used.

    Args:
        kinds: of types that are taken.

    Raises:
        Error: damaged, empty, or of another kind (code 3); Python objects (code 7).
    """
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file, str(path), path.stat().st_size, kinds)
            return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")
    except OSError as error:
        raise Error(
            f"cannot read {path}: {error.strerror}", "check the file and its permissions", Code.DATA
        ) from None


def read_npz(path: Path, wanted: str, kinds: str = NUMBERS, alone: bool = True) -> "tuple[np.ndarray, str]":
    """An array of a .npz, and its name for messages.

    Args:
        wanted: the array's name.
        kinds: of types that are taken.
        alone: also the only array, whatever its name.

    Raises:
        Error: as `read_npy`; or there is no such array (code 3).
    """
    try:
        with zipfile.ZipFile(path) as stored:
            member = _member(stored, path, wanted, alone)
            name = f"{path}:{member.filename}"
            with stored.open(member) as file:
                shape, fortran, dtype = _header(file, name, member.file_size, kinds)
                return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C"), name
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
    ) as error:
        what = f"{path} cannot be read: {str(error) or type(error).__name__}"
        raise Error(what, "write it anew with numpy.savez", Code.DATA) from None


def _member(stored: zipfile.ZipFile, path: Path, wanted: str, alone: bool) -> zipfile.ZipInfo:
    found = {m.filename.removesuffix(".npy"): m for m in stored.infolist() if m.filename.endswith(".npy")}
    if wanted not in found and not (alone and len(found) == 1):
        what = f"{path} holds {len(found)} arrays{': ' * bool(found)}{', '.join(found)}"
        raise Error(
            what, f"keep a single one, or call it {wanted}" if alone else f"call one {wanted}", Code.DATA
        )
    member = found[wanted] if wanted in found else next(iter(found.values()))
    if member.file_size > MAX_BYTES:
        what = f"{path}:{member.filename} is larger than {MAX_BYTES >> 20} MB when unpacked"
        raise Error(what, "save it with numpy.save as .npy", Code.DATA)
    return member


def _header(file: BinaryIO, name: str, size: int, kinds: str) -> "tuple[tuple[int, ...], bool, np.dtype]":
    """Shape, order and type that a .npy states, where `size` bytes agree with it.

    Raises:
        Error: no .npy, damaged, empty or of another kind (code 3); Python objects (code 7).
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
    if dtype.kind not in kinds:
        raise Error(f"{name} holds {dtype}, not numbers", "convert it to numbers", Code.DATA)
    stated, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if stated != held:
        what = f"{name}: its header says {shape} = {stated} bytes, it has {held}"
        raise Error(what, "write the file anew", Code.DATA)
    if stated == 0:
        raise Error(f"{name} has shape {shape}: it holds no rows", "give at least one row", Code.DATA)
    return shape, fortran, dtype

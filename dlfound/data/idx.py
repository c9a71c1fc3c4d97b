"""The IDX format of MNIST's files, read strictly: what the header says must be what the file holds."""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import lazy_loader

from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")

UNSIGNED_BYTES = 8  # the only type code that these data sets use
MAX_BYTES = 1 << 31  # of one file, unpacked


def read_idx(path: Path, dimensions: int) -> "np.ndarray":
    """An array of bytes with so many dimensions, from a file as it is or compressed (.gz).

    Raises:
        Error: cut, damaged, of another type or size than its header says, or empty (code 3).
    """
    head = 4 + 4 * dimensions
    with _opened(path) as file:
        content = file.read(head)
        shape = _stated_shape(path, content, dimensions)
        stated = math.prod(shape)  # Python's numbers do not overflow
        if stated > MAX_BYTES:
            raise _damaged(
                path, f"header says {_product(shape)} = {stated} bytes, more than {MAX_BYTES >> 20} MB"
            )
        content = file.read(stated + 1)  # no more than tells that the header is wrong
    if stated != len(content):
        more = " or more" if len(content) > stated else ""
        raise _damaged(path, f"header says {_product(shape)} = {stated} bytes, file has {len(content)}{more}")
    if stated == 0:
        raise _damaged(path, "it holds no rows")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _stated_shape(path: Path, head: bytes, dimensions: int) -> list[int]:
    if len(head) < 4 + 4 * dimensions or head[:2] != b"\0\0":
        raise _damaged(path, f"no IDX file (it begins with {head[:4].hex() or 'nothing'})")
    if head[2] != UNSIGNED_BYTES:
        raise _damaged(path, f"type 0x{head[2]:02x} in its header, not unsigned bytes (0x08)")
    if head[3] != dimensions:
        raise _damaged(path, f"{head[3]} dimensions in its header, not {dimensions}")
    return [int.from_bytes(head[4 + 4 * d : 8 + 4 * d], "big") for d in range(dimensions)]


def _product(shape: list[int]) -> str:
    return "x".join(map(str, shape))


def read_labelled(images: Path, labels: Path, classes: int) -> tuple["np.ndarray", "np.ndarray"]:
    """Images (rows, height, width) and the class of each.

    Raises:
        Error: either file is damaged, they differ in length, or a label is no class (code 3).
    """
    pixels, numbers = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(numbers):
        raise _damaged(labels, f"{len(numbers)} labels for the {len(pixels)} images of {images.name}")
    if int(numbers.max()) >= classes:
        row = int((numbers >= classes).argmax())
        raise _damaged(labels, f"label {int(numbers[row])} in row {row}; the classes are 0 to {classes - 1}")
    return pixels, numbers


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The content, as it is unpacked; what goes wrong while it is read is told."""
    try:
        with path.open("rb") if path.suffix != ".gz" else gzip.open(path) as file:
            yield file
    except EOFError:
        raise _damaged(path, "compressed file ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, f"compressed file is damaged ({error})") from None
    except OSError as error:
        raise Error(
            f"cannot read {path}: {error.strerror}", "check the file and its permissions", Code.DATA
        ) from None


def _damaged(path: Path, why: str) -> Error:
    return Error(f"{path}: {why}", "remove the file and fetch it anew", Code.DATA)

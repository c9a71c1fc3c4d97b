"""The IDX format of MNIST's files, read strictly: what the header says must be what the file holds."""

import gzip
import zlib
from pathlib import Path

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
    content = _unpacked(path)
    if len(content) < 4 + 4 * dimensions or content[:2] != b"\0\0":
        raise _damaged(path, f"no IDX file (it begins with {content[:4].hex() or 'nothing'})")
    if content[2] != UNSIGNED_BYTES:
        raise _damaged(path, f"type 0x{content[2]:02x} in its header, not unsigned bytes (0x08)")
    if content[3] != dimensions:
        raise _damaged(path, f"{content[3]} dimensions in its header, not {dimensions}")
    shape = [int.from_bytes(content[4 + 4 * d : 8 + 4 * d], "big") for d in range(dimensions)]
    stated, held = 1, len(content) - 4 - 4 * dimensions
    for size in shape:
        stated *= size  # Python's numbers do not overflow
    if stated != held:
        sizes = "x".join(map(str, shape))
        raise _damaged(path, f"header says {sizes} = {stated} bytes, file has {held}")
    if stated == 0:
        raise _damaged(path, "it holds no rows")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


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


def _unpacked(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            if path.stat().st_size > MAX_BYTES:
                raise _damaged(path, f"more than {MAX_BYTES >> 20} MB")
            return path.read_bytes()
        with gzip.open(path) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise _damaged(path, f"more than {MAX_BYTES >> 20} MB when unpacked")
        return content
    except EOFError:
        raise _damaged(path, "compressed file ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, f"compressed file is damaged ({error})") from None
    except OSError as error:
        raise Error(f"cannot read {path}: {error.strerror}", "check the file and its permissions", Code.DATA) from None


def _damaged(path: Path, why: str) -> Error:
    return Error(f"{path}: {why}", "remove the file and fetch it anew", Code.DATA)

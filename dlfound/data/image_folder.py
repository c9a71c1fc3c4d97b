"""Images of one's own: a folder a class, as torchvision's ImageFolder reads them."""

import sys
from pathlib import Path

import lazy_loader

from dlfound.config.kinds import Pixels, Seed, Split, Text
from dlfound.data.dataset import Dataset, classification, cut
from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")


def image_folder(*, path: Text, size: Pixels, seed: Seed, split: Split) -> Dataset:
    """Images in `path`/CLASS/, decoded once and brought to size x size; grey where all of them are, else in colour.

    Source: torchvision.datasets.ImageFolder.
    """
    samples, classes = _find(Path(path).expanduser())
    pixels = _decode([file for file, _ in samples], size)
    labels = np.array([label for _, label in samples])
    channels = pixels.shape[1]
    names = [f"pixel_{c}_{y}_{x}" for c in range(channels) for y in range(size) for x in range(size)]
    parts = cut(len(pixels), split, seed)
    return classification(pixels.reshape(len(pixels), -1), labels, classes, names, parts, (channels, size, size))


def _find(folder: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """(file, class number) for each image, in a fixed order; the classes' names."""
    from torchvision.datasets import ImageFolder

    if not folder.is_dir():
        raise Error(f"data.path={folder} is no folder", "name a folder that holds a folder for each class", Code.DATA)
    try:
        found = ImageFolder(folder)
    except FileNotFoundError as error:
        why = str(error).partition("\n")[0]
        raise Error(f"data.path={folder}: {why}", "put images into a folder for each class", Code.DATA) from None
    if len(found.classes) < 2:
        what = f"data.path={folder} has a single class ({found.classes[0]}); nothing to learn"
        raise Error(what, "put images into a folder for each class", Code.DATA)
    return found.samples, found.classes


def _decode(files: list[str], size: int) -> "np.ndarray":
    """(rows, channels, size, size) uint8, with a progress display where standard error is a terminal."""
    from PIL import Image
    from rich.console import Console
    from rich.progress import track

    grey = all(_header(file) for file in files)
    pixels = np.empty((len(files), 1 if grey else 3, size, size), np.uint8)
    console = Console(stderr=True)
    shown = track(files, "reading images", console=console, transient=True, disable=not sys.stderr.isatty())
    for row, file in enumerate(shown):
        try:
            with Image.open(file) as image:
                decoded = image.convert("L" if grey else "RGB").resize((size, size), Image.Resampling.BILINEAR)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise _unreadable(file, error) from None
        pixels[row] = np.asarray(decoded).reshape(size, size, -1).transpose(2, 0, 1)
    return pixels


def _header(file: str) -> bool:
    """True where the image says that it is grey; reads no pixels."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.mode in ("1", "L", "LA", "I", "I;16", "F")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: str, error: Exception) -> Error:
    return Error(f"{file} cannot be read as an image: {error}", "remove or replace it", Code.DATA)

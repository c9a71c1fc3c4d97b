"""Your own images: one folder per class, as torchvision's ImageFolder reads them."""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader

from dlfound.config.setting_types import Pixels, Seed, Split, Text
from dlfound.data.dataset import Dataset, classification
from dlfound.data.split import cut
from dlfound.errors import Code, Error

if TYPE_CHECKING:
    from PIL import Image

np = lazy_loader.load("numpy")

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # for EPS PIL would start another program


def image_folder(*, path: Text, size: Pixels, seed: Seed, split: Split) -> Dataset:
    """Your own images in `path`/CLASS/, resized to size x size; grey if all of them are grey, else in colour.

    The name of a folder is the name of a class. The images may have different sizes and formats.

    Source: torchvision.datasets.ImageFolder.
    """
    samples, classes = _find(Path(path).expanduser())
    files = [file for file, _ in samples]
    labels = np.array([label for _, label in samples])
    channels = 1 if all(_is_grey(file) for file in files) else 3
    pixels = read_images(files, (channels, size, size))
    names = [f"pixel_{c}_{y}_{x}" for c in range(channels) for y in range(size) for x in range(size)]
    parts = cut(len(pixels), split, seed)
    return classification(
        pixels.reshape(len(pixels), -1), labels, classes, names, parts, (channels, size, size)
    )


def _find(folder: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """(file, class number) for each image, in a fixed order; the classes' names."""
    from torchvision.datasets import ImageFolder

    if not folder.is_dir():
        raise Error(
            f"data.path={folder} is not a folder",
            "name a folder that holds a folder for each class",
            Code.DATA,
        )
    try:
        found = ImageFolder(folder)
    except FileNotFoundError as error:
        why = str(error).partition("\n")[0]
        raise Error(
            f"data.path={folder}: {why}", "put images into a folder for each class", Code.DATA
        ) from None
    if len(found.classes) < 2:
        what = f"data.path={folder} has a single class ({found.classes[0]}); nothing to learn"
        raise Error(what, "put images into a folder for each class", Code.DATA)
    return found.samples, found.classes


def read_images(files: Sequence[str | Path], shape: Sequence[int]) -> "np.ndarray":
    """(images, channels, height, width) uint8, each brought to `shape`; a progress display where there is a terminal.

    One channel is grey, three are red, green and blue. Transparency and the orientation in the file's metadata are
    ignored; of an animation, only the first image counts.

    Raises:
        Error: one cannot be read, or is too large to be a picture (code 3).
    """
    from rich.console import Console
    from rich.progress import track

    pixels = np.empty((len(files), *shape), np.uint8)
    console = Console(stderr=True)
    shown = track(files, "reading images", console=console, transient=True, disable=not sys.stderr.isatty())
    for row, file in enumerate(shown):
        pixels[row] = _read(file, shape)
    return pixels


def _read(file: str | Path, shape: Sequence[int]) -> "np.ndarray":
    from PIL import Image

    channels, height, width = shape
    with _opened(file) as image:
        if image.mode.startswith("I;16"):  # 65,536 levels of grey: PIL would cut them off at 255
            image = image.point(lambda level: level / 256)
        decoded = image.convert("L" if channels == 1 else "RGB").resize(
            (width, height), Image.Resampling.BILINEAR
        )
    return np.asarray(decoded).reshape(height, width, channels).transpose(2, 0, 1)


def _is_grey(file: str) -> bool:
    """True where the image says that it is grey; reads no pixels."""
    with _opened(file) as image:
        return image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")


@contextmanager
def _opened(file: str | Path) -> Iterator["Image.Image"]:
    """An image of PIL; what is wrong with it is told with its name."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                yield image
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        what = f"{file} cannot be read as an image: {error}"
        raise Error(what, "remove or replace it", Code.DATA) from None

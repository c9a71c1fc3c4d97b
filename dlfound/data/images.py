"""MNIST, Fashion-MNIST and CIFAR-10, read from their files or downloaded by torchvision."""

from collections.abc import Callable
from pathlib import Path

import lazy_loader

from dlfound.config.setting_types import Seed, Text, TrainVal
from dlfound.data.dataset import Dataset, classification
from dlfound.data.idx import read_labelled
from dlfound.data.known_task import known_task
from dlfound.data.split import cut_training
from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")

DIGITS = [str(digit) for digit in range(10)]
CLOTHES = [
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
]
OBJECTS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PARTS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@known_task("multiclass")
def mnist(*, root: Text, seed: Seed, split: TrainVal) -> Dataset:
    """70,000 handwritten digits, 28 x 28 grey; the 10,000 test images stay separate.

    dlfound reads the files from `root`, or downloads them if they are missing.

    Source: LeCun, Cortes & Burges 1998.
    """
    return _idx_set("MNIST", DIGITS, root, seed, split)


@known_task("multiclass")
def fashion_mnist(*, root: Text, seed: Seed, split: TrainVal) -> Dataset:
    """70,000 pictures of clothes, 28 x 28 grey, 10 classes; as large as MNIST and harder.

    T-shirts, trousers, coats and the like; the 10,000 test images stay separate. dlfound reads the files from
    `root`, or downloads them if they are missing.

    Source: Xiao, Rasul & Vollgraf 2017.
    """
    return _idx_set("FashionMNIST", CLOTHES, root, seed, split)


@known_task("multiclass")
def cifar10(*, root: Text, seed: Seed, split: TrainVal) -> Dataset:
    """60,000 photographs of 10 kinds of things, 32 x 32 in colour; the 10,000 test images stay separate.

    Airplanes, cats, ships and the like: hard for a net that does not know which pixels are neighbours.
    dlfound reads the files from `root`, or downloads them if they are missing.

    Source: Krizhevsky 2009.
    """
    folder = Path(root).expanduser()
    wanted = [
        "cifar-10-batches-py/data_batch_1 to _5, test_batch and batches.meta",
        "or cifar-10-python.tar.gz",
    ]

    def load(download: bool) -> list:
        from torchvision.datasets import CIFAR10  # checks each file's MD5 before it reads it

        return [CIFAR10(folder, train=train, download=download) for train in (True, False)]

    try:
        train, test = load(download=False)
    except RuntimeError:
        train, test = _fetch("cifar10", folder, wanted, lambda: load(download=True))
    pixels = np.concatenate([train.data, test.data]).transpose(
        0, 3, 1, 2
    )  # (rows, 32, 32, 3) -> (rows, 3, 32, 32)
    labels = np.array([*train.targets, *test.targets])
    return _images(pixels, labels, OBJECTS, len(train.targets), seed, split)


def _idx_set(name: str, classes: list[str], root: str, seed: int, split: list[float]) -> Dataset:
    folder = Path(root).expanduser()
    raw = folder / name / "raw"
    if any(_standing(raw, part) is None for part in PARTS):
        wanted = [f"{name}/raw/{part} (or {part}.gz)" for part in PARTS]
        _fetch(name, folder, wanted, lambda: _download(name, folder))
    files = [_standing(raw, part) for part in PARTS]
    (train, train_labels), (test, test_labels) = (
        read_labelled(*files[k : k + 2], len(classes)) for k in (0, 2)
    )
    if train.shape[1:] != test.shape[1:]:
        what = f"{files[2]}: images of {test.shape[1:]}, those of {files[0].name} are {train.shape[1:]}"
        raise Error(what, "the four files must come from one set", Code.DATA)
    pixels = np.concatenate([train, test])[:, None]  # (rows, 1, height, width)
    return _images(pixels, np.concatenate([train_labels, test_labels]), classes, len(train), seed, split)


def _standing(raw: Path, part: str) -> Path | None:
    """The file itself or its compressed form, where one of them stands."""
    return next((p for p in (raw / part, raw / f"{part}.gz") if p.is_file()), None)


def _download(name: str, folder: Path) -> None:
    from torchvision.datasets import MNIST, FashionMNIST

    {"MNIST": MNIST, "FashionMNIST": FashionMNIST}[name](folder, download=True)


def _fetch(name: str, folder: Path, wanted: list[str], download: Callable):
    """Download by torchvision.

    Raises:
        Error: it cannot be fetched; says which files to put where (code 3).
    """
    try:
        return download()
    except (RuntimeError, OSError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        what = f"data.root={folder} does not hold {name}, and it cannot be fetched ({why})"
        raise Error(what, f"put these files into {folder}: {', '.join(wanted)}", Code.DATA) from None


def _images(
    pixels: "np.ndarray", labels: "np.ndarray", classes: list[str], train: int, seed: int, split: list[float]
) -> Dataset:
    """Images (rows, channels, height, width), the first `train` of them not for testing."""
    shape = tuple(pixels.shape[1:])
    names = [f"pixel_{c}_{y}_{x}" for c in range(shape[0]) for y in range(shape[1]) for x in range(shape[2])]
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    return classification(
        rows, labels, classes, names, cut_training(train, len(rows), split, seed), image=shape
    )

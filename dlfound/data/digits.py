"""Real handwritten digits, included in the package."""

from importlib.resources import files

import lazy_loader

from dlfound.config.setting_types import Seed, Split
from dlfound.data.dataset import Dataset, classification
from dlfound.data.known_task import known_task
from dlfound.data.split import cut

np = lazy_loader.load("numpy")


@known_task("multiclass")
def digits(*, seed: Seed, split: Split) -> Dataset:
    """1,797 handwritten digits, images of 8 x 8 with 17 grey levels, 10 classes; included in the package.

    Real data without a download. A run takes a few seconds.

    Source: Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI (its test set).
    """
    with (files("dlfound.data") / "digits.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        images, labels = stored["images"], stored["labels"]
    pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    inputs = images.reshape(len(images), -1)
    classes = [str(digit) for digit in range(10)]
    return classification(inputs, labels, classes, pixels, cut(len(images), split, seed), image=(1, 8, 8))

"""What a net learns from and is tested on: sets of images, small problems to look at, or data of one's own.
Columns of numbers are standardised by the training rows, and so are the numbers that a net is to predict.

Here is the table of sources, and what is known of each before it is read.
"""

from typing import Any

from dlfound.data.arrays import arrays
from dlfound.data.digits import digits
from dlfound.data.image_folder import image_folder
from dlfound.data.images import cifar10, fashion_mnist, mnist
from dlfound.data.table import table
from dlfound.data.toys import circles, moons, parity, passfail, sine, spirals, xor

TABLE = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "image_folder": image_folder,
    "xor": xor,
    "spirals": spirals,
    "circles": circles,
    "moons": moons,
    "passfail": passfail,
    "sine": sine,
    "parity": parity,
    "table": table,
    "arrays": arrays,
}

_TASKS = {
    **dict.fromkeys(("digits", "mnist", "fashion_mnist", "cifar10"), lambda settings: "multiclass"),
    "spirals": lambda settings: "binary" if settings["classes"] == 2 else "multiclass",
    "passfail": lambda settings: "binary" if settings["target"] == "pass" else "regression",
    "sine": lambda settings: "regression",
} | dict.fromkeys(("xor", "circles", "moons", "parity"), lambda settings: "binary")


def task_of(settings: dict[str, Any]) -> str | None:
    """The task that a source's settings lead to, where that is known before the data are read."""
    try:
        return _TASKS[settings["name"]](settings)
    except KeyError:  # a source whose rows decide, or a setting that is not sound
        return None

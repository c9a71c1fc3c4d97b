"""What a net learns from and is tested on: image sets, toy problems, or your own data. Numeric columns and
numeric targets are standardised with the statistics of the training rows.

This module has the table of sources.
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


def task_of(settings: dict[str, Any]) -> str | None:
    """The task that a source's settings determine; None if only the data show it, or a setting is invalid."""
    name = settings.get("name")
    task = getattr(TABLE.get(name), "task", None) if isinstance(name, str) else None
    try:
        return task(settings) if callable(task) else task
    except KeyError:  # a setting that is invalid, and so left out
        return None

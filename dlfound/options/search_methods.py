"""How the configurations of a sweep are chosen.

Only `dlfound sweep` has this group. What is drawn for a trial follows from `search.seed` and the trial's number, for
`tpe` and `gp` also from the trials that are over: so a sweep that is killed and goes on draws what it would have drawn.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from dlfound.config.setting_types import Count, Seed, SettingType, either, whole, word

_ADDRESS = re.compile(r"(sqlite|postgresql(\+psycopg)?)://\S+|grpc://[^\s/]+:\d+")


def read_address(value: Any) -> str:
    """The setting `search.storage`; raises ValueError where it is none."""
    if not isinstance(value, str) or not (value == "journal" or _ADDRESS.fullmatch(value)):
        raise ValueError
    return value


Trials = Annotated[int | str, either(whole("a whole number >= 1", 1, 10**6), word("all"))]
Seconds = Annotated[int | str, either(whole("a whole number of seconds >= 1", 1, 10**9), word("none"))]
Folds = Annotated[int, either(whole("0", 0, 0), whole("a whole number in 2...100", 2, 100))]
Repeats = Annotated[int, whole("a whole number in 1...1000", 1, 1000)]
Workers = Annotated[int, whole("a whole number in 1...256", 1, 256)]
Pruner = Annotated[str, word("none", "median", "hyperband", "asha")]
Reduction = Annotated[int, whole("a whole number in 2...100", 2, 100)]
Address = Annotated[
    str,
    SettingType(
        "journal, or an address: sqlite:///FILE, postgresql://..., grpc://HOST:PORT",
        read_address,
        ("journal",),
    ),
]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What every search has."""

    trials: Trials
    seconds: Seconds
    repeats: Repeats
    folds: Folds
    startup: Count
    pruner: Pruner
    min_epochs: Count
    reduction: Reduction
    workers: Workers
    storage: Address
    seed: Seed
    max_failures: Count


@dataclass(frozen=True, kw_only=True)
class Grid(Method):
    """Every combination of the values, each once, in the order of the words.

    Source: Larochelle's lecture, minute 33.
    """


@dataclass(frozen=True, kw_only=True)
class Random(Method):
    """Independent draws: each value of a choice as likely, numbers uniform or log-uniform between their ends.

    Source: Bergstra & Bengio 2012; the lecture, minute 34.
    """


@dataclass(frozen=True, kw_only=True)
class Sobol(Method):
    """A scrambled Sobol sequence: like random draws, but spread evenly over all settings together.

    Source: Sobol 1967; Owen 1998.
    """


@dataclass(frozen=True, kw_only=True)
class TPE(Method):
    """A tree of Parzen estimators: draws where good trials are dense and bad ones are not.

    Source: Bergstra, Bardenet, Bengio & Kegl 2011; the lecture, minute 36.
    """


@dataclass(frozen=True, kw_only=True)
class GP(Method):
    """A Gaussian process of the result, and the point of the largest expected improvement; seconds a trial.

    Source: Snoek, Larochelle & Adams 2012; the lecture, minute 36.
    """


TABLE = {"grid": Grid, "random": Random, "sobol": Sobol, "tpe": TPE, "gp": GP}

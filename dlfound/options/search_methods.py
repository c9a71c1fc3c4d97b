"""How a sweep chooses its configurations.

Only `dlfound sweep` has this group. The values of a trial follow from `search.seed` and the trial's number;
with `tpe` and `gp` they also depend on the finished trials. A sweep that was killed and resumed draws the
values that it would have drawn without the interruption (with `tpe` and `gp`, if it has one worker).
"""

import re
from dataclasses import dataclass
from typing import Annotated

from dlfound.config.setting_types import Count, Seed, either, text, whole, word

_STORAGE = re.compile(r"journal|(sqlite|postgresql(\+psycopg)?)://\S+|grpc://[^\s/]+:\d+")
_ADDRESSES = "journal, or an address: sqlite:///FILE, postgresql://..., grpc://HOST:PORT"

Trials = Annotated[int | str, either(whole("a whole number >= 1", 1, 10**6), word("all"))]
Seconds = Annotated[int | str, either(whole("a whole number of seconds >= 1", 1, 10**9), word("none"))]
Folds = Annotated[int, either(whole("0", 0, 0), whole("a whole number in 2...100", 2, 100))]
Repeats = Annotated[int, whole("a whole number in 1...1000", 1, 1000)]
Workers = Annotated[int, whole("a whole number in 1...256", 1, 256)]
Pruner = Annotated[str, word("none", "median", "hyperband", "asha")]
Reduction = Annotated[int, whole("a whole number in 2...100", 2, 100)]
Address = Annotated[str, text(_ADDRESSES, _STORAGE.fullmatch, ("journal",))]


@dataclass(frozen=True, kw_only=True)
class Method:
    """The settings of every search method."""

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


class Grid(Method):
    """Every combination of the values once, in the order of the overrides.

    Source: Larochelle's lecture, minute 33.
    """


class Random(Method):
    """Independent random draws: choices with equal probability, numbers uniform or log-uniform.

    Source: Bergstra & Bengio 2012; the lecture, minute 34.
    """


class Sobol(Method):
    """A scrambled Sobol sequence: like random draws, but spread evenly over the whole space.

    Source: Sobol 1967; Owen 1998.
    """


class TPE(Method):
    """A tree-structured Parzen estimator: draws where good trials are dense and bad trials are rare.

    Source: Bergstra, Bardenet, Bengio & Kegl 2011; the lecture, minute 36.
    """


class GP(Method):
    """A Gaussian process of the results: each trial maximises the expected improvement, which takes seconds.

    Source: Snoek, Larochelle & Adams 2012; the lecture, minute 36.
    """


TABLE = {"grid": Grid, "random": Random, "sobol": Sobol, "tpe": TPE, "gp": GP}

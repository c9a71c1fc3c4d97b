"""Draw the values of each trial with Optuna's samplers, and end unpromising trials with its pruners.

A draw follows from `search.seed`, the trial's number and the setting's key. The methods `tpe` and `gp` also
use the finished trials.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from dlfound.errors import Code, Error
from dlfound.options.search_methods import Method
from dlfound.streams import stream_seed
from dlfound.sweeps.space import Dimension, Space, Values, counts
from dlfound.sweeps.storage import silence_optuna

MAX_GRID = 10**6  # combinations
EDGE = 0.05  # the outer share of an interval that counts as its end


# ---- trials


def draw(trial: optuna.trial.Trial, space: Space) -> Values:
    """Draw a value for each dimension that applies to this trial; a value drawn earlier stays."""
    suggest: dict[type, Callable[..., Any]] = {
        CategoricalDistribution: trial.suggest_categorical,
        IntDistribution: trial.suggest_int,
        FloatDistribution: trial.suggest_float,
    }
    values: Values = {}
    for d in space.dimensions:
        if counts(d, values):
            values[d.key] = d.text(suggest[type(d.distribution)](d.key, **vars(d.distribution)))
    return values


def read_values(space: Space, params: Mapping[str, Any]) -> Values:
    """Turn the values that Optuna stores for a trial into the texts of overrides."""
    return {d.key: d.text(params[d.key]) for d in space.dimensions if d.key in params}


def draw_without_storage(name: str, method: Method, space: Space, limit: int) -> Iterator[Values]:
    """Draw the values of up to `limit` trials in memory; for `tpe` and `gp`, draw them at random."""
    silence_optuna()
    sampler = make_sampler(name if name in ("grid", "sobol") else "random", method, space)
    study = optuna.create_study(sampler=sampler)
    for _ in range(min(limit, count_trials(method, name, space))):
        yield draw(study.ask(), space)


# ---- counting


def list_combinations(space: Space) -> list[Values]:
    """List every combination of values once, without the settings that the chosen option lacks."""
    combinations: dict[tuple, Values] = {}
    for texts in itertools.product(*(d.texts for d in space.dimensions)):
        chosen = {d.key: text for d, text in zip(space.dimensions, texts, strict=True)}
        values = {d.key: chosen[d.key] for d in space.dimensions if counts(d, chosen)}
        combinations.setdefault(tuple(values.items()), values)
    return list(combinations.values())


def count_combinations(space: Space) -> float:
    """Multiply the numbers of values, an upper limit for the combinations; infinite with an interval."""
    return math.prod(len(d.texts) or math.inf for d in space.dimensions)


def count_trials(method: Method, name: str, space: Space) -> int:
    """Count the trials of a sweep.

    Raises:
        Error: the method cannot run that many (code 2).
    """
    if not space.dimensions:
        return 1
    if name != "grid":
        if method.trials == "all":
            message = f"search.trials=all works only with search=grid, not with search={name}"
            raise Error(message, "give a number", Code.CONFIG)
        return int(method.trials)
    if intervals := [d.key for d in space.dimensions if not d.texts]:
        message = f"a grid needs a list of values for {', '.join(intervals)}, not an interval"
        raise Error(
            message, f"give {intervals[0]}=A,B,C or range(LOW,STOP,STEP), or search=random", Code.CONFIG
        )
    if (upper_limit := count_combinations(space)) > MAX_GRID:
        message = f"the grid has {upper_limit:,} combinations, more than {MAX_GRID:,}"
        raise Error(message, "use fewer values, or search=random", Code.CONFIG)
    combinations = len(list_combinations(space))
    return combinations if method.trials == "all" else min(combinations, int(method.trials))


# ---- samplers and pruners


class TrialSampler(BaseSampler):
    """Samples with a new sampler for each trial and key, which follows from the two.

    It has no state, so any process draws the same values for a trial at any time.

    Args:
        make: number of a trial, key of a setting (empty for several settings drawn jointly) -> sampler.
    """

    def __init__(self, make: Callable[[int, str], BaseSampler]):
        self._make = make

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, Any]:
        """Return the settings that the sampler draws jointly."""
        return self._make(trial.number, "").infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict) -> dict[str, Any]:
        """Draw those settings."""
        return self._make(trial.number, "").sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Draw one setting by itself."""
        sampler = self._make(trial.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def make_sampler(name: str, method: Method, space: Space) -> BaseSampler:
    """Create the sampler of a search method."""
    combinations = list_combinations(space) if name == "grid" else []

    def make(number: int, key: str) -> BaseSampler:
        seed = stream_seed(method.seed, f"search {key}", number) % 2**32
        if name == "tpe":
            return TPESampler(n_startup_trials=method.startup, seed=seed)
        if name == "gp":
            return GPSampler(n_startup_trials=method.startup, seed=seed, warn_independent_sampling=False)
        random = RandomSampler(seed=seed)
        if name == "grid":
            return PartialFixedSampler(_grid_point(space, combinations[number]), random)
        if name == "sobol":
            return PartialFixedSampler(_sobol_point(space, method.seed, number), random)
        return random

    return TrialSampler(make)


def _grid_point(space: Space, values: Values) -> dict[str, Any]:
    """Turn a combination of texts into values as Optuna stores them."""
    return {
        d.key: d.distribution.to_external_repr(d.texts.index(values[d.key]))
        for d in space.dimensions
        if d.key in values
    }


def _sobol_point(space: Space, seed: int, number: int) -> dict[str, Any]:
    """Compute one point of a scrambled Sobol sequence, as values that Optuna stores."""
    from scipy.stats import qmc  # slow to import

    rng = np.random.default_rng([seed, 0])
    sequence = qmc.Sobol(max(1, len(space.dimensions)), scramble=True, rng=rng)
    if number:
        sequence.fast_forward(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a single point is not balanced
        shares = sequence.random(1)[0]
    return {d.key: between(d, float(share)) for d, share in zip(space.dimensions, shares, strict=False)}


def between(dimension: Dimension, share: float) -> Any:
    """The value, as Optuna stores it, at a share in [0, 1) of a dimension."""
    distribution = dimension.distribution
    if dimension.texts:
        last = len(dimension.texts) - 1
        return distribution.to_external_repr(min(int(share * len(dimension.texts)), last))
    integer = isinstance(distribution, IntDistribution)
    half = 0.5 if integer else 0.0
    low = distribution.low - half
    high = distribution.high + half
    if distribution.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    value = round(value) if integer else value
    return min(max(value, distribution.low), distribution.high)


def make_pruner(method: Method, epochs: int) -> BasePruner:
    """Create the pruner of a sweep.

    Args:
        epochs: the most epochs that a run may have.
    """
    first = min(method.min_epochs, epochs)
    if method.pruner == "median":
        return MedianPruner(method.startup, first)
    if method.pruner == "asha":
        return SuccessiveHalvingPruner(first, method.reduction)
    if method.pruner == "hyperband":
        return HyperbandPruner(first, epochs, method.reduction)
    return NopPruner()


# ---- the ends of a dimension


def beyond(dimension: Dimension, text: str) -> float | None:
    """Find a value a little outside a dimension, if a given value lies at one of its ends; else None."""
    numbers = _numbers(dimension)
    if dimension.texts and len(numbers) < 3:  # no middle, or not all values are numbers
        return None
    log = not dimension.texts and dimension.distribution.log
    scale = math.log if log else float
    width = scale(numbers[-1]) - scale(numbers[0])
    share = (scale(float(text)) - scale(numbers[0])) / width
    margin = 0.0 if dimension.texts else EDGE
    if margin < share < 1 - margin:
        return None
    side = -1 if share <= margin else 1
    end = numbers[0] if side < 0 else numbers[-1]
    value = end * 2.0**side if log else end + side * width / 10
    if isinstance(dimension.distribution, FloatDistribution) or not all(n.is_integer() for n in numbers):
        return value
    return math.floor(value) if side < 0 else math.ceil(value)


def _numbers(dimension: Dimension) -> list[float]:
    """The different values, in ascending order: the ends of an interval; none if one is not a number."""
    if not dimension.texts:
        return [float(dimension.distribution.low), float(dimension.distribution.high)]
    try:
        return sorted({float(text) for text in dimension.texts})
    except ValueError:
        return []

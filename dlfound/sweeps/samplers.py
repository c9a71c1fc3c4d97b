"""Draw the values of each trial with Optuna's samplers.

A draw follows from `search.seed`, the trial's number and the setting's key. The methods `tpe` and `gp` also
use the finished trials.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from dlfound.errors import Code, Error
from dlfound.options.search_methods import Method
from dlfound.streams import stream_seed
from dlfound.sweeps.space import Choice, Dimension, Interval, Space, counts
from dlfound.sweeps.storage import silence_optuna

MAX_GRID = 10**6  # combinations
EDGE = 0.05  # the outer share of an interval that counts as its end
Values = dict[str, str]  # key -> text of the value, as in an override


# ---- dimensions


def distribution(dimension: Dimension) -> BaseDistribution:
    """The distribution that Optuna draws a dimension from."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.texts)
    if dimension.step is not None:  # an index: adding up the steps would round
        return IntDistribution(0, len(dimension.texts) - 1)
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _suggest(trial: optuna.trial.Trial, dimension: Dimension) -> Any:
    """Draw from `distribution(dimension)` by Optuna's public interface."""
    key = dimension.key
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(key, dimension.texts)
    if dimension.step is not None:
        return trial.suggest_int(key, 0, len(dimension.texts) - 1)
    if dimension.integer:
        return trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)


def _text(dimension: Dimension, param: Any) -> str:
    """Turn Optuna's value into the text of an override."""
    if isinstance(dimension, Choice):
        return param
    return dimension.text(param) if dimension.step is None else dimension.texts[param]


def between(dimension: Dimension, share: float) -> Any:
    """The value, as Optuna stores it, at a share in [0, 1) of a dimension."""
    if isinstance(dimension, Choice) or dimension.step is not None:
        index = min(int(share * len(dimension.texts)), len(dimension.texts) - 1)
        return dimension.texts[index] if isinstance(dimension, Choice) else index
    half = 0.5 if dimension.integer else 0.0
    low = dimension.low - half
    high = dimension.high + half
    if dimension.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    value = round(value) if dimension.integer else value
    return min(max(value, dimension.low), dimension.high)


def edge(dimension: Dimension, text: str) -> int:
    """Locate a value in its dimension: -1 at the lower end, 1 at the upper end, 0 between them."""
    if isinstance(dimension, Interval) and dimension.step is None:
        scale = math.log if dimension.log else float
        low = scale(dimension.low)
        share = (scale(float(text)) - low) / (scale(dimension.high) - low)
        if share < EDGE:
            return -1
        return 1 if share > 1 - EDGE else 0
    numbers = _numbers(dimension)
    if len(numbers) < 3 or len(numbers) < len(dimension.texts):  # no middle, or not all of them are numbers
        return 0
    if float(text) == numbers[0]:
        return -1
    return 1 if float(text) == numbers[-1] else 0


def beyond(dimension: Dimension, side: int) -> float:
    """A value a little outside a dimension: below its lower end (side -1) or above its upper end (side 1)."""
    numbers = _numbers(dimension)
    if isinstance(dimension, Interval) and not numbers:
        numbers = [dimension.low, dimension.high]
    low = numbers[0]
    high = numbers[-1]
    if isinstance(dimension, Interval) and dimension.log:
        value = low / 2 if side < 0 else high * 2
    else:
        margin = (high - low) / 10
        value = low - margin if side < 0 else high + margin
    integer = isinstance(dimension, Choice) or dimension.integer
    if integer and all(float(number).is_integer() for number in numbers):
        return math.floor(value) if side < 0 else math.ceil(value)
    return value


def _numbers(dimension: Dimension) -> list[float]:
    """Those of a dimension's listed values that are numbers, in ascending order."""
    numbers = []
    for text in dimension.texts:
        try:
            numbers.append(float(text))
        except ValueError:
            continue
    return sorted(numbers)


# ---- trials


def draw(trial: optuna.trial.Trial, space: Space) -> Values:
    """Draw a value for each dimension that applies to this trial; a value drawn earlier stays."""
    values: Values = {}
    for dimension in space.dimensions:
        if counts(dimension.key, dimension.within, values):
            values[dimension.key] = _text(dimension, _suggest(trial, dimension))
    return values


def read_values(space: Space, params: Mapping[str, Any]) -> Values:
    """Turn the values that Optuna stores for a trial into the texts of overrides."""
    return {d.key: _text(d, params[d.key]) for d in space.dimensions if d.key in params}


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
        values = {d.key: chosen[d.key] for d in space.dimensions if counts(d.key, d.within, chosen)}
        combinations.setdefault(tuple(values.items()), values)
    return list(combinations.values())


def interval_settings(space: Space) -> list[str]:
    """List the settings that are drawn from an interval, and so have no list of values."""
    return [d.key for d in space.dimensions if not d.texts]


def count_combinations(space: Space) -> int:
    """Multiply the numbers of values: an upper limit for the combinations of a space without intervals."""
    return math.prod(len(d.texts) for d in space.dimensions)


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
    if intervals := interval_settings(space):
        message = f"a grid needs a list of values for {', '.join(intervals)}, not an interval"
        raise Error(message, f"{intervals[0]}=A,B,C or range(LOW,STOP,STEP), or search=random", Code.CONFIG)
    upper_limit = count_combinations(space)
    if upper_limit > MAX_GRID:
        message = f"the grid has {upper_limit:,} combinations, more than {MAX_GRID:,}"
        raise Error(message, "use fewer values, or search=random", Code.CONFIG)
    combinations = len(list_combinations(space))
    return combinations if method.trials == "all" else min(combinations, int(method.trials))


# ---- samplers


class PointSampler(BaseSampler):
    """A sampler whose values follow from the trial's number alone.

    Args:
        point: number -> key -> value, as Optuna stores it.
    """

    def __init__(self, point: Callable[[int], Mapping[str, Any]]):
        self._point = point

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return no setting: each one is sampled independently."""
        return {}

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict) -> dict[str, Any]:
        """Return no value."""
        return {}

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return the trial's value of one setting."""
        return self._point(trial.number)[param_name]


class ReseededSampler(BaseSampler):
    """One of Optuna's samplers, created anew with a seed for each trial and key.

    It has no state, so any process draws the same values for a trial at any time.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int):
        self._make = make
        self._seed = seed

    def _create(self, number: int, key: str) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._make(stream_seed(self._seed, f"search {key}", number) % 2**32)

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the settings that the sampler draws jointly."""
        return self._create(trial.number, "").infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict) -> dict[str, Any]:
        """Draw those settings."""
        return self._create(trial.number, "").sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Draw one setting by itself."""
        sampler = self._create(trial.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def make_sampler(name: str, method: Method, space: Space) -> BaseSampler:
    """Create the sampler of a search method."""
    if name == "grid":
        return PointSampler(_grid_points(space))
    if name == "sobol":
        return PointSampler(_sobol_points(space.dimensions, method.seed))
    startup = method.startup
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "random": lambda seed: RandomSampler(seed=seed),
        "tpe": lambda seed: TPESampler(n_startup_trials=startup, seed=seed),
        "gp": lambda seed: GPSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False),
    }
    return ReseededSampler(makers[name], method.seed)


def _grid_points(space: Space) -> Callable[[int], Mapping[str, Any]]:
    combinations = list_combinations(space)
    dimensions = {d.key: d for d in space.dimensions}

    def param(key: str, text: str) -> Any:
        dimension = dimensions[key]
        return text if isinstance(dimension, Choice) else dimension.texts.index(text)

    return lambda number: {key: param(key, text) for key, text in combinations[number].items()}


def _sobol_points(dimensions: Sequence[Dimension], seed: int) -> Callable[[int], Mapping[str, Any]]:
    from scipy.stats import qmc  # slow to import

    def point(number: int) -> Mapping[str, Any]:
        rng = np.random.default_rng([seed, 0])
        sequence = qmc.Sobol(max(1, len(dimensions)), scramble=True, rng=rng)
        if number:
            sequence.fast_forward(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a single point is not balanced
            shares = sequence.random(1)[0]
        return {d.key: between(d, float(share)) for d, share in zip(dimensions, shares, strict=True)}

    return point

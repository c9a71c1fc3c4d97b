"""From a method and a space to Optuna's sampler. A draw follows from the seed, the trial's number and the key."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from dlfound.errors import Code, Error
from dlfound.options.search_methods import Method
from dlfound.streams import stream_seed
from dlfound.sweeps.space import Choice, Dimension, Space, counts
from dlfound.sweeps.storage import quiet

Values = dict[str, str]


def distribution(dimension: Dimension) -> BaseDistribution:
    """What Optuna draws from."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.texts)
    if dimension.step is not None:  # places in the list: sums of steps would be off by a last digit
        return IntDistribution(0, len(dimension.texts) - 1)
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def text_of(dimension: Dimension, value: Any) -> str:
    """A drawn value as an override gives it."""
    if isinstance(dimension, Choice):
        return value
    return dimension.text(value) if dimension.step is None else dimension.texts[value]


def draw(trial: optuna.trial.Trial, space: Space) -> Values:
    """A value for each dimension that counts in this trial; those that it has already stay."""
    values: Values = {}
    for d in space.dimensions:
        if counts(d.key, d.within, values):
            values[d.key] = text_of(d, _suggest(trial, d))
    return values


def _suggest(trial: optuna.trial.Trial, d: Dimension) -> Any:
    if isinstance(d, Choice):
        return trial.suggest_categorical(d.key, d.texts)
    if d.step is not None:
        return trial.suggest_int(d.key, 0, len(d.texts) - 1)
    if d.integer:
        return trial.suggest_int(d.key, int(d.low), int(d.high), log=d.log)
    return trial.suggest_float(d.key, d.low, d.high, log=d.log)


def read_values(space: Space, params: dict[str, Any]) -> Values:
    """A trial's values as it holds them, as overrides give them."""
    return {d.key: text_of(d, params[d.key]) for d in space.dimensions if d.key in params}


# ---- every combination


def combinations(space: Space) -> list[Values]:
    """Every combination of values, each once: a setting that an option lacks makes no two of it."""
    found: dict[tuple, Values] = {}
    for texts in itertools.product(*(d.texts for d in space.dimensions)):
        chosen = {d.key: text for d, text in zip(space.dimensions, texts, strict=True)}
        kept = {d.key: chosen[d.key] for d in space.dimensions if counts(d.key, d.within, chosen)}
        found.setdefault(tuple(kept.items()), kept)
    return list(found.values())


def count_trials(method: Method, word: str, space: Space) -> int:
    """How many trials there are to be.

    Raises:
        Error: a number that the method cannot give (code 2).
    """
    if not space.dimensions:
        return 1
    if word != "grid":
        if method.trials == "all":
            raise Error(f"search.trials=all is for search=grid, not for {word}", "give a number", Code.CONFIG)
        return int(method.trials)
    if endless := endless_settings(space):
        what = f"a grid needs a list of values for {', '.join(endless)}: an interval has no end of them"
        raise Error(what, f"{endless[0]}=A,B,C or range(LOW,BEYOND,STEP), or search=random", Code.CONFIG)
    most = most_combinations(space)
    if most > 10**6:
        raise Error(f"this grid has {most:,} combinations", "fewer values, or search=random", Code.CONFIG)
    every = len(combinations(space))
    return every if method.trials == "all" else min(every, int(method.trials))


def endless_settings(space: Space) -> list[str]:
    """Those that are drawn from an interval."""
    return [d.key for d in space.dimensions if not d.texts]


def most_combinations(space: Space) -> int:
    """How many combinations there are of settings with lists of values."""
    return math.prod(len(d.texts) for d in space.dimensions)


def first_draws(word: str, method: Method, space: Space, most: int) -> Iterator[Values]:
    """The values of so many trials as they may come, without a storage; of a grid its first ones."""
    quiet()
    sampler = make_sampler(word if word in ("grid", "sobol") else "random", method, space)
    study = optuna.create_study(sampler=sampler)
    for _ in range(min(most, count_trials(method, word, space))):
        yield draw(study.ask(), space)


# ---- samplers


class Numbered(BaseSampler):
    """Each trial's values follow from its number alone."""

    def __init__(self, point: Callable[[int], dict[str, Any]]):
        self._point = point

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: each value is drawn by itself."""
        return {}

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict) -> dict[str, Any]:
        """None."""
        return {}

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """The trial's own value."""
        return self._point(trial.number)[param_name]


class Drawn(BaseSampler):
    """One of Optuna's samplers, seeded anew for each trial and key, so that it need not live as long as the sweep."""

    def __init__(self, make: Callable[[int], BaseSampler], seed: int):
        self._make, self._seed = make, seed

    def _fresh(self, number: int, key: str) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._make(stream_seed(self._seed, f"search {key}", number) % 2**32)

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What the sampler draws together."""
        return self._fresh(trial.number, "").infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: dict) -> dict[str, Any]:
        """What the sampler draws together."""
        return self._fresh(trial.number, "").sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """A value by itself."""
        fresh = self._fresh(trial.number, param_name)
        return fresh.sample_independent(study, trial, param_name, param_distribution)


def make_sampler(word: str, method: Method, space: Space) -> BaseSampler:
    """The sampler of a search."""
    makes: dict[str, Callable[[], BaseSampler]] = {
        "grid": lambda: Numbered(_grid(space)),
        "sobol": lambda: Numbered(_sobol(space.dimensions, method.seed)),
        "random": lambda: Drawn(lambda seed: RandomSampler(seed=seed), method.seed),
        "tpe": lambda: Drawn(
            lambda seed: TPESampler(n_startup_trials=method.startup, seed=seed), method.seed
        ),
        "gp": lambda: Drawn(
            lambda seed: GPSampler(
                n_startup_trials=method.startup, seed=seed, warn_independent_sampling=False
            ),
            method.seed,
        ),
    }
    return makes[word]()


def _grid(space: Space) -> Callable[[int], dict[str, Any]]:
    every, kinds = combinations(space), {d.key: d for d in space.dimensions}

    def point(number: int) -> dict[str, Any]:
        return {
            key: text if isinstance(kinds[key], Choice) else kinds[key].texts.index(text)
            for key, text in every[number].items()
        }

    return point


def _sobol(dimensions: Sequence[Dimension], seed: int) -> Callable[[int], dict[str, Any]]:
    from scipy.stats import qmc  # takes a while to import

    def point(number: int) -> dict[str, Any]:
        rng = np.random.default_rng([seed, 0])
        sequence = qmc.Sobol(max(1, len(dimensions)), scramble=True, rng=rng)
        if number:
            sequence.fast_forward(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of balance: one point at a time is none
            shares = sequence.random(1)[0]
        return {d.key: between(d, float(share)) for d, share in zip(dimensions, shares, strict=True)}

    return point


def between(dimension: Dimension, share: float) -> Any:
    """The value at a share in [0, 1) of a dimension: every choice and whole number takes as much of it."""
    if isinstance(dimension, Choice) or dimension.step is not None:
        place = min(int(share * len(dimension.texts)), len(dimension.texts) - 1)
        return dimension.texts[place] if isinstance(dimension, Choice) else place
    half = 0.5 if dimension.integer else 0.0
    low, high = dimension.low - half, dimension.high + half
    if dimension.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    value = round(value) if dimension.integer else value
    return min(max(value, dimension.low), dimension.high)


def make_pruner(method: Method, epochs: int) -> optuna.pruners.BasePruner:
    """What ends a run that promises little.

    Args:
        epochs: that a run may have at most.
    """
    least = min(method.min_epochs, epochs)
    makes: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(method.startup, least),
        "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(least, method.reduction),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(least, epochs, method.reduction),
    }
    return makes[method.pruner]()

"""The search space of a sweep: overrides, some of which hold several values or an interval.

They have Hydra's grammar: `optim=adam,sgd`, `choice(...)`, `range(...)`, `interval(...)`, `int(...)`,
`tag(log, ...)` and, for options, `glob(*)`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from dlfound.config import overrides as grammar
from dlfound.config.catalog import EXPERIMENT, SEARCH, SPACE, Catalog
from dlfound.config.config import Config
from dlfound.config.overrides import refuse_removal
from dlfound.config.suggest import shown
from dlfound.errors import Code, Error, Problem, printable

DIGITS = 6  # of a drawn number: short enough to read in a command
RANGE_DIGITS = 12  # of a value of a range: enough to round away the errors of adding up its steps
MAX_VALUES = 10_000  # of one range
VARYING_RUN_SETTINGS = ("run.seed", "run.threads")  # the others name the sweep's folder or its device
Values = dict[str, str]  # key -> text of the value, as in an override


@dataclass(frozen=True)
class Fixed:
    """An override that is the same in every configuration.

    Attributes:
        within: the options of the group that have the setting; None if it counts with any option.
    """

    key: str
    word: str
    within: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Dimension:
    """A group or setting that varies.

    Attributes:
        expression: the override that asks for its values, without the key.
        distribution: what Optuna draws: the text of a choice, the index of a value of a range, or a number.
        texts: all values, as overrides write them; empty for an interval.
        within: as for Fixed.
    """

    key: str
    expression: str
    distribution: BaseDistribution
    texts: tuple[str, ...] = ()
    within: tuple[str, ...] | None = None

    def text(self, param: Any) -> str:
        """A value as an override writes it.

        Args:
            param: the value as Optuna stores it.
        """
        if self.texts:
            return self.texts[int(self.distribution.to_internal_repr(param))]
        if isinstance(self.distribution, IntDistribution):
            return str(int(param))
        return _rounded(param, DIGITS, self.distribution.low, self.distribution.high)


def _rounded(value: float, digits: int, low: float, high: float) -> str:
    """A number with so many digits, but never outside the interval."""
    return repr(min(max(float(f"{value:.{digits}g}"), low), high))


@dataclass(frozen=True)
class Space:
    """The configurations that a sweep chooses from.

    Attributes:
        dimensions: what varies, options before settings.
        fixed: the overrides that do not vary.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[Fixed, ...] = ()

    def words(self, values: Mapping[str, str]) -> list[str]:
        """The overrides of one configuration, without settings that the chosen option lacks.

        Args:
            values: key -> text, for each dimension that counts.
        """
        fixed = [f.word for f in self.fixed if counts(f, values)]
        return fixed + [f"{d.key}={values[d.key]}" for d in self.dimensions if d.key in values]

    def expressions(self) -> dict[str, str]:
        """Key -> the override, without its key, that asks for the values of a dimension."""
        return {d.key: d.expression for d in self.dimensions}


def counts(entry: Fixed | Dimension, values: Mapping[str, str]) -> bool:
    """True if the option that `values` choose has the setting, or if they choose none."""
    chosen = values.get(entry.key.partition(".")[0])
    return entry.within is None or chosen is None or chosen in entry.within


# ---- from overrides


def read_space(texts: Sequence[str], catalog: Catalog) -> tuple[Space, list[Problem]]:
    """The space that overrides ask for, and what is wrong with those that hold several values.

    An override with one value is kept as it is: composing a configuration checks it.
    """
    problems: list[Problem] = []
    entries: list[Dimension | Fixed] = []
    for text in texts:
        entry = _read_entry(text, catalog)
        if isinstance(entry, Problem):
            problems.append(entry)
            continue
        fixed = isinstance(entry, Fixed)  # composing warns of a fixed override that is repeated
        others = [e for e in entries if e.key != entry.key or (fixed and isinstance(e, Fixed))]
        entries = [*others, entry]
    swept = {e.key: e.texts for e in entries if isinstance(e, Dimension) and e.key in catalog.groups}
    bound = [replace(e, within=_within(e.key, swept, catalog)) for e in entries]
    varying = [e for e in bound if isinstance(e, Dimension)]
    dimensions = sorted(varying, key=lambda d: d.key not in catalog.paths)
    return Space(tuple(dimensions), tuple(e for e in bound if isinstance(e, Fixed))), problems


def _within(key: str, swept: Mapping[str, Sequence[str]], catalog: Catalog) -> tuple[str, ...] | None:
    """The swept options of the key's group that have the setting; None if its group is not swept."""
    group, _, setting = key.partition(".")
    if not setting or group not in swept:
        return None
    words = [w for w in swept[group] if w in catalog.words(group) and setting in catalog.keys(group, w)]
    return tuple(words) or None  # if no option has the setting, composing reports it


def _read_entry(text: str, catalog: Catalog) -> Dimension | Fixed | Problem:
    key, _, value = text.lstrip("+~").partition("=")
    if "".join(value.split()) == "choice()":
        return Problem(f"{shown(text)}: choice() has no values", f"write {key}=choice(A,B,C)")
    override = grammar.parse_override(text)
    if override.prefix == "~":  # here, since a later override of the same key would replace it
        return refuse_removal(override.key, catalog)
    if isinstance(override.value, grammar.SweptValues):
        return _read_dimension(override.key, override.value, shown(text), catalog)
    return Fixed(override.key, text)  # composing says what is wrong with it


def _read_dimension(key: str, value: grammar.SweptValues, text: str, catalog: Catalog) -> Dimension | Problem:
    if key.partition(".")[0] == "run" and key not in VARYING_RUN_SETTINGS:
        return Problem(f"{key} cannot vary: it is the same for all trials", f"give {key} one value")
    if isinstance(value, grammar.Range):
        return _read_range(key, value, text)
    if isinstance(value, grammar.Interval):
        return _read_interval(key, value, text)
    if isinstance(value, grammar.Choices):
        texts = value.texts
    else:
        texts = tuple(_matching(value, catalog.words(key) if key in catalog.paths else []))
    if not texts:
        return Problem(f"{text} matches nothing", "use glob(*) for the options of a group")
    return Dimension(key, f"choice({','.join(texts)})", CategoricalDistribution(texts), texts)


def _matching(pattern: grammar.Pattern, names: Sequence[str]) -> list[str]:
    """The names that match a pattern of glob(...)."""
    included = [name for name in names if any(fnmatch(name, part) for part in pattern.include)]
    return [name for name in included if not any(fnmatch(name, part) for part in pattern.exclude)]


def _read_range(key: str, swept: grammar.Range, text: str) -> Dimension | Problem:
    low = swept.start
    step = swept.step
    if low is None or swept.stop is None or not step > 0 or not low < swept.stop:
        return Problem(f"{text}: the range is empty", f"write {key}=range(LOW,STOP,STEP) with LOW < STOP")
    count = math.ceil((swept.stop - low) / step - 1e-9)
    if count > MAX_VALUES:
        fix = f"use {key}=interval({low},{swept.stop}), or a larger step"
        return Problem(f"{text} has {count} values; at most {MAX_VALUES} are allowed", fix)
    high = low + (count - 1) * step
    if all(isinstance(v, int) for v in (low, swept.stop, step)):
        stop = high + 1
        texts = [str(low + i * step) for i in range(count)]
    else:
        stop = high + step / 2
        texts = [_rounded(low + i * step, RANGE_DIGITS, low, high) for i in range(count)]
    indices = IntDistribution(0, count - 1)
    return Dimension(key, f"range({low!r},{stop!r},{step!r})", indices, tuple(texts))


def _read_interval(key: str, swept: grammar.Interval, text: str) -> Dimension | Problem:
    low = swept.low
    high = swept.high
    log = "log" in swept.tags
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Problem(f"{text}: an interval needs two finite ends", f"write {key}=interval(LOW,HIGH)")
    if not low < high:
        message = f"{text}: the low end ({low:g}) must be below the high end ({high:g})"
        return Problem(message, "swap the two ends")
    if log and not low > 0:
        return Problem(f"{text}: tag(log, ...) needs a low end > 0, got {low:g}", "raise the low end above 0")
    if unknown := sorted(swept.tags - {"log"}):
        return Problem(f"{text}: unknown tag {printable(unknown[0])}", "write tag(log, interval(...))")
    integer = isinstance(low, int) and isinstance(high, int)
    expression = f"interval({low!r},{high!r})"
    expression = f"int({expression})" if integer else expression
    expression = f"tag(log,{expression})" if log else expression
    distribution = IntDistribution if integer else FloatDistribution
    return Dimension(key, expression, distribution(low, high, log=log))


# ---- checks


def check_space(space: Space, compose: Callable[[Sequence[str]], Config]) -> list[Problem]:
    """What is wrong with single values: of a choice all are tried, of an interval the ends and one between.

    Args:
        compose: composes a configuration from overrides; raises Error with all that is wrong with it.
    """
    # By what is wrong: several values of one key share a mistake in the key.
    problems: dict[str, Problem] = {}
    for dimension, words in _trials(space):
        try:
            compose(words)
        except Error as error:
            for problem in error.problems:
                problems.setdefault(problem.what, _with_int(dimension, problem))
    return list(problems.values())


def _with_int(dimension: Dimension | None, problem: Problem) -> Problem:
    """If a setting takes whole numbers only, suggest an interval of whole numbers."""
    numbers = dimension.distribution if dimension is not None else None
    if isinstance(numbers, FloatDistribution) and f"{dimension.key} must be a whole" in problem.what:
        fix = f"write {dimension.key}=int(interval({numbers.low:g},{numbers.high:g}))"
        return Problem(problem.what, fix)
    return problem


def _trials(space: Space) -> Iterator[tuple[Dimension | None, list[str]]]:
    """The overrides of configurations that together try every dimension."""
    by_key = {d.key: d for d in space.dimensions}
    for d in space.dimensions:
        group = by_key.get(d.key.partition(".")[0], d)
        swept_option = {} if group is d else {group.key: (d.within or group.texts)[0]}
        for text in _samples(d):
            yield d, space.words({**swept_option, d.key: text})
    if not space.dimensions:
        yield None, space.words({})


def _samples(dimension: Dimension) -> Sequence[str]:
    if dimension.texts:
        return dimension.texts
    low = dimension.distribution.low
    high = dimension.distribution.high
    return [dimension.text(value) for value in (low, low + (high - low) * 0.382, high)]


def experiment_words(texts: Sequence[str], catalog: Catalog) -> list[str]:
    """The overrides in the `space` and `search` of the experiment that `texts` choose.

    Raises:
        Error: one of the two nodes is not a mapping of words to values (code 2).
    """
    chosen = [text.partition("=")[2] for text in texts if text.partition("=")[0] == EXPERIMENT]
    path = catalog.paths[EXPERIMENT].get(chosen[-1]) if chosen else None
    if path is None:
        return []
    words = []
    for node in (SPACE, SEARCH):
        settings: Any = catalog.read(path).get(node, {})
        if not isinstance(settings, dict) or any(isinstance(v, list | dict) for v in settings.values()):
            fix = f"write lines such as optim.lr: interval(0.001, 0.1) below {node}"
            raise Error(f"{path}: {node} must be a mapping of words to values", fix, Code.CONFIG)
        for key, value in settings.items():
            text = "null" if value is None else str(value)
            head = key if node == SPACE else SEARCH if key == "name" else f"{SEARCH}.{key}"
            words.append(f"{head}={text}")
    return words

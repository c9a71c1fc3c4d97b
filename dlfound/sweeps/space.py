"""The search space of a sweep: overrides, some of which hold several values or an interval.

They have Hydra's grammar: `optim=adam,sgd`, `choice(...)`, `range(...)`, `interval(...)`, `int(...)`,
`tag(log, ...)` and, for options, `glob(*)`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Any

from dlfound.config import overrides as grammar
from dlfound.config.catalog import EXPERIMENT, SEARCH, SPACE, Catalog
from dlfound.config.config import Config
from dlfound.config.overrides import refuse_removal
from dlfound.config.suggest import shown
from dlfound.errors import Code, Error, Problem, printable

DIGITS = 6  # of a drawn number: short enough to read in a command
MAX_VALUES = 10_000  # of one range
VARYING_RUN_SETTINGS = (
    "run.seed",
    "run.threads",
)  # the others of `run` name the sweep's folder or its device


@dataclass(frozen=True)
class Choice:
    """Several values of a group or setting, as overrides write them.

    Attributes:
        within: the options of the group that have the setting; None if it counts with any option.
    """

    key: str
    texts: tuple[str, ...]
    within: tuple[str, ...] | None = None

    @property
    def expression(self) -> str:
        """The override that asks for these values, without its key."""
        return f"choice({','.join(self.texts)})"


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`, or with a step, every `step`-th. `within` is that of Choice."""

    key: str
    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: float | None = None
    within: tuple[str, ...] | None = None

    @property
    def expression(self) -> str:
        """The override that asks for these values, without its key."""
        if self.step is not None:
            stop = self.high + (1 if self.integer else self.step / 2)
            return f"range({self.low!r},{stop!r},{self.step!r})"
        text = f"interval({self.low!r},{self.high!r})"
        text = f"int({text})" if self.integer else text
        return f"tag(log,{text})" if self.log else text

    @property
    def texts(self) -> tuple[str, ...]:
        """All values, if there is a step; else none."""
        if self.step is None:
            return ()
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(self.text(self.low + i * self.step) for i in range(count))

    def text(self, value: float) -> str:
        """A value as an override writes it: rounded to six digits, but never outside the interval."""
        if self.integer:
            return str(int(value))
        rounded = float(f"{value:.{12 if self.step else DIGITS}g}")
        return repr(min(max(rounded, self.low), self.high))


Dimension = Choice | Interval


@dataclass(frozen=True)
class Fixed:
    """An override that is the same in every configuration; `within` is that of Choice."""

    key: str
    word: str
    within: tuple[str, ...] | None = None


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
        fixed = [f.word for f in self.fixed if counts(f.key, f.within, values)]
        return fixed + [f"{d.key}={values[d.key]}" for d in self.dimensions if d.key in values]

    def expressions(self) -> dict[str, str]:
        """Key -> the override, without its key, that asks for the values of a dimension."""
        return {d.key: d.expression for d in self.dimensions}


def counts(key: str, within: Sequence[str] | None, values: Mapping[str, str]) -> bool:
    """True if the option that `values` choose has the setting, or if they choose none."""
    chosen = values.get(key.partition(".")[0])
    return within is None or chosen is None or chosen in within


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
    swept = {e.key: e for e in entries if isinstance(e, Choice) and e.key in catalog.groups}
    bound = [replace(e, within=_within(e.key, swept, catalog)) for e in entries]
    varying = [e for e in bound if not isinstance(e, Fixed)]
    dimensions = sorted(varying, key=lambda d: d.key not in catalog.paths)
    return Space(tuple(dimensions), tuple(e for e in bound if isinstance(e, Fixed))), problems


def _read_entry(text: str, catalog: Catalog) -> Dimension | Fixed | Problem:
    key, _, value = text.lstrip("+~").partition("=")
    if "".join(value.split()) == "choice()":
        return Problem(f"{shown(text)}: choice() has no values", f"write {key}=choice(A,B,C)")
    override = grammar.parse_override(text)
    if override.prefix == "~":  # here, since a later override of the same key would replace it
        return refuse_removal(override.key, catalog)
    if isinstance(override.value, grammar.Sweep):
        return _read_dimension(override, catalog)
    return Fixed(override.key, text)  # composing says what is wrong with it


def _read_dimension(override: grammar.Override, catalog: Catalog) -> Dimension | Problem:
    key = override.key
    value = override.value
    if key.partition(".")[0] == "run" and key not in VARYING_RUN_SETTINGS:
        return Problem(f"{key} cannot vary: it is the same for all trials", f"give {key} one value")
    if isinstance(value, grammar.Pattern):
        names = _matching(value, catalog.words(key)) if key in catalog.paths else []
        problem = Problem(f"{shown(override.text)} matches nothing", "use glob(*) for the options of a group")
        return Choice(key, tuple(names)) if names else problem
    if isinstance(value, grammar.Choices):
        return Choice(key, value.texts)
    if isinstance(value, grammar.Range):
        return _read_range(key, value, shown(override.text))
    return _read_interval(key, value, shown(override.text))


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
    integer = all(isinstance(v, int) for v in (low, swept.stop, step))
    return Interval(key, low, low + (count - 1) * step, integer=integer, step=step)


def _read_interval(key: str, swept: grammar.Interval, text: str) -> Dimension | Problem:
    low = swept.low
    high = swept.high
    log = "log" in swept.tags
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Problem(f"{text}: an interval needs two finite ends", f"write {key}=interval(LOW,HIGH)")
    if not low < high:
        message = f"{text}: the low end ({low:g}) must be below the high end ({high:g})"
        return Problem(message, "exchange the two ends")
    if log and not low > 0:
        return Problem(f"{text}: tag(log, ...) needs a low end > 0, got {low:g}", "raise the low end above 0")
    if unknown := sorted(swept.tags - {"log"}):
        return Problem(f"{text}: unknown tag {printable(unknown[0])}", "write tag(log, interval(...))")
    return Interval(key, low, high, log, isinstance(low, int) and isinstance(high, int))


def _within(key: str, swept: Mapping[str, Choice], catalog: Catalog) -> tuple[str, ...] | None:
    """The swept options of the key's group that have the setting; None if its group is not swept."""
    group, _, setting = key.partition(".")
    if not setting or group not in swept:
        return None
    words = [w for w in swept[group].texts if w in catalog.words(group) and setting in catalog.keys(group, w)]
    return tuple(words) or None  # if no option has the setting, composing reports it


# ---- checks


def check_space(space: Space, compose: Callable[[Sequence[str]], Config]) -> list[Problem]:
    """What is wrong with single values: of a choice all are tried, of an interval the ends and one between.

    Args:
        compose: composes a configuration from overrides; raises Error with all that is wrong with it.
    """
    problems: dict[
        str, Problem
    ] = {}  # by what is wrong: several values of one key share a mistake in the key
    for dimension, words in _trials(space):
        try:
            compose(words)
        except Error as error:
            for problem in error.problems:
                problems.setdefault(problem.what, _with_int(dimension, problem))
    return list(problems.values())


def _with_int(dimension: Dimension | None, problem: Problem) -> Problem:
    """If a setting takes whole numbers only, suggest an interval of whole numbers."""
    if not isinstance(dimension, Interval) or dimension.integer:
        return problem
    if f"{dimension.key} must be a whole" not in problem.what:
        return problem
    return Problem(problem.what, f"write {dimension.key}=int(interval({dimension.low:g},{dimension.high:g}))")


def _trials(space: Space) -> Iterator[tuple[Dimension | None, list[str]]]:
    """The overrides of configurations that together try every dimension."""
    groups = {d.key: d for d in space.dimensions if isinstance(d, Choice)}
    for d in space.dimensions:
        group = d.key.partition(".")[0]
        swept_option = (
            {group: (d.within or groups[group].texts)[0]} if group != d.key and group in groups else {}
        )
        for text in _samples(d):
            yield d, space.words({**swept_option, d.key: text})
    if not space.dimensions:
        yield None, space.words({})


def _samples(dimension: Dimension) -> tuple[str, ...]:
    if isinstance(dimension, Choice):
        return dimension.texts
    between = dimension.low + (dimension.high - dimension.low) * 0.382
    return tuple(dimension.text(v) for v in (dimension.low, between, dimension.high))


def experiment_words(texts: Sequence[str], catalog: Catalog) -> list[str]:
    """The overrides in the `space` and `search` of the experiment that `texts` choose.

    Raises:
        Error: one of the two nodes is not a mapping of words to values (code 2).
    """
    chosen = [text.partition("=")[2] for text in texts if text.partition("=")[0] == EXPERIMENT]
    path = catalog.paths[EXPERIMENT].get(chosen[-1]) if chosen else None
    if path is None:
        return []
    tree = catalog.read(path)
    words = []
    for node in (SPACE, SEARCH):
        settings: Any = tree.get(node, {})
        if not isinstance(settings, dict) or any(isinstance(v, list | dict) for v in settings.values()):
            fix = f"write lines such as optim.lr: interval(0.001, 0.1) below {node}"
            raise Error(f"{path}: {node} must be a mapping of words to values", fix, Code.CONFIG)
        for key, value in settings.items():
            text = value if isinstance(value, str) else "null" if value is None else str(value)
            head = key if node == SPACE else SEARCH if key == "name" else f"{SEARCH}.{key}"
            words.append(f"{head}={text}")
    return words

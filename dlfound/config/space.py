"""A space of configurations: override words of which some hold several values, or a distribution, in place of one.

The words are Hydra's own: `optim=adam,sgd`, `choice(...)`, `range(...)`, `interval(...)`, `int(...)`, `tag(log, ...)`
and, for options, `glob(*)`. What comes of them is plain data.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from dlfound.config.catalog import EXPERIMENT, SEARCH, SPACE, Catalog
from dlfound.config.check import shown
from dlfound.config.config import Config
from dlfound.config.overrides import refuse_removal
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Code, Error, Problem, printable

DIGITS = 6  # of a number that is drawn: a command that one can read
MOST = 10_000  # values of one range


@dataclass(frozen=True)
class Choice:
    """Several values of a group or setting, as an override would give them."""

    key: str
    texts: tuple[str, ...]
    within: tuple[str, ...] | None = (
        None  # the options of its group that have the setting; None: it always counts
    )

    @property
    def told(self) -> str:
        """The word that asks for it, without its key."""
        return f"choice({','.join(self.texts)})"


@dataclass(frozen=True)
class Interval:
    """All numbers between two ends, both among them; with a step, every so many."""

    key: str
    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: float | None = None
    within: tuple[str, ...] | None = None

    @property
    def told(self) -> str:
        """The word that asks for it, without its key."""
        if self.step is not None:
            return f"range({self.low!r},{self.high + (1 if self.integer else self.step / 2)!r},{self.step!r})"
        text = f"interval({self.low!r},{self.high!r})"
        text = f"int({text})" if self.integer else text
        return f"tag(log,{text})" if self.log else text

    @property
    def texts(self) -> tuple[str, ...]:
        """Every value, where a step says which there are."""
        if self.step is None:
            return ()
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(self.text(self.low + i * self.step) for i in range(count))

    def text(self, value: float) -> str:
        """A value as an override gives it: to six digits, and never beyond the ends."""
        if self.integer:
            return str(int(value))
        rounded = float(f"{value:.{12 if self.step else DIGITS}g}")
        return repr(min(max(rounded, self.low), self.high))


Dimension = Choice | Interval


@dataclass(frozen=True)
class Fixed:
    """A word that is the same in every configuration; `within` as in `Choice`."""

    key: str
    word: str
    within: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        dimensions: what varies, options before settings.
        fixed: the words that do not.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[Fixed, ...] = ()

    def words(self, values: Mapping[str, str]) -> list[str]:
        """The override list of one configuration.

        Args:
            values: key -> text of each dimension that counts; a setting that the chosen option lacks is left out.
        """
        kept = [f.word for f in self.fixed if counts(f.key, f.within, values)]
        return kept + [f"{d.key}={values[d.key]}" for d in self.dimensions if d.key in values]

    def told(self) -> dict[str, str]:
        """Key -> the word that asks for its values."""
        return {d.key: d.told for d in self.dimensions}


def counts(key: str, within: Sequence[str] | None, values: Mapping[str, str]) -> bool:
    """True where the option that `values` choose has the setting; also where they choose none."""
    chosen = values.get(key.partition(".")[0])
    return within is None or chosen is None or chosen in within


def read_space(texts: Sequence[str], catalog: Catalog) -> tuple[Space, list[Problem]]:
    """The space that an override list asks for, and what is wrong with the words that make it one.

    Words with one value each are kept as they are; composing a configuration checks them.
    """
    problems: list[Problem] = []
    known: list[Dimension | Fixed] = []
    for text in texts:
        made = _entry(text, catalog)
        if isinstance(made, Problem):
            problems.append(made)
            continue
        both_fixed = isinstance(made, Fixed)  # the same word twice: composing warns of it
        known = [e for e in known if e.key != made.key or (both_fixed and isinstance(e, Fixed))] + [made]
    swept = {e.key: e for e in known if isinstance(e, Choice) and e.key in catalog.groups}
    bound = [replace(e, within=_within(e.key, swept, catalog)) for e in known]
    dimensions = sorted(
        (e for e in bound if not isinstance(e, Fixed)), key=lambda d: d.key not in catalog.paths
    )
    return Space(tuple(dimensions), tuple(e for e in bound if isinstance(e, Fixed))), problems


def _entry(text: str, catalog: Catalog) -> Dimension | Fixed | Problem:
    override = _parsed(text)
    if override is None:
        key, _, value = text.lstrip("+~").partition("=")
        if "".join(value.split()) == "choice()":
            return Problem(f"{shown(text)}: there is nothing to choose from", f"{key}=choice(A,B,C)")
        return Fixed(text.lstrip("+").partition("=")[0], text)
    if override.is_delete():  # here, where a later word for the same key takes its place
        return Problem(*refuse_removal(override.key_or_group, catalog))
    if not override.is_sweep_override():
        return Fixed(override.key_or_group, text)
    return _dimension(override, text, catalog)


def _parsed(text: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(text)
    except (HydraException, ValueError, RecursionError):
        return None  # composing tells where


def _dimension(override: Override, text: str, catalog: Catalog) -> Dimension | Problem:
    key, value = override.key_or_group, override.value()
    if key.partition(".")[0] == "run" and key not in ("run.seed", "run.threads"):
        return Problem(f"{key} cannot vary: it names the folder of the whole sweep", f"give {key} one value")
    if isinstance(value, Glob):
        names = value.filter(catalog.words(key)) if key in catalog.paths else []
        if not names:
            return Problem(f"{shown(text)} matches nothing", "glob(*) chooses among the options of a group")
        return Choice(key, tuple(names))
    if isinstance(value, ChoiceSweep):
        return Choice(key, tuple(dict.fromkeys(override.sweep_string_iterator())))
    if isinstance(value, RangeSweep):
        return _range(key, value, text)
    assert isinstance(value, IntervalSweep)
    return _interval(key, value, text)


def _range(key: str, value: RangeSweep, text: str) -> Dimension | Problem:
    low, stop, step = value.start, value.stop, value.step
    if low is None or stop is None or not step > 0 or not low < stop:
        return Problem(
            f"{shown(text)}: nothing lies in this range", f"{key}=range(LOW,BEYOND,STEP), from low to high"
        )
    count = math.ceil((stop - low) / step - 1e-9)
    if count > MOST:
        return Problem(f"{shown(text)} has {count} values", f"{key}=interval({low},{stop}), or a larger step")
    whole = all(isinstance(v, int) for v in (low, stop, step))
    return Interval(key, low, low + (count - 1) * step, integer=whole, step=step)


def _interval(key: str, value: IntervalSweep, text: str) -> Dimension | Problem:
    low, high, log = value.start, value.end, "log" in value.tags
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Problem(f"{shown(text)}: an interval has two finite ends", f"{key}=interval(LOW, HIGH)")
    if not low < high:
        return Problem(
            f"{shown(text)}: the low end ({low:g}) must be below the high end ({high:g})", "exchange them"
        )
    if log and not low > 0:
        return Problem(
            f"{shown(text)}: a logarithm needs ends > 0, and the low end is {low:g}", "raise it above 0"
        )
    if unknown := sorted(value.tags - {"log"}):
        return Problem(f"{shown(text)}: there is no tag {printable(unknown[0])}", "tag(log, interval(...))")
    return Interval(key, low, high, log, isinstance(low, int) and isinstance(high, int))


def _within(key: str, swept: Mapping[str, Choice], catalog: Catalog) -> tuple[str, ...] | None:
    """The swept options of the key's group that have the setting; None where its group is not swept."""
    group, _, setting = key.partition(".")
    if not setting or group not in swept:
        return None
    words = [w for w in swept[group].texts if w in catalog.words(group) and setting in catalog.keys(group, w)]
    return tuple(words) or None  # none has it: composing says so


def check_space(space: Space, compose: Callable[[Sequence[str]], Config]) -> list[Problem]:
    """What is wrong with single values: every choice, and of an interval its ends and a number between them.

    Args:
        compose: composes a configuration of an override list, and raises Error with all that is wrong with it.
    """
    problems: dict[Problem, None] = {}
    for dimension, words in _checks(space):
        try:
            compose(words)
        except Error as error:
            problems |= dict.fromkeys(_whole_fix(dimension, p) for p in error.problems)
    return list(problems)


def _whole_fix(dimension: Dimension | None, problem: Problem) -> Problem:
    """For numbers that should be whole, how to ask for whole ones."""
    if (
        isinstance(dimension, Interval)
        and not dimension.integer
        and f"{dimension.key} must be a whole" in problem.what
    ):
        return Problem(problem.what, f"{dimension.key}=int(interval({dimension.low:g},{dimension.high:g}))")
    return problem


def _checks(space: Space) -> Iterator[tuple[Dimension | None, list[str]]]:
    groups = {d.key: d for d in space.dimensions if isinstance(d, Choice)}
    for d in space.dimensions:
        group = d.key.partition(".")[0]
        beside = {group: (d.within or groups[group].texts)[0]} if group != d.key and group in groups else {}
        for text in _samples(d):
            yield d, space.words({**beside, d.key: text})
    if not space.dimensions:
        yield None, space.words({})


def _samples(dimension: Dimension) -> tuple[str, ...]:
    if isinstance(dimension, Choice):
        return dimension.texts
    between = dimension.low + (dimension.high - dimension.low) * 0.382
    return tuple(dimension.text(v) for v in (dimension.low, between, dimension.high))


def experiment_words(texts: Sequence[str], catalog: Catalog) -> list[str]:
    """The words that the `space` and `search` of the experiment's file stand for.

    Raises:
        Error: they are not what they should be (code 2).
    """
    chosen = [text.partition("=")[2] for text in texts if text.partition("=")[0] == EXPERIMENT]
    path = catalog.paths[EXPERIMENT].get(chosen[-1]) if chosen else None
    if path is None:
        return []
    tree, words = read_yaml(path), []
    for node in (SPACE, SEARCH):
        found: Any = tree.get(node, {})
        if not isinstance(found, dict) or any(isinstance(v, list | dict) for v in found.values()):
            fix = f"write below {node}: lines of the form optim.lr: interval(0.001, 0.1)"
            raise Error(f"{path}: {node} must be a mapping of words to values", fix, Code.CONFIG)
        for key, value in found.items():
            text = value if isinstance(value, str) else "null" if value is None else str(value)
            head = key if node == SPACE else SEARCH if key == "name" else f"{SEARCH}.{key}"
            words.append(f"{head}={text}")
    return words

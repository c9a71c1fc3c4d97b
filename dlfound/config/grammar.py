"""Hydra's override grammar: each override is parsed once, into plain data without Hydra's classes."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, OverrideType, RangeSweep
from hydra.errors import HydraException

from dlfound.config.yaml_files import scalar

_PARSER = OverridesParser.create()
_PREFIXES = {
    OverrideType.CHANGE: "",
    OverrideType.ADD: "+",
    OverrideType.FORCE_ADD: "++",
    OverrideType.DEL: "~",
}


@dataclass(frozen=True)
class Choices:
    """Several values, as overrides write them: `optim=adam,sgd` or `choice(...)`."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """`range(start, stop, step)`."""

    start: float | None
    stop: float | None
    step: float


@dataclass(frozen=True)
class Interval:
    """`interval(low, high)`, with the words of `tag(...)` around it."""

    low: float | None
    high: float | None
    tags: frozenset[str]


@dataclass(frozen=True)
class Pattern:
    """`glob(...)`: the options of a group whose names match a pattern."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]


Sweep = Choices | Range | Interval | Pattern


@dataclass(frozen=True)
class Override:
    """One override, parsed.

    Attributes:
        text: the override as typed.
        key: a group, a node, or `node.setting`.
        value: a plain value, or several of them as one of `Sweep`.
        prefix: `+`, `++`, `~`, or empty.
        package: what follows an `@` in the key, or None.
        unreadable: why Hydra's grammar does not accept the text; None if it does.
    """

    text: str
    key: str
    value: Any = None
    prefix: str = ""
    package: str | None = None
    unreadable: str | None = None


@lru_cache(maxsize=10_000)
def parse_override(text: str) -> Override:
    """Parse one override."""
    key, equals, value = text.partition("=")
    home = value.startswith("~/") and "'" not in value  # Hydra's grammar wants quotes, a shell none
    try:
        parsed = _PARSER.parse_override(f"{key}='{value}'" if home else text)
    except (HydraException, ValueError, RecursionError) as error:
        why = _place(error) if equals else ": it has no '='"
        return Override(text, key.lstrip("+~"), scalar(value), unreadable=why)
    prefix = _PREFIXES[parsed.type]
    return Override(text, parsed.key_or_group, _plain_value(parsed), prefix, parsed.package)


def _plain_value(parsed: Any) -> Any:
    """The value without Hydra's classes."""
    value = parsed.value()
    if isinstance(value, ChoiceSweep):
        value.shuffle = False  # a sampler draws the order
        return Choices(tuple(dict.fromkeys(parsed.sweep_string_iterator())))
    if isinstance(value, RangeSweep):
        return Range(value.start, value.stop, value.step)
    if isinstance(value, IntervalSweep):
        return Interval(value.start, value.end, frozenset(value.tags))
    if isinstance(value, Glob):
        return Pattern(tuple(value.include), tuple(value.exclude))
    return value


def _place(error: Exception) -> str:
    """The character where Hydra's lexer or parser stopped, if known."""
    at = getattr(error.__cause__, "startIndex", None)
    if at is None:
        at = getattr(getattr(error.__cause__, "offendingToken", None), "column", None)
    return "" if at is None else f" (at character {at + 1})"

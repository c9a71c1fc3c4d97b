"""Kinds of settings: ranges as types, written as annotations of the callables that take them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Kind:
    """What a setting may be.

    Attributes:
        says: the rule in words, to follow "must be".
        read: turns a plain value into the setting's value; raises ValueError where the rule is broken.
        words: the words that may stand here, for a nearest match.
    """

    says: str
    read: Callable[[Any], Any]
    words: tuple[str, ...] = ()


LARGEST = 1e30  # well within float32, also when it is scaled


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError
    return float(value)


def _whole(value: Any) -> int:
    if not _number(value).is_integer():
        raise ValueError
    return int(value)


def _ensure(value: Any, holds: bool) -> Any:
    if not holds:
        raise ValueError
    return value


def number(says: str, holds: Callable[[float], bool]) -> Kind:
    """A finite number for which `holds` is true."""
    return Kind(says, lambda value: _ensure(_number(value), holds(_number(value))))


def whole(says: str, low: int, high: int) -> Kind:
    """A whole number from `low` to `high`; 64.0 counts as 64."""
    return Kind(says, lambda value: _ensure(_whole(value), low <= _whole(value) <= high))


def word(*words: str) -> Kind:
    """One of the words."""
    return Kind(
        " or ".join(words), lambda value: _ensure(value, isinstance(value, str) and value in words), words
    )


def _name(value: Any) -> str:
    """A column's name or a cell's content, which YAML may take for something else than text."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return _ensure(str(value), isinstance(value, str | int | float) and str(value).strip() != "")


def _names(value: Any) -> list[str]:
    return list(dict.fromkeys(_name(v) for v in (value if isinstance(value, list) else [value])))


def either(*kinds: Kind) -> Kind:
    """The first of the kinds that accepts the value."""

    def read(value: Any) -> Any:
        for kind in kinds:
            try:
                return kind.read(value)
            except ValueError:
                continue
        raise ValueError

    return Kind(" or ".join(k.says for k in kinds), read, tuple(w for k in kinds for w in k.words))


def listed(says: str, kind: Kind, low: int, high: int) -> Kind:
    """A list of `low` to `high` values of one kind."""

    def read(value: Any) -> list:
        _ensure(value, isinstance(value, list) and low <= len(value) <= high)
        return [kind.read(v) for v in value]

    return Kind(says, read)


def _widths(value: Any) -> list[int]:
    return _LAYERS.read(value if isinstance(value, list) else [value])


def _fractions(count: int) -> Kind:
    """So many parts of a whole."""
    parts = listed("", number("", lambda v: 0 < v < 1), count, count)

    def read(value: Any) -> list[float]:
        return _ensure(parts.read(value), math.isclose(sum(value), 1, abs_tol=1e-6))

    return Kind(f"{'two' if count == 2 else 'three'} numbers in (0, 1) that add up to 1", read)


def _seconds(value: Any) -> str:
    number = value.removesuffix("s") if isinstance(value, str) and value.endswith("s") else ""
    return _ensure(value, number.isascii() and number.isdecimal() and 0 < int(number) <= 10**9)


_LAYERS = listed("", whole("", 1, 65536), 1, 100)
_NULL = Kind("null", lambda value: _ensure(value, value is None))
SIGN = Kind(
    "a single character", lambda v: _ensure(v, isinstance(v, str) and len(v) == 1 and not v.isalnum())
)
_TEXT = Kind("text", lambda value: _ensure(value, isinstance(value, str) and value.strip() != ""))

Number = Annotated[float, number("a finite number", lambda v: True)]
Positive = Annotated[float, number("a finite number > 0", lambda v: v > 0)]
NonNegative = Annotated[float, number("a finite number >= 0", lambda v: v >= 0)]
Fraction = Annotated[float, number("a number in [0, 1)", lambda v: 0 <= v < 1)]
Share = Annotated[float, number("a number in (0, 1]", lambda v: 0 < v <= 1)]
Shrink = Annotated[float, number("a number in (0, 1)", lambda v: 0 < v < 1)]
Count = Annotated[int, whole("a whole number >= 1", 1, 10**12)]
Rows = Annotated[int, whole("a whole number in 10...10000000", 10, 10**7)]
Whole = Annotated[int, whole("a whole number >= 0", 0, 10**12)]
Seed = Annotated[int, whole("a whole number in 0...4294967295", 0, 2**32 - 1)]
Betas = Annotated[list, listed("a list of two numbers in [0, 1)", number("", lambda v: 0 <= v < 1), 2, 2)]
Widths = Annotated[list, Kind("a list of 1 to 100 whole numbers in 1...65536", _widths)]
Split = Annotated[list, _fractions(3)]
TrainVal = Annotated[list, _fractions(2)]
Pixels = Annotated[int, whole("a whole number in 1...1024", 1, 1024)]
Text = Annotated[str, _TEXT]
File = Annotated[str, Kind("a path, such as data/train.csv", _TEXT.read)]
OptionalText = Annotated[str | None, either(_TEXT, _NULL)]
OptionalName = Annotated[str | None, either(_NULL, Kind("a name", _name))]
Names = Annotated[list, Kind("a name, or a list of names", _names)]
BatchSize = Annotated[int | str, either(whole("a whole number >= 1", 1, 10**12), word("full", "auto"))]
Pace = Annotated[
    int | str,
    either(whole("a whole number of epochs", 1, 10**12), Kind("seconds like 30s", _seconds), word("auto")),
]
Folds = Annotated[int, either(whole("0", 0, 0), whole("a whole number in 2...1000", 2, 1000))]
Threads = Annotated[int | str, either(whole("a whole number in 1...1024", 1, 1024), word("auto"))]

_FLAG = Kind("true or false", lambda value: _ensure(value, isinstance(value, bool)))
Flag = Annotated[bool, _FLAG]
FlagOrAuto = Annotated[bool | str, either(_FLAG, word("auto"))]

# For the options that people register, whose settings carry plain annotations or none.
_PLAIN = {
    float: number("a finite number", lambda v: True),
    int: whole("a whole number", -(2**63), 2**63 - 1),
    bool: Kind("true or false", lambda value: _ensure(value, isinstance(value, bool))),
    str: _TEXT,
}
ANYTHING = Kind("a plain value", lambda value: value)


def kind_of(annotation: Any) -> Kind:
    """The kind that an annotation stands for: Annotated[..., Kind], a plain type, or anything."""
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, Kind):
            return extra
    return _PLAIN.get(annotation, ANYTHING)

"""Types of settings: each allowed range is a type, written as the annotation of a callable's parameter."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

MISSING = "???"  # the value, in a YAML file, of a setting that every command must give


@dataclass(frozen=True)
class SettingType:
    """The values that a setting accepts.

    Attributes:
        description: the allowed values in words; it follows "must be".
        read: converts a plain value to the setting's value; raises ValueError if the value is not allowed.
        words: the words that the setting accepts, for suggestions and completion.
    """

    description: str
    read: Callable[[Any], Any]
    words: tuple[str, ...] = ()

    def accepts(self, value: Any) -> bool:
        """True if the value is allowed."""
        try:
            self.read(value)
        except (ValueError, TypeError, OverflowError):
            return False
        return True


LARGEST = 1e30  # far enough below float32's limit that a scaled value is finite too


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError
    return float(value)


def _whole(value: Any) -> int:
    if not _number(value).is_integer():
        raise ValueError
    return int(value)


def _ensure(value: Any, condition: object) -> Any:
    if not condition:
        raise ValueError
    return value


def number(description: str, allowed: Callable[[float], bool]) -> SettingType:
    """A finite number for which `allowed` is true."""
    return SettingType(description, lambda value: _ensure(_number(value), allowed(value)))


def whole(description: str, low: int, high: int) -> SettingType:
    """A whole number from `low` to `high`; 64.0 counts as 64."""
    return SettingType(description, lambda value: _ensure(_whole(value), low <= value <= high))


def text(description: str, allowed: Callable[[str], object], words: tuple[str, ...] = ()) -> SettingType:
    """A text for which `allowed` returns something true."""
    return SettingType(
        description, lambda value: _ensure(value, isinstance(value, str) and allowed(value)), words
    )


def word(*words: str) -> SettingType:
    """One of the words."""
    return text(" or ".join(words), words.__contains__, words)


def _name(value: Any) -> str:
    """Read a column's name or a cell's content, which YAML may have read as something other than text."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return _ensure(str(value), isinstance(value, str | int | float) and str(value).strip() != "")


def _names(value: Any) -> list[str]:
    return list(dict.fromkeys(_name(v) for v in (value if isinstance(value, list) else [value])))


def either(*types: SettingType) -> SettingType:
    """The first of the types that accepts the value."""

    def read(value: Any) -> Any:
        for setting_type in types:
            if setting_type.accepts(value):
                return setting_type.read(value)
        raise ValueError

    words = tuple(word for setting_type in types for word in setting_type.words)
    return SettingType(" or ".join(setting_type.description for setting_type in types), read, words)


def listed(description: str, element: SettingType, low: int, high: int) -> SettingType:
    """A list of `low` to `high` values of one type."""

    def read(value: Any) -> list:
        _ensure(value, isinstance(value, list) and low <= len(value) <= high)
        return [element.read(v) for v in value]

    return SettingType(description, read)


def _widths(value: Any) -> list[int]:
    return _LAYERS.read(value if isinstance(value, list) else [value])


def _fractions(number_word: str, count: int) -> SettingType:
    """A list of `count` fractions of a whole."""
    parts = listed("", number("", lambda v: 0 < v < 1), count, count)

    def read(value: Any) -> list[float]:
        return _ensure(parts.read(value), math.isclose(sum(value), 1, abs_tol=1e-6))

    return SettingType(f"{number_word} numbers in (0, 1) that add up to 1", read)


def _is_some_seconds(value: str) -> bool:
    return re.fullmatch(r"[0-9]+s", value) is not None and 0 < int(value[:-1]) <= 10**9


_LAYERS = listed("", whole("", 1, 65536), 1, 100)
_NULL = SettingType("null", lambda value: _ensure(value, value is None))
_TEXT = text("text", str.strip)
_FLAG = SettingType("true or false", lambda value: _ensure(value, isinstance(value, bool)))
_SECONDS = text("seconds like 30s", _is_some_seconds)
SIGN = text("a single character", lambda value: len(value) == 1 and not value.isalnum())

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
Widths = Annotated[list, SettingType("a list of 1 to 100 whole numbers in 1...65536", _widths)]
Split = Annotated[list, _fractions("three", 3)]
TrainVal = Annotated[list, _fractions("two", 2)]
Pixels = Annotated[int, whole("a whole number in 1...1024", 1, 1024)]
Text = Annotated[str, _TEXT]
File = Annotated[str, text("a path, such as data/train.csv", str.strip)]
OptionalText = Annotated[str | None, either(_TEXT, _NULL)]
OptionalName = Annotated[str | None, either(_NULL, SettingType("a name", _name))]
Names = Annotated[list, SettingType("a name, or a list of names", _names)]
BatchSize = Annotated[int | str, either(whole("a whole number >= 1", 1, 10**12), word("full", "auto"))]
Pace = Annotated[int | str, either(whole("a whole number of epochs", 1, 10**12), _SECONDS, word("auto"))]
Folds = Annotated[int, either(whole("0", 0, 0), whole("a whole number in 2...1000", 2, 1000))]
Threads = Annotated[int | str, either(whole("a whole number in 1...1024", 1, 1024), word("auto"))]
Flag = Annotated[bool, _FLAG]
FlagOrAuto = Annotated[bool | str, either(_FLAG, word("auto"))]

# Registered options may have plain annotations, or none.
_OF_PLAIN_ANNOTATIONS = {
    float: number("a finite number", lambda v: True),
    int: whole("a whole number", -(2**63), 2**63 - 1),
    bool: _FLAG,
    str: _TEXT,
}
ANYTHING = SettingType("a plain value", lambda value: value)


def setting_type(annotation: Any) -> SettingType:
    """The type in Annotated[..., SettingType], the type for a plain annotation, or ANYTHING."""
    types = [extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, SettingType)]
    return types[0] if types else _OF_PLAIN_ANNOTATIONS.get(annotation, ANYTHING)

"""The overrides of a command: parsed by Hydra's grammar into plain data, then looked up in the catalog."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, RangeSweep
from hydra.errors import HydraException

from dlfound.config.catalog import EXPERIMENT, Catalog
from dlfound.config.suggest import NO_VALUE, Suggestions, override_text, shown, wrong_value
from dlfound.config.yaml_files import has_resolver, scalar
from dlfound.errors import Error, Problem, printable

_PARSER = OverridesParser.create()


class Choices(NamedTuple):
    """Several values, as overrides write them: `optim=adam,sgd` or `choice(...)`."""

    texts: tuple[str, ...]


class Range(NamedTuple):
    """`range(start, stop, step)`."""

    start: float | None
    stop: float | None
    step: float


class Interval(NamedTuple):
    """`interval(low, high)`, with the words of `tag(...)` around it."""

    low: float | None
    high: float | None
    tags: frozenset[str]


class Pattern(NamedTuple):
    """`glob(...)`: the options of a group whose names match a pattern."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]


SweptValues = Choices | Range | Interval | Pattern


class Override(NamedTuple):
    """One override, parsed.

    Attributes:
        text: the override as typed.
        key: a group, a node, or `node.setting`.
        value: a plain value, or several of them as one of `SweptValues`.
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
    prefix = text[: len(text) - len(text.lstrip("+~"))]
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
    token = getattr(error.__cause__, "offendingToken", None)
    at = getattr(error.__cause__, "startIndex", getattr(token, "column", None))
    return "" if at is None else f" (at character {at + 1})"


# ---- the overrides of a command


class Overrides:
    """The overrides of a command, looked up in a catalog.

    The choices of options are looked up first. `read_settings` then looks up the settings of those options.

    Attributes:
        choices: group -> option; for a wrong one a likely one, so that its settings can be looked up.
        settings: node -> setting -> plain value, for each valid override of a setting.
        origins: `node.setting`, or `group.name` for a choice -> the override that set it last.
        problems: what is wrong with the others.
        warnings: one for each override that a later one replaces.
    """

    def __init__(self, texts: Sequence[str], catalog: Catalog):
        self.catalog = catalog
        self.choices: dict[str, str] = {}
        self.settings: dict[str, dict[str, Any]] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self._usable: list[Override] = []
        for override in map(parse_override, texts):
            if problem := _refused(override, catalog):
                self.problems.append(problem)
            else:
                self._usable.append(override)
        for override in self._usable:
            if override.key in catalog.paths:
                self._read_choice(override.key, override)

    def _read_choice(self, group: str, override: Override) -> None:
        word = override.value
        problems = self._choice_problems(group, word, override.prefix)
        self.problems += problems
        if not problems and word is not None:
            self._note_origin(f"{group}.name", override)
            self.choices[group] = word
        elif group in self.catalog.groups:
            self.choices.setdefault(group, self._likely_option(group))

    def _choice_problems(self, group: str, word: Any, prefix: str) -> list[Problem]:
        if group == EXPERIMENT and word is None:  # the default
            return []
        if not isinstance(word, str) or word not in self.catalog.words(group):
            return [Suggestions(self.catalog).unknown_option(group, word)]
        if prefix == "+":
            return [Problem(f"'+' is not needed: {group} is already a group", f"write {group}={word}")]
        try:
            if group != EXPERIMENT:
                self.catalog.content(group, word)
        except Error as error:  # a broken file that a person added
            return error.problems
        return []

    def _likely_option(self, group: str) -> str:
        """The option that has most of the settings typed: the default, if there are none."""
        keys = {override.key for override in self._usable}

        def count(word: str) -> int:
            return sum(f"{group}.{setting}" in keys for setting in self.catalog.keys(group, word))

        return max([self.catalog.defaults[group], *self.catalog.words(group)], key=count)

    def read_settings(self, chosen: Mapping[str, str]) -> None:
        """Look up the overrides of settings.

        Args:
            chosen: group -> option, of all groups.
        """
        suggestions = Suggestions(self.catalog, chosen)
        for override in self._usable:
            if override.key in self.catalog.paths:
                continue
            if problems := _setting_problems(override, suggestions):
                self.problems += problems
                continue
            node, _, setting = override.key.partition(".")
            values = {setting: override.value} if setting else override.value
            self.settings.setdefault(node, {}).update(values)
            for name in values:
                self._note_origin(f"{node}.{name}", override)

    def _note_origin(self, key: str, override: Override) -> None:
        if key in self.origins:
            name = key.removesuffix(".name")
            self.warnings.append(f"{name} is set twice; the last one counts: {printable(override.text)}")
        self.origins[key] = override.text


# ---- what is wrong with one override


def _refused(override: Override, catalog: Catalog) -> Problem | None:
    """Why no run can take an override, whatever the options chosen."""
    key = override.key
    text = shown(override.text)
    is_sweep = isinstance(override.value, SweptValues)
    value = NO_VALUE if is_sweep else override.value
    for_key = Suggestions(catalog).for_key
    if override.unreadable is not None:
        return Problem(f"cannot read override {text}{override.unreadable}", _readable(override, catalog))
    if any("\ud800" <= c <= "\udfff" for c in override.text):  # bytes that the locale cannot decode
        return Problem(f"{text} is not UTF-8", "use another name, or a UTF-8 locale: LANG=C.UTF-8")
    if re.split("[./]", key)[0] == "hydra":
        message = f"{key!r} is a key of Hydra, which dlfound does not use"
        return Problem(message, for_key(re.sub("^hydra[./]?", "", key), value))
    if override.package is not None:
        return Problem(f"'@' is not used here: {text}", for_key(key, value))
    if override.prefix == "~":
        return refuse_removal(key, catalog)
    message = f"resolvers are not allowed in a configuration: {text}"
    fix = f"write the value of {key} itself"
    if is_sweep:
        message = f"{text} gives several values, and a run takes one"
        fix = f"give {key} one value, or use dlfound sweep"
    elif not has_resolver(value):
        return None
    return Problem(message, fix if key in catalog.everything() else for_key(key))


def _readable(override: Override, catalog: Catalog) -> str:
    """What to write instead of an override that Hydra's grammar does not accept."""
    key, equals, value = override.text.lstrip("+~").partition("=")
    if not equals:
        return _as_override(override.text, catalog)
    if key in catalog.plain:
        return f"write {key}.SETTING=VALUE"
    if key == EXPERIMENT or key not in catalog.everything():
        return Suggestions(catalog).for_key(key, override.value)
    quotable = value == printable(value) and not value.startswith("'") and not set(value) & set('[]{}()"\\')
    quoted = override_text(key, value) if quotable else f"{key}='...'"
    return f"correct it there, or quote the value: {quoted}"


def _as_override(word: str, catalog: Catalog) -> str:
    """What to write instead of a word without `=`."""
    if word in catalog.everything():
        return f"give it a value: {word}=..."
    suggestions = Suggestions(catalog)
    groups = [group for group in catalog.paths if word in catalog.words(group)] or list(catalog.paths)
    choices = [choice for group in groups if (choice := suggestions.option(group, word))]
    return f"did you mean {choices[0]}?" if choices else f"write KEY=VALUE; {suggestions.for_key(word)}"


def refuse_removal(key: str, catalog: Catalog) -> Problem:
    """The problem with an override that removes a key."""
    if key not in catalog.everything():
        message = f"unknown key {shown(key)}, and no key can be removed"
        return Problem(message, Suggestions(catalog).for_key(key))
    value = "none" if "none" in catalog.paths.get(key, {}) else "..."
    fix = f"choose another value: {key}={'null' if key == EXPERIMENT else value}"
    return Problem(f"{key} cannot be removed: a run needs every setting", fix)


def _setting_problems(override: Override, suggestions: Suggestions) -> list[Problem]:
    """What is wrong with an override of settings, before the types of its values are checked."""
    key = override.key
    value = override.value
    node, _, setting = key.partition(".")
    settings = suggestions.settings(node)
    if setting not in settings and (setting or node not in suggestions.nodes):
        return [_no_such_key(key, value, suggestions)]
    if override.prefix == "+":
        return [Problem(f"'+' is not needed: {key} already exists", f"write {override.text[1:]}")]
    if setting:
        return [wrong_value(key, settings[setting], value)] if isinstance(value, dict) else []
    if not isinstance(value, dict):
        keys = ", ".join(f"{node}.{s}" for s in settings)
        return [Problem(f"{node} holds settings, not a value", f"set one of: {keys}")]
    return [suggestions.unknown_key(f"{node}.{s}", v) for s, v in value.items() if s not in settings]


def _no_such_key(key: str, value: Any, suggestions: Suggestions) -> Problem:
    """The problem with a key that the chosen options do not have."""
    node, _, setting = key.partition(".")
    catalog = suggestions.catalog
    if node in catalog.groups and setting == "name":
        words = ", ".join(catalog.words(node))
        return Problem(f"{key} is set by choosing an option", f"write {node}=...: {words}")
    if others := [f"{node}={w}" for w in catalog.words(node) if setting in catalog.keys(node, w)]:
        message = f"{node}={suggestions.chosen[node]} has no setting {key!r}"
        return Problem(message, f"choose an option that has it: {' or '.join(others)}")
    return suggestions.unknown_key(key, value)

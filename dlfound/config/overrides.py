"""The overrides of a command, looked up in the catalog: what they ask for, and what is wrong with them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dlfound.config.catalog import EXPERIMENT, Catalog
from dlfound.config.grammar import Override, Sweep, parse_override
from dlfound.config.suggest import NO_VALUE, Suggestions, override_text, shown, wrong_value
from dlfound.config.yaml_files import has_resolver
from dlfound.errors import Error, Problem, printable


class Overrides:
    """The overrides of a command, looked up in a catalog.

    The choices of options are looked up first. `read_settings` then looks up the settings of those options.

    Attributes:
        choices: group -> option, for each valid choice.
        assumed: group -> option, in place of each wrong choice, so that its settings can be looked up.
        settings: `node.setting` -> plain value, for each valid override of a setting.
        origins: `node.setting`, or `group.name` for a choice -> the override that set it last.
        problems: what is wrong with the others.
        warnings: one for each override that a later one replaces.
    """

    def __init__(self, texts: Sequence[str], catalog: Catalog):
        self.catalog = catalog
        self.choices: dict[str, str] = {}
        self.assumed: dict[str, str] = {}
        self.settings: dict[str, Any] = {}
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
                self._read_choice(override)

    def _read_choice(self, override: Override) -> None:
        group = override.key
        word = override.value
        if group == EXPERIMENT and word is None:
            return
        if problems := self._choice_problems(group, word, override.prefix):
            self.problems += problems
            if group in self.catalog.groups:
                self.assumed[group] = self._likely_option(group)
            return
        self._note_origin(f"{group}.name", override)
        self.choices[group] = word

    def _choice_problems(self, group: str, word: Any, prefix: str) -> list[Problem]:
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
        words = [self.catalog.defaults[group], *self.catalog.words(group)]
        return max(
            words, key=lambda word: sum(f"{group}.{s}" in keys for s in self.catalog.keys(group, word))
        )

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
            for name, value in values.items():
                self._note_origin(f"{node}.{name}", override)
                self.settings[f"{node}.{name}"] = value

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
    is_sweep = isinstance(override.value, Sweep)
    value = NO_VALUE if is_sweep else override.value
    if override.unreadable is not None:
        return Problem(f"cannot read override {text}{override.unreadable}", _readable(override, catalog))
    if any("\ud800" <= c <= "\udfff" for c in override.text):  # bytes that the locale cannot decode
        return Problem(f"{text} is not UTF-8", "use another name, or a UTF-8 locale: LANG=C.UTF-8")
    if re.split("[./]", key)[0] == "hydra":
        fix = Suggestions(catalog).for_key(re.sub("^hydra[./]?", "", key), value)
        return Problem(f"{key!r} is a key of Hydra, which dlfound does not use", fix)
    if override.package is not None:
        return Problem(f"'@' is not used here: {text}", Suggestions(catalog).for_key(key, value))
    if override.prefix == "~":
        return refuse_removal(key, catalog)
    if is_sweep:
        message = f"{text} gives several values, and a run takes one"
        return Problem(message, _for_existing(key, f"give {key} one value, or use dlfound sweep", catalog))
    if has_resolver(value):
        message = f"resolvers are not allowed in a configuration: {text}"
        return Problem(message, _for_existing(key, f"write the value of {key} itself", catalog))
    return None


def _readable(override: Override, catalog: Catalog) -> str:
    """What to write instead of an override that Hydra's grammar does not accept."""
    key, equals, value = override.text.lstrip("+~").partition("=")
    if not equals:
        return _as_override(override.text, catalog)
    if key in catalog.plain:
        return f"write {key}.SETTING=VALUE"
    if key not in (*catalog.groups, *catalog.all_keys()):
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


def _for_existing(key: str, fix: str, catalog: Catalog) -> str:
    """The fix, if the key exists; else what to do about the key."""
    return fix if key in catalog.everything() else Suggestions(catalog).for_key(key)


def refuse_removal(key: str, catalog: Catalog) -> Problem:
    """The problem with an override that removes a key."""
    if key not in catalog.everything():
        message = f"unknown key {shown(key)}, and no key can be removed"
        return Problem(message, Suggestions(catalog).for_key(key))
    value = "null" if key == EXPERIMENT else "none" if "none" in catalog.paths.get(key, {}) else "..."
    return Problem(
        f"{key} cannot be removed: a run needs every setting", f"choose another value: {key}={value}"
    )


def _setting_problems(override: Override, suggestions: Suggestions) -> list[Problem]:
    """What is wrong with an override of settings, before the types of its values are checked."""
    key = override.key
    value = override.value
    node, _, setting = key.partition(".")
    if problem := _key_problem(key, value, suggestions):
        return [problem]
    if override.prefix == "+":
        return [Problem(f"'+' is not needed: {key} already exists", f"write {override.text[1:]}")]
    settings = suggestions.settings(node)
    if setting:
        return [wrong_value(key, settings[setting], value)] if isinstance(value, dict) else []
    if not isinstance(value, dict):
        keys = ", ".join(f"{node}.{s}" for s in settings)
        return [Problem(f"{node} holds settings, not a value", f"set one of: {keys}")]
    return [suggestions.unknown_key(f"{node}.{s}", v) for s, v in value.items() if s not in settings]


def _key_problem(key: str, value: Any, suggestions: Suggestions) -> Problem | None:
    """What is wrong with the key of a setting."""
    node, _, setting = key.partition(".")
    catalog = suggestions.catalog
    settings = suggestions.settings(node)
    if setting in settings or (not setting and node in suggestions.nodes):
        return None
    if node in catalog.groups and setting == "name":
        words = ", ".join(catalog.words(node))
        return Problem(f"{key} is set by choosing an option", f"write {node}=...: {words}")
    words = catalog.words(node) if node in catalog.groups else []
    if others := [f"{node}={word}" for word in words if setting in catalog.keys(node, word)]:
        message = f"{node}={suggestions.chosen[node]} has no setting {key!r}"
        return Problem(message, f"choose an option that has it: {' or '.join(others)}")
    return suggestions.unknown_key(key, value)

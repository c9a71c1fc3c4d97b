"""The override list of a command line, read word by word, so that all mistakes are told at once.

Hydra stops at its first error; this pass parses each override alone with Hydra's own parser, looks its words up,
and hands on what is sound.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from dlfound.config.catalog import EXPERIMENT, Catalog
from dlfound.config.check import broken_kind, shown, unknown_key, unknown_option
from dlfound.config.nearest import nearest
from dlfound.config.shell_quote import setting
from dlfound.errors import Error, Problem, printable

_REFERENCE = re.compile(r"\$\{\.*[A-Za-z_]\w*(\.\w+|\[\w+\])*\}", re.ASCII)


@dataclass
class Overrides:
    """What was understood of an override list.

    Attributes:
        accepted: the sound overrides, as Hydra takes them.
        choices: group -> word, for the groups that were chosen soundly.
        values: "node.setting" -> the text that set it last.
        problems, warnings: what to tell.
    """

    accepted: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_overrides(texts: Sequence[str], catalog: Catalog, experiment_choices: Any) -> Overrides:
    """Parse and look up each override.

    Args:
        texts: as the person typed them.
        experiment_choices: function from an experiment's word to its group -> word choices.
    """
    result = Overrides()
    parsed = [p for text in texts if (p := _parse(text, catalog, result)) is not None]
    failed: set[str] = set()
    for override in parsed:
        if override.key_or_group in catalog.paths:
            _read_choice(override, catalog, result, failed)
    chosen = {**catalog.defaults, **experiment_choices(result.choices.get(EXPERIMENT)), **result.choices}
    for override in parsed:
        if override.key_or_group not in catalog.paths:
            _read_value(override, catalog, chosen, failed, result)
    return result


def read_values(texts: Mapping[str, str]) -> dict[str, Any]:
    """Key -> the value that its override gives it; the overrides have been read before, with other values."""
    parser = OverridesParser.create()
    return {key: parser.parse_override(_quoted_home(text)).value() for key, text in texts.items()}


def readable(text: str) -> bool:
    """True for an override that can be read, and gives one value."""
    try:
        override = OverridesParser.create().parse_override(_quoted_home(text))
    except (HydraException, ValueError, RecursionError):
        return False
    single = (
        override.type == OverrideType.CHANGE and override.package is None and not override.is_sweep_override()
    )
    return single and not isinstance(override.value(), dict)


def _quoted_home(text: str) -> str:
    """`key=~/folder` as a shell leaves it; Hydra's grammar wants such a value in quotes."""
    key, _, value = text.partition("=")
    return f"{key}='{value}'" if value.startswith("~/") and "'" not in value else text


def _parse(text: str, catalog: Catalog, result: Overrides) -> Override | None:
    try:
        override = OverridesParser.create().parse_override(_quoted_home(text))
    except (HydraException, ValueError, RecursionError) as error:
        why = _place(error) if "=" in text else ": there is no '=' in it"
        key, _, value = text.partition("=")
        plain = value == printable(value) and not value.startswith("'") and not set(value) & set('[]{}()"\\')
        quoted = setting(key, value) if plain else f"{key}='...'"
        quote = f"mend it there, or put the value in quotes: {quoted}"
        fix = quote if key in catalog.all_keys() else _nearest_override(text, catalog)
        result.problems.append(Problem(f"cannot read override {shown(text)}{why}", fix))
        return None
    key, refused = override.key_or_group, None
    if any("\ud800" <= c <= "\udfff" for c in text):  # bytes that this locale cannot read
        refused = (
            f"{shown(text)} is no text in UTF-8",
            "use another name, or a locale that reads it: LANG=C.UTF-8",
        )
    elif re.split("[./]", key)[0] == "hydra":
        refused = f"{key!r} is Hydra's own and cannot be set here", _nearest_override(text, catalog)
    elif override.package is not None:
        refused = f"'@' is not used here: {shown(text)}", _nearest_override(key or text, catalog)
    elif override.type == OverrideType.DEL:
        refused = refuse_removal(key, catalog)
    elif override.is_sweep_override():
        fix = f"give {key} one value" if key in catalog.everything() else _nearest_override(text, catalog)
        refused = f"{shown(text)} is a choice of several values, but one run takes one", fix
    elif holds_resolver(override.value()):
        fix = (
            f"write the value of {key} itself"
            if key in catalog.everything()
            else _nearest_override(text, catalog)
        )
        refused = f"resolvers are not allowed in a configuration: {shown(text)}", fix
    if refused:
        result.problems.append(Problem(*refused))
        return None
    return override


def _place(error: Exception) -> str:
    """Where Hydra's lexer or parser stopped, where it tells."""
    at = getattr(error.__cause__, "startIndex", None)
    if at is None:
        at = getattr(getattr(error.__cause__, "offendingToken", None), "column", None)
    return "" if at is None else f" (at character {at + 1})"


def refuse_removal(key: str, catalog: Catalog) -> tuple[str, str]:
    """What is wrong with a word that takes a key away, and what to do."""
    words = catalog.everything()
    if key not in words:
        return f"unknown key {shown(key)}, and nothing can be removed", f"did you mean {nearest(key, words)}?"
    none = "null" if key == EXPERIMENT else "none" if "none" in catalog.paths.get(key, {}) else "..."
    return f"{key} cannot be removed: a run needs every setting", f"choose another value: {key}={none}"


def _nearest_override(text: str, catalog: Catalog) -> str:
    key, equals, _ = text.lstrip("+~").partition("=")
    for group in catalog.paths:
        if not equals and text in catalog.words(group):
            return f"did you mean {group}={text}?"
    return f"write key=value; did you mean {nearest(key, catalog.everything())}=...?"


def holds_resolver(value: Any) -> bool:
    """True where a text in the value holds a ${...} that is more than a reference to another key."""
    if isinstance(value, dict):
        return any(holds_resolver(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(holds_resolver(part) for part in value)
    return isinstance(value, str) and "${" in _REFERENCE.sub("", value)


def _read_choice(override: Override, catalog: Catalog, result: Overrides, failed: set[str]) -> None:
    group, word = override.key_or_group, override.value()
    if group == EXPERIMENT and word is None:
        return
    if not isinstance(word, str) or word not in catalog.words(group):
        failed.add(group)
        result.problems.append(unknown_option(group, word, catalog))
        return
    if override.type == OverrideType.ADD:
        failed.add(group)
        result.problems.append(
            Problem(f"'+' is not needed: {group} is a group already", f"write {group}={word}")
        )
        return
    try:
        if group != EXPERIMENT:
            catalog.content(group, word)
    except Error as error:  # a broken file of one's own
        failed.add(group)
        result.problems += error.problems
        return
    _note_repeat(f"{group}.name", override, result)
    result.choices[group] = word
    result.accepted.append(f"{group}={word}")


def _read_value(
    override: Override, catalog: Catalog, chosen: dict, failed: set[str], result: Overrides
) -> None:
    key = override.key_or_group
    node, _, setting = key.partition(".")
    if node in failed:
        # Its option was refused, so Hydra will compose the default one: what that one lacks cannot be checked now.
        known = {s for option in catalog.groups.get(node, {}).values() for s in option.settings}
        if setting not in known:
            result.problems.append(unknown_key(key, [f"{node}.{s}" for s in known]))
        if setting not in catalog.keys(node, chosen[node]):
            return
    if problems := _value_problems(override, catalog, chosen):
        result.problems += problems
        return
    for changed in [key] if setting else [f"{key}.{s}" for s in override.value()]:
        _note_repeat(changed, override, result)
    result.accepted.append(override.input_line)


def _value_problems(override: Override, catalog: Catalog, chosen: dict[str, str]) -> list[Problem]:
    """What is wrong with an override before its value is looked at, or with a mapping where a value belongs."""
    key, value = override.key_or_group, override.value()
    node, _, setting = key.partition(".")
    if problem := _key_problem(key, catalog, chosen):
        return [problem]
    if override.type == OverrideType.ADD:
        return [Problem(f"'+' is not needed: {key} exists already", f"write {override.input_line[1:]}")]
    option = catalog.plain.get(node) or catalog.option(node, chosen[node])
    if setting:
        return [broken_kind(key, option.settings[setting], value)] if isinstance(value, dict) else []
    known = [f"{node}.{s}" for s in option.settings]
    if not isinstance(value, dict):
        return [Problem(f"{node} holds settings, not a value", f"set one of: {', '.join(known)}")]
    return [unknown_key(f"{node}.{s}", known) for s in value if s not in option.settings]


def _note_repeat(key: str, override: Override, result: Overrides) -> None:
    if key in result.values:
        last = printable(override.input_line)
        result.warnings.append(f"{key.removesuffix('.name')} is set twice; the last counts: {last}")
    result.values[key] = override.input_line


def _key_problem(key: str, catalog: Catalog, chosen: dict[str, str]) -> Problem | None:
    node, _, setting = key.partition(".")
    if node in catalog.plain:
        known = list(catalog.plain[node].settings)
        return None if not setting or setting in known else unknown_key(key, [f"{node}.{s}" for s in known])
    if node not in catalog.groups:
        # `lr=0.1`: the word exists, one level down.
        below = [f"{g}.{node}" for g, word in chosen.items() if node in catalog.keys(g, word)]
        return unknown_key(key, below if not setting and below else catalog.everything())
    if setting == "name":
        return Problem(
            f"{key} is set by choosing an option", f"write {node}=...: {', '.join(catalog.words(node))}"
        )
    if setting in catalog.keys(node, chosen[node]):
        return None
    if others := [w for w in catalog.words(node) if setting in catalog.keys(node, w)]:
        has = ", ".join(f"{node}={word}" for word in others)
        return Problem(
            f"{node}={chosen[node]} has no setting {key!r}", f"{has} {'have' if others[1:] else 'has'} it"
        )
    known = catalog.keys(node, chosen[node]) or [
        s for w in catalog.words(node) for s in catalog.keys(node, w)
    ]
    return unknown_key(key, [f"{node}.{s}" for s in known])

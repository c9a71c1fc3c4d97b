"""What to write instead of a mistake: the nearest word, our word for another tool's, an override to paste."""

import json
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlfound.config.setting_types import MISSING, SettingType
from dlfound.config.yaml_files import read_yaml, scalar
from dlfound.errors import Problem, printable

if TYPE_CHECKING:
    from dlfound.config.catalog import Catalog

NO_VALUE = object()  # in place of the value of an override that has none, or several
_NEAR = 0.6  # of difflib's ratio: two thirds of the letters agree, as after one or two slips
_SURE = 0.8  # after one slip, or two in a long word
_NO_QUOTES = re.compile(r"[A-Za-z_/][A-Za-z0-9_.:/\-]*|0|[1-9][0-9]*")
_NOT_TEXT = ("true", "false", "null", "nan", "inf", "infinity", "yes", "no", "on", "off")
_ON = ("true", "yes", "on", "1")
_OFF = ("false", "no", "off", "0", "none", "null")
_TABLE_FILE = re.compile(r".+\.(csv|tsv|parquet)(\.gz)?")
_TUPLE = re.compile(r"\(\s*\d+(\s*,\s*\d+)*\s*,?\s*\)")


# ---- words


def folded(word: object) -> str:
    """The letters and digits of a word, in lower case, and a leading minus: LeakyReLU is leaky_relu."""
    text = str(word).strip().lower()
    letters = "".join(c for c in text if c.isalnum())
    return f"-{letters}" if text.startswith("-") else letters


@cache
def _tables() -> dict[str, Any]:
    """The content of aliases.yaml."""
    return read_yaml(Path(str(files("dlfound.config") / "aliases.yaml")))


@cache
def _ours(section: str, key: str = "") -> dict[str, str]:
    """What another tool calls it, folded -> our word; of a section of aliases.yaml, or of a key in it."""
    table = _tables()[section].get(key, {}) if key else _tables()[section]
    return {folded(alias): ours for ours, aliases in table.items() for alias in str(aliases).split()}


def node_of(override: str) -> str:
    """The group or node that an override sets; of several, the last one."""
    return re.split("[.=]", override.rpartition(" ")[2])[0]


def nearest(word: str, words: Iterable[str]) -> str:
    """The word of `words` (at least one) most like `word`, however unlike."""
    by_lower = {w.lower(): w for w in words}
    return by_lower[get_close_matches(word.lower()[:80], list(by_lower), n=1, cutoff=0.0)[0]]


def similar(word: str, words: Iterable[str], sure: bool = False) -> str | None:
    """The word of `words` that `word` is a slip of, or most letters of; None if all are too different.

    Args:
        sure: allow fewer slips, and no abbreviation; for words of several groups.
    """
    letters = folded(word[:80])
    by_letters = {folded(w): w for w in words}
    for match in get_close_matches(letters, list(by_letters), n=3, cutoff=_SURE if sure else _NEAR):
        slips = _slips(letters, match)
        is_abbreviation = not sure and slips == len(match) - len(letters)
        is_near = is_abbreviation or slips <= 1 + len(match) // (10 if sure else 5)
        if is_near and len(letters) > 1 and not _has_extra_word(word[:80], match):
            return by_letters[match]
    return None


def _slips(letters: str, match: str) -> int:
    """How many letters of the longer word differ; two that swapped places count once."""
    blocks = SequenceMatcher(None, letters, match).get_matching_blocks()
    return max(len(letters), len(match)) - sum(block.size for block in blocks)


def _has_extra_word(word: str, match: str) -> bool:
    """True if a word such as no_cuda fits the match better without one of its parts."""
    parts = re.split("[_-]", word)
    shorter = ["_".join(parts[:i] + parts[i + 1 :]) for i in range(len(parts))]
    return min(_slips(folded(text), match) for text in shorter) < _slips(folded(word), match)


def shown(value: Any) -> str:
    """A value as a message quotes it: short, and safe to print."""
    text = printable(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def override_text(key: str, names: str | Sequence[str]) -> str:
    """`key=name`, or `key=[name,name]`, to paste into a shell: quoted if it has to be."""
    text = _quoted(names) if isinstance(names, str) else f"[{','.join(map(_quoted, names))}]"
    return f"{key}={text}" if '"' not in text else shlex.quote(f"{key}={text}")


def _quoted(name: str) -> str:
    text = printable(name)
    if _NO_QUOTES.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)  # Hydra reads two backslashes before a quote as one
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'


def similar_word(key: str, value: object, words: Collection[str]) -> str | None:
    """The word of a setting, or the verb, that a value is a slip of, or another tool's word for."""
    alias = _ours("words", key).get(folded(value))
    return alias if alias in words else similar(str(value), words)


# ---- problems with what to write instead


def wrong_value(path: str, setting_type: SettingType, value: Any, origin: str = "") -> Problem:
    """A value that its setting does not accept."""
    word = similar_word(path, value, setting_type.words)
    fix = f"did you mean {path}={word}?" if word else f"give {path} another value, or omit it for the default"
    return Problem(f"{path} must be {setting_type.description}, got {shown(value)}{origin}", fix)


class Suggestions:
    """Finds what to write in place of words that do not exist.

    Args:
        catalog: the words that exist.
        chosen: group -> option, where they differ from the defaults.
    """

    def __init__(self, catalog: "Catalog", chosen: Mapping[str, str] | None = None):
        self.catalog = catalog
        self.chosen = {**catalog.defaults, **(chosen or {})}
        self.nodes = [*catalog.groups, *catalog.plain]

    @cached_property
    def names(self) -> dict[str, str]:
        """Our groups and nodes, and what other tools call ours -> the template of an override."""
        ours = {folded(name): name for name in (*self.catalog.paths, *self.catalog.plain)}
        theirs = _ours("names").items()
        usable = {name: key for name, key in theirs if node_of(key) in self.nodes}
        return usable | ours

    def settings(self, node: str) -> Mapping[str, SettingType]:
        """The settings of a plain node, or of the option chosen in a group; none if there is no such node."""
        if node in self.catalog.plain:
            return self.catalog.plain[node].settings
        word = self.chosen.get(node)
        exists = node in self.catalog.groups and word in self.catalog.words(node)
        return self.catalog.option(node, word).settings if exists else {}

    def unknown_option(self, group: str, value: Any, origin: str = "") -> Problem:
        """An option that its group does not have."""
        words = self.catalog.words(group)
        suggestion = self.option(group, value)
        fix = f"did you mean {suggestion}?" if suggestion else f"see dlfound options {group}"
        return Problem(f"no {group} named {shown(value)}; choose from: {', '.join(words)}{origin}", fix)

    def unknown_key(self, key: str, value: Any = NO_VALUE, origin: str = "") -> Problem:
        """A key that does not exist, perhaps with an option that its group does not have either."""
        if value is not NO_VALUE and (group := self.key(key, value)) in self.catalog.paths:
            problem = self.unknown_option(group, value, origin)
            return Problem(f"unknown key {shown(key)}, and {problem.what}", problem.fix)
        return Problem(f"unknown key {shown(key)}{origin}", self.for_key(key, value))

    def for_key(self, key: str, value: Any = NO_VALUE) -> str:
        """What to do about a key that does not exist."""
        if suggestion := self.key(key, value):
            return f"did you mean {suggestion}?"
        for word in key.split("."):
            if word not in self.nodes and folded(word) in _ours("absent"):
                return _ours("absent")[folded(word)]
        node = key.partition(".")[0]
        if node not in self.nodes:
            return f"a key begins with one of: {', '.join((*self.catalog.paths, *self.catalog.plain))}"
        if settings := [f"{node}.{setting}" for setting in self.settings(node)]:
            return f"choose from: {', '.join(settings)}"
        return f"{node}={self.chosen[node]} has no settings: see dlfound options {node}"

    def option(self, group: str, value: Any) -> str:
        """The choice that a slip, another tool's word, a truth value or a number means; empty if unknown."""
        words = {folded(word): word for word in self.catalog.words(group)}
        word = folded(json.dumps(value) if value is None or isinstance(value, bool) else value)
        if word in words:
            return f"{group}={words[word]}"
        if alias := _ours("words", group).get(word):
            return " ".join([f"{group}={alias}", *_required(self.catalog.values(group, alias), group)])
        if word in _OFF and "none" in words:
            return f"{group}=none"
        if word in _ON and group in _tables()["switched_on"]:
            return f"{group}={_tables()['switched_on'][group]}"
        is_number = isinstance(value, int | float | list) and not isinstance(value, bool)
        if is_number and group in _tables()["numbers"]:
            return self._filled(_tables()["numbers"][group], value)
        if group == "data" and _TABLE_FILE.fullmatch(str(value)):
            return self._filled("data=table data.path", value)
        near = similar(str(value), words.values())
        return f"{group}={near}" if near else ""

    def key(self, key: str, value: Any = NO_VALUE) -> str:
        """The override that a key means, with the value, or the default if that does not fit; or empty."""
        template = self._template(key)
        is_count = folded(key.rpartition(".")[2]) in _tables()["layer_counts"].split()
        if template.endswith("model.hidden") and is_count and type(value) is int:
            value = self.catalog.node("model", "mlp")["hidden"][:1] * min(value, 100)
        return self._filled(template, value) if template else ""

    def _template(self, key: str) -> str:
        """The key, perhaps after a choice, that a key means which does not exist; empty if unknown."""
        head, _, last = key.rpartition(".")
        if last.startswith("_") or (head not in self.nodes and folded(head) in _ours("absent")):
            return ""  # a key that Hydra itself reads, or a group that dlfound lacks
        if folded(key) in self.names:
            return self.names[folded(key)]
        node = head if head in self.nodes else self.names.get(folded(head)) or similar(head, self.nodes)
        templates = self._templates([node] if node in self.nodes else [])
        if folded(last) not in templates and (not head or folded(last) in self.names):
            templates = self._templates(self.nodes) | self.names
        near = last if folded(last) in templates else similar(last, templates | _ours("absent"), not head)
        return templates.get(folded(near), "") if near else ""

    def flag(self, flag: str, value: Any) -> str:
        """What to do about a flag of another tool, such as --lr 0.1; empty if no tool has it."""
        key = flag.lstrip("-").replace("-", "_")
        words = self._templates(self.nodes) | self.names | _ours("absent")
        if folded(key) not in words and folded(key.rpartition(".")[2]) not in words:
            return ""
        if override := self.key(key, value):
            return f"a setting has no dashes: write {override}{'' if '=' in override else '=...'}"
        return self.for_key(key)

    def _templates(self, nodes: Sequence[str]) -> dict[str, str]:
        """Setting of the nodes -> its key, after a choice of option if the chosen one lacks it."""
        templates = {}
        for node in nodes:
            usual = _tables()["switched_on"].get(node)
            for word in sorted(self.catalog.words(node), key=lambda word: word != usual):
                for setting in self.catalog.keys(node, word):
                    templates.setdefault(folded(setting), f"{node}={word} {node}.{setting}")
        chosen = {folded(s): f"{node}.{s}" for node in reversed(nodes) for s in self.settings(node)}
        return templates | chosen

    def _filled(self, template: str, value: Any) -> str:
        """The override of a template of `aliases`, with the value in it."""
        *choices, last = template.split()
        key, _, word = last.partition("=")
        node, _, setting = key.partition(".")
        if word:  # the template has a value already
            off = self.option(key, False) if key in self.nodes else self._assigned(key, "")
            return off if folded(value) in _OFF else template
        if not setting:
            option = "" if value is NO_VALUE or node in self.catalog.plain else self.option(node, value)
            return option or node
        if not choices or setting in self.settings(node):
            return self._assigned(key, value)
        word = choices[0].partition("=")[2]
        required = _required(self.catalog.values(node, word), node, setting)
        with_choice = Suggestions(self.catalog, {**self.chosen, node: word})
        return " ".join([*choices, with_choice._assigned(key, value), *required])

    def _assigned(self, key: str, value: Any) -> str:
        """`key=value` if the value fits, or with the default if not; the key alone if there is no value."""
        node, _, setting = key.partition(".")
        if value is NO_VALUE:
            return key
        numbers = [int(n) for n in re.findall(r"\d+", value)] if _TUPLE.fullmatch(str(value)) else None
        default = self.catalog.values(node, self.chosen.get(node, "")).get(setting)
        default = None if default == MISSING or "${" in str(default) else default
        for candidate in (_ours("words", key).get(folded(value)), value, numbers, str(value), default):
            if candidate is not None and self.settings(node)[setting].accepts(candidate):
                return _assigned(key, candidate)
        return key


def _required(values: Mapping[str, Any], group: str, given: str = "") -> list[str]:
    """An override with a placeholder for each of an option's values that a person must give."""
    missing = [setting for setting, value in values.items() if value == MISSING and setting != given]
    return [f"{group}.{setting}={setting.upper()}" for setting in missing]


def _assigned(key: str, value: Any) -> str:
    """An override that gives a plain value."""
    if isinstance(value, str) and not isinstance(scalar(value), str):  # a text such as "1"
        return shlex.quote(f'{key}="{value}"')
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value)):
        return override_text(key, value)
    return f"{key}={json.dumps(value, separators=(',', ':'))}"

"""What may follow on a command line that is being typed, read off the verbs' parsers and the tables of options.

A person waits for it at a prompt: neither torch nor Hydra is imported, and no data are looked at.
"""

import argparse
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlfound.commands.options import describe
from dlfound.config.catalog import EXPERIMENT, Catalog
from dlfound.config.setting_types import OptionalText, SettingType, Text, setting_type
from dlfound.config.yaml_files import read_yaml
from dlfound.data.sources import task_of
from dlfound.errors import Error
from dlfound.objective.tasks import METRICS
from dlfound.options.configure import catalog, full_catalog
from dlfound.runs.find import list_runs, run_name

NOTHING, FILES, FOLDERS = "nothing", "files", "folders"
_TOP = {"--help": "what the verbs are", "--version": "which dlfound this is"}
_REDIRECTION = re.compile(r"\d*[<>]+")
_TEXTS = (setting_type(Text), setting_type(OptionalText))
_CURSOR = "\0"  # no argument of a program can hold it

Parsers = Mapping[str, Callable[[], argparse.ArgumentParser]]


@dataclass(frozen=True)
class Answer:
    """What a shell is to offer.

    Attributes:
        words: word -> what it means, in a line; one that ends with `=` or `.` is to be typed on.
        otherwise: what the shell completes by itself where no word fits: NOTHING, FILES or FOLDERS.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = NOTHING


def complete(line: str, parsers: Parsers) -> Answer:
    """What may stand at the end of a command line.

    Args:
        line: as typed so far, quotes and all; its first word is the command itself.
        parsers: verb -> the function that makes its parser.

    Raises:
        Error: a folder or file of one's own, named on the line, is broken (code 2).
    """
    *before, current = split(line)
    answer = _due(before[1:], current, parsers)
    fitting = {
        word: told for word, told in answer.words.items() if word.startswith(current) and word.isprintable()
    }
    return Answer(fitting, answer.otherwise)


def split(line: str) -> list[str]:
    """The words of an unfinished line, without their quotes; the last is the one at the cursor, perhaps empty."""
    for closing in ("", "'"):
        try:
            return [word.removesuffix(_CURSOR) for word in shlex.split(line + _CURSOR + closing)]
        except ValueError:  # a quote that is still open
            continue
    return [word.removesuffix(_CURSOR) for word in shlex.split(line + _CURSOR + '"')]


def _due(before: list[str], current: str, parsers: Parsers) -> Answer:
    if _REDIRECTION.match(current) or (before and _REDIRECTION.fullmatch(before[-1])):
        return Answer(otherwise=FILES)
    if not before:
        return Answer(
            _TOP if current.startswith("-") else {verb: make().description for verb, make in parsers.items()}
        )
    if before[0] not in parsers:
        return Answer()
    typed = _Typed(parsers[before[0]](), before[1:])
    flag, equals, _ = current.partition("=")
    if typed.waiting:
        return _values(typed.waiting, current, typed)
    if typed.only_words or not current.startswith("-"):
        return _values(typed.positional(), current, typed) if typed.positional() else Answer()
    if equals and flag in typed.flags:
        answer = _values(typed.flags[flag], current, typed)
        return Answer({f"{flag}={word}": told for word, told in answer.words.items()}, answer.otherwise)
    return Answer({flag: action.help or "" for flag, action in typed.flags.items() if flag.startswith("--")})


class _Typed:
    """The words between a verb and the cursor, as the verb's parser will read them.

    Attributes:
        flags: flag -> its action in the parser.
        given: a flag's destination -> the values given so far.
        words: those that are no flags and no values of flags.
        waiting: the flag whose value stands at the cursor.
        only_words: true after a `--`.
    """

    def __init__(self, parser: argparse.ArgumentParser, texts: Sequence[str]):
        self._positionals = [action for action in parser._actions if not action.option_strings]
        self.flags = {flag: action for action in parser._actions for flag in action.option_strings}
        self.given: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.waiting: argparse.Action | None = None
        self.only_words = False
        for text in texts:
            self._read(text)

    def _read(self, text: str) -> None:
        flag, equals, value = text.partition("=")
        if self.waiting:
            self.given.setdefault(self.waiting.dest, []).append(text)
            self.waiting = None
        elif self.only_words or not text.startswith("-"):
            self.words.append(text)
        elif text == "--":
            self.only_words = True
        elif flag in self.flags and self.flags[flag].nargs != 0:
            self.waiting = self.flags[flag]
            if equals:
                self._read(value)

    def positional(self) -> argparse.Action | None:
        """What the verb takes at the cursor, if anything more."""
        for place, action in enumerate(self._positionals):
            if action.nargs in ("*", "+") or place == len(self.words):
                return action
        return None


def _values(action: argparse.Action, current: str, typed: _Typed) -> Answer:
    """What may stand for an argument: its choices, or what goes by its name in the help."""
    if action.choices:
        return Answer(dict.fromkeys(action.choices, ""))
    find = _BY_NAME.get(str(action.metavar))
    return find(current, typed) if find else Answer()


def _files(current: str, typed: _Typed) -> Answer:
    return Answer(otherwise=FILES)


def _folders(current: str, typed: _Typed) -> Answer:
    return Answer(otherwise=FOLDERS)


def _groups(current: str, typed: _Typed) -> Answer:
    return Answer(dict.fromkeys(_catalog(typed).paths, ""))


def _runs(current: str, typed: _Typed) -> Answer:
    """`latest` and the runs' names; their folders, of which there are many, once something of them is typed."""
    paths = list_runs()
    words = [run_name(path) for path in paths]
    if current:
        words += [path.name for path in paths]
    if "/" in current:
        words += [f"{run_name(path)}/{path.name}" for path in paths]
    latest = {"latest": str(paths[-1])} if paths else {}
    return Answer(latest | dict.fromkeys(words, ""), FOLDERS)


def _overrides(current: str, typed: _Typed) -> Answer:
    return _override(current, _Overrides(_catalog(typed), typed.words))


def _space(current: str, typed: _Typed) -> Answer:
    """As for a run, and what only a sweep knows."""
    return _override(current, _Overrides(full_catalog(typed.given.get("config_dir", ())), typed.words))


def _override(current: str, overrides: "_Overrides") -> Answer:
    key, equals, _ = current.partition("=")
    if equals:
        return overrides.values(key)
    node, dot, _ = key.partition(".")
    return Answer(overrides.settings(node) if dot else overrides.heads())


def _catalog(typed: _Typed) -> Catalog:
    return catalog(typed.given.get("config_dir", ()))


_BY_NAME: dict[str, Callable[[str, _Typed], Answer]] = {
    "OVERRIDE": _overrides,
    "SPACE": _space,
    "RUN": _runs,
    "NAME": _runs,
    "GROUP": _groups,
    "FILE": _files,
    "CSV": _files,
    "DIR": _folders,
}


class _Overrides:
    """The overrides of a line, and what may be one more.

    Args:
        known: the words that exist.
        texts: the overrides before the cursor.
    """

    def __init__(self, known: Catalog, texts: Sequence[str]):
        self.known = known
        self.given = {key: value for key, equals, value in (text.partition("=") for text in texts) if equals}
        experiment = self.known.paths[EXPERIMENT].get(self.given.get(EXPERIMENT, ""))
        self.experiment = read_yaml(experiment) if experiment else {}
        self.chosen = {**known.defaults, **self._choices(), **self.given}

    def _choices(self) -> dict[str, str]:
        """Group -> word, of the experiment; mistakes in its file are told when it is used."""
        entries = self.experiment.get("defaults")
        found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        return {key.removeprefix("override /"): str(word) for entry in found for key, word in entry.items()}

    def heads(self) -> dict[str, str]:
        """What a group's choice or a setting begins with; what the line has chosen already is left out."""
        groups = {
            f"{g}=": f"now {self.chosen.get(g, 'none')}" for g in self.known.paths if g not in self.given
        }
        nodes = [node for node in (*self.known.groups, *self.known.plain) if self.settings(node)]
        return groups | {f"{node}.": f"settings of {self.chosen.get(node, 'the run')}" for node in nodes}

    def settings(self, node: str) -> dict[str, str]:
        """The settings of a node's chosen option that the line does not set yet."""
        keys = {f"{node}.{setting}": kind.description for setting, kind in self._kinds(node).items()}
        return {f"{key}=": says for key, says in keys.items() if key not in self.given}

    def values(self, key: str) -> Answer:
        """The words for one key, and its default."""
        if key in self.known.paths:
            return Answer({f"{key}={word}": told for word, told in self._told(key).items()})
        node, _, setting = key.partition(".")
        kind = self._kinds(node).get(setting)
        if kind is None:
            return Answer()
        words = dict.fromkeys(self._monitors() if key == "train.monitor" else kind.words, "")
        if default := _typable(self._default(node, setting)):
            words[default] = "default"
        otherwise = FILES if kind in _TEXTS and not words else NOTHING
        return Answer({f"{key}={word}": told for word, told in words.items()}, otherwise)

    def _word(self, group: str) -> str | None:
        """The option of the group that counts; None where the line names one that does not exist."""
        word = self.chosen.get(group)
        return word if group in self.known.groups and word in self.known.words(group) else None

    def _kinds(self, node: str) -> dict[str, SettingType]:
        if node in self.known.plain:
            return self.known.plain[node].settings
        word = self._word(node)
        return self.known.option(node, word).settings if word else {}

    def _default(self, node: str, setting: str) -> Any:
        values = {**self.known.common(node), **self._node(node)}
        asked = self.experiment.get(node)
        return (values | asked if isinstance(asked, dict) else values).get(setting)

    def _node(self, node: str) -> dict[str, Any]:
        word = self._word(node)
        return {**self.known.option(node, word).defaults, **self.known.node(node, word)} if word else {}

    def _told(self, group: str) -> dict[str, str]:
        try:
            return {word: told["summary"] for word, told in describe(self.known, group).items()}
        except Error:  # a broken file of one's own: the words are there all the same
            return dict.fromkeys(self.known.words(group), "")

    def _monitors(self) -> list[str]:
        """The metrics of the task, or of all tasks where only the data will show which it is."""
        data = self._node("data") | {key.removeprefix("data."): value for key, value in self.given.items()}
        task = task_of(data)
        return ["auto", *(METRICS[task] if task else [name for names in METRICS.values() for name in names])]


def _typable(value: Any) -> str:
    """A value as one types it; empty where it is none, refers to another, or would need quotes."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if value is not None and re.fullmatch(r"[\w.,+\[\]-]+", text, re.ASCII) else ""

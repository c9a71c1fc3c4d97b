"""What may follow on an unfinished command line, from the parsers of the verbs and the catalog of options.

A person waits for the answer at a prompt, so this imports neither torch nor Hydra and reads no data.
"""

import argparse
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlfound.commands.options import describe
from dlfound.config.catalog import EXPERIMENT, Catalog, default_entries
from dlfound.config.setting_types import OptionalText, Text, setting_type
from dlfound.config.suggest import Suggestions
from dlfound.data.sources import task_of
from dlfound.errors import Error
from dlfound.objective.tasks import METRICS
from dlfound.options.configure import CATALOGS, catalog
from dlfound.runs.find import list_runs, run_name

NOTHING = "nothing"
FILES = "files"
FOLDERS = "folders"
_TOP_FLAGS = {"--help": "list the verbs", "--version": "print the version of dlfound"}
_REDIRECTION = re.compile(r"\d*[<>]+")
_TEXT_TYPES = (setting_type(Text), setting_type(OptionalText))
_CURSOR = "\0"  # no argument of a program can contain it

Parsers = Mapping[str, Callable[[], argparse.ArgumentParser]]


@dataclass(frozen=True)
class Answer:
    """What a shell offers.

    Attributes:
        words: word -> its meaning, in one line; a word that ends with `=` or `.` is incomplete.
        otherwise: what the shell completes itself if no word fits: NOTHING, FILES or FOLDERS.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = NOTHING


def complete(line: str, parsers: Parsers) -> Answer:
    """Return what may stand at the end of a command line.

    Args:
        line: the line as typed so far, with its quotes; the first word is the command itself.
        parsers: verb -> the function that makes its parser.

    Raises:
        Error: a folder or file of options that the line names is broken (code 2).
    """
    *before, current = split(line)
    answer = _possible(before[1:], current, parsers)
    fitting = {w: text for w, text in answer.words.items() if w.startswith(current) and w.isprintable()}
    return Answer(fitting, answer.otherwise)


def split(line: str) -> list[str]:
    """Split an unfinished line into words without quotes; the last is at the cursor, perhaps empty."""
    for closing_quote in ("", "'", '"'):
        try:
            words = shlex.split(line + _CURSOR + closing_quote)
        except ValueError:  # another quote is open
            continue
        return [word.removesuffix(_CURSOR) for word in words]
    return [""]


def _possible(before: Sequence[str], current: str, parsers: Parsers) -> Answer:
    """Return what may follow the words `before`, whether or not it begins like `current`."""
    if _REDIRECTION.match(current) or (before and _REDIRECTION.fullmatch(before[-1])):
        return Answer(otherwise=FILES)
    if not before:
        verbs = {verb: make().description for verb, make in parsers.items()}
        return Answer(_TOP_FLAGS if current.startswith("-") else verbs)
    if before[0] not in parsers:
        return Answer()
    typed = _Typed(parsers[before[0]](), before[1:])
    flag, equals, _ = current.partition("=")
    if typed.open_flag:
        return _values(typed.open_flag, current, typed)
    if typed.no_more_flags or not current.startswith("-"):
        argument = typed.next_argument()
        return _values(argument, current, typed) if argument else Answer()
    if equals and flag in typed.flags:
        answer = _values(typed.flags[flag], current, typed)
        return Answer({f"{flag}={word}": text for word, text in answer.words.items()}, answer.otherwise)
    return Answer({flag: action.help or "" for flag, action in typed.flags.items() if flag.startswith("--")})


class _Typed:
    """The words between a verb and the cursor, as the verb's parser reads them.

    Attributes:
        flags: flag -> its action in the parser.
        values: destination of a flag -> the values typed.
        words: the words that are neither flags nor their values.
        open_flag: the flag whose value is at the cursor.
        no_more_flags: true after `--`.
    """

    def __init__(self, parser: argparse.ArgumentParser, texts: Sequence[str]):
        self._arguments = [action for action in parser._actions if not action.option_strings]
        self.flags = {flag: action for action in parser._actions for flag in action.option_strings}
        self.values: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.open_flag: argparse.Action | None = None
        self.no_more_flags = False
        for text in texts:
            self._read(text)

    def _read(self, text: str) -> None:
        flag, equals, value = text.partition("=")
        if self.open_flag:
            self.values.setdefault(self.open_flag.dest, []).append(text)
            self.open_flag = None
        elif self.no_more_flags or not text.startswith("-"):
            self.words.append(text)
        elif text == "--":
            self.no_more_flags = True
        elif flag in self.flags and self.flags[flag].nargs != 0:
            self.open_flag = self.flags[flag]
            if equals:
                self._read(value)

    def next_argument(self) -> argparse.Action | None:
        """Return the argument of the verb at the cursor, if it takes one more."""
        for place, action in enumerate(self._arguments):
            if action.nargs in ("*", "+") or place == len(self.words):
                return action
        return None


# ---- the values of an argument


def _values(action: argparse.Action, current: str, typed: _Typed) -> Answer:
    """Return the choices of an argument, or what its name in the help stands for."""
    if action.choices:
        return Answer(dict.fromkeys(action.choices, ""))
    config_dirs = typed.values.get("config_dir", ())
    match action.metavar:
        case "FILE" | "CSV":
            return Answer(otherwise=FILES)
        case "DIR":
            return Answer(otherwise=FOLDERS)
        case "RUN" | "NAME":
            return _runs(current)
        case "GROUP":
            return Answer(dict.fromkeys(catalog(config_dirs).paths, ""))
        case "OVERRIDE" | "SPACE":
            return _Overrides(CATALOGS[action.metavar](config_dirs), typed.words).complete(current)
    return Answer()


def _runs(current: str) -> Answer:
    """Return `latest` and the names of runs; also their folders, which are many, once a letter is typed."""
    paths = list_runs()
    words = [run_name(path) for path in paths]
    if current:
        words += [path.name for path in paths]
    if "/" in current:
        words += [f"{run_name(path)}/{path.name}" for path in paths]
    latest = {"latest": str(paths[-1])} if paths else {}
    return Answer(latest | dict.fromkeys(words, ""), FOLDERS)


class _Overrides:
    """The overrides of a line, and what may be one more.

    Args:
        catalog: the options that exist.
        texts: the overrides before the cursor.
    """

    def __init__(self, catalog: Catalog, texts: Sequence[str]):
        self.catalog = catalog
        typed = [text.partition("=") for text in texts]
        self.given = {key: value for key, equals, value in typed if equals}
        path = catalog.paths[EXPERIMENT].get(self.given.get(EXPERIMENT, ""))
        self.experiment = catalog.read(path) if path else {}
        pairs = default_entries(self.experiment)  # the command reports their mistakes
        choices = {key.removeprefix("override /"): str(word) for key, word in pairs}
        self.chosen = {**catalog.defaults, **choices, **self.given}
        self.settings = Suggestions(catalog, self.chosen).settings

    def complete(self, current: str) -> Answer:
        """Return the overrides that may be meant by what is typed of one."""
        key, equals, _ = current.partition("=")
        if equals:
            return self._values(key)
        node, dot, _ = key.partition(".")
        return Answer(self._settings(node) if dot else self._heads())

    def _heads(self) -> dict[str, str]:
        """Return the beginning of each override, without the groups that the line has chosen already."""
        groups = [group for group in self.catalog.paths if group not in self.given]
        nodes = [node for node in (*self.catalog.groups, *self.catalog.plain) if self._settings(node)]
        choices = {f"{group}=": f"now {self.chosen.get(group, 'none')}" for group in groups}
        return choices | {f"{node}.": f"settings of {self.chosen.get(node, 'the run')}" for node in nodes}

    def _settings(self, node: str) -> dict[str, str]:
        """Return the settings of a node's option that the line does not set yet."""
        keys = {f"{node}.{name}": setting.description for name, setting in self.settings(node).items()}
        return {f"{key}=": text for key, text in keys.items() if key not in self.given}

    def _values(self, key: str) -> Answer:
        """Return the words for a key, and its default."""
        if key in self.catalog.paths:
            try:
                meanings = {word: text["summary"] for word, text in describe(self.catalog, key).items()}
            except Error:  # a broken file that a person added: offer the words all the same
                meanings = dict.fromkeys(self.catalog.words(key), "")
            return Answer({f"{key}={word}": text for word, text in meanings.items()})
        node, _, name = key.partition(".")
        setting = self.settings(node).get(name)
        if setting is None:
            return Answer()
        words = dict.fromkeys(self._monitors() if key == "train.monitor" else setting.words, "")
        if default := _typable(self._defaults(node).get(name)):
            words[default] = "default"
        otherwise = FILES if setting in _TEXT_TYPES and not words else NOTHING
        return Answer({f"{key}={word}": text for word, text in words.items()}, otherwise)

    def _defaults(self, node: str) -> dict[str, Any]:
        """Return the values of a node before overrides, in an experiment if the line names one."""
        exists = node in self.catalog.plain or self.chosen.get(node) in self.catalog.words(node)
        values = self.catalog.values(node, self.chosen.get(node, "")) if exists else {}
        changed = self.experiment.get(node)
        return values | changed if isinstance(changed, dict) else values

    def _monitors(self) -> list[str]:
        """Return the metrics of the task, or of all tasks if only the data show which it is."""
        data = {key.removeprefix("data."): value for key, value in self.given.items()}
        task = task_of(self._defaults("data") | data)
        return ["auto", *(METRICS[task] if task else [name for names in METRICS.values() for name in names])]


def _typable(value: Any) -> str:
    """Return a value as a person types it; empty for null, a reference, or a value that needs quotes."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if value is not None and re.fullmatch(r"[\w.,+\[\]-]+", text, re.ASCII) else ""

"""The options that exist: groups of callables, the YAML files that name them, and options that people add."""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from dlfound.config.setting_types import MISSING, SettingType, setting_type
from dlfound.config.suggest import nearest
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Code, Error

EXPERIMENT = "experiment"
SPACE = "space"  # nodes of an experiment's file that only a sweep reads
SEARCH = "search"
_NOT_NAMES = ("null", "true", "false", "nan", "inf")  # Hydra's grammar reads these words as values


@cache
def conf_folder() -> Path:
    """The folder of the program's own options."""
    return Path(str(files("dlfound.conf")))


# ---- options


@dataclass(frozen=True)
class Option:
    """A callable that a word chooses. Its keyword-only parameters are settings; dlfound passes the others.

    Attributes:
        callable: a function or class; its keyword-only parameters are annotated with types of settings.
        defaults: values of settings; only for registered options, which have no YAML file.
    """

    callable: Callable
    defaults: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def settings(self) -> dict[str, SettingType]:
        """Name -> type, in the order of the signature."""
        parameters = inspect.signature(self.callable).parameters.values()
        of_option = [p for p in parameters if p.kind is p.KEYWORD_ONLY or p.name in self.defaults]
        return {p.name: setting_type(p.annotation) for p in of_option}


Groups = Mapping[str, Mapping[str, Option]]
_registered: dict[str, dict[str, Option]] = {}


def register(group: str, name: str, callable: Callable, **defaults: Any) -> None:
    """Add an option, so that `group=name` chooses it.

    Args:
        group: a configuration group, as listed by `dlfound options`.
        name: the word that chooses the option: a letter, then letters, digits, `_` and `-`.
        callable: takes the settings as keywords, and by position what dlfound passes to every option of the
            group (see the built-in ones). An activation, for example, is a class of `torch.nn.Module`.
        defaults: values of settings. A keyword-only parameter that is not listed keeps the default of its
            signature; if it has none, each command must give the value.

    Raises:
        Error: an invalid name, a setting that the callable does not take, or a default that YAML cannot
            hold (code 2).
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII) or name.lower() in _NOT_NAMES:
        fix = "use a letter, then letters, digits, _ and -"
        raise Error(f"{name!r} cannot name an option", fix, Code.CONFIG)
    parameters = inspect.signature(callable).parameters.values()
    settings = {
        p.name: MISSING if p.default is p.empty else p.default for p in parameters if p.kind is p.KEYWORD_ONLY
    }
    option = Option(callable, {k: _plain_default(name, k, v) for k, v in (settings | defaults).items()})
    if unknown := set(defaults) - set(option.settings):
        fix = "pass only parameters of the callable"
        raise Error(f"{name} of {group} takes no setting {min(unknown)!r}", fix, Code.CONFIG)
    _registered.setdefault(group, {})[name] = option


def _plain_default(name: str, key: str, value: Any) -> Any:
    """The default as config.yaml can hold it; a tuple becomes a list."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        fix = "use a number, text, true, false, null, or a list of them"
        raise Error(f"{name}: the default of {key!r} is not a plain value", fix, Code.CONFIG) from None


def with_registered(tables: Mapping[str, Mapping[str, Callable]]) -> Groups:
    """The program's tables of callables and the registered options, as options.

    Raises:
        Error: an option was registered in an unknown group, or under a built-in name (code 2). dlfound then
            forgets it, so that the calling program can continue.
    """
    for group, name in [(group, name) for group, table in _registered.items() for name in table]:
        if group not in tables:
            del _registered[group]
            fix = f"did you mean {nearest(group, tables)}?"
            raise Error(f"there is no group {group!r}", fix, Code.CONFIG)
        if name in tables[group]:
            del _registered[group][name]
            fix = f"register {name!r} under another name"
            raise Error(f"{group} already has a built-in option {name!r}", fix, Code.CONFIG)
    options = {g: {name: _built_in_option(c) for name, c in table.items()} for g, table in tables.items()}
    return {group: table | _registered.get(group, {}) for group, table in options.items()}


_built_in_option = cache(Option)  # so that a signature is read once


# ---- the catalog


@dataclass(frozen=True)
class Catalog:
    """Every group, option and setting that a configuration may use.

    Attributes:
        groups: group -> name of a callable -> option.
        plain: nodes that are not groups (`train`, `run`), each with the callable that takes its settings.
        config_dirs: folders of options that a person added.
        roots: files of `conf/` that choose the default options and set what no option sets.
    """

    groups: Groups
    plain: dict[str, Option]
    config_dirs: Sequence[Path] = ()
    roots: Sequence[str] = ("config",)
    _files: dict[Path, dict[str, Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for folder in self.config_dirs:
            if not folder.is_dir():
                fix = "give a folder that holds a folder for each group"
                raise Error(f"--config-dir {folder} is not a folder", fix, Code.CONFIG)
        _ = self.paths  # reports a file that hides another

    @cached_property
    def paths(self) -> dict[str, dict[str, Path]]:
        """Group (also `experiment`) -> word -> file. No file may hide another."""
        paths: dict[str, dict[str, Path]] = {group: {} for group in [*self.groups, EXPERIMENT]}
        for folder in [conf_folder(), *self.config_dirs]:
            for group, words in paths.items():
                for path in sorted((folder / group).glob("*.yaml")):
                    if path.stem in words:
                        message = f"{path}: {group}={path.stem} already exists ({words[path.stem]})"
                        raise Error(message, "give the file another name", Code.CONFIG)
                    words[path.stem] = path
        return paths

    def label(self, group: str, word: str) -> str:
        """The file of an option, as --cfg names it."""
        path = self.paths[group].get(word)
        return _label(path) if path else "registered"

    def read(self, path: Path) -> dict[str, Any]:
        """The content of a YAML file; each file is read once."""
        if path not in self._files:
            self._files[path] = read_yaml(path)
        return self._files[path]

    @cached_property
    def root_files(self) -> dict[str, dict[str, Any]]:
        """Label -> content of each root file; usually only of `conf/config.yaml`."""
        return {f"conf/{root}.yaml": self.read(conf_folder() / f"{root}.yaml") for root in self.roots}

    @cached_property
    def defaults(self) -> dict[str, str]:
        """Group -> the option that the root files choose."""
        entries = [entry for tree in self.root_files.values() for entry in default_entries(tree)]
        return {group: word for group, word in entries if group in self.groups}

    def common(self, node: str) -> dict[str, Any]:
        """The values that the root files set in a node: for a group, settings that all its options share."""
        return {key: value for tree in self.root_files.values() for key, value in tree.get(node, {}).items()}

    def words(self, group: str) -> list[str]:
        """The words that choose an option of the group: its files, and what was registered from Python.

        A node that is not a group has none.
        """
        return sorted({*self.paths.get(group, ()), *self.groups.get(group, ())})

    def is_user_option(self, group: str, word: str) -> bool:
        """True if a person added the option or experiment, by a file or by registering it."""
        path = self.paths[group].get(word)
        return path is None or not _is_built_in(path)

    def content(self, group: str, word: str) -> dict[str, Any]:
        """The name and values in the option's file, or those that were registered.

        Raises:
            Error: the file cannot be read, or its name is not an option of the group (code 2).
        """
        if word not in self.paths[group]:
            return {"name": word, **self.groups[group][word].defaults}
        path = self.paths[group][word]
        content = {"name": word, **self.read(path)}
        names = list(self.groups[group])
        if content["name"] not in names:
            fix = f"did you mean name: {nearest(str(content['name']), names)}?"
            raise Error(f"{path}: name must be one of: {', '.join(names)}", fix, Code.CONFIG)
        return content

    def node(self, group: str, word: str) -> dict[str, Any]:
        """The name and all values of an option: an added file inherits from the option that it names."""
        content = self.content(group, word)
        name = content["name"]
        return content if name == word else {**self.content(group, name), **content}

    def values(self, node: str, word: str = "") -> dict[str, Any]:
        """The values of a plain node, or of an option with those that all options of its group share."""
        common = self.common(node)
        option = self.node(node, word) if node in self.groups else {}
        return common | {key: v for key, v in option.items() if v != MISSING or key not in common}

    def option(self, group: str, word: str) -> Option:
        """The option that a word of the group chooses."""
        return self.groups[group][self.content(group, word)["name"]]

    def keys(self, group: str, word: str) -> list[str]:
        """The settings of an option; none if its file is broken, which composing reports if it is chosen."""
        try:
            return list(self.option(group, word).settings)
        except Error:
            return []

    def everything(self) -> set[str]:
        """All that may stand before a `=`: groups, nodes and every `node.setting` of any option."""
        of_groups = [(group, option) for group, table in self.groups.items() for option in table.values()]
        options = [*of_groups, *self.plain.items()]
        keys = {f"{node}.{setting}" for node, option in options for setting in option.settings}
        return {*self.paths, *self.plain, *keys}


def default_entries(tree: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The entries below `defaults` in a file: key and word; None for the word if an entry is not one pair."""
    entries = tree.get("defaults", [])
    pairs = []
    for entry in entries if isinstance(entries, list) else [entries]:
        pairs += entry.items() if isinstance(entry, dict) and len(entry) == 1 else [(str(entry), None)]
    return pairs


@cache
def _is_built_in(path: Path) -> bool:
    return path.is_relative_to(conf_folder())


@cache
def _label(path: Path) -> str:
    """A path as messages name it; a file of the program by its place in `conf/`."""
    if _is_built_in(path):
        return f"conf/{path.relative_to(conf_folder()).as_posix()}"
    return str(path)

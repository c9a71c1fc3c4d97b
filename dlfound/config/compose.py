"""Compose a configuration: files laid over each other, then overrides, all mistakes reported together."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlfound.config.catalog import EXPERIMENT, SEARCH, SPACE, Catalog, default_entries
from dlfound.config.config import Config, Rule, check_rules, check_tree, flat, not_a_mapping
from dlfound.config.overrides import Overrides
from dlfound.config.setting_types import MISSING
from dlfound.config.yaml_files import follow_references, has_resolver, plain, read_text
from dlfound.errors import Code, Error, Problem, printable

_HEAD = "# @package _global_"  # lets Hydra itself compose the file too


def compose(
    texts: Sequence[str],
    catalog: Catalog,
    rules: Iterable[Rule] = (),
    ignored: Collection[str] = (),
    base: Config | None = None,
) -> Config:
    """The configuration that overrides ask for.

    Args:
        texts: overrides in Hydra's grammar.
        catalog: the options that exist.
        rules: conditions across groups.
        ignored: nodes of an experiment's file that are not part of the configuration.
        base: the configuration that the overrides change; without it, the default options. An option other
            than the base's own has the settings of its file.

    Raises:
        Error: all that is wrong, together (code 2).
    """
    overrides = Overrides(texts, catalog)
    start = {group: base.name(group) for group in catalog.groups} if base else catalog.defaults
    experiment = _read_experiment(overrides.choices.get(EXPERIMENT), catalog, ignored)
    before = {**start, **experiment.choices}
    chosen = {**before, **overrides.choices}
    overrides.read_settings(chosen)
    notes = _drop_unfitting(experiment, before, overrides.choices, catalog)

    layers = _Layers()
    file_problems = experiment.problems + _add_files(layers, base, chosen, experiment, catalog)
    if file_problems:  # what these files leave out would look like mistakes
        raise Error.of(overrides.problems + file_problems, Code.CONFIG)
    layers.add_overrides(overrides)
    tree, value_problems = check_tree(follow_references(layers.tree), catalog, layers.source)
    rule_problems, rule_warnings = check_rules(tree, rules)
    if problems := overrides.problems + value_problems + rule_problems:
        raise Error.of(problems, Code.CONFIG)
    origins = {key: layers.origins.get(key, "") for key in flat(tree)}
    return Config(tree, catalog, origins, overrides.warnings + notes + rule_warnings)


# ---- files laid over each other


class _Layers:
    """Trees laid over each other; each value comes from the last tree that has it.

    Attributes:
        tree: node -> setting -> value.
        origins: "node.setting", or a node -> the file or override that set it; empty if it is the base's.
    """

    def __init__(self) -> None:
        self.tree: dict[str, dict[str, Any]] = {}
        self.origins: dict[str, str] = {}
        self._typed: set[str] = set()

    def source(self, key: str) -> str:
        """The file that set a value, for a message; empty if the person has just typed it."""
        label = self.origins.get(key)
        return f" ({label})" if label and label not in self._typed else ""

    def add(self, tree: Mapping[str, Mapping[str, Any]], label: str) -> None:
        """Lay a tree over the others; a value that is missing in it does not replace one."""
        for node, settings in tree.items():
            values = self.tree.setdefault(node, {})
            added = {key: value for key, value in settings.items() if value != MISSING or key not in values}
            values |= added
            self.origins |= {node: label} | {f"{node}.{key}": label for key in added}

    def add_overrides(self, overrides: Overrides) -> None:
        """Lay the overrides over the files; _add_files has laid the options that they choose."""
        for node, settings in overrides.settings.items():
            self.tree[node] |= settings
        self.origins |= overrides.origins
        self._typed = set(overrides.origins.values())


def _add_files(
    layers: _Layers,
    base: Config | None,
    chosen: Mapping[str, str],
    experiment: "_Experiment",
    catalog: Catalog,
) -> list[Problem]:
    """Lay the root files, the chosen options and the experiment over each other; returns their problems."""
    problems: list[Problem] = []
    for label, tree in catalog.root_files.items():
        layers.add({node: settings for node, settings in tree.items() if node != "defaults"}, label)
    layers.add(base.tree if base else {}, "")
    for group in catalog.groups:
        word = chosen[group]
        try:
            content = catalog.content(group, word)
        except Error as error:
            problems += error.problems
            continue
        problems += _option_problems(group, word, content, catalog)
        name = content["name"]
        if base is None or name != base.name(group):
            inherited = {k: v for k, v in catalog.content(group, name).items() if k not in content}
            layers.tree[group] = dict(catalog.common(group))
            layers.add({group: inherited}, catalog.label(group, name))
            layers.add({group: content}, catalog.label(group, word))
    layers.add(experiment.values, experiment.label)
    layers.origins |= {f"{group}.name": experiment.label for group in experiment.choices}
    return problems


def _option_problems(group: str, word: str, content: Mapping[str, Any], catalog: Catalog) -> list[Problem]:
    """What an option's file must not hold. The program's own files are tested."""
    path = catalog.paths[group].get(word)
    if path is None or not catalog.is_user_option(group, word):
        return []
    problems = _file_problems(path, {group: {k: v for k, v in content.items() if k != "defaults"}})
    if "defaults" in content:
        fix = "write name: OPTION, and the values that differ"
        problems.append(Problem(f"{path}: defaults is not allowed", fix))
    return problems


def _file_problems(path: Path, tree: Mapping[str, Any]) -> list[Problem]:
    """What the values of an added file must not be."""
    problems = []
    for node, content in tree.items():
        values = flat({node: content}) if isinstance(content, dict) else {node: content}
        for name, value in values.items():
            if node == "hydra" or not plain(value):
                fix = "write only names and plain values in an option's file"
                problems.append(Problem(f"{path}: {name} is not allowed", fix))
            elif has_resolver(value):
                message = f"{path}: resolvers are not allowed in a configuration: {name}"
                problems.append(Problem(message, "write the value itself"))
    return problems


# ---- experiments


@dataclass
class _Experiment:
    """An experiment's file: the options that it chooses, the values that it sets, and its problems."""

    word: str = ""
    label: str = ""
    choices: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def _read_experiment(word: str | None, catalog: Catalog, ignored: Collection[str]) -> _Experiment:
    if word is None:
        return _Experiment()
    path = catalog.paths[EXPERIMENT][word]
    try:
        tree = catalog.read(path)
    except Error as error:
        return _Experiment(problems=error.problems)
    nodes = {node: content for node, content in tree.items() if node not in ("defaults", *ignored)}
    problems = _file_problems(path, nodes) + _node_problems(path, nodes, catalog)
    choices = _read_defaults(tree, path, problems, catalog)
    values = {node: dict(content) if isinstance(content, dict) else {} for node, content in nodes.items()}
    return _Experiment(word, catalog.label(EXPERIMENT, word), choices, values, problems)


def _node_problems(path: Path, values: Mapping[str, Any], catalog: Catalog) -> list[Problem]:
    problems = []
    for node in [node for node in (*catalog.plain, *catalog.groups) if node in values]:
        if not isinstance(values[node], dict):
            problems.append(not_a_mapping(node, f" ({path})"))
        elif node in catalog.groups and "name" in values[node]:
            fix = f"write - override /{node}: {printable(values[node]['name'])} below defaults"
            problems.append(Problem(f"{path}: {node}.name is set by choosing an option", fix))
    for node in [node for node in (SPACE, SEARCH) if node in values]:
        problems.append(
            Problem(f"{path}: {node} is for a sweep", f"use dlfound sweep experiment={path.stem}")
        )
    if not read_text(path).lstrip().startswith(_HEAD):
        problems.append(Problem(f"{path} must begin with the line '{_HEAD}'", "make it the first line"))
    return problems


def _read_defaults(
    tree: Mapping[str, Any], path: Path, problems: list[Problem], catalog: Catalog
) -> dict[str, str]:
    """The choices in an experiment's `defaults`; adds what is wrong with them to `problems`."""
    choices = {}
    for key, word in default_entries(tree):
        group = key.removeprefix("override /")
        message = f"{path}: no such choice in defaults: {key}: {word}"
        problem = Problem(message, "write - override /GROUP: OPTION; dlfound options lists both")
        if f"override /{group}" == key and word in catalog.words(group) and group in catalog.groups:
            choices[group] = word
        elif key != "_self_" and problem not in problems:
            problems.append(problem)
    return choices


def _drop_unfitting(
    experiment: _Experiment, before: Mapping[str, str], choices: Mapping[str, str], catalog: Catalog
) -> list[str]:
    """Drop the experiment's settings that go with its own option, if the command chooses one without them.

    So one word is enough for a contrast: experiment=mnist_dropout dropout=none. Returns a note for each.
    """
    notes = []
    for group in [group for group in choices if group in before and group in experiment.values]:
        values = experiment.values[group]
        lost = {*catalog.keys(group, before[group])} - {*catalog.keys(group, choices[group])}
        for key in [key for key in values if key in lost]:
            del values[key]
            choice = f"{group}={before[group]}"
            notes.append(f"dlfound ignores {group}.{key} of experiment={experiment.word}: it needs {choice}")
    return notes

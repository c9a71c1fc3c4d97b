"""A checked configuration: its values against the types of the settings; built, shown, saved and reopened."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from dlfound.config.catalog import Catalog
from dlfound.config.setting_types import MISSING, SettingType
from dlfound.config.suggest import Suggestions, shown, similar, wrong_value
from dlfound.config.yaml_files import dump_yaml, read_yaml
from dlfound.errors import Code, Error, Problem, printable

FORMAT = 1  # of config.yaml in a run's folder


@dataclass
class Config:
    """The values that a run is made from.

    Attributes:
        tree: node -> setting -> value; a group's node also has `name`, its option.
        catalog: the options that the values were checked against.
        origins: "node.setting" -> the file or override that set it.
        warnings: what is allowed but probably a mistake.
    """

    tree: dict[str, dict[str, Any]]
    catalog: Catalog
    origins: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, node: str) -> dict[str, Any]:
        return self.tree[node]

    def name(self, group: str) -> str:
        """The option chosen in a group."""
        return self.tree[group]["name"]

    def build(self, group: str) -> partial:
        """The option's callable with its settings bound: call it with the arguments that its group passes."""
        settings = {k: v for k, v in self.tree[group].items() if k != "name"}
        return partial(self.catalog.groups[group][self.name(group)].callable, **settings)

    def choose(self, group: str, word: str) -> "Config":
        """The same configuration with another option of the group, at the values of its file."""
        node = {"name": word} | self.catalog.node(group, word)
        return replace(self, tree={**deepcopy(self.tree), group: node})

    def having(self, node: str, **settings: Any) -> "Config":
        """The same configuration with other values in a node; they are not checked."""
        tree = deepcopy(self.tree)
        tree[node].update(settings)
        return replace(self, tree=tree)

    def flat(self) -> dict[str, Any]:
        """ "node.setting" -> value; a group's option is its "group.name"."""
        return flat(self.tree)

    def saved(self) -> str:
        """The text of `config.yaml`: plain YAML without references."""
        return dump_yaml({"format": FORMAT, **self.tree})

    def shown(self) -> str:
        """YAML, with the file or override that set each value as a comment."""
        lines = []
        for node, settings in self.tree.items():
            lines.append((f"{node}:", ""))
            for key, value in settings.items():
                text = dump_yaml([value], default_flow_style=True, width=10**6).strip()[1:-1]
                text = text if text.isprintable() else json.dumps(value)  # one line for any text
                lines.append((f"  {key}: {text}", printable(self.origins.get(f"{node}.{key}", ""))))
        width = max((len(text) for text, origin in lines if origin), default=0)
        return "\n".join(f"{text:<{width}}  # {origin}" if origin else text for text, origin in lines)


def flat(tree: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """ "node.setting" -> value."""
    return {f"{node}.{key}": value for node, settings in tree.items() for key, value in settings.items()}


# ---- types


def check_tree(
    tree: Mapping[str, Any], catalog: Catalog, origin: Callable[[str], str]
) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """Read all values by the types of their settings.

    Args:
        tree: node -> setting -> plain value.
        catalog: the options that exist.
        origin: for "node.setting", the text that says where its value comes from; may be empty.

    Returns:
        The valid values, in the order of the signatures, and the problems with the others.
    """
    valid: dict[str, dict[str, Any]] = {}
    nodes = {node: tree.get(node) for node in (*catalog.plain, *catalog.groups)}
    mappings = {node: values for node, values in nodes.items() if isinstance(values, dict)}
    names = {group: str(mappings.get(group, {}).get("name")) for group in catalog.groups}
    suggestions = Suggestions(catalog, names)
    problems = [suggestions.unknown_key(node, origin=origin(node)) for node in tree if node not in nodes]
    for node in nodes:
        if node not in mappings:
            problems.append(not_a_mapping(node, origin(node)))
            continue
        values = dict(mappings[node])
        name = values.pop("name", None) if node in catalog.groups else None
        if node in catalog.groups and names[node] not in catalog.groups[node]:
            problems.append(suggestions.unknown_option(node, name, origin(f"{node}.name")))
            continue
        settings = suggestions.settings(node)
        unknown = {f"{node}.{key}": value for key, value in values.items() if key not in settings}
        problems += [suggestions.unknown_key(path, value, origin(path)) for path, value in unknown.items()]
        valid[node] = {"name": name} if node in catalog.groups else {}
        for key, kind in settings.items():
            path = f"{node}.{key}"
            value = values.get(key, MISSING)
            if problem := _wrong(path, value, kind, mappings, origin(path)):
                problems.append(problem)
            else:
                valid[node][key] = kind.read(value)
    return valid, problems


def not_a_mapping(node: str, origin: str = "") -> Problem:
    """The problem with a node that is a single value."""
    return Problem(f"{node} must be a mapping of settings{origin}", f"see dlfound options {node}")


def _wrong(path: str, value: Any, kind: SettingType, tree: dict[str, dict], origin: str) -> Problem | None:
    """What is wrong with the value of a setting; `tree` has the keys that references may lead to."""
    if value == MISSING:
        return Problem(f"{path} is required: {kind.description}", f"give it as {path}=...")
    if "${" in str(value):
        return _lost_reference(path, value, list(flat(tree)), origin)
    return None if kind.accepts(value) else wrong_value(path, kind, value, origin)


def _lost_reference(path: str, value: Any, keys: list[str], origin: str) -> Problem:
    """The problem with a reference ${...} that composing could not follow."""
    key = str(value).partition("${")[2].partition("}")[0].lstrip(".")
    fix = f"write the value of {path} itself"
    if key in keys:
        message = f"{path}: {shown(value)} leads back to itself, or to a setting without a value{origin}"
        return Problem(message, fix)
    if near := similar(key, keys):
        fix = f"did you mean ${{{near}}}?"
    return Problem(f"{path} refers to {shown(key)}, which does not exist{origin}", fix)


# ---- rules


@dataclass(frozen=True)
class Rule:
    """A condition on settings of several groups.

    Attributes:
        keys: "node.setting" or "node" each; the rule applies if all of them exist and are valid.
        check: takes their values; returns the Problem, or None.
        warns: True if breaking the rule is allowed, but probably a mistake.
    """

    keys: tuple[str, ...]
    check: Callable[..., Problem | None]
    warns: bool = False


def check_rules(tree: Mapping[str, Any], rules: Iterable[Rule]) -> tuple[list[Problem], list[str]]:
    """Apply the rules; returns the problems and the warnings."""
    values = {**tree, **flat(tree)}
    problems = []
    warnings = []
    for rule in rules:
        problem = rule.check(*map(values.get, rule.keys)) if values.keys() >= set(rule.keys) else None
        if problem and rule.warns:
            warnings.append(f"{problem.what}; {problem.fix}")
        elif problem:
            problems.append(problem)
    return problems, warnings


# ---- saved configurations


def reopen(path: Path, catalog: Catalog) -> Config:
    """The configuration in a run's folder, read as data: nothing in it is resolved.

    Raises:
        Error: the file cannot be read, is of a newer format, or names unknown options (code 4); it holds
            references or keys of Hydra (code 7).
    """
    tree = read_yaml(path, Code.RUN)
    version = tree.pop("format", None)
    if version != FORMAT:
        problem = f"is not {FORMAT}"
        fix = "check that the file is a run's config.yaml"
        if isinstance(version, int) and version > FORMAT:
            problem = f"is newer than this dlfound ({FORMAT})"
            fix = "upgrade dlfound"
        raise Error(f"{path}: config format {printable(version)} {problem}", fix, Code.RUN)
    if keys := _unsafe_keys(tree):
        message = f"{path}: {', '.join(keys)}: not allowed in a run's configuration"
        raise Error(message, "do not use this run", Code.UNSAFE)
    valid, problems = check_tree(tree, catalog, lambda key: f" ({path})")
    if problems:
        hint = "(--with FILE adds the options that you registered)"
        raise Error.of([Problem(p.what, f"{p.fix} {hint}") for p in problems], Code.RUN)
    return Config(valid, catalog)


def _unsafe_keys(tree: Any, prefix: str = "") -> list[str]:
    """The keys, at any depth, that would make Hydra or OmegaConf do something."""
    if isinstance(tree, list):
        return [key for value in tree for key in _unsafe_keys(value, prefix)]
    if not isinstance(tree, dict):
        return [prefix.rstrip(".")] if "${" in str(tree) else []
    unsafe = [f"{prefix}{key}" for key in tree if re.fullmatch("hydra|defaults|_(.*_)?", key, re.DOTALL)]
    return unsafe + [key for k, value in tree.items() for key in _unsafe_keys(value, f"{prefix}{k}.")]

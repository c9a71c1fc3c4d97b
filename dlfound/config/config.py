"""A checked configuration: its values against the types of the settings; built, shown, saved and reopened."""

import json
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
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
        return Config({**deepcopy(self.tree), group: node}, self.catalog, self.origins, self.warnings)

    def having(self, node: str, **settings: Any) -> "Config":
        """The same configuration with other values in a node; they are not checked."""
        tree = deepcopy(self.tree)
        tree[node].update(settings)
        return Config(tree, self.catalog, self.origins, self.warnings)

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


def flat(tree: dict[str, dict[str, Any]]) -> dict[str, Any]:
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
    nodes = [*catalog.plain, *catalog.groups]
    suggestions = Suggestions(catalog, {group: _option_name(tree, group) for group in catalog.groups})
    problems = [suggestions.unknown_key(node, origin=origin(node)) for node in tree if node not in nodes]
    for node in nodes:
        values = tree.get(node)
        if not isinstance(values, dict):
            message = f"{node} must be a mapping of settings{origin(node)}"
            problems.append(Problem(message, f"dlfound options {node} lists them"))
            continue
        is_group = node in catalog.groups
        name = _option_name(tree, node)
        if is_group and name not in catalog.groups[node]:
            problems.append(suggestions.unknown_option(node, values.get("name"), origin(f"{node}.name")))
            continue
        option = catalog.groups[node][name] if is_group else catalog.plain[node]
        for key in values:
            if key not in option.settings and not (is_group and key == "name"):
                path = f"{node}.{key}"
                problems.append(suggestions.unknown_key(path, values[key], origin(path)))
        valid[node] = {"name": name} if is_group else {}
        valid[node] |= _check_node(node, tree, option.settings, origin, problems)
    return valid, problems


def _option_name(tree: Mapping[str, Any], group: str) -> str:
    """The option that a tree names for a group; empty if it is not even a word."""
    values = tree.get(group)
    name = values.get("name") if isinstance(values, dict) else None
    return name if isinstance(name, str) else ""


def _check_node(
    node: str,
    tree: Mapping[str, Any],
    settings: Mapping[str, SettingType],
    origin: Callable[[str], str],
    problems: list[Problem],
) -> dict[str, Any]:
    """The valid values of a node; adds what is wrong with the others to `problems`."""
    valid = {}
    for key, setting_type in settings.items():
        path = f"{node}.{key}"
        value = tree[node].get(key, MISSING)
        try:
            if value == MISSING:
                message = f"{path} is required: {setting_type.description}"
                problems.append(Problem(message, f"give it as {path}=..."))
            elif "${" in str(value):
                problems.append(_lost_reference(path, value, tree, origin(path)))
            else:
                valid[key] = setting_type.read(value)
        except (ValueError, TypeError, OverflowError):
            problems.append(wrong_value(path, setting_type, value, origin(path)))
    return valid


def _lost_reference(path: str, value: Any, tree: Mapping[str, Any], origin: str) -> Problem:
    """The problem with a reference ${...} that composing could not follow."""
    keys = [f"{node}.{key}" for node, values in tree.items() if isinstance(values, dict) for key in values]
    key = str(value).partition("${")[2].partition("}")[0].lstrip(".")
    if key in keys:
        message = f"{path}: {shown(value)} leads back to itself, or to a setting without a value{origin}"
        return Problem(message, f"write the value of {path} itself")
    near = similar(key, keys)
    fix = f"did you mean ${{{near}}}?" if near else f"write the value of {path} itself"
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


def check_rules(tree: Mapping[str, Any], rules: Iterable[Rule]) -> tuple[list[Problem], list[Problem]]:
    """Apply the rules; returns the problems and the warnings."""
    flat_tree = {**tree, **flat(tree)}
    broken = [
        (rule, problem)
        for rule in rules
        if all(key in flat_tree for key in rule.keys)
        and (problem := rule.check(*(flat_tree[key] for key in rule.keys)))
    ]
    problems = [problem for rule, problem in broken if not rule.warns]
    return problems, [problem for rule, problem in broken if rule.warns]


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
        newer = isinstance(version, int) and version > FORMAT
        problem = f"is newer than this dlfound ({FORMAT})" if newer else f"is not {FORMAT}"
        fix = "upgrade dlfound" if newer else "check that the file is a run's config.yaml"
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
        return [prefix.rstrip(".")] if isinstance(tree, str) and "${" in tree else []
    unsafe = [k for k in tree if k in ("hydra", "defaults") or (k.startswith("_") and k.endswith("_"))]
    nested = [key for k, value in tree.items() for key in _unsafe_keys(value, f"{prefix}{k}.")]
    return [f"{prefix}{k}" for k in unsafe] + nested

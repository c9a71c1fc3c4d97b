"""A tree of values against the signatures of the callables that take them; then the rules across groups."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dlfound.config.catalog import Catalog
from dlfound.config.kinds import Kind
from dlfound.config.nearest import nearest
from dlfound.errors import Problem, printable

MISSING = "???"  # how a YAML says that a person must give the value


@dataclass(frozen=True)
class Rule:
    """Something that must hold across groups.

    Attributes:
        keys: "node.setting" or "node" each; the rule counts where all of them exist and are sound.
        holds: takes their values; returns the Problem, or None.
        warns: True where breaking it is allowed but cannot be meant.
    """

    keys: tuple[str, ...]
    holds: Callable[..., Problem | None]
    warns: bool = False


def check_tree(tree: Mapping[str, Any], catalog: Catalog, origin: Callable[[str], str]) -> tuple[dict, list[Problem]]:
    """The sound part of a tree, its values read by their kinds, and what is wrong with the rest.

    Args:
        tree: node -> setting -> plain value.
        origin: says, for "node.setting", where the value comes from; empty for the command line.
    """
    sound: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    nodes = [*catalog.plain, *catalog.groups]
    for node in tree:
        if node not in nodes:
            problems.append(unknown_key(node, nodes, origin(node)))
    for node in nodes:
        values = tree.get(node)
        if not isinstance(values, dict):
            problems.append(Problem(f"{node} must be a mapping of settings{origin(node)}", "see dlfound options"))
            continue
        option = catalog.plain.get(node) or catalog.groups[node].get(values.get("name"))
        if option is None:
            problems.append(unknown_option(node, values.get("name"), catalog, origin(f"{node}.name")))
            continue
        kept = {"name": values["name"]} if node in catalog.groups else {}
        sound[node] = kept | _check_node(node, values, option.settings, origin, problems)
    return sound, problems


def _check_node(node: str, values: dict, kinds: dict[str, Kind], origin: Callable, problems: list[Problem]) -> dict:
    sound = {}
    for key in values:
        if key not in kinds and key != "name":
            known = [f"{node}.{k}" for k in kinds]
            problems.append(unknown_key(f"{node}.{key}", known, origin(f"{node}.{key}")))
    for key, kind in kinds.items():
        path = f"{node}.{key}"
        value = values.get(key, MISSING)
        try:
            if value == MISSING:
                problems.append(Problem(f"{path} is required: {kind.says}", f"give it as {path}=..."))
            else:
                sound[key] = kind.read(value)
        except (ValueError, TypeError, OverflowError):
            problems.append(Problem(f"{path} must be {kind.says}, got {shown(value)}{origin(path)}", _fix(path, kind, value)))
    return sound


def _fix(path: str, kind: Kind, value: Any) -> str:
    if kind.words:
        return f"{path}={nearest(str(value), kind.words)}"
    return f"give {path} another value, or leave it out for the default"


def shown(value: Any) -> str:
    """A value as a message quotes it: short, and safe to print."""
    text = printable(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def unknown_option(group: str, word: Any, catalog: Catalog, origin: str = "") -> Problem:
    """An option that its group does not have."""
    words = catalog.words(group)
    near = f"did you mean {group}={nearest(str(word), words)}?" if words else "there is none: write one"
    choose = f"; choose from: {', '.join(words)}" if words else ""
    return Problem(f"no {group} named {shown(word)}{choose}{origin}", near)


def unknown_key(key: str, known: Iterable[str], origin: str = "") -> Problem:
    """A key that does not exist, with the nearest that does."""
    known = list(known)
    node = key.partition(".")[0]
    fix = f"did you mean {nearest(key, known)}?" if known else f"this option of {node} has no settings: dlfound options {node}"
    return Problem(f"unknown key {shown(key)}{origin}", fix)


def check_rules(tree: Mapping[str, Any], rules: Iterable[Rule]) -> tuple[list[Problem], list[Problem]]:
    """Problems and warnings from the rules whose keys all exist."""
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for rule in rules:
        values = [_get(tree, key) for key in rule.keys]
        if any(value is inspect.Parameter.empty for value in values):
            continue
        if (problem := rule.holds(*values)) is not None:
            (warnings if rule.warns else problems).append(problem)
    return problems, warnings


def _get(tree: Mapping[str, Any], key: str) -> Any:
    node, _, setting = key.partition(".")
    if node not in tree:
        return inspect.Parameter.empty
    return tree[node].get(setting, inspect.Parameter.empty) if setting else tree[node]

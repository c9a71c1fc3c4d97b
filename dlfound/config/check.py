"""A tree of values against the signatures of the callables that take them; then the rules across groups."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dlfound.config.catalog import Catalog
from dlfound.config.nearest import nearest
from dlfound.config.options import MISSING
from dlfound.config.setting_types import Kind
from dlfound.errors import Problem, printable


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


def check_tree(
    tree: Mapping[str, Any], catalog: Catalog, origin: Callable[[str], str]
) -> tuple[dict, list[Problem]]:
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
            problems.append(
                Problem(f"{node} must be a mapping of settings{origin(node)}", "see dlfound options")
            )
            continue
        name = values.get("name") if node in catalog.groups else None
        option = catalog.plain.get(node) or catalog.groups[node].get(name if isinstance(name, str) else "")
        if option is None:
            problems.append(unknown_option(node, name, catalog, origin(f"{node}.name")))
            continue
        kept = {"name": name} if node in catalog.groups else {}
        known = [f"{node}.{key}" for key in option.settings]
        unknown = [f"{node}.{key}" for key in values if key not in option.settings and key not in kept]
        problems += [unknown_key(path, known, origin(path)) for path in unknown]
        sound[node] = kept | _check_node(node, tree, option.settings, origin, problems)
    return sound, problems


def _check_node(
    node: str, tree: Mapping, kinds: dict[str, Kind], origin: Callable, problems: list[Problem]
) -> dict:
    sound = {}
    for key, kind in kinds.items():
        path = f"{node}.{key}"
        value = tree[node].get(key, MISSING)
        try:
            if value == MISSING:
                problems.append(Problem(f"{path} is required: {kind.says}", f"give it as {path}=..."))
            elif "${" in str(value):
                problems.append(_lost(path, value, tree, origin(path)))
            else:
                sound[key] = kind.read(value)
        except (ValueError, TypeError, OverflowError):
            problems.append(broken_kind(path, kind, value, origin(path)))
    return sound


def broken_kind(path: str, kind: Kind, value: Any, origin: str = "") -> Problem:
    """A value that is not what its setting takes."""
    fix = f"give {path} another value, or leave it out for the default"
    if kind.words:
        fix = f"{path}={nearest(str(value), kind.words)}"
    return Problem(f"{path} must be {kind.says}, got {shown(value)}{origin}", fix)


def _lost(path: str, value: Any, tree: Mapping[str, Any], origin: str) -> Problem:
    """A reference ${...} that composing could not follow."""
    known = [f"{node}.{key}" for node, values in tree.items() if isinstance(values, dict) for key in values]
    name = str(value).partition("${")[2].partition("}")[0].lstrip(".")
    if name in known:
        what = f"interpolation loop at {path!r}: {shown(value)} leads back to itself, or to nothing{origin}"
        return Problem(what, f"write the value of {path} out")
    what = f"{path} refers to {shown(name)}, which does not exist{origin}"
    return Problem(what, f"did you mean {nearest(name, known)}?")


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
    fix = f"this option of {node} has no settings: dlfound options {node}"
    if known:
        fix = f"did you mean {nearest(key, known)}?"
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

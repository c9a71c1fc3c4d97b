"""YAML files of names and plain values: read within limits, references followed, written."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from dlfound.config.setting_types import MISSING
from dlfound.errors import Code, Error, printable

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_DIGITS = 400

_REFERENCE = re.compile(r"(\\*)\$\{(\.*)([A-Za-z_]\w*(?:\.\w+|\[\w+\])*)\}", re.ASCII)
Keys = tuple[str, ...]  # of a value in a tree: its keys, from the root
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


_Safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C reader, if PyYAML has it


class _Loader(_Safe):
    """YAML's safe loader; it also reads 1e-3 as a number, and no sexagesimals, octals or dates."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith(":null")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper; it quotes every text that the loader would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def scalar(text: str) -> Any:
    """Read a word without quotes: a truth value, a number, or the word itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not _NUMBER.fullmatch(text):
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return node.value if node.style else scalar(node.value)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    result = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str) or key in result:
            problem = f"duplicate key {key!r}" if isinstance(key, str) else f"key {key!r} is not text"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor("tag:yaml.org,2002:str", _scalar)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if scalar(text) == text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def dump_yaml(value: Any, **layout: Any) -> str:
    """YAML that `read_yaml` and other readers read as the same values."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **layout)


def read_yaml(path: Path, code: Code = Code.CONFIG) -> dict[str, Any]:
    """Read the mapping of names to plain values in a YAML file.

    Args:
        path: a file of at most 256 KiB, nested at most 20 deep, without tags, anchors or aliases.
        code: the exit code of an Error: the file may be a configuration or part of a run.

    Raises:
        Error: the file is unreadable, not UTF-8, too large or deep, not YAML or not a mapping, or a key
            occurs twice.
    """
    text = read_text(path, code)
    try:
        _check_shape(text)
        tree = yaml.load(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:  # has no mark
        line = text.encode()[: error.position].count(b"\n") + 1
        raise Error(f"{path}:{line}: {error.reason}", "remove the character", code) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problem = printable(error.problem)
        if "".join(text.split("\n")[mark.line : mark.line + 1]).lstrip(" ").startswith("\t"):
            problem = "tabs are not allowed; indent with spaces"
        message = f"{path}:{mark.line + 1}:{mark.column + 1}: {problem}"
        raise Error(message, "write one name: value per line, as in conf/", code) from None
    if not isinstance(tree, dict):
        message = f"{path} must be a mapping of names to values"
        raise Error(message, "write lines of the form name: value", code)
    return tree


def read_text(path: Path, code: Code = Code.CONFIG) -> str:
    """Read a small text.

    Raises:
        Error: the file is unreadable, not UTF-8 or too large.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Error(f"{path} is too complex (more than {MAX_BYTES // 1024} KiB)", "shorten it", code)
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start})"
        raise Error(message, "save it as UTF-8", code) from None
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise Error(message, "check the name and the permissions", code) from None


def _check_shape(text: str) -> None:
    """Refuse what can make YAML expensive or run code, before anything is built from it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Safe):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        value = getattr(event, "value", "")
        why = None
        if getattr(event, "anchor", None) is not None:
            why = "too complex (anchors and aliases are not allowed)"
        elif getattr(event, "tag", None) is not None:
            why = f"tags are not allowed ({event.tag})"
        elif depth > MAX_DEPTH:
            why = f"too complex (nested more than {MAX_DEPTH} deep)"
        elif len(value) > MAX_DIGITS and value.strip("+-").isdigit():
            why = f"too complex (a number of {len(value)} digits)"
        if why:
            raise yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)


def plain(value: Any) -> bool:
    """True for a text, finite number, truth value, null, or a list of them."""
    if isinstance(value, list):
        return all(map(plain, value))
    return isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))


# ---- references


def has_resolver(value: Any) -> bool:
    """True if a text in the value has a `${...}` that is not a plain reference to another key."""
    return "${" in _REFERENCE.sub("", str(value))


def follow_references(tree: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A copy of node -> setting -> value with its references `${node.setting}` followed.

    The syntax is OmegaConf's: `${.x}` is a setting of the same node, and each further dot goes up one level.
    A value whose reference leads nowhere remains as written.
    """
    followed: dict[str, Any] = {node: {} for node in tree}
    for node, key in [(node, key) for node, settings in tree.items() for key in settings]:
        try:
            followed[node][key] = _follow((node, key), tree, ())
        except LookupError:
            followed[node][key] = tree[node][key]
    return followed


def _follow(path: Keys, tree: Mapping[str, Any], above: tuple[Keys, ...]) -> Any:
    """The value at a path, its references followed; `above` are the paths that led here.

    Raises:
        LookupError: a reference leads to itself, to a value that is missing, or nowhere.
    """
    value: Any = tree
    for part in path:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (TypeError, ValueError):  # the value has no parts, or the part is not an index
            raise LookupError from None
    if path in above or (value == MISSING and above):
        raise LookupError
    above = (*above, path)
    if isinstance(value, dict):
        return {key: _follow((*path, key), tree, above) for key in value}
    if isinstance(value, list):
        return [_follow((*path, str(index)), tree, above) for index in range(len(value))]
    if not isinstance(value, str) or "${" not in value:
        return value
    reference = _REFERENCE.fullmatch(value)
    if reference and not reference[1]:
        return _follow(_target(reference, path), tree, above)

    def followed(match: re.Match) -> str:
        if len(match[1]) % 2:  # of two backslashes one stays, and an odd one would make it plain text
            raise LookupError
        return match[1][: len(match[1]) // 2] + str(_follow(_target(match, path), tree, above))

    return _REFERENCE.sub(followed, value)


def _target(reference: re.Match, path: Keys) -> Keys:
    """The path that a reference at `path` leads to."""
    _, dots, key = reference.groups()
    if len(dots) > len(path):
        raise LookupError
    head = path[: len(path) - len(dots)] if dots else ()
    return (*head, *re.findall(r"\w+", key))

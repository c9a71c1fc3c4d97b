"""YAML from a person or a stranger: plain names and values, read within limits, with line numbers; and written."""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from dlfound.errors import Code, Error, printable

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_DIGITS = 400

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


_Safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same reader in C, where PyYAML was built with it


class _Loader(_Safe):
    """YAML's safe loader, with numbers as a person writes them (1e-3) and no sexagesimals, octals or dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag.endswith(":null")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper, with quotes around every text that the loader would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _unquoted(text: str) -> Any:
    """What a word without quotes stands for: a truth value, a number, or itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not _NUMBER.fullmatch(text):
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return node.value if node.style else _unquoted(node.value)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    result = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.MarkedYAMLError(problem=f"key {key!r} is no word", problem_mark=key_node.start_mark)
        if key in result:
            raise yaml.MarkedYAMLError(problem=f"duplicate key {key!r}", problem_mark=key_node.start_mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor("tag:yaml.org,2002:str", _scalar)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if _unquoted(text) == text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def dump_yaml(value: Any, **layout: Any) -> str:
    """YAML that `read_yaml`, and any other reader, takes for the same values."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **layout)


def read_yaml(path: Path, code: Code = Code.CONFIG) -> dict[str, Any]:
    """The mapping in a YAML file: words and plain values only.

    Args:
        path: the file; at most 256 KiB, nested at most 20 deep, without tags, anchors or aliases.
        code: the exit code of what is raised: the file may be a configuration or part of a run.

    Raises:
        Error: unreadable, not UTF-8, too large or deep, not YAML, not a mapping, a duplicate key.
    """
    text = _text(path, code)
    try:
        _check_shape(text)
        tree = yaml.load(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:  # has no mark
        line = text.encode()[: error.position].count(b"\n") + 1
        raise Error(f"{path}:{line}: {error.reason}", "remove what is not text", code) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = printable(getattr(error, "problem", None) or "not YAML")
        if mark and "".join(text.split("\n")[mark.line : mark.line + 1]).lstrip(" ").startswith("\t"):
            problem = "tabs are not allowed; indent with blanks"
        raise Error(
            f"{path}{place}: {problem}", "write names and values, one a line, as in conf/", code
        ) from None
    if not isinstance(tree, dict):
        raise Error(
            f"{path} must be a mapping of names to values", "write lines of the form name: value", code
        )
    return tree


def _text(path: Path, code: Code) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Error(f"{path} is too complex (more than {MAX_BYTES // 1024} KiB)", "shorten it", code)
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise Error(
            f"{path} is not UTF-8 (byte 0x{byte:02x} at {error.start})", "save it as UTF-8", code
        ) from None
    except OSError as error:
        raise Error(
            f"cannot read {path}: {error.strerror}", "check the name and the permissions", code
        ) from None


def _check_shape(text: str) -> None:
    """Refuse what makes YAML costly or clever, from its events, before anything is built from it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Safe):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        why = None
        if getattr(event, "anchor", None) is not None:
            why = "too complex (anchors and aliases are not allowed)"
        elif getattr(event, "tag", None) is not None:
            why = f"tags are not allowed ({event.tag})"
        elif depth > MAX_DEPTH:
            why = f"too complex (nested more than {MAX_DEPTH} deep)"
        elif _long_number(getattr(event, "value", "")):
            why = f"too complex (a number of {len(event.value)} digits)"
        if why:
            raise yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)


def _long_number(text: str) -> bool:
    return len(text) > MAX_DIGITS and text.strip("+-").isdigit()


def plain(value: Any) -> bool:
    """True for what a configuration may hold: words, finite numbers, truth values, null, and lists of them."""
    if isinstance(value, list):
        return all(plain(v) for v in value)
    return (
        value is None
        or isinstance(value, str | bool | int)
        or (isinstance(value, float) and math.isfinite(value))
    )

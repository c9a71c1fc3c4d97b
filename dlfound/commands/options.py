"""`dlfound options`: every group, its options, and their settings."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlfound.config.catalog import EXPERIMENT, Catalog, Option
from dlfound.config.suggest import Suggestions
from dlfound.errors import Code, Error
from dlfound.options.configure import full_catalog, load_options, own_options

SUMMARY = "list the groups, their options and settings"
EXAMPLES = """\
examples:
  dlfound options                   every group and its words
  dlfound options optim             the optimizers with their settings, defaults and sources
  dlfound options train             the settings of the training itself
  dlfound options --json            the same for programs
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("group", nargs="?", metavar="GROUP", help="one group in detail, or train, or run")
    own_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def command(args: argparse.Namespace) -> int:
    """The verb: exit code."""
    load_options(args.files)
    known = full_catalog(args.config_dir)
    if args.group is not None and args.group not in {*known.paths, *known.plain}:
        raise Error.of([Suggestions(known).unknown_key(args.group)], Code.CONFIG)
    groups = [args.group] if args.group else list(known.paths)
    if args.group in known.plain:
        settings = _settings(known.plain[args.group], known.common(args.group))
        print(json.dumps(settings, indent=2) if args.json else "\n".join(_lines(args.group, settings, "")))
    elif args.json:
        print(json.dumps({g: describe(known, g) for g in groups}, indent=2, ensure_ascii=False))
    elif args.group:
        print(_detail(known, args.group))
    else:
        print(_overview(known))
    return Code.DONE


def describe(known: Catalog, group: str) -> dict[str, Any]:
    """Option -> summary, source and settings (name -> type and default)."""
    return {word: _describe(known, group, word) for word in known.words(group)}


def _describe(known: Catalog, group: str, word: str) -> dict[str, Any]:
    if group == EXPERIMENT:
        lines = _text(known.paths[group][word]).splitlines()
        comments = [line.lstrip("# ") for line in lines if line.startswith("# ") and "@package" not in line]
        source = next((c.removeprefix("Source: ") for c in comments if c.startswith("Source:")), "")
        return {"summary": comments[0] if comments else "", "source": source, "settings": {}}
    option, node = known.option(group, word), known.node(group, word)
    settings = _settings(option, {**option.defaults, **known.common(group), **node})
    return {"summary": option.summary, "source": option.source, "settings": settings}


def _settings(option: Option, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Setting -> its type and default."""
    return {
        name: {"type": kind.description, "default": defaults.get(name)}
        for name, kind in option.settings.items()
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Error(f"{path} cannot be read: {error}", "write it as UTF-8 text", Code.CONFIG) from None


def _overview(known: Catalog) -> str:
    width = max(map(len, known.paths))
    lines = [f"{group:<{width}}  {' '.join(_starred(known, group))}" for group in known.paths]
    nodes = [f"{node:<{width}}  {' '.join(option.settings)}" for node, option in known.plain.items()]
    return "\n".join(
        [*lines, "", "settings of the run itself:", *nodes, "", "* default; more: dlfound options GROUP"]
    )


def _starred(known: Catalog, group: str) -> list[str]:
    return [word + "*" * (word == known.defaults.get(group)) for word in known.words(group)]


def _detail(known: Catalog, group: str) -> str:
    lines = []
    for word, told in describe(known, group).items():
        lines.append(f"{group}={word}{'  (default)' if word == known.defaults.get(group) else ''}")
        lines.append(f"    {told['summary']}")
        lines += [f"    {told['source']}"] * bool(told["source"])
        lines += _lines(group, told["settings"], "    ")
    return "\n".join(lines)


def _lines(group: str, settings: Mapping[str, Any], indent: str) -> list[str]:
    return [
        f"{indent}{group}.{name}={json.dumps(s['default'])}  ({s['type']})" for name, s in settings.items()
    ]

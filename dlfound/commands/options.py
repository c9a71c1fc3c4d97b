"""`dlfound options`: all groups, options and settings; and the flags with which verbs take added ones."""

import argparse
import inspect
import json
from collections.abc import Mapping
from typing import Any

from dlfound.config.catalog import EXPERIMENT, Catalog, Option
from dlfound.config.suggest import Suggestions, node_of
from dlfound.config.yaml_files import read_text
from dlfound.errors import Code, Error
from dlfound.options.configure import full_catalog, load_options

SUMMARY = "list the groups, their options and settings"
EXAMPLES = """\
examples:
  dlfound options                   every group and its options
  dlfound options optim             the optimizers with their settings, defaults and sources
  dlfound options train             the settings of the training
  dlfound options --json            the same as JSON
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    help_text = "show one group in detail, or train, or run"
    parser.add_argument("group", nargs="?", metavar="GROUP", help=help_text)
    own_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def own_options(parser: argparse.ArgumentParser, config_dirs: bool = True) -> None:
    """Add the flags with which a person adds options."""
    if config_dirs:
        help_text = "a folder with options of your own"
        parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help=help_text)
    help_text = "a Python file that registers options"
    parser.add_argument("--with", action="append", default=[], dest="files", metavar="FILE", help=help_text)


def reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the overrides that say how a new table is written; `options.configure.read_words` reads them."""
    help_text = "how the table is written, if not as in training: data.encoding=latin-1"
    parser.add_argument("reading", nargs="*", default=[], metavar="data.X=Y", help=help_text)


def command(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    load_options(args.files)
    catalog = full_catalog(args.config_dir)
    group = _group(args.group, catalog) if args.group is not None else None
    if group in catalog.plain:
        settings = _settings(catalog.plain[group], catalog.values(group))
        print(json.dumps(settings, indent=2) if args.json else "\n".join(_lines(group, settings)))
    elif args.json:
        groups = [group] if group else catalog.paths
        described = {group: describe(catalog, group) for group in groups}
        print(json.dumps(described, indent=2, ensure_ascii=False))
    else:
        print(_detail(catalog, group) if group else _overview(catalog))
    return Code.DONE


def _group(word: str, catalog: Catalog) -> str:
    """The group or node of a word: of itself, of one of its settings, or of one of its options with it.

    Raises:
        Error: there is no such group (code 2).
    """
    group = node_of(word)
    if group in {*catalog.paths, *catalog.plain}:
        return group
    meant = [other for other in catalog.paths if word in catalog.words(other)]
    if not meant and (override := Suggestions(catalog).key(group)):
        meant = [node_of(override)]
    fix = f"did you mean dlfound options {' or '.join(meant)}?" if meant else "see dlfound options"
    what = f"no group {word!r}; choose from: {', '.join((*catalog.paths, *catalog.plain))}"
    raise Error(what, fix, Code.CONFIG)


def describe(catalog: Catalog, group: str) -> dict[str, Any]:
    """Option -> summary, source and settings (name -> type and default)."""
    return {word: _describe(catalog, group, word) for word in catalog.words(group)}


def _describe(catalog: Catalog, group: str, word: str) -> dict[str, Any]:
    if group == EXPERIMENT:
        lines = read_text(catalog.paths[group][word]).splitlines()
        doc = [line.lstrip("# ") for line in lines if line.startswith("# ") and "@package" not in line]
        settings = {}
    else:
        option = catalog.option(group, word)
        doc = (inspect.getdoc(option.callable) or "").splitlines()
        settings = _settings(option, catalog.values(group, word))
    sources = [line.removeprefix("Source:").strip() for line in doc if line.startswith("Source:")]
    return {"summary": "".join(doc[:1]), "source": "".join(sources[:1]), "settings": settings}


def _settings(option: Option, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Setting -> its type and default."""
    types = option.settings.items()
    return {name: {"type": kind.description, "default": defaults.get(name)} for name, kind in types}


def _overview(catalog: Catalog) -> str:
    width = max(map(len, catalog.paths))
    groups = []
    for group in catalog.paths:
        default = catalog.defaults.get(group)
        words = [f"{word}*" if word == default else word for word in catalog.words(group)]
        groups.append(f"{group:<{width}}  {' '.join(words)}")
    nodes = [f"{node:<{width}}  {' '.join(option.settings)}" for node, option in catalog.plain.items()]
    note = "* default; more: dlfound options GROUP"
    return "\n".join([*groups, "", "settings of the training and the run:", *nodes, "", note])


def _detail(catalog: Catalog, group: str) -> str:
    lines = []
    for word, described in describe(catalog, group).items():
        lines.append(f"{group}={word}{'  (default)' if word == catalog.defaults.get(group) else ''}")
        lines += [f"    {text}" for text in (described["summary"], described["source"]) if text]
        lines += [f"    {line}" for line in _lines(group, described["settings"])]
    return "\n".join(lines)


def _lines(node: str, settings: Mapping[str, Any]) -> list[str]:
    return [f"{node}.{name}={json.dumps(s['default'])}  ({s['type']})" for name, s in settings.items()]

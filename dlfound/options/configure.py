"""From the words of a command to a checked configuration."""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlfound.config.catalog import Catalog, Option, with_registered
from dlfound.config.config import Config
from dlfound.errors import Code, Error
from dlfound.options.groups import GROUPS, NODES, SWEEP_GROUPS
from dlfound.options.rules import RULES


def own_options(parser: argparse.ArgumentParser, config_dirs: bool = True) -> None:
    """The flags by which a person adds options of their own."""
    if config_dirs:
        parser.add_argument(
            "--config-dir",
            action="append",
            default=[],
            metavar="DIR",
            help="a folder with options of your own",
        )
    parser.add_argument(
        "--with",
        action="append",
        default=[],
        dest="files",
        metavar="FILE",
        help="a Python file that registers options",
    )


def catalog(config_dirs: Sequence[str | Path] = ()) -> Catalog:
    """Every word of a run: the program's, those of the folders, and those registered from Python."""
    return _catalog(GROUPS, NODES, config_dirs, ("config",))


def sweep_catalog(config_dirs: Sequence[str | Path] = ()) -> Catalog:
    """The words that only a sweep knows."""
    return _catalog(SWEEP_GROUPS, {}, config_dirs, ("sweep",))


def full_catalog(config_dirs: Sequence[str | Path] = ()) -> Catalog:
    """Every word that exists."""
    return _catalog(GROUPS | SWEEP_GROUPS, NODES, config_dirs, ("config", "sweep"))


def _catalog(groups: Any, nodes: Any, config_dirs: Sequence[str | Path], roots: Sequence[str]) -> Catalog:
    plain = {name: Option(made) for name, made in nodes.items()}
    folders = [Path(folder).expanduser() for folder in config_dirs]
    options = with_registered(GROUPS | SWEEP_GROUPS)
    return Catalog({group: options[group] for group in groups}, plain, folders, roots)


def reading_options(parser: argparse.ArgumentParser) -> None:
    """The words that tell how a new table is written."""
    text = "how the table is written, where it is not as in training: data.encoding=latin-1"
    parser.add_argument("reading", nargs="*", metavar="data.X=Y", help=text)


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """What `reading_options` took, as settings.

    Raises:
        Error: words that say something else (code 2).
    """
    from dlfound.data.table import READING

    if not words:
        return {}
    names = [word.partition("=")[0].removeprefix("data.") for word in words]
    if other := [word for word, name in zip(words, names, strict=True) if name not in READING]:
        fix = f"only {', '.join(f'data.{name}=...' for name in READING)} may follow"
        raise Error(f"one word too many: {' '.join(other)}", fix, Code.CONFIG)
    asked = configure(["data=table", "data.path=x", "data.target=x", *words])["data"]
    return {name: asked[name] for name in names}


def configure(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> Config:
    """The configuration that the overrides ask for.

    Raises:
        Error: all that is wrong with it, at once (code 2).
    """
    from dlfound.config.compose import compose  # brings in Hydra

    return compose(overrides, catalog(config_dirs), RULES)


def load_options(files: Sequence[str]) -> None:
    """Run the Python files that a person names with --with: they call `dlfound.register`.

    Raises:
        Error: a file that is not there, or fails (code 2).
    """
    for number, file in enumerate(files):
        path = Path(file).expanduser()
        if not path.is_file():
            fix = "name a Python file that calls dlfound.register"
            raise Error(f"--with {file}: there is no such file", fix, Code.CONFIG)
        spec = importlib.util.spec_from_file_location(f"dlfound_options_{number}", path)
        if spec is None or spec.loader is None:
            raise Error(f"--with {file} is not a Python file", "its name must end in .py", Code.CONFIG)
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Error:
            raise
        except (Exception, SystemExit) as error:
            raise Error(
                f"--with {file}: {type(error).__name__}: {error}", "mend the file", Code.CONFIG
            ) from error

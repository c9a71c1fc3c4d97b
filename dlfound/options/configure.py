"""From the overrides of a command to a checked configuration, with the options that a person adds."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlfound.config.catalog import Catalog, Option, with_registered
from dlfound.config.config import Config
from dlfound.errors import Code, Error
from dlfound.options.groups import GROUPS, NODES, SWEEP_GROUPS
from dlfound.options.rules import RULES

ConfigDirs = Sequence[str | Path]


def catalog(config_dirs: ConfigDirs = ()) -> Catalog:
    """The options of a run: the built-in ones, those in the folders, and those registered from Python."""
    return _catalog(GROUPS, NODES, config_dirs, ("config",))


def sweep_catalog(config_dirs: ConfigDirs = ()) -> Catalog:
    """The options that only a sweep has."""
    return _catalog(SWEEP_GROUPS, {}, config_dirs, ("sweep",))


def full_catalog(config_dirs: ConfigDirs = ()) -> Catalog:
    """The options of runs and sweeps."""
    return _catalog(GROUPS | SWEEP_GROUPS, NODES, config_dirs, ("config", "sweep"))


def _catalog(
    groups: Mapping[str, Any], nodes: Mapping[str, Callable], config_dirs: ConfigDirs, roots: Sequence[str]
) -> Catalog:
    folders = [Path(folder).expanduser() for folder in config_dirs]
    options = with_registered(GROUPS | SWEEP_GROUPS)
    plain = {name: Option(settings) for name, settings in nodes.items()}
    return Catalog({group: options[group] for group in groups}, plain, folders, roots)


def configure(overrides: Sequence[str], config_dirs: ConfigDirs = ()) -> Config:
    """The configuration that overrides ask for.

    Raises:
        Error: all that is wrong with them, together (code 2).
    """
    from dlfound.config.compose import compose  # imports Hydra

    return compose(overrides, catalog(config_dirs), RULES)


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """Read overrides that say how a new table is written, such as data.encoding=latin-1.

    Returns:
        Setting -> value, for the settings in the words.

    Raises:
        Error: an override of anything else, or an invalid value (code 2).
    """
    from dlfound.data.table import READING

    if not words:
        return {}
    names = [word.partition("=")[0].removeprefix("data.") for word in words]
    if others := [word for word, name in zip(words, names, strict=True) if name not in READING]:
        fix = f"only {', '.join(f'data.{name}=...' for name in READING)} may follow"
        raise Error(f"unexpected argument: {' '.join(others)}", fix, Code.CONFIG)
    settings = configure(["data=table", "data.path=x", "data.target=x", *words])["data"]
    return {name: settings[name] for name in names}


def load_options(files: Sequence[str]) -> None:
    """Run the Python files that --with names; they call `dlfound.register`.

    Raises:
        Error: a file does not exist, or fails (code 2).
    """
    for number, file in enumerate(files):
        path = Path(file).expanduser()
        if not path.is_file():
            fix = "name a Python file that calls dlfound.register"
            raise Error(f"--with {file}: no such file", fix, Code.CONFIG)
        spec = importlib.util.spec_from_file_location(f"dlfound_options_{number}", path)
        if spec is None or spec.loader is None:
            raise Error(f"--with {file} is not a Python file", "give it a name that ends in .py", Code.CONFIG)
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Error:
            raise
        except (Exception, SystemExit) as error:
            message = f"--with {file}: {type(error).__name__}: {error}"
            raise Error(message, "correct the file", Code.CONFIG) from error

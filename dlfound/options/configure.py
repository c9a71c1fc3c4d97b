"""All groups, joined, and what people add to them; from the overrides of a command to a configuration.

Importing this module does not import torch.
"""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from dlfound.config import setting_types as types
from dlfound.config.catalog import Catalog, Option, with_registered
from dlfound.config.config import Config
from dlfound.data import sources
from dlfound.errors import Code, Error
from dlfound.nn import activation, batchnorm, dropout, initializer, model
from dlfound.objective import loss, regularization
from dlfound.optim import optimizers, schedules
from dlfound.options import search_methods
from dlfound.options.rules import RULES
from dlfound.training import loggers

ConfigDirs = Sequence[str | Path]

# ---- the groups and nodes


def _is_folder_name(value: str) -> bool:
    taken = value in ("", ".", "..", "latest")
    return not taken and value.isprintable() and not set(value) & set("/\\") and len(value.encode()) <= 200


_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")
Device = Annotated[str, types.text("auto, cpu, cuda or cuda:N", _DEVICE.fullmatch, ("auto", "cpu", "cuda"))]
Name = Annotated[str, types.text("a valid folder name of at most 200 bytes", _is_folder_name)]


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a net is trained: epochs, batches, the monitor, cross-validation, checkpoints."""

    epochs: types.Count
    batch_size: types.BatchSize
    monitor: types.Text
    folds: types.Folds
    fold: types.Whole
    checkpoint: types.Pace
    allow_changed: types.Flag


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The folder of a run, its seed, its device and its threads."""

    name: Name
    dir: types.OptionalText
    seed: types.Seed
    device: Device
    threads: types.Threads


GROUPS = {
    "data": sources.TABLE,
    "model": model.TABLE,
    "activation": activation.TABLE,
    "initializer": initializer.TABLE,
    "batchnorm": batchnorm.TABLE,
    "dropout": dropout.TABLE,
    "loss": loss.TABLE,
    "regularizer": regularization.REGULARIZERS,
    "constraint": regularization.CONSTRAINTS,
    "optim": optimizers.TABLE,
    "lr_decay": schedules.DECAYS,
    "early_stopping": schedules.STOPPING,
    "logger": loggers.TABLE,
}

SWEEP_GROUPS = {"search": search_methods.TABLE}
"""The groups that only a sweep has."""

NODES = {"train": TrainSettings, "run": RunSettings}
"""The nodes that are not groups: their settings do not depend on an option."""


# ---- catalogs and configurations


def catalog(config_dirs: ConfigDirs = ()) -> Catalog:
    """The options of a run: the built-in ones, those in the folders, and those registered from Python."""
    return _catalog(GROUPS, NODES, config_dirs, "config")


def sweep_catalog(config_dirs: ConfigDirs = ()) -> Catalog:
    """The options that only a sweep has."""
    return _catalog(SWEEP_GROUPS, {}, config_dirs, "sweep")


def full_catalog(config_dirs: ConfigDirs = ()) -> Catalog:
    """The options of runs and sweeps."""
    return _catalog(GROUPS | SWEEP_GROUPS, NODES, config_dirs, "config", "sweep")


def _catalog(
    groups: Mapping[str, Any], nodes: Mapping[str, type], config_dirs: ConfigDirs, *roots: str
) -> Catalog:
    folders = [Path(folder).expanduser() for folder in config_dirs]
    options = with_registered(GROUPS | SWEEP_GROUPS)
    plain = {name: Option(settings) for name, settings in nodes.items()}
    return Catalog({group: options[group] for group in groups}, plain, folders, roots)


CATALOGS = {"OVERRIDE": catalog, "SPACE": full_catalog}
"""The words of a verb, as its help calls them -> the catalog of the options that they may name."""


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

"""All groups: the tables of the rooms, joined. Importing them does not import torch."""

from dataclasses import dataclass
from typing import Annotated

from dlfound.config.setting_types import (
    BatchSize,
    Count,
    Flag,
    Folds,
    OptionalText,
    Pace,
    Seed,
    SettingType,
    Text,
    Threads,
    Whole,
)
from dlfound.data import sources
from dlfound.nn import activation, batchnorm, dropout, initializer, model
from dlfound.objective import loss, regularization
from dlfound.optim import optimizers, schedules
from dlfound.options import search_methods
from dlfound.training import loggers


def _device(value: object) -> str:
    head, _, index = value.partition(":") if isinstance(value, str) else ("", "", "")
    numbered = head == "cuda" and index.isdecimal() and len(index) <= 3
    if value not in ("auto", "cpu", "cuda") and not numbered:
        raise ValueError
    return str(value)


def _name(value: object) -> str:
    if not isinstance(value, str) or value in ("", ".", "..", "latest"):
        raise ValueError
    if set(value) & set("/\\") or not value.isprintable() or len(value.encode()) > 200:
        raise ValueError
    return value


Device = Annotated[str, SettingType("auto, cpu, cuda or cuda:N", _device, ("auto", "cpu", "cuda"))]
Name = Annotated[str, SettingType("a valid folder name of at most 200 bytes", _name)]


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a net is trained: epochs, batches, the monitor, cross-validation, checkpoints."""

    epochs: Count
    batch_size: BatchSize
    monitor: Text
    folds: Folds
    fold: Whole
    checkpoint: Pace
    allow_changed: Flag


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The folder of a run, its seed, its device and its threads."""

    name: Name
    dir: OptionalText
    seed: Seed
    device: Device
    threads: Threads


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

"""Every option of every group, joined from the rooms' own tables; none of it needs torch."""

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
from dlfound.objective import constraint, loss, regularizer
from dlfound.optim import early_stopping, lr_decay, optimizers
from dlfound.options import search_methods
from dlfound.training import loggers


def _device(value: object) -> str:
    head, _, index = value.partition(":") if isinstance(value, str) else ("", "", "")
    if value in ("auto", "cpu", "cuda") or (head == "cuda" and index.isdecimal() and len(index) <= 3):
        return str(value)
    raise ValueError


def _name(value: object) -> str:
    if (
        not isinstance(value, str)
        or value in ("", ".", "..", "latest")
        or set(value) & set("/\\")
        or not value.isprintable()
    ):
        raise ValueError
    if len(value.encode()) > 200:
        raise ValueError
    return value


Device = Annotated[str, SettingType("auto, cpu, cuda or cuda:N", _device, ("auto", "cpu", "cuda"))]
Name = Annotated[str, SettingType("a name that can be a folder's, of at most 200 bytes", _name)]


@dataclass(frozen=True, kw_only=True)
class Train:
    """How long, in what batches, what decides, which rows of a cross-validation, and how often all of it is kept."""

    epochs: Count
    batch_size: BatchSize
    monitor: Text
    folds: Folds
    fold: Whole
    checkpoint: Pace
    allow_changed: Flag


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a run lies, and what it computes on."""

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
    "regularizer": regularizer.TABLE,
    "constraint": constraint.TABLE,
    "optim": optimizers.TABLE,
    "lr_decay": lr_decay.TABLE,
    "early_stopping": early_stopping.TABLE,
    "logger": loggers.TABLE,
}

SWEEP_GROUPS = {"search": search_methods.TABLE}
"""What a sweep has beside the runs that it makes."""

NODES = {"train": Train, "run": Run}
"""What belongs to no group."""

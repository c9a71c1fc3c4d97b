"""From a checked configuration and data to the parts of a training."""

from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from dlfound.config.config import Config
from dlfound.data.columns import CATEGORY, FIRST
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error
from dlfound.nn import initializer
from dlfound.nn.modules import MLP, build_mlp
from dlfound.nn.network import Network
from dlfound.nn.preprocessing import empty, fit_columns, fit_images
from dlfound.nn.tabular import Columns, plan_columns
from dlfound.objective import loss as losses
from dlfound.objective.tasks import REGRESSION
from dlfound.streams import stream
from dlfound.training.device import check_memory
from dlfound.training.device_data import Part, encode, make_resident
from dlfound.training.loop import has_batch_statistics
from dlfound.training.step import Step

BATCH_SIZES = ((50_000, 64), (float("inf"), 128))  # `train.batch_size=auto`: up to so many rows, this size


@dataclass
class Assembly:
    """Everything that a loop over epochs needs."""

    network: Network
    step: Step
    loss: Any
    parts: dict[str, Part]
    batch_size: int


def resolve(config: Config, task: str) -> tuple[Config, list[str]]:
    """The configuration with each `auto` option replaced by the one it stands for, and a note on each."""
    notes = []
    if config.name("initializer") == "auto":
        word = initializer.recipe(config.name("activation"))
        config = config.choose("initializer", word)
        notes.append(f"initializer=auto takes {word}, for {config.name('activation')}")
    if config.name("loss") == "auto":
        word = losses.recipe(task)
        config = config.choose("loss", word)
        notes.append(f"loss=auto takes {word}, for a {task} task")
    return config, notes


def assemble(config: Config, dataset: Dataset, device: torch.device) -> Assembly:
    """Build and join the parts; every `auto` option must be resolved.

    Raises:
        Error: settings that do not fit the data (code 2); a net that does not fit the machine (code 6).
    """
    loss = weigh(config, config.build("loss")(dataset.class_counts()), dataset)
    network = fit_network(config, dataset, loss, device)
    rows = len(dataset.parts["train"])
    asked = "full" if config.name("optim") == "lbfgs" else config["train"]["batch_size"]
    batch_size = find_batch_size(asked, rows)
    if has_batch_statistics(network) and min(batch_size, rows) < 2:
        what = "batchnorm=batch needs at least two rows in a batch, and there is one training row"
        raise Error(what, "give more rows, or batchnorm=none", Code.CONFIG)
    parts = make_resident(dataset, network, loss, device)
    return Assembly(network, make_step(config, network, loss), loss, parts, batch_size)


def make_step(config: Config, network: Network, loss) -> Step:
    """The update of a net, whose tensors become views of the step's vectors."""
    constraint = None if config.name("constraint") == "none" else config.build("constraint")
    return Step(network.body, loss, config.build("regularizer"), constraint, config.build("optim")())


def rebuild(
    config: Config, assembly: Assembly, dataset: Dataset, dtype: torch.dtype = torch.float32
) -> Assembly:
    """The same rows and preprocessing with a net, a loss and a step of their own, fresh from `config`.

    Args:
        config: settled; it may choose another net, loss, optimizer or rate than that of `assembly`.
        dtype: of the net's numbers.
    """
    loss, old = weigh(config, config.build("loss")(dataset.class_counts()), dataset), assembly.network
    outputs = loss.outputs(len(dataset.classes), len(dataset.names))
    network = Network(
        deepcopy(old.preprocessing), build_body(config, old.preprocessing, outputs), deepcopy(old.target)
    )
    network = network.to(next(old.parameters()).device, dtype)
    parts = {
        name: part._replace(encoded=encode(dataset, dataset.parts[name], network, loss, part.targets))
        for name, part in assembly.parts.items()
    }
    return Assembly(network, make_step(config, network, loss), loss, parts, assembly.batch_size)


def weigh(config: Config, loss: Any, dataset: Dataset) -> Any:
    """The loss, or the loss of rows that do not count alike."""
    return loss if dataset.weights is None else losses.Weighted(config.name("loss"), loss)


def count_weights(config: Config, inputs: int) -> int:
    """Of the hidden layers, which are nearly all that a net has."""
    widths = [inputs, *config.build("model")()]
    pieces = config["activation"].get("pieces", 1)
    return sum(below * width * pieces for below, width in pairwise(widths))


def find_batch_size(setting: int | str, rows: int) -> int:
    """How many rows a batch has: never more than there are."""
    if setting == "auto":
        setting = next(size for most, size in BATCH_SIZES if rows <= most)
    return rows if setting == "full" else min(setting, rows)


def fit_network(config: Config, dataset: Dataset, loss, device: torch.device) -> Network:
    """A fresh net with preprocessing fitted on the training rows.

    Raises:
        Error: it does not fit the machine (code 6).
    """
    rows = dataset.parts["train"]
    preprocessing = fit_preprocessing(dataset, rows)
    check_memory(count_weights(config, preprocessing.features), device)
    target = fit_columns(torch.from_numpy(dataset.targets[rows])) if dataset.task == REGRESSION else None
    outputs = loss.outputs(len(dataset.classes), len(dataset.names))
    return Network(preprocessing, build_body(config, preprocessing, outputs), target).to(device)


def fit_preprocessing(dataset: Dataset, rows: np.ndarray) -> nn.Module:
    """Images by channel, tables as their columns ask for, all else column by column; from the training rows."""
    prepared = dataset.preparation
    if prepared is None:
        inputs = torch.from_numpy(dataset.inputs[rows])
        return fit_images(inputs, dataset.image[0]) if dataset.image else fit_columns(inputs)
    codes = {
        k: FIRST + len(column.categories) if column.kind == CATEGORY else None
        for k, column in enumerate(prepared.columns)
    }
    settings = {name: getattr(prepared, name) for name in ("scale", "one_hot", "embedding", "rare")}

    def column(k: int) -> np.ndarray:
        return dataset.inputs[rows, k]  # one at a time: a large table need not lie in memory twice

    fitted = Columns(plan_columns(column, codes, **settings)).fit(column, prepared.rare)
    if not fitted.features:
        what = f"no usable feature column: no text of a category stands in {prepared.rare} training rows (data.rare)"
        raise Error(what, "give columns whose values repeat, or data.rare=1", Code.DATA)
    return fitted


def empty_network(config: Config, loss, schema: dict[str, Any]) -> Network:
    """A net of the shapes that a run's `schema.json` leads to, to be filled with its weights."""
    columns, classes, targets = (len(schema[name]) for name in ("features", "classes", "targets"))
    preprocessing = Columns(schema["plan"]) if schema["plan"] else empty(columns, bool(schema["image"]))
    body = build_body(config, preprocessing, loss.outputs(classes, targets))
    return Network(preprocessing, body, empty(targets, False) if schema["task"] == REGRESSION else None)


def build_body(config: Config, preprocessing: nn.Module, outputs: int) -> MLP:
    """The net itself, initialised from the run's seed: the same weights on every device."""
    plan = preprocessing.plan or {"embedded": (), "embedding": 0}
    return build_mlp(
        preprocessing.features,
        outputs,
        config.build("model")(),
        activation=config.build("activation"),
        initialize=config.build("initializer"),
        norm=config.build("batchnorm"),
        noise=config.build("dropout")(),
        generator=stream(config["run"]["seed"], "initialisation"),
        embedded=[plan["known"][k] + 1 for k in plan["embedded"]],
        embedding=plan["embedding"],
    )

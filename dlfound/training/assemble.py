"""Build the parts of a training from a checked configuration and the data."""

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
from dlfound.nn.modules import MLP, Network, build_mlp
from dlfound.nn.preprocessing import TabularPreprocessing, empty, fit_columns, fit_images, plan_columns
from dlfound.objective import loss as losses
from dlfound.objective.tasks import REGRESSION
from dlfound.streams import stream
from dlfound.training.device import DeviceData, check_memory, encode, make_resident
from dlfound.training.loop import has_batch_statistics
from dlfound.training.step import Step

MANY_ROWS = 50_000  # training rows; with more, train.batch_size=auto is 128 instead of 64


@dataclass
class Assembly:
    """The parts that the loop over epochs needs.

    Attributes:
        parts: train, val and test -> rows on the device.
    """

    network: Network
    step: Step
    loss: Any
    parts: dict[str, DeviceData]
    batch_size: int


def resolve(config: Config, task: str) -> tuple[Config, list[str]]:
    """Replace each `auto` option by the option that it stands for, and return a note on each."""
    notes = []
    if config.name("initializer") == "auto":
        option = initializer.recipe(config.build("activation").func)
        config = config.choose("initializer", option)
        notes.append(f"initializer=auto takes {option}, for {config.name('activation')}")
    if config.name("loss") == "auto":
        option = losses.AUTO[task]
        config = config.choose("loss", option)
        notes.append(f"loss=auto takes {option}, for a {task} task")
    return config, notes


def assemble(config: Config, dataset: Dataset, device: torch.device) -> Assembly:
    """Build the parts of a training, with preprocessing that is fitted on the training rows.

    Args:
        config: without `auto` options.

    Raises:
        Error: settings do not fit the data (code 2), or the net does not fit into memory (code 6).
    """
    rows = dataset.parts["train"]
    loss = weigh(config, config.build("loss")(dataset.class_counts()), dataset)
    preprocessing = fit_preprocessing(dataset, rows)
    check_memory(count_weights(config, preprocessing.features), device)
    target = fit_columns(torch.from_numpy(dataset.targets[rows])) if dataset.task == REGRESSION else None
    outputs = loss.outputs(len(dataset.classes), len(dataset.names))
    network = Network(preprocessing, build_body(config, preprocessing, outputs), target).to(device)
    batch_size = find_batch_size(config, len(rows))
    if has_batch_statistics(network) and batch_size < 2:
        message = "batchnorm=batch needs batches of at least two rows, but there is only one training row"
        raise Error(message, "give more rows, or batchnorm=none", Code.CONFIG)
    parts = make_resident(dataset, network, loss, device)
    return Assembly(network, make_step(config, network, loss), loss, parts, batch_size)


def make_step(config: Config, network: Network, loss) -> Step:
    """Make the update of a net; the net's tensors become views of the step's vectors."""
    constraint = None if config.name("constraint") == "none" else config.build("constraint")
    return Step(network.body, loss, config.build("regularizer"), constraint, config.build("optim")())


def rebuild(config: Config, assembly: Assembly, dataset: Dataset, dtype: torch.dtype) -> Assembly:
    """Build a new net, loss and step from `config`, with the rows and the preprocessing of an assembly.

    Args:
        config: without `auto` options; its net, loss, optimizer and rate may differ from those of `assembly`.
        dtype: the type of the net's numbers.
    """
    old = assembly.network
    loss = weigh(config, config.build("loss")(dataset.class_counts()), dataset)
    outputs = loss.outputs(len(dataset.classes), len(dataset.names))
    body = build_body(config, old.preprocessing, outputs)
    network = Network(deepcopy(old.preprocessing), body, deepcopy(old.target))
    network = network.to(next(old.parameters()).device, dtype)
    parts = {
        name: part._replace(encoded=encode(dataset, dataset.parts[name], network, loss, part.targets))
        for name, part in assembly.parts.items()
    }
    return Assembly(network, make_step(config, network, loss), loss, parts, assembly.batch_size)


def weigh(config: Config, loss: Any, dataset: Dataset) -> Any:
    """The loss, with a weight for each row if the data have weights."""
    return loss if dataset.weights is None else losses.Weighted(config.name("loss"), loss)


def count_weights(config: Config, inputs: int) -> int:
    """The number of weights of the hidden layers, which are almost all parameters of a net."""
    widths = [inputs, *config.build("model")()]
    pieces = config["activation"].get("pieces", 1)
    return sum(below * width * pieces for below, width in pairwise(widths))


def find_batch_size(config: Config, rows: int) -> int:
    """The number of rows of a batch, at most all rows."""
    setting = config["train"]["batch_size"]
    if setting == "full" or config.name("optim") == "lbfgs":
        return rows
    auto = 128 if rows > MANY_ROWS else 64
    return min(auto if setting == "auto" else setting, rows)


def fit_preprocessing(dataset: Dataset, rows: np.ndarray) -> nn.Module:
    """Fit the preprocessing on the training rows: per channel of images, else per column.

    Raises:
        Error: no column of a table is usable (code 3).
    """
    preparation = dataset.preparation
    if preparation is None:
        inputs = torch.from_numpy(dataset.inputs[rows])
        return fit_images(inputs, dataset.image[0]) if dataset.image else fit_columns(inputs)
    codes = {
        k: FIRST + len(column.categories) if column.kind == CATEGORY else None
        for k, column in enumerate(preparation.columns)
    }
    settings = {name: getattr(preparation, name) for name in ("scale", "one_hot", "embedding", "rare")}

    def column(k: int) -> np.ndarray:
        return dataset.inputs[rows, k]  # one at a time: a large table need not lie in memory twice

    fitted = TabularPreprocessing(plan_columns(column, codes, **settings)).fit(column, preparation.rare)
    if not fitted.features:
        reason = f"no category occurs in at least {preparation.rare} training rows (data.rare)"
        fix = "give columns whose values repeat, or data.rare=1"
        raise Error(f"no usable feature column: {reason}", fix, Code.DATA)
    return fitted


def empty_network(config: Config, loss, schema: dict[str, Any]) -> Network:
    """Build a net of the shapes in a run's schema.json, to be filled with the weights of the run."""
    columns, classes, targets = (len(schema[name]) for name in ("features", "classes", "targets"))
    plan = schema["plan"]
    preprocessing = TabularPreprocessing(plan) if plan else empty(columns, bool(schema["image"]))
    body = build_body(config, preprocessing, loss.outputs(classes, targets))
    return Network(preprocessing, body, empty(targets) if schema["task"] == REGRESSION else None)


def build_body(config: Config, preprocessing: nn.Module, outputs: int) -> MLP:
    """Build the net itself, initialised from the run's seed with the same weights on every device."""
    plan = preprocessing.plan or {"embedded": ()}
    return build_mlp(
        preprocessing.features,
        outputs,
        config.build("model")(),
        activation=config.build("activation"),
        initialize=config.build("initializer"),
        norm=config.build("batchnorm"),
        noise=config.build("dropout")(),
        generator=stream(config["run"]["seed"], "initialisation"),
        embedded=[(plan["known"][k] + 1, plan["embedding"]) for k in plan["embedded"]],
    )

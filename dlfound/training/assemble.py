"""From a checked configuration and data to the parts of a training."""

from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error
from dlfound.nn import initializer
from dlfound.nn.modules import MLP, build_mlp
from dlfound.nn.network import Network
from dlfound.nn.preprocessing import empty, fit_columns, fit_images
from dlfound.objective import loss as losses
from dlfound.streams import stream
from dlfound.training.device import check_memory
from dlfound.training.loop import has_batch_statistics
from dlfound.training.resident import Part, encode, make_resident
from dlfound.training.step import Step

BATCH_SIZES = ((10_000, 64), (float("inf"), 128))  # `train.batch_size=auto`: up to so many rows, this size


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
    loss = config.build("loss")(dataset.class_counts())
    check_memory(count_weights(config, dataset.inputs.shape[1]), device)
    network = fit_network(config, dataset, loss).to(device)
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


def rebuild(config: Config, assembly: Assembly, dataset: Dataset, dtype: torch.dtype = torch.float32) -> Assembly:
    """The same rows and preprocessing with a net, a loss and a step of their own, fresh from `config`.

    Args:
        config: settled; it may choose another net, loss, optimizer or rate than that of `assembly`.
        dtype: of the net's numbers.
    """
    loss, old = config.build("loss")(dataset.class_counts()), assembly.network
    columns = next(iter(old.body.layers().values())).in_features
    outputs = loss.outputs(len(dataset.classes), 0 if dataset.classes else dataset.targets.shape[1])
    network = Network(deepcopy(old.preprocessing), build_body(config, columns, outputs), deepcopy(old.target))
    network = network.to(next(old.parameters()).device, dtype)
    parts = {name: p._replace(encoded=encode(network, loss, p.targets)) for name, p in assembly.parts.items()}
    return Assembly(network, make_step(config, network, loss), loss, parts, assembly.batch_size)


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


def fit_network(config: Config, dataset: Dataset, loss) -> Network:
    """A fresh net with preprocessing fitted on the training rows."""
    rows = dataset.parts["train"]
    inputs = torch.from_numpy(dataset.inputs[rows])
    preprocessing = fit_images(inputs, dataset.image[0]) if dataset.image else fit_columns(inputs)
    target = None if dataset.classes else fit_columns(torch.from_numpy(dataset.targets[rows]))
    outputs = loss.outputs(len(dataset.classes), 0 if dataset.classes else dataset.targets.shape[1])
    return Network(preprocessing, build_body(config, inputs.shape[1], outputs), target)


def empty_network(config: Config, loss, schema: dict[str, Any]) -> Network:
    """A net of the shapes that a run's `schema.json` leads to, to be filled with its weights."""
    columns, classes, targets = (len(schema[name]) for name in ("features", "classes", "targets"))
    body = build_body(config, columns, loss.outputs(classes, targets))
    return Network(empty(columns, bool(schema["image"])), body, None if classes else empty(targets, False))


def build_body(config: Config, inputs: int, outputs: int) -> MLP:
    """The net itself, initialised from the run's seed: the same weights on every device."""
    return build_mlp(
        inputs,
        outputs,
        config.build("model")(),
        activation=config.build("activation"),
        initialize=config.build("initializer"),
        norm=config.build("batchnorm"),
        noise=config.build("dropout")(),
        generator=stream(config["run"]["seed"], "initialisation"),
    )

"""What a check works on: a configuration, its data, and fresh nets for experiments."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.nn.modules import Network
from dlfound.optim.schedules import constant
from dlfound.streams import stream
from dlfound.training.assemble import Assembly, assemble, rebuild, resolve
from dlfound.training.device import DeviceData
from dlfound.training.layers import LayerProbe
from dlfound.training.loop import fit

SAMPLE = 512  # training rows for comparing losses: a mean loss is then exact to a few per cent
VALIDATION = 50  # rows that a short training validates on; nothing depends on the result
PRODUCTS = 2e11  # multiplications in the longest short training: about 7 s on one core
LEAST_STEPS = 20  # even for the largest net
PLAIN = {
    "activation": "relu", "batchnorm": "none", "constraint": "none", "initializer": "auto",
    "loss": "auto", "optim": "adam", "regularizer": "none",
}  # fmt: skip
"""The option of each group that is known to be right."""


class CheckContext:
    """A configuration with its data.

    Args:
        config: a configuration without `auto` options.

    Attributes:
        base: the assembly that `train` would build; the checks never train it.
        seed: the seed of all random numbers.
        learnable: the configuration, with another rate if the overfit check finds that only this one learns.
    """

    def __init__(self, config: Config, dataset: Dataset, device: torch.device):
        self.config = config
        self.dataset = dataset
        self.base = assemble(config, dataset, device)
        self.seed: int = config["run"]["seed"]
        self.learnable = config
        self._results: dict[Callable, Any] = {}

    def once(self, function: Callable[["CheckContext"], Any]) -> Any:
        """Return `function(self)`, which several checks may need, but which runs once."""
        if function not in self._results:
            self._results[function] = function(self)
        return self._results[function]

    def fresh(self, config: Config | None = None, dtype: torch.dtype = torch.float32) -> Assembly:
        """Build a net with its loss and optimizer, as before the first step.

        Args:
            config: a changed configuration; the checked one by default.
        """
        return rebuild(config or self.config, self.base, self.dataset, dtype)

    def sample(self, a: Assembly, count: int = SAMPLE, purpose: str = "sample") -> DeviceData:
        """Draw `count` training rows at random; the same purpose always gets the same rows."""
        return take(a.parts["train"], self.permutation(purpose)[:count])

    def permutation(self, purpose: str) -> Tensor:
        """Return the indices of all training rows in an order drawn from the seed and the purpose."""
        rows = self.base.parts["train"].inputs
        generator = stream(self.seed, f"check {purpose}")
        return torch.randperm(len(rows), generator=generator).to(rows.device)

    def numeric(self, inputs: Tensor) -> np.ndarray:
        """Return rows as the net receives them, without the columns that hold numbers of categories."""
        network = self.base.network
        ready = network.ready(inputs).double().cpu().numpy()
        return ready[:, : ready.shape[1] - network.body.embedded_columns]

    def steps(self, most: int, rows: int, per_search: int = 1) -> int:
        """Return how many steps on batches of `rows` rows to take: `most`, or fewer for a large net.

        Args:
            per_search: this many times fewer if the optimizer searches along each step, as L-BFGS does.
        """
        if hasattr(self.base.step.optimizer, "search"):
            most //= per_search
        affordable = int(PRODUCTS / (3 * len(self.base.step.params) * rows))
        return min(most, max(LEAST_STEPS, affordable))

    def plain(self, group: str) -> Config:
        """Return the configuration with the option of one group that is known to be right."""
        return resolve(self.config.choose(group, PLAIN[group]), self.dataset.task)[0]

    def weights_override(self, otherwise: str = "batchnorm=batch") -> str:
        """Return the override that chooses the fitting initializer; `otherwise` if it is already chosen."""
        name = self.plain("initializer").name("initializer")
        return otherwise if name == self.config.name("initializer") else f"initializer={name}"

    def named(self, group: str) -> str:
        """Return group=option as configured; "the net" for the empty name."""
        return f"{group}={self.config.name(group)}" if group else "the net"

    def is_registered(self, group: str) -> bool:
        """True if the chosen option of a group comes from the user (`dlfound.register`)."""
        return bool(self.config.catalog.is_user_option(group, self.config.name(group)))


def plain_override(group: str) -> str:
    """Return the override that chooses the option known to be right; empty for the empty name."""
    return f"{group}={PLAIN[group]}" if group else ""


def take(part: DeviceData, rows: Tensor) -> DeviceData:
    """Select rows of a part."""
    return DeviceData(*(values[rows] for values in part))


def train_steps(a: Assembly, train: DeviceData, seed: int, count: int) -> Iterator[None]:
    """Train `a` for at most `count` steps at a constant rate; yield before the last step and after it.

    Raises:
        Diverged: a loss or gradient is not finite.
    """
    val = take(train, torch.arange(min(len(train.inputs), VALIDATION)))
    epochs = fit(
        a.network, a.step, a.loss, constant(1), train, val,
        epochs=count, batch_size=min(a.batch_size, len(train.inputs)), seed=seed,
        pause=lambda: int(a.step.t) >= count - 1 or bool(a.step.skip),
    )  # fmt: skip
    for _ in epochs:
        if int(a.step.t) >= count - 1:
            yield
        if int(a.step.t) >= count:
            return


def sample_loss(a: Assembly, part: DeviceData) -> float:
    """Return the mean loss on a part, without dropout and with batch statistics."""
    return LayerProbe(a.network, a.step, part).loss(part)


def hidden_modules(network: Network) -> dict[nn.Module, str]:
    """Return the normalisation and activation modules, each with its group of options."""
    layers = network.body.hidden
    norms = {layer.norm: "batchnorm" for layer in layers if layer.norm is not None}
    return norms | {layer.activation: "activation" for layer in layers}


def parameter_names(a: Assembly) -> list[str]:
    """Name the step's tensors in their order: layer1.weight, layer1.bias, ...; others as torch names them."""
    layers = {id(linear._parameters): name for name, linear in a.network.body.layers().items()}
    modules = {id(module._parameters): name for name, module in a.step.model.named_modules()}
    slots = a.step.parameter_layout.slots
    return [f"{layers.get(id(owner), modules[id(owner)])}.{name}" for owner, name in slots]

"""What a check works on: a configuration, its data, and fresh nets for experiments."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.nn.initializer import recipe
from dlfound.nn.modules import Network
from dlfound.optim.schedules import constant
from dlfound.streams import stream
from dlfound.training.assemble import Assembly, assemble, rebuild
from dlfound.training.device import DeviceData
from dlfound.training.layers import LayerProbe
from dlfound.training.loop import fit

SAMPLE = 512  # training rows for comparing losses: a mean loss is then exact to a few per cent
VALIDATION = 50  # rows that a short training validates on; nothing depends on the result
PRODUCTS = 2e11  # multiplications in the longest short training: about 7 s on one core
LEAST_STEPS = 20  # even for the largest net


class CheckContext:
    """A configuration with its data.

    Args:
        config: a configuration without `auto` options.

    Attributes:
        base: the assembly that `train` would build; the checks never train it.
        cache: results that one check leaves for another.
    """

    def __init__(self, config: Config, dataset: Dataset, device: torch.device):
        self.config = config
        self.dataset = dataset
        self.base = assemble(config, dataset, device)
        self.cache: dict[str, Any] = {}

    @property
    def seed(self) -> int:
        """The seed of all random numbers."""
        return self.config["run"]["seed"]

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

    @cached_property
    def parameter_count(self) -> int:
        """The number of parameters of the net."""
        return len(self.base.step.params)

    def steps(self, most: int, rows: int) -> int:
        """Return how many steps on batches of `rows` rows to take: `most`, or fewer for a large net."""
        affordable = int(PRODUCTS / (3 * self.parameter_count * rows))
        return max(min(most, LEAST_STEPS), min(most, affordable))

    @property
    def searches(self) -> bool:
        """True if the optimizer evaluates the objective many times a step, as L-BFGS does."""
        return hasattr(self.base.step.optimizer, "search")

    @property
    def fitting_initializer(self) -> str:
        """The name of the initializer that fits the activation."""
        return recipe(self.config.build("activation").func)

    def initializer_override(self) -> str:
        """Return the override that chooses the fitting initializer; empty if it is already chosen."""
        if self.config.name("initializer") == self.fitting_initializer:
            return ""
        return f"initializer={self.fitting_initializer}"

    def is_registered(self, group: str) -> bool:
        """True if the chosen option of a group comes from the user (`dlfound.register`)."""
        return bool(self.config.catalog.is_own(group, self.config.name(group)))


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
    """Return the normalisation and activation modules from the input up, each with its group of options."""
    groups: dict[nn.Module, str] = {}
    for layer in network.body.hidden:
        if layer.norm is not None:
            groups[layer.norm] = "batchnorm"
        groups[layer.activation] = "activation"
    return groups


def parameter_names(a: Assembly) -> list[str]:
    """Name the step's tensors in their order: layer1.weight, layer1.bias, ...; others as torch names them."""
    layers = {id(linear._parameters): name for name, linear in a.network.body.layers().items()}
    modules = {id(module._parameters): name for name, module in a.step.model.named_modules()}
    slots = a.step.parameter_layout.slots
    return [f"{layers.get(id(owner), modules[id(owner)])}.{name}" for owner, name in slots]

"""What is checked: a configuration and its data, and fresh nets of it to try things on."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dlfound.checks.thresholds import FEW, LEAST_STEPS, PRODUCTS, SAMPLE
from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.nn.initializer import recipe
from dlfound.optim.lr_decay import Constant
from dlfound.streams import stream
from dlfound.training.assemble import Assembly, assemble, rebuild
from dlfound.training.device_data import Part
from dlfound.training.layers import Probe
from dlfound.training.loop import fit

POOL = 4096  # rows among which the few are looked for


class Subject:
    """A settled configuration with its data.

    Attributes:
        base: the parts of its training, as `train` makes them; nothing is ever trained on it.
        kept: what one check has found out and another one needs too.
    """

    def __init__(self, config: Config, dataset: Dataset, device: torch.device):
        self.config, self.dataset = config, dataset
        self.base = assemble(config, dataset, device)
        self.kept: dict[str, Any] = {}

    @property
    def seed(self) -> int:
        """Of all that is drawn."""
        return self.config["run"]["seed"]

    def fresh(self, config: Config | None = None, dtype: torch.dtype = torch.float32) -> Assembly:
        """A net of its own, as it is before the first step; of another configuration where one is given."""
        return rebuild(config or self.config, self.base, self.dataset, dtype)

    def sample(self, a: Assembly, count: int = SAMPLE, purpose: str = "sample") -> Part:
        """Some training rows, by lot: always the same ones for a purpose."""
        return take(a.parts["train"], self._lot(purpose)[:count])

    def few(self, a: Assembly) -> Part:
        """The rows to be learned by heart: of all classes alike, and no two with equal inputs, which may contradict."""
        part, lot = a.parts["train"], self._lot("few")[:POOL]
        _, same = torch.unique(part.inputs[lot], dim=0, return_inverse=True)
        first = torch.full((int(same.max()) + 1,), len(lot), device=same.device)
        first = (
            first.scatter_reduce(0, same, torch.arange(len(lot), device=same.device), "amin").sort().values
        )
        lot = lot[first]
        if self.dataset.classes:
            members = torch.nn.functional.one_hot(part.targets[lot])
            lot = lot[
                (members.cumsum(0) * members).sum(1).argsort(stable=True)
            ]  # each class's first, then each second
        return take(part, lot[:FEW])

    def _lot(self, purpose: str) -> Tensor:
        rows = self.base.parts["train"].inputs
        return torch.randperm(len(rows), generator=stream(self.seed, f"check {purpose}")).to(rows.device)

    @cached_property
    def weights(self) -> int:
        """How many numbers the net learns."""
        return len(self.base.step.params)

    def steps(self, most: int, rows: int) -> int:
        """How many steps with so many rows are taken: `most`, or fewer for a large net."""
        return max(min(most, LEAST_STEPS), min(most, int(PRODUCTS / (3 * self.weights * rows))))

    @property
    def searches(self) -> bool:
        """True for an optimizer that evaluates the objective many times a step."""
        return hasattr(self.base.step.optimizer, "search")

    @property
    def fitting(self) -> str:
        """The initializer that fits the activation."""
        return recipe(self.config.name("activation"))

    def usual_initializer(self) -> str:
        """The override that chooses it; empty where it is chosen."""
        return "" if self.config.name("initializer") == self.fitting else f"initializer={self.fitting}"

    def is_own(self, group: str) -> bool:
        """True for an option that a person has registered."""
        return bool(self.config.catalog.is_own(group, self.config.name(group)))


def take(part: Part, rows: Tensor) -> Part:
    """Some rows of a part."""
    return Part(*(values[rows] for values in part))


def train_steps(a: Assembly, train: Part, seed: int, count: int) -> Iterator[None]:
    """Train `a` as `fit` does, at its constant rate, for at most `count` steps; comes out before the last and after it.

    Raises:
        Diverged: a loss or gradient was not finite.
    """
    val = take(train, torch.arange(min(len(train.inputs), FEW)))
    loop = fit(
        a.network, a.step, a.loss, Constant(1), train, val,
        epochs=count, batch_size=min(a.batch_size, len(train.inputs)), seed=seed,
        pause=lambda: int(a.step.t) >= count - 1 or bool(a.step.skip),
    )  # fmt: skip
    for _ in loop:
        if int(a.step.t) >= count - 1:
            yield
        if int(a.step.t) >= count:
            return


def sample_loss(a: Assembly, part: Part) -> float:
    """The mean loss on a part, dropout off and with batch statistics."""
    return Probe(a.network, a.step, part).loss(part)

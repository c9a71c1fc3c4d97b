"""Learning-rate decay. Each option is an object that is told the learning rate and each validation's value."""

from dataclasses import dataclass, field

from dlfound.config.kinds import Count, NonNegative, Shrink
from dlfound.optim.early_stopping import Patience


class Constant:
    """The learning rate stays."""

    def after(self, value: float, lr: float) -> float:
        """The rate of the next epoch."""
        return lr


@dataclass(kw_only=True)
class Plateau:
    """The rate is multiplied by `factor` at the `patience`-th validation in a row without improvement, again and again.

    Source: the lecture, minute 39.
    """

    factor: Shrink
    patience: Count
    min_delta: NonNegative
    min_lr: NonNegative
    count: Patience = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.count = Patience(self.min_delta)

    def after(self, value: float, lr: float) -> float:
        """The rate of the next epoch, given this validation's value (lower is better; NaN never improves)."""
        if self.count.see(value) < self.patience:
            return lr
        self.count.waited = 0
        return max(lr * self.factor, min(self.min_lr, lr))


TABLE = {"none": Constant, "plateau": Plateau}

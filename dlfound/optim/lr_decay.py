"""How the learning rate changes during training: large steps find a good region, small steps settle in it.
With a warm-up, the rate first grows linearly from near zero over `warmup` epochs, and the decay begins after
that (Goyal et al. 2017, section 2.2, https://arxiv.org/abs/1706.02677). The formulas count epochs from the
end of the warm-up, with fractions.

Each option is a class, or a function that returns an object. It takes the number of epochs of the run.
`rate(lr, epoch, share)` is the learning rate of a step that begins after `epoch` epochs (with fractions) and
is `share` of an epoch; `after(value)` takes the value of each validation.
"""

import math
from collections.abc import Callable

from dlfound.config.setting_types import Count, NonNegative, Positive, Share, Shrink
from dlfound.optim.early_stopping import Patience


class Constant:
    """Keep the learning rate."""

    def __init__(self, epochs: int):
        pass

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        return lr

    def after(self, value: float) -> None:
        """Ignore the validation."""


def _warmup_factor(warmup: float, epoch: float, share: float) -> float:
    """What the warm-up multiplies the rate of a step by."""
    return min(1.0, (epoch + share) / warmup) if warmup > 0 else 1.0


class Plateau:
    """Multiply the rate by `factor` at every `patience`-th validation in a row without improvement.

    dlfound validates after each epoch and compares the value of train.monitor with the best so far. Only a
    change by more than `min_delta` is an improvement. The rate never falls below `min_lr`.

    Source: the lecture, minute 39.
    """

    def __init__(
        self,
        epochs: int,
        *,
        factor: Shrink,
        patience: Count,
        min_delta: NonNegative,
        min_lr: NonNegative,
        warmup: NonNegative,
    ):
        self.factor = factor
        self.patience = patience
        self.min_lr = min_lr
        self.warmup = warmup
        self.count = Patience(min_delta)
        self.cuts = 0

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        decayed = max(lr * self.factor**self.cuts, min(self.min_lr, lr))
        return _warmup_factor(self.warmup, epoch, share) * decayed

    def after(self, value: float) -> None:
        """Count one more validation. Lower is better; NaN is never an improvement."""
        if self.count.see(value) >= self.patience:
            self.count.waited = 0
            self.cuts += 1


class _Schedule:
    """A decay that depends on the epoch alone, after a warm-up.

    Args:
        curve: (lr, epochs since the warm-up, epochs from the warm-up to the end of the run) -> the rate.
    """

    def __init__(self, epochs: int, warmup: float, curve: Callable[[float, float, float], float]):
        self._epochs = epochs
        self._warmup = warmup
        self._curve = curve

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        done = max(0.0, epoch - self._warmup)
        decayed = self._curve(lr, done, self._epochs - self._warmup)
        return _warmup_factor(self._warmup, epoch, share) * decayed

    def after(self, value: float) -> None:
        """Ignore the validation."""


def step(epochs: int, *, step_size: Count, gamma: Share, warmup: NonNegative) -> _Schedule:
    """Multiply the rate by gamma every step_size epochs.

        lr gamma^floor(epochs / step_size)

    Source: Krizhevsky, Sutskever & Hinton 2012, section 5 (by hand there).
    """
    return _Schedule(epochs, warmup, lambda lr, done, length: lr * gamma ** math.floor(done / step_size))


def exponential(epochs: int, *, gamma: Share, warmup: NonNegative) -> _Schedule:
    """Multiply the rate by gamma over each epoch, a little at each step.

        lr gamma^epochs

    Source: Senior et al. 2013, section 3.1.
    """
    return _Schedule(epochs, warmup, lambda lr, done, length: lr * gamma**done)


def inverse_time(epochs: int, *, half_life: Positive, warmup: NonNegative) -> _Schedule:
    """lr / (1 + epochs / half_life): the rate is lr / 2 after half_life epochs, lr / 3 after twice as many.

    It falls ever more slowly and never reaches zero.

    Source: Robbins & Monro 1951; Bottou 2012, section 5.2.
    """
    return _Schedule(epochs, warmup, lambda lr, done, length: lr / (1 + done / half_life))


def linear(epochs: int, *, final_lr: NonNegative, warmup: NonNegative) -> _Schedule:
    """Decay in a straight line from lr to final_lr at the end of the run.

    The end is train.epochs; early stopping may end the run before the rate reaches final_lr.

    Source: Bengio 2012, section 3.1.1.
    https://arxiv.org/abs/1206.5533
    """
    return _Schedule(epochs, warmup, lambda lr, done, length: lr + (final_lr - lr) * done / length)


def cosine(epochs: int, *, final_lr: NonNegative, warmup: NonNegative) -> _Schedule:
    """Decay along half a cosine from lr to final_lr at the end of the run.

        final_lr + (lr - final_lr) (1 + cos(pi share)) / 2, share of the epochs that are done

    The end is train.epochs; early stopping may end the run before the rate reaches final_lr.

    Source: Loshchilov & Hutter 2017, equation 5, without restarts.
    https://arxiv.org/abs/1608.03983
    """
    return _Schedule(epochs, warmup, lambda lr, done, length: _cosine(lr, final_lr, done / length))


class OneCycle:
    """Raise the rate linearly from lr to max_lr in the warm-up, then lower it on half a cosine to final_lr.

    It is made for a run of fixed length: set train.epochs, and early_stopping=none. `warmup` is the length of
    the rise, in epochs.

    Source: Smith & Topin 2018.
    https://arxiv.org/abs/1708.07120
    """

    def __init__(self, epochs: int, *, max_lr: Positive, final_lr: NonNegative, warmup: NonNegative):
        self.epochs = epochs
        self.max_lr = max_lr
        self.final_lr = final_lr
        self.warmup = warmup

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        if epoch < self.warmup:
            return lr + (self.max_lr - lr) * epoch / self.warmup
        return _cosine(self.max_lr, self.final_lr, (epoch - self.warmup) / (self.epochs - self.warmup))

    def after(self, value: float) -> None:
        """Ignore the validation."""


def _cosine(high: float, low: float, share: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


TABLE = {
    "none": Constant,
    "plateau": Plateau,
    "step": step,
    "exponential": exponential,
    "inverse_time": inverse_time,
    "linear": linear,
    "cosine": cosine,
    "one_cycle": OneCycle,
}

"""How the learning rate changes while a net trains: large steps find the way, small ones settle.
With a warm-up it first grows linearly from near zero, over `warmup` epochs, and only then the decay begins (Goyal et
al. 2017, section 2.2); the formulas count epochs from there on, with fractions.

Each option is a class, made from the number of epochs of the run.

`rate(lr, epoch, share)` is the learning rate of a step: `epoch` epochs (with fractions) were done before it, and it
does `share` of one; `after(value)` tells the value of each validation.
"""

import math

from dlfound.config.setting_types import Count, NonNegative, Positive, Share, Shrink
from dlfound.optim.early_stopping import Patience


class Constant:
    """The learning rate stays."""

    def __init__(self, epochs: int):
        pass

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        return lr

    def after(self, value: float) -> None:
        """Nothing follows from a validation."""


def _warm(warmup: float, epoch: float, share: float) -> tuple[float, float]:
    """The warm-up's factor for this step, and how many epochs were done since its end."""
    return min(1.0, (epoch + share) / warmup) if warmup > 0 else 1.0, max(0.0, epoch - warmup)


class Plateau:
    """The rate is multiplied by `factor` at the `patience`-th validation in a row without improvement, again and again.

    Validation comes after each epoch and is judged by train.monitor; better means better than the best so far by more
    than `min_delta`. The rate never falls below `min_lr`.

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
        self.factor, self.patience, self.min_lr, self.warmup = factor, patience, min_lr, warmup
        self.count, self.cuts = Patience(min_delta), 0

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        warm, _ = _warm(self.warmup, epoch, share)
        return warm * max(lr * self.factor**self.cuts, min(self.min_lr, lr))

    def after(self, value: float) -> None:
        """One more validation (lower is better; NaN never improves)."""
        if self.count.see(value) >= self.patience:
            self.count.waited, self.cuts = 0, self.cuts + 1


class _Scheduled:
    """What the decays that follow from the epoch alone share: a warm-up, then `curve(lr, epochs since, length)`."""

    def __init__(self, epochs: int, warmup: float, curve):
        self._epochs, self._warmup, self._curve = epochs, warmup, curve

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        warm, done = _warm(self._warmup, epoch, share)
        return warm * self._curve(lr, done, self._epochs - self._warmup)

    def after(self, value: float) -> None:
        """Nothing follows from a validation."""


def step(epochs: int, *, step_size: Count, gamma: Share, warmup: NonNegative) -> _Scheduled:
    """The rate is multiplied by gamma every step_size epochs.

        lr gamma^floor(epochs / step_size)

    Source: Krizhevsky, Sutskever & Hinton 2012, section 5 (by hand there).
    """
    return _Scheduled(epochs, warmup, lambda lr, done, length: lr * gamma ** math.floor(done / step_size))


def exponential(epochs: int, *, gamma: Share, warmup: NonNegative) -> _Scheduled:
    """The rate is multiplied by gamma each epoch, a little at each step.

        lr gamma^epochs

    Source: Senior et al. 2013, section 3.1.
    """
    return _Scheduled(epochs, warmup, lambda lr, done, length: lr * gamma**done)


def inverse_time(epochs: int, *, half_life: Positive, warmup: NonNegative) -> _Scheduled:
    """lr / (1 + epochs / half_life): half of lr after half_life epochs, a third after twice as many.

    It falls ever more slowly, and never reaches zero.

    Source: Robbins & Monro 1951; Bottou 2012, section 5.2.
    """
    return _Scheduled(epochs, warmup, lambda lr, done, length: lr / (1 + done / half_life))


def linear(epochs: int, *, final_lr: NonNegative, warmup: NonNegative) -> _Scheduled:
    """In a straight line from lr to final_lr at the end of the run.

    The end is after train.epochs; early stopping would come before it.

    Source: Bengio 2012, section 3.1.1.
    """
    return _Scheduled(epochs, warmup, lambda lr, done, length: lr + (final_lr - lr) * done / length)


def cosine(epochs: int, *, final_lr: NonNegative, warmup: NonNegative) -> _Scheduled:
    """Along half a cosine from lr to final_lr at the end of the run.

        final_lr + (lr - final_lr) (1 + cos(pi share)) / 2, share of the epochs that are done

    The end is after train.epochs; early stopping would come before it.

    Source: Loshchilov & Hutter 2017, equation 5, without restarts.
    """
    return _Scheduled(epochs, warmup, lambda lr, done, length: _cosine(lr, final_lr, done / length))


class OneCycle:
    """Up in a straight line from lr to max_lr during the warm-up, then down along half a cosine to final_lr.

    Shaped for a run of fixed length: set train.epochs, and early_stopping=none. `warmup` is the length of the rise, in
    epochs.

    Source: Smith & Topin 2018.
    """

    def __init__(self, epochs: int, *, max_lr: Positive, final_lr: NonNegative, warmup: NonNegative):
        self.epochs, self.max_lr, self.final_lr, self.warmup = epochs, max_lr, final_lr, warmup

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        if epoch < self.warmup:
            return lr + (self.max_lr - lr) * epoch / self.warmup
        return _cosine(self.max_lr, self.final_lr, (epoch - self.warmup) / (self.epochs - self.warmup))

    def after(self, value: float) -> None:
        """Nothing follows from a validation."""


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

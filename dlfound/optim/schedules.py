"""What the validations of a training change: the learning rate, and when the training ends.

lr_decay:
How the learning rate changes during training: large steps find a good region, small steps settle in it.
With a warm-up, the rate first grows linearly from near zero over `warmup` epochs, and the decay begins after
that (Goyal et al. 2017, section 2.2, https://arxiv.org/abs/1706.02677). The formulas count epochs from the
end of the warm-up, with fractions.

Each option is a class, or a function that returns an object. It takes the number of epochs of the run.
`rate(lr, epoch, share)` is the learning rate of a step that begins after `epoch` epochs (with fractions) and
is `share` of an epoch; `after(value)` takes the value of each validation. The attribute `any_length` of an
option is True if its rates do not depend on the number of epochs: a finished run can then train for longer.

early_stopping:
When training ends before train.epochs. However a run ends, dlfound keeps the net of the best validation.

Each option is an object; `after(value)` takes the value of each validation and says when to stop.
In both, lower values are better, and NaN is never an improvement.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from dlfound.config.setting_types import Count, NonNegative, Positive, Share, Shrink


@dataclass
class Patience:
    """Counts validations in a row that do not improve on the best by more than `min_delta` (absolute)."""

    min_delta: float
    best: float = math.inf
    waited: int = 0

    def see(self, value: float) -> int:
        """The count after one more validation."""
        if value < self.best - self.min_delta:
            self.best = value
            self.waited = 0
        else:
            self.waited += 1
        return self.waited


# ---- decay


class Decay:
    """A rate that depends on the epoch alone, after a warm-up.

    Args:
        curve: (lr, epochs since the warm-up, epochs from the warm-up to the end of the run) -> the rate.
    """

    def __init__(self, epochs: int, warmup: float, curve: Callable[[float, float, float], float]):
        self.epochs = epochs
        self.warmup = warmup
        self.curve = curve

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        decayed = self.curve(lr, max(0.0, epoch - self.warmup), self.epochs - self.warmup)
        return decayed * min(1.0, (epoch + share) / self.warmup) if self.warmup > 0 else decayed

    def after(self, value: float) -> None:
        """Ignore the validation."""


def constant(epochs: int) -> Decay:
    """Keep the learning rate."""
    return Decay(epochs, 0, lambda lr, done, length: lr)


constant.any_length = True


class Plateau(Decay):
    """Multiply the rate by `factor` at every `patience`-th validation in a row without improvement.

    dlfound validates after each epoch and compares the value of train.monitor with the best so far. Only a
    change by more than `min_delta` is an improvement. The rate never falls below `min_lr`.

    Source: the lecture, minute 39.
    """

    any_length = True

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
        super().__init__(epochs, warmup, lambda lr, *_: max(lr * factor**self.cuts, min(min_lr, lr)))
        self.patience = patience
        self.count = Patience(min_delta)
        self.cuts = 0

    def after(self, value: float) -> None:
        """Count one more validation."""
        if self.count.see(value) >= self.patience:
            self.count.waited = 0
            self.cuts += 1


def step(epochs: int, *, step_size: Count, gamma: Share, warmup: NonNegative) -> Decay:
    """Multiply the rate by gamma every step_size epochs.

        lr gamma^floor(epochs / step_size)

    Source: Krizhevsky, Sutskever & Hinton 2012, section 5 (by hand there).
    """
    return Decay(epochs, warmup, lambda lr, done, length: lr * gamma ** math.floor(done / step_size))


step.any_length = True


def exponential(epochs: int, *, gamma: Share, warmup: NonNegative) -> Decay:
    """Multiply the rate by gamma over each epoch, a little at each step.

        lr gamma^epochs

    Source: Senior et al. 2013, section 3.1.
    """
    return Decay(epochs, warmup, lambda lr, done, length: lr * gamma**done)


exponential.any_length = True


def inverse_time(epochs: int, *, half_life: Positive, warmup: NonNegative) -> Decay:
    """lr / (1 + epochs / half_life): the rate is lr / 2 after half_life epochs, lr / 3 after twice as many.

    It falls ever more slowly and never reaches zero.

    Source: Robbins & Monro 1951; Bottou 2012, section 5.2.
    """
    return Decay(epochs, warmup, lambda lr, done, length: lr / (1 + done / half_life))


inverse_time.any_length = True


def linear(epochs: int, *, final_lr: NonNegative, warmup: NonNegative) -> Decay:
    """Decay in a straight line from lr to final_lr at the end of the run.

    The end is train.epochs; early stopping may end the run before the rate reaches final_lr.

    Source: Bengio 2012, section 3.1.1.
    https://arxiv.org/abs/1206.5533
    """
    return Decay(epochs, warmup, lambda lr, done, length: lr + (final_lr - lr) * done / length)


def cosine(epochs: int, *, final_lr: NonNegative, warmup: NonNegative) -> Decay:
    """Decay along half a cosine from lr to final_lr at the end of the run.

        final_lr + (lr - final_lr) (1 + cos(pi share)) / 2, share of the epochs that are done

    The end is train.epochs; early stopping may end the run before the rate reaches final_lr.

    Source: Loshchilov & Hutter 2017, equation 5, without restarts.
    https://arxiv.org/abs/1608.03983
    """
    return Decay(epochs, warmup, lambda lr, done, length: _cosine(lr, final_lr, done / length))


class OneCycle(Decay):
    """Raise the rate linearly from lr to max_lr in the warm-up, then lower it on half a cosine to final_lr.

    It is made for a run of fixed length: set train.epochs, and early_stopping=none. `warmup` is the length of
    the rise, in epochs.

    Source: Smith & Topin 2018.
    https://arxiv.org/abs/1708.07120
    """

    def __init__(self, epochs: int, *, max_lr: Positive, final_lr: NonNegative, warmup: NonNegative):
        super().__init__(epochs, warmup, lambda _, done, length: _cosine(max_lr, final_lr, done / length))
        self.max_lr = max_lr

    def rate(self, lr: float, epoch: float, share: float) -> float:
        """The rate of a step."""
        if epoch < self.warmup:
            return lr + (self.max_lr - lr) * epoch / self.warmup
        return self.curve(lr, epoch - self.warmup, self.epochs - self.warmup)


def _cosine(high: float, low: float, share: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


DECAYS = {
    "none": constant,
    "plateau": Plateau,
    "step": step,
    "exponential": exponential,
    "inverse_time": inverse_time,
    "linear": linear,
    "cosine": cosine,
    "one_cycle": OneCycle,
}

# ---- early stopping


class Never:
    """Train for all of train.epochs."""

    def after(self, value: float) -> bool:
        """Never stop."""
        return False


class LookAhead:
    """Stop at the `look_ahead`-th validation in a row without improvement, and restore the best net.

    dlfound validates after each epoch and compares the value of train.monitor with the best so far. Only a
    change by more than `min_delta` is an improvement. A net that improves on the training rows but not on
    others is overfitting.

    Source: the lecture, minute 36; Prechelt 1998.
    """

    def __init__(self, *, look_ahead: Count, min_delta: NonNegative):
        self.look_ahead = look_ahead
        self.count = Patience(min_delta)

    def after(self, value: float) -> bool:
        """True if training should stop after this validation."""
        return self.count.see(value) >= self.look_ahead


STOPPING = {"none": Never, "lookahead": LookAhead}

"""Normalisation: whether the pre-activations of a layer get mean 0 and variance 1, and over which numbers.
The layers then learn on inputs of a stable scale, permit larger learning rates, and depend less on the
initial weights.

Each option takes the width of a layer and returns a torch.nn module, or None.
"""

from typing import Annotated

import lazy_loader

from dlfound.config.setting_types import Positive, Share, word

torch = lazy_loader.load("torch")

Statistics = Annotated[str, word("exact", "running")]


def none(width: int) -> None:
    """Do not normalise: the activation gets the pre-activations as they are."""


def batch(width: int, *, momentum: Share, eps: Positive, statistics: Statistics) -> "torch.nn.Module":
    """Normalise each unit by its mean and variance over the mini-batch, then apply a gain and a shift.

        gain (a - mean) / sqrt(variance + eps) + shift

    The activation comes after it. Each unit learns a gain and a shift; the shift replaces the layer's bias.
    After training, the result for a row must not depend on other rows. Mean and variance are then those of
    the whole training set (statistics=exact), or the moving averages from training (running).

    Source: Ioffe & Szegedy 2015, algorithms 1 and 2; the lecture, minutes 54 to 58.
    https://arxiv.org/abs/1502.03167
    """
    from dlfound.nn.modules import BatchNorm  # imports torch

    return BatchNorm(width, momentum, eps, exact=statistics == "exact")


def layer(width: int, *, eps: Positive) -> "torch.nn.Module":
    """Normalise each row by its mean and variance over the units of the layer, then apply a gain and a shift.

        gain (a - mean) / sqrt(variance + eps) + shift

    Rows do not depend on each other, neither in training nor afterwards, so a batch may have any size.

    Source: Ba, Kiros & Hinton 2016.
    https://arxiv.org/abs/1607.06450
    """
    return torch.nn.LayerNorm(width, eps=eps)


TABLE = {"none": none, "batch": batch, "layer": layer}

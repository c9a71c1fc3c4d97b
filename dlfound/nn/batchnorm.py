"""Normalisation: whether pre-activations are brought to mean 0 and variance 1, and over what these are taken.
Layers then learn on inputs of a steady scale, at larger rates, and depend less on their initial weights.

Each option takes a layer's width and returns its module, or None.
"""

from typing import Annotated

import lazy_loader

from dlfound.config.setting_types import Positive, Share, word

torch = lazy_loader.load("torch")

Statistics = Annotated[str, word("exact", "running")]


def none(width: int) -> None:
    """No normalisation: pre-activations go to the activation as they are."""


def batch(width: int, *, momentum: Share, eps: Positive, statistics: Statistics) -> "torch.nn.Module":
    """Each unit by the mean and variance of its mini-batch, then a gain and a shift; before the activation.

        gain (a - mean) / sqrt(variance + eps) + shift

    Gain and shift are learned, one of each a unit; the shift takes the place of the layer's bias. After training, a
    row's result must not hang on others: mean and variance are then those of the whole training set (statistics=exact),
    or the moving averages that training kept (running).

    Source: Ioffe & Szegedy 2015, algorithms 1 and 2; the lecture, minutes 54 to 58.
    """
    from dlfound.nn.modules import BatchNorm  # brings in torch

    return BatchNorm(width, momentum, eps, exact=statistics == "exact")


def layer(width: int, *, eps: Positive) -> "torch.nn.Module":
    """Each row by its own mean and variance over the units of the layer, then a gain and a shift.

        gain (a - mean) / sqrt(variance + eps) + shift

    Rows do not depend on each other, in training as afterwards, so that batches of any size will do.

    Source: Ba, Kiros & Hinton 2016.
    """
    return torch.nn.LayerNorm(width, eps=eps)


TABLE = {"none": none, "batch": batch, "layer": layer}

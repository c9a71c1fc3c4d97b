"""Normalisation of pre-activations. Each option takes a layer's width and returns its module, or None."""

from typing import Annotated

import lazy_loader

from dlfound.config.kinds import Positive, Share, word

torch = lazy_loader.load("torch")

Statistics = Annotated[str, word("exact", "running")]


def none(width: int) -> None:
    """No normalisation."""


def batch(width: int, *, momentum: Share, eps: Positive, statistics: Statistics) -> "torch.nn.Module":
    """Each unit by the mean and variance of its mini-batch, then a gain and a shift; before the activation.

    Source: Ioffe & Szegedy 2015, algorithms 1 and 2; the lecture, minutes 54 to 58.
    """
    from dlfound.nn.modules import BatchNorm  # brings in torch

    return BatchNorm(width, momentum, eps, exact=statistics == "exact")


def layer(width: int, *, eps: Positive) -> "torch.nn.Module":
    """Each row by its own mean and variance over the units of the layer, then a gain and a shift.

    Source: Ba, Kiros & Hinton 2016.
    """
    return torch.nn.LayerNorm(width, eps=eps)


TABLE = {"none": none, "batch": batch, "layer": layer}

"""A penalty on large weights that is added to the loss: lambda * omega(weights), over all layers, biases left out.
The larger lambda, the simpler the functions that the net can afford, and the less it learns by heart.

Each option takes the weight matrices (never biases) and returns a scalar.
"""

from collections.abc import Sequence

import lazy_loader

from dlfound.config.setting_types import NonNegative

torch = lazy_loader.load("torch")


def none(weights: Sequence["torch.Tensor"]) -> float:
    """No penalty."""
    return 0.0


def l2(weights: Sequence["torch.Tensor"], *, strength: NonNegative) -> "torch.Tensor":
    """lambda times the sum of squares; its gradient is 2 lambda W, a Gaussian prior on the weights.

    `strength` is the lambda. Each step shrinks a weight in proportion to its size, so that large ones shrink most.

    Source: the lecture, minute 29.
    """
    return strength * sum(w.square().sum() for w in weights)


def l1(weights: Sequence["torch.Tensor"], *, strength: NonNegative) -> "torch.Tensor":
    """lambda times the sum of magnitudes: pushes weights to exactly zero, a Laplacian prior.

    `strength` is the lambda. Each step shrinks all weights by the same amount, large and small ones alike.

    Source: the lecture, minute 30; Tibshirani 1996.
    """
    return strength * sum(w.abs().sum() for w in weights)


def l1_l2(weights: Sequence["torch.Tensor"], *, l1: NonNegative, l2: NonNegative) -> "torch.Tensor":
    """l1 times the sum of magnitudes and l2 times the sum of squares: the elastic net.

    Weights that help little go to zero, as under l1, and the others are kept small, as under l2.

    Source: Zou & Hastie 2005.
    """
    return l1 * sum(w.abs().sum() for w in weights) + l2 * sum(w.square().sum() for w in weights)


TABLE = {"none": none, "l2": l2, "l1": l1, "l1_l2": l1_l2}

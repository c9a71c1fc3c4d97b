"""What keeps the weights small: a penalty in the objective, or a limit after each update.

regularizer:
A penalty on large weights that is added to the loss: lambda * omega(weights), summed over all layers.
A larger lambda leads to simpler functions and less overfitting. Biases, gains and shifts are never penalised.

Each option takes the weight matrices and returns a scalar.

constraint:
A limit on the weights, enforced after each update. Biases, gains and shifts are never constrained.

Each option maps a weight matrix, (units, inputs), to the nearest allowed one.
"""

from collections.abc import Sequence

import lazy_loader

from dlfound.config.setting_types import NonNegative, Positive

torch = lazy_loader.load("torch")

# ---- regularizers


def no_penalty(weights: Sequence["torch.Tensor"]) -> float:
    """Add no penalty."""
    return 0.0


def l2(weights: Sequence["torch.Tensor"], *, strength: NonNegative) -> "torch.Tensor":
    """Add lambda times the sum of squares. Its gradient is 2 lambda W; it is a Gaussian prior on the weights.

    `strength` is lambda. Each step shrinks a weight in proportion to its size, so large weights shrink most.

    Source: the lecture, minute 29.
    """
    return strength * sum(w.square().sum() for w in weights)


def l1(weights: Sequence["torch.Tensor"], *, strength: NonNegative) -> "torch.Tensor":
    """Add lambda times the sum of magnitudes. It drives weights to exactly zero; it is a Laplacian prior.

    `strength` is lambda. Each step shrinks all weights by the same amount, whatever their size.

    Source: the lecture, minute 30; Tibshirani 1996.
    """
    return strength * sum(w.abs().sum() for w in weights)


def l1_l2(weights: Sequence["torch.Tensor"], *, l1: NonNegative, l2: NonNegative) -> "torch.Tensor":
    """Add l1 times the sum of magnitudes and l2 times the sum of squares: the elastic net.

    Weights that help little become zero, as with l1; the others stay small, as with l2.

    Source: Zou & Hastie 2005.
    """
    return l1 * sum(w.abs().sum() for w in weights) + l2 * sum(w.square().sum() for w in weights)


REGULARIZERS = {"none": no_penalty, "l2": l2, "l1": l1, "l1_l2": l1_l2}

# ---- constraints


def no_limit(weight: "torch.Tensor") -> "torch.Tensor":
    """Allow any weights."""
    return weight


def max_norm(weight: "torch.Tensor", *, max_norm: Positive) -> "torch.Tensor":
    """Scale each unit's incoming weights down to the Euclidean norm `max_norm` where they exceed it.

    Their direction stays. The weights of a unit then cannot grow without bound, which permits large learning
    rates; this helps most together with dropout.

    Source: Srivastava et al. 2014, section 5.1; Srebro & Shraibman 2005.
    https://jmlr.org/papers/v15/srivastava14a.html
    """
    norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True)  # (units, 1)
    return torch.where(norms > max_norm, weight * (max_norm / norms), weight)


CONSTRAINTS = {"none": no_limit, "max_norm": max_norm}

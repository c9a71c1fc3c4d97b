"""A limit on the weights, enforced after each update. Biases, gains and shifts are never constrained.

Each option maps a weight matrix, (units, inputs), to the nearest allowed one.
"""

import lazy_loader

from dlfound.config.setting_types import Positive

torch = lazy_loader.load("torch")


def none(weight: "torch.Tensor") -> "torch.Tensor":
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


TABLE = {"none": none, "max_norm": max_norm}

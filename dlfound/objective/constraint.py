"""A limit to which weights are brought back after each update; biases, and normalisation's gain and shift, are free.

Each option maps weights, (units, inputs), to allowed ones.
"""

import lazy_loader

from dlfound.config.setting_types import Positive

torch = lazy_loader.load("torch")


def none(weight: "torch.Tensor") -> "torch.Tensor":
    """Any weights are allowed."""
    return weight


def max_norm(weight: "torch.Tensor", *, max_norm: Positive) -> "torch.Tensor":
    """Scales each unit's incoming weights down to Euclidean norm `max_norm` where they are longer.

    Their direction stays. No unit can then blow up, which lets large learning rates explore, above all with dropout.

    Source: Srivastava et al. 2014, section 5.1; Srebro & Shraibman 2005.
    """
    norms = torch.linalg.vector_norm(weight, dim=1, keepdim=True)  # (units, 1)
    return torch.where(norms > max_norm, weight * (max_norm / norms), weight)


TABLE = {"none": none, "max_norm": max_norm}

"""The flat ends of activation functions, against formulas."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import nn

from dlfound.nn.modules import Maxout
from dlfound.training.layers import flat_ends

# ---- flat ends


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def silu_end() -> float:
    """Where silu's slope, coming from far below, first reaches a twentieth of its steepest slope."""

    def slope(a: float) -> float:
        s = 1 / (1 + math.exp(-a))
        return abs(s + a * s * (1 - s))

    steepest = max(slope(a) for a in np.linspace(0, 20, 20_001))
    return brentq(lambda a: slope(a) - 0.05 * steepest, -20, -3)


ENDS = {
    "tanh": (nn.Tanh(), -math.acosh(math.sqrt(20)), math.acosh(math.sqrt(20))),
    "sigmoid": (nn.Sigmoid(), logit((1 - math.sqrt(0.95)) / 2), logit((1 + math.sqrt(0.95)) / 2)),
    "softsign": (nn.Softsign(), 1 - math.sqrt(20), math.sqrt(20) - 1),
    "elu": (nn.ELU(1.0), math.log(0.05), math.inf),
    "elu 0.1": (nn.ELU(0.1), math.log(0.5), math.inf),
    "elu 3": (nn.ELU(3.0), math.log(0.05), math.inf),
    "selu": (nn.SELU(), math.log(0.05), math.inf),
    "softplus": (nn.Softplus(), logit(0.05), math.inf),
    "silu": (nn.SiLU(), silu_end(), math.inf),
    "relu6": (nn.ReLU6(), -math.inf, 6.0),
    "hardtanh": (nn.Hardtanh(), -1.0, 1.0),
}


@pytest.mark.parametrize("width", [1, 7])
@pytest.mark.parametrize("name", ENDS)
def test_the_ends_are_where_the_slope_is_a_twentieth(name, width):
    """They are never too near to zero, and at most 0.1 too far, which is a step of the grid."""
    g, low, high = ENDS[name]
    ends = flat_ends(g, width)
    assert ends == pytest.approx((low, high), abs=0.11)
    assert ends[0] <= low + 1e-5 and ends[1] >= high - 1e-5


class WithBuffer(nn.Tanh):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))


class Cube(nn.Module):
    def forward(self, a):
        return a**3


class Sine(nn.Module):
    def forward(self, a):
        return a.sin()


NO_ENDS = {
    "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.01), "flat leaky_relu": nn.LeakyReLU(0.001),
    "identity": nn.Identity(), "maxout": Maxout(2), "parameters": nn.PReLU(), "buffers": WithBuffer(),
    "across units": nn.Softmax(1), "steep at the ends": Cube(), "waves": Sine(), "halves": nn.GLU(1),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ENDS)
def test_activations_without_flat_ends(name):
    assert flat_ends(NO_ENDS[name], 4) is None

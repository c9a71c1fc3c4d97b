"""What a hidden unit makes of its pre-activation a, the weighted sum of its inputs and a bias: h = g(a).
Without such a bend a net of any depth would be one linear map. The output layer has none.

Each option returns a module of torch.nn, applied unit by unit.
"""

from collections.abc import Callable
from typing import Annotated

import lazy_loader

from dlfound.config.setting_types import NonNegative, Positive, whole

torch = lazy_loader.load("torch")

Pieces = Annotated[int, whole("a whole number in 2...16", 2, 16)]


def initialized_by(option: str) -> Callable:
    """Mark an activation with the initializer that `initializer=auto` takes for it."""

    def mark(activation: Callable) -> Callable:
        activation.initializer = option  # type: ignore[attr-defined]
        return activation

    return mark


def sigmoid() -> "torch.nn.Module":
    """1 / (1 + exp(-a)): between 0 and 1, saturates at both ends.

    Its slope, h (1 - h), is at most 1/4 and almost zero where |a| is large: through many such layers gradients vanish.

    Source: the lecture, minute 4; Rumelhart, Hinton & Williams 1986.
    """
    return torch.nn.Sigmoid()


def tanh() -> "torch.nn.Module":
    """(exp(a) - exp(-a)) / (exp(a) + exp(-a)): between -1 and 1, centred on zero, saturates at both ends.

    A sigmoid stretched to 2 sigmoid(2a) - 1. Outputs around zero suit the layer above better than the sigmoid's, which
    are all positive.

    Source: the lecture, minute 5; LeCun et al. 1998, "Efficient BackProp", section 4.4.
    """
    return torch.nn.Tanh()


@initialized_by("he_normal")
def relu() -> "torch.nn.Module":
    """max(0, a): does not saturate above zero, and makes exact zeros below.

    A gradient passes an active unit unchanged and a silent one not at all: a unit that is silent on every row has
    stopped learning.

    Source: the lecture, minute 6; Glorot, Bordes & Bengio 2011.
    """
    return torch.nn.ReLU()


@initialized_by("he_normal")
def leaky_relu(*, slope: NonNegative) -> "torch.nn.Module":
    """a above zero, slope times a below: no unit can die.

    Some gradient passes below zero too, so that a unit that is silent on every row can come back.

    Source: Maas, Hannun & Ng 2013.
    """
    return torch.nn.LeakyReLU(slope)


@initialized_by("he_normal")
def elu(*, alpha: Positive) -> "torch.nn.Module":
    """a above zero, alpha (exp(a) - 1) below: activations with a mean near zero.

    Far below zero it settles at -alpha, whatever a is. With alpha = 1 its slope has no jump at zero.

    Source: Clevert, Unterthiner & Hochreiter 2016.
    """
    return torch.nn.ELU(alpha)


@initialized_by("lecun_normal")
def selu() -> "torch.nn.Module":
    """ELU with the scale and alpha that keep mean 0 and variance 1 from layer to layer.

        1.0507 a above zero, 1.0507 * 1.6733 (exp(a) - 1) below

    It does so where inputs are standardised and weights are drawn by lecun_normal, which initializer=auto takes for it.

    Source: Klambauer et al. 2017, equation 2.
    """
    return torch.nn.SELU()


@initialized_by("he_normal")
def gelu() -> "torch.nn.Module":
    """a Phi(a), with the normal distribution's Phi: a smooth ReLU.

    Phi(a) is the probability that a standard normal number lies below a. It dips to -0.17 near a = -0.75.

    Source: Hendrycks & Gimpel 2016.
    """
    return torch.nn.GELU()


@initialized_by("he_normal")
def silu() -> "torch.nn.Module":
    """a sigmoid(a), also called swish: a smooth ReLU.

    It dips to -0.28 near a = -1.28, and fades to zero further down.

    Source: Elfwing, Uchibe & Doya 2018; Ramachandran, Zoph & Le 2017.
    """
    return torch.nn.SiLU()


def softplus() -> "torch.nn.Module":
    """log(1 + exp(a)): a smooth ReLU that is never zero.

    Its slope is sigmoid(a). All outputs are positive: 0.69 at a = 0.

    Source: Dugas et al. 2001; Glorot, Bordes & Bengio 2011.
    """
    return torch.nn.Softplus()


def softsign() -> "torch.nn.Module":
    """a / (1 + |a|): like tanh, but saturates slowly.

    Its slope, 1 / (1 + |a|)^2, falls with the square of a, where that of tanh falls exponentially.

    Source: Bergstra et al. 2009; Glorot & Bengio 2010.
    """
    return torch.nn.Softsign()


@initialized_by("he_normal")
def mish() -> "torch.nn.Module":
    """a tanh(softplus(a)): a smooth ReLU, close to silu.

    Here softplus(a) = log(1 + exp(a)). It dips to -0.31 near a = -1.19.

    Source: Misra 2020.
    """
    return torch.nn.Mish()


def identity() -> "torch.nn.Module":
    """a itself: a net of any depth is then one linear map.

    Source: MIT 6.S191, lecture 1: why the nonlinearity is needed.
    """
    return torch.nn.Identity()


def maxout(*, pieces: Pieces) -> "torch.nn.Module":
    """Each unit is the largest of several linear pieces: a convex function that is learned.

        h = max(w_1 x + b_1, ..., w_k x + b_k), x the layer's inputs, k the number of pieces

    A layer has `pieces` times as many weights as another of its width.

    Source: Goodfellow et al. 2013.
    """
    from dlfound.nn.modules import Maxout  # brings in torch

    return Maxout(pieces)


TABLE = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "softplus": softplus,
    "softsign": softsign,
    "mish": mish,
    "identity": identity,
    "maxout": maxout,
}

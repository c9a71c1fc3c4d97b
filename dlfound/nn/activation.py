"""Activations h = g(a): each option returns a module of torch.nn, applied unit by unit."""

from typing import Annotated

import lazy_loader

from dlfound.config.kinds import NonNegative, Positive, whole

torch = lazy_loader.load("torch")

Pieces = Annotated[int, whole("a whole number in 2...16", 2, 16)]


def sigmoid() -> "torch.nn.Module":
    """1 / (1 + exp(-a)): between 0 and 1, saturates at both ends.

    Source: the lecture, minute 4; Rumelhart, Hinton & Williams 1986.
    """
    return torch.nn.Sigmoid()


def tanh() -> "torch.nn.Module":
    """(exp(a) - exp(-a)) / (exp(a) + exp(-a)): between -1 and 1, centred on zero, saturates at both ends.

    Source: the lecture, minute 5; LeCun et al. 1998, "Efficient BackProp", section 4.4.
    """
    return torch.nn.Tanh()


def relu() -> "torch.nn.Module":
    """max(0, a): does not saturate above zero, and makes exact zeros below.

    Source: the lecture, minute 6; Glorot, Bordes & Bengio 2011.
    """
    return torch.nn.ReLU()


def leaky_relu(*, slope: NonNegative) -> "torch.nn.Module":
    """a above zero, slope a below: no unit can die.

    Source: Maas, Hannun & Ng 2013.
    """
    return torch.nn.LeakyReLU(slope)


def elu(*, alpha: Positive) -> "torch.nn.Module":
    """a above zero, alpha (exp(a) - 1) below: activations with a mean near zero.

    Source: Clevert, Unterthiner & Hochreiter 2016.
    """
    return torch.nn.ELU(alpha)


def selu() -> "torch.nn.Module":
    """ELU with the scale and alpha that keep mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al. 2017, equation 2.
    """
    return torch.nn.SELU()


def gelu() -> "torch.nn.Module":
    """a Phi(a), with the normal distribution's Phi: a smooth ReLU.

    Source: Hendrycks & Gimpel 2016.
    """
    return torch.nn.GELU()


def silu() -> "torch.nn.Module":
    """a sigmoid(a), also called swish.

    Source: Elfwing, Uchibe & Doya 2018; Ramachandran, Zoph & Le 2017.
    """
    return torch.nn.SiLU()


def softplus() -> "torch.nn.Module":
    """log(1 + exp(a)): a smooth ReLU that is never zero.

    Source: Dugas et al. 2001; Glorot, Bordes & Bengio 2011.
    """
    return torch.nn.Softplus()


def softsign() -> "torch.nn.Module":
    """a / (1 + |a|): like tanh, but saturates slowly.

    Source: Bergstra et al. 2009; Glorot & Bengio 2010.
    """
    return torch.nn.Softsign()


def mish() -> "torch.nn.Module":
    """a tanh(softplus(a)).

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

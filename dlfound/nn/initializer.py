"""Initial weights. Each option fills `weight` in place, of shape (units, inputs), from `generator`; biases start at zero."""

import math

import lazy_loader

from dlfound.config.kinds import Positive

torch = lazy_loader.load("torch")


def glorot_uniform(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Uniform in +-gain sqrt(6 / (inputs + units)): keeps the spread of signals and of gradients alike.

    Source: Glorot & Bengio 2010, equation 16; the lecture, minute 31.
    """
    units, inputs = weight.shape
    bound = gain * math.sqrt(6 / (inputs + units))
    weight.uniform_(-bound, bound, generator=generator)


def he_normal(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Normal with deviation gain sqrt(2 / inputs): Glorot's recipe for units that are zero half of the time.

    Source: He, Zhang, Ren & Sun 2015, equation 10.
    """
    weight.normal_(0, gain * math.sqrt(2 / weight.shape[1]), generator=generator)


def normal(weight: "torch.Tensor", generator: "torch.Generator", *, std: Positive) -> None:
    """Normal with a given deviation, whatever the layer's size.

    Source: MIT 6.S191, lecture 1: weights ~ N(0, sigma^2).
    """
    weight.normal_(0, std, generator=generator)


def zeros(weight: "torch.Tensor", generator: "torch.Generator") -> None:
    """All zero: the units of a layer stay copies of each other and cannot learn.

    Source: the lecture, minute 31.
    """
    weight.zero_()


def auto(weight: "torch.Tensor", generator: "torch.Generator") -> None:
    """He for the ReLU family, Glorot uniform else: `recipe` names the option, which takes this one's place."""
    raise TypeError("auto stands for another option: choose recipe(activation)")


TABLE = {"auto": auto, "glorot_uniform": glorot_uniform, "he_normal": he_normal, "normal": normal, "zeros": zeros}

_RECIPES = {"relu": "he_normal"}


def recipe(activation: str) -> str:
    """The option that `auto` stands for with this activation."""
    return _RECIPES.get(activation, "glorot_uniform")

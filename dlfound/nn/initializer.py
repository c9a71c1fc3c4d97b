"""The weights before the first step: random, so that units differ, and sized to let signals pass. Biases are zero.
In the formulas `inputs` is how many inputs each unit of a layer has, and `units` how many units the layer has.

Each option fills `weight`, (units, inputs), in place and from `generator`.
"""

import math

import lazy_loader

from dlfound.config.setting_types import Count, Number, Positive
from dlfound.nn.activation import TABLE as ACTIVATIONS

torch = lazy_loader.load("torch")


def glorot_uniform(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Uniform in +-gain sqrt(6 / (inputs + units)): keeps the spread of signals and of gradients alike.

    Derived for units that are linear around zero, such as tanh.

    Source: Glorot & Bengio 2010, equation 16; the lecture, minute 31.
    """
    units, inputs = weight.shape
    bound = gain * math.sqrt(6 / (inputs + units))
    weight.uniform_(-bound, bound, generator=generator)


def glorot_normal(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Normal with deviation gain sqrt(2 / (inputs + units)): Glorot's variance, without the uniform's bounds.

    Source: Glorot & Bengio 2010, equation 12.
    """
    units, inputs = weight.shape
    weight.normal_(0, gain * math.sqrt(2 / (inputs + units)), generator=generator)


def he_uniform(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Uniform in +-gain sqrt(6 / inputs): the variance of he_normal, without its rare large weights.

    Source: He, Zhang, Ren & Sun 2015, equation 10.
    """
    bound = gain * math.sqrt(6 / weight.shape[1])
    weight.uniform_(-bound, bound, generator=generator)


def he_normal(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Normal with deviation gain sqrt(2 / inputs): Glorot's recipe for units that are zero half of the time.

    A ReLU lets half of the mean square of its pre-activations through; the 2 makes up for that in every layer.

    Source: He, Zhang, Ren & Sun 2015, equation 10.
    """
    weight.normal_(0, gain * math.sqrt(2 / weight.shape[1]), generator=generator)


def lecun_normal(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Normal with deviation gain sqrt(1 / inputs): keeps the variance of linear units, as SELU needs it.

    Source: LeCun et al. 1998, "Efficient BackProp", equation 16; Klambauer et al. 2017.
    """
    weight.normal_(0, gain * math.sqrt(1 / weight.shape[1]), generator=generator)


def uniform(weight: "torch.Tensor", generator: "torch.Generator", *, low: Number, high: Number) -> None:
    """Uniform between `low` and `high`, whatever the layer's size.

    Source: Glorot & Bengio 2010, equation 1: the heuristic in common use before, +-1 / sqrt(inputs).
    """
    weight.uniform_(low, high, generator=generator)


def normal(weight: "torch.Tensor", generator: "torch.Generator", *, std: Positive) -> None:
    """Normal with the deviation `std`, whatever the layer's size.

    Too small a deviation lets signals fade from layer to layer, too large a one saturates units; depth shows it best.

    Source: MIT 6.S191, lecture 1: weights ~ N(0, sigma^2).
    """
    weight.normal_(0, std, generator=generator)


def orthogonal(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """gain times a random matrix with orthonormal rows, or columns where there are fewer of them.

    A square one turns what passes through it and keeps its length, so that signals neither grow nor fade with depth.

    Source: Saxe, McClelland & Ganguli 2014.
    """
    torch.nn.init.orthogonal_(weight, gain, generator=generator)


def sparse(weight: "torch.Tensor", generator: "torch.Generator", *, nonzero: Count, std: Positive) -> None:
    """Each unit gets `nonzero` incoming weights, normal with deviation `std`; the others are zero.

    However wide the layer below, a unit listens to few of its units, and those weights can be large.

    Source: Martens 2010, section 5.
    """
    count = min(nonzero, weight.shape[1])
    order = torch.rand(weight.shape, generator=generator).argsort(1)[
        :, :count
    ]  # distinct inputs for each unit
    values = torch.empty(order.shape, dtype=weight.dtype).normal_(0, std, generator=generator)
    weight.zero_().scatter_(1, order, values)


def constant(weight: "torch.Tensor", generator: "torch.Generator", *, value: Number) -> None:
    """All the same: equal units get equal gradients, and stay copies of each other.

    Source: the lecture, minute 31.
    """
    weight.fill_(value)


def zeros(weight: "torch.Tensor", generator: "torch.Generator") -> None:
    """All zero: the units of a layer stay copies of each other and cannot learn.

    Source: the lecture, minute 31.
    """
    weight.zero_()


def auto(weight: "torch.Tensor", generator: "torch.Generator") -> None:
    """The one that suits the activation: He for the ReLU family, LeCun normal for SELU, otherwise Glorot uniform.

    The ReLU family is relu, leaky_relu, elu, gelu, silu and mish; they take he_normal. The run reports the choice.
    """
    # `recipe` names the option that replaces this one before a net is built.
    raise TypeError("auto stands for another option: choose recipe(activation)")


TABLE = {
    "auto": auto,
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "lecun_normal": lecun_normal,
    "uniform": uniform,
    "normal": normal,
    "orthogonal": orthogonal,
    "sparse": sparse,
    "zeros": zeros,
    "constant": constant,
}


def recipe(activation: str) -> str:
    """The option that `auto` takes for an activation: the one that the activation is marked with."""
    return getattr(ACTIVATIONS.get(activation), "initializer", "glorot_uniform")

"""The weights before the first step: random, so that units differ, and scaled so that signals keep their
size. Biases start at zero. In the formulas, `inputs` is the number of inputs of each unit, and `units` the
number of units of the layer.

Each option fills `weight`, (units, inputs), in place with numbers from `generator`.
"""

import math
from collections.abc import Callable

import lazy_loader

from dlfound.config.setting_types import Count, Number, Positive

torch = lazy_loader.load("torch")


def glorot_uniform(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Uniform in +-gain sqrt(6 / (inputs + units)): signals and gradients both keep about their variance.

    It is derived for units that are linear around zero, such as tanh.

    Source: Glorot & Bengio 2010, equation 16; the lecture, minute 31.
    https://proceedings.mlr.press/v9/glorot10a.html
    """
    bound = gain * math.sqrt(6 / sum(weight.shape))
    weight.uniform_(-bound, bound, generator=generator)


def glorot_normal(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Normal with deviation gain sqrt(2 / (inputs + units)): the variance of glorot_uniform, without bounds.

    Source: Glorot & Bengio 2010, equation 12.
    https://proceedings.mlr.press/v9/glorot10a.html
    """
    weight.normal_(0, gain * math.sqrt(2 / sum(weight.shape)), generator=generator)


def he_uniform(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Uniform in +-gain sqrt(6 / inputs): the variance of he_normal, without its rare large weights.

    Source: He, Zhang, Ren & Sun 2015, equation 10.
    https://arxiv.org/abs/1502.01852
    """
    bound = gain * math.sqrt(6 / weight.shape[1])
    weight.uniform_(-bound, bound, generator=generator)


def he_normal(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Normal with deviation gain sqrt(2 / inputs): for units that are zero half of the time.

    A ReLU halves the mean square of its pre-activations; the factor 2 corrects for that in every layer.

    Source: He, Zhang, Ren & Sun 2015, equation 10.
    https://arxiv.org/abs/1502.01852
    """
    weight.normal_(0, gain * math.sqrt(2 / weight.shape[1]), generator=generator)


def lecun_normal(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """Normal with deviation gain sqrt(1 / inputs): it keeps the variance of linear units, as SELU requires.

    Source: LeCun et al. 1998, "Efficient BackProp", equation 16; Klambauer et al. 2017.
    https://arxiv.org/abs/1706.02515
    """
    weight.normal_(0, gain * math.sqrt(1 / weight.shape[1]), generator=generator)


def uniform(weight: "torch.Tensor", generator: "torch.Generator", *, low: Number, high: Number) -> None:
    """Uniform between `low` and `high` in layers of any size.

    Source: Glorot & Bengio 2010, equation 1: the earlier heuristic, +-1 / sqrt(inputs).
    https://proceedings.mlr.press/v9/glorot10a.html
    """
    weight.uniform_(low, high, generator=generator)


def normal(weight: "torch.Tensor", generator: "torch.Generator", *, std: Positive) -> None:
    """Normal with the standard deviation `std` in layers of any size.

    If it is too small, signals fade from layer to layer; if it is too large, units saturate. Both are
    clearest in deep nets.

    Source: MIT 6.S191, lecture 1: weights ~ N(0, sigma^2).
    """
    weight.normal_(0, std, generator=generator)


def orthogonal(weight: "torch.Tensor", generator: "torch.Generator", *, gain: Positive) -> None:
    """gain times a random matrix with orthonormal rows (or columns, if it has fewer columns than rows).

    A square one rotates a signal and keeps its length, so signals neither grow nor fade with depth.

    Source: Saxe, McClelland & Ganguli 2014.
    https://arxiv.org/abs/1312.6120
    """
    torch.nn.init.orthogonal_(weight, gain, generator=generator)


def sparse(weight: "torch.Tensor", generator: "torch.Generator", *, nonzero: Count, std: Positive) -> None:
    """`nonzero` incoming weights per unit, normal with deviation `std`; all others are zero.

    Even above a wide layer, a unit depends on few units, and those weights can be large.

    Source: Martens 2010, section 5.
    """
    count = min(nonzero, weight.shape[1])
    inputs = torch.rand(weight.shape, generator=generator).argsort(1)[:, :count]  # distinct for each unit
    values = torch.empty(inputs.shape, dtype=weight.dtype).normal_(0, std, generator=generator)
    weight.zero_().scatter_(1, inputs, values)


def constant(weight: "torch.Tensor", generator: "torch.Generator", *, value: Number) -> None:
    """All weights equal: equal units get equal gradients and stay copies of each other.

    Source: the lecture, minute 31.
    """
    weight.fill_(value)


def zeros(weight: "torch.Tensor", generator: "torch.Generator") -> None:
    """All weights zero: the units of a layer stay copies of each other.

    Source: the lecture, minute 31.
    """
    weight.zero_()


def auto(weight: "torch.Tensor", generator: "torch.Generator") -> None:
    """he_normal for the ReLU family, lecun_normal for SELU, glorot_uniform otherwise.

    The ReLU family is relu, leaky_relu, elu, gelu, silu and mish. The run reports the choice.
    """
    raise TypeError("auto stands for another option: replace it by recipe(activation)")


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


def recipe(activation: Callable) -> str:
    """The option that `auto` stands for with an activation: the one that the activation names."""
    return getattr(activation, "initializer", "glorot_uniform")

"""Noise on inputs and hidden units during training, so that no unit can rely on another one. The noise is a
factor for each example and unit, with mean one: what a unit receives stays the same on average. At test time
there is no noise.

Each option returns the noise of a net: a rate for inputs and one for hidden units, and a function that draws
the factors. They are drawn outside the net, so that a training step is a function of its arguments alone.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import lazy_loader

from dlfound.config.setting_types import Fraction

torch = lazy_loader.load("torch")


class Noise(NamedTuple):
    """Rates in [0, 1), and `draw(shape, rate, generator)`, which draws factors on the generator's device."""

    input: float
    hidden: float
    draw: Callable


def none() -> None:
    """Keep every unit."""


def standard(*, input: Fraction, hidden: Fraction) -> Noise:
    """Set each unit to zero with the given probability, independently for every example and step.

    The other units are divided by 1 - rate, which keeps the mean. `input` is the rate of the data's columns,
    `hidden` the rate of the units of each hidden layer.

    Source: Srivastava et al. 2014; the lecture, minutes 50 to 53.
    https://jmlr.org/papers/v15/srivastava14a.html
    """
    return Noise(input, hidden, _bernoulli)


def gaussian(*, input: Fraction, hidden: Fraction) -> Noise:
    """Multiply each unit by 1 + sqrt(rate / (1 - rate)) z, z normal: the variance of dropout without zeros.

    z is drawn independently for every unit, example and step. `input` and `hidden` are rates as those of
    dropout=standard.

    Source: Srivastava et al. 2014, section 10.
    https://jmlr.org/papers/v15/srivastava14a.html
    """
    return Noise(input, hidden, _gaussian)


def _bernoulli(shape: tuple[int, int], rate: float, generator: "torch.Generator") -> "torch.Tensor":
    # On a CPU, bernoulli_ with its own generator is several times slower.
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    return uniform.ge_(rate).div_(1 - rate)


def _gaussian(shape: tuple[int, int], rate: float, generator: "torch.Generator") -> "torch.Tensor":
    factors = torch.empty(shape, device=generator.device)
    return factors.normal_(1, math.sqrt(rate / (1 - rate)), generator=generator)


TABLE = {"none": none, "standard": standard, "gaussian": gaussian}

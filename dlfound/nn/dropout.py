"""Noise on inputs and hidden units while a net trains, so that no unit can rely on another one.
It is a factor for every example and unit, with mean one: what a unit receives stays the same on average, and nothing is
done at test time.

Each option returns the noise of a net: a rate for inputs and for hidden units, and how noise is drawn. It is drawn
outside the net, so that a training step is a function of its arguments alone.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import lazy_loader

from dlfound.config.setting_types import Fraction

torch = lazy_loader.load("torch")


class Noise(NamedTuple):
    """Rates in [0, 1), and `draw(shape, rate, generator)`, which returns the factors on the generator's device."""

    input: float
    hidden: float
    draw: Callable


def none() -> None:
    """No noise: every unit stays."""


def standard(*, input: Fraction, hidden: Fraction) -> Noise:
    """Each unit is zeroed with the given probability, by a fresh mask for every example and step.

    Those that stay are divided by 1 - rate, which keeps the mean. `input` is the rate of the data's columns, `hidden`
    that of the units of each hidden layer.

    Source: Srivastava et al. 2014; the lecture, minutes 50 to 53.
    """
    return Noise(input, hidden, _bernoulli)


def gaussian(*, input: Fraction, hidden: Fraction) -> Noise:
    """Each unit times 1 + sqrt(rate / (1 - rate)) z, z normal: the variance of dropout at that rate, without zeros.

    z is drawn anew for every unit, example and step. `input` and `hidden` are rates as those of dropout=standard.

    Source: Srivastava et al. 2014, section 10.
    """
    return Noise(input, hidden, _gaussian)


def _bernoulli(shape: tuple[int, int], rate: float, generator: "torch.Generator") -> "torch.Tensor":
    # On a CPU bernoulli_ with a generator of one's own is several times slower.
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    return uniform.ge_(rate).div_(1 - rate)


def _gaussian(shape: tuple[int, int], rate: float, generator: "torch.Generator") -> "torch.Tensor":
    factors = torch.empty(shape, device=generator.device)
    return factors.normal_(1, math.sqrt(rate / (1 - rate)), generator=generator)


TABLE = {"none": none, "standard": standard, "gaussian": gaussian}

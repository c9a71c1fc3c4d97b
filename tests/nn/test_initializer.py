"""Initial weights against the distributions of their papers."""

import math

import pytest
import torch
from scipy import stats

from dlfound.nn import activation as activations
from dlfound.nn import initializer
from dlfound.streams import stream

# (units, inputs): wide, thin, one unit, one input
SHAPES = [(300, 200), (4, 9000), (9000, 4), (1, 30_000), (30_000, 1)]
ONE_UNIT = [(1, 1), (1, 3), (3, 1)]


def fill(name: str, shape: tuple[int, int], seed: int = 0, **settings: float) -> torch.Tensor:
    weight = torch.full(shape, math.nan)
    initializer.TABLE[name](weight, stream(seed, "test"), **settings)
    return weight


def many(name: str, shape: tuple[int, int], **settings: float) -> torch.Tensor:
    """At least 20,000 weights: several fills, one after the other from one generator."""
    generator = stream(1, "test")
    drawn = []
    for _ in range(math.ceil(20_000 / (shape[0] * shape[1]))):
        weight = torch.full(shape, math.nan)
        initializer.TABLE[name](weight, generator, **settings)
        drawn.append(weight.flatten())
    return torch.cat(drawn).double()


def assert_distributed(numbers: torch.Tensor, law) -> None:
    """Mean and deviation agree within five standard errors; the distribution by a Kolmogorov-Smirnov test."""
    n, excess = len(numbers), float(law.stats("k"))
    assert abs(numbers.mean() - law.mean()) < 5 * law.std() / math.sqrt(n)
    assert abs(numbers.std() / law.std() - 1) < 5 * math.sqrt((excess + 2) / (4 * n))
    assert stats.kstest(numbers.numpy(), law.cdf).pvalue > 1e-6


@pytest.mark.parametrize("gain", [1.0, 2.5])
@pytest.mark.parametrize(("units", "inputs"), SHAPES + ONE_UNIT)
def test_glorot_uniform(units, inputs, gain):
    """Uniform in +-gain sqrt(6 / (inputs + units)), and never outside."""
    bound = gain * math.sqrt(6 / (inputs + units))
    numbers = many("glorot_uniform", (units, inputs), gain=gain)
    assert_distributed(numbers, stats.uniform(-bound, 2 * bound))
    assert 0.99 * bound < numbers.abs().max() < (1 + 1e-6) * bound


@pytest.mark.parametrize("gain", [1.0, 0.5])
@pytest.mark.parametrize(("units", "inputs"), SHAPES + ONE_UNIT)
def test_he_normal(units, inputs, gain):
    """Normal with variance gain^2 2 / inputs; the number of units has no effect."""
    assert_distributed(
        many("he_normal", (units, inputs), gain=gain), stats.norm(0, gain * math.sqrt(2 / inputs))
    )


@pytest.mark.parametrize("std", [0.01, 3.0])
@pytest.mark.parametrize(("units", "inputs"), SHAPES + ONE_UNIT)
def test_normal(units, inputs, std):
    """Normal with the given deviation for any shape."""
    assert_distributed(many("normal", (units, inputs), std=std), stats.norm(0, std))


@pytest.mark.parametrize("shape", SHAPES + ONE_UNIT)
def test_zeros(shape):
    """All weights are zero, and nothing is drawn."""
    generator = stream(0, "test")
    before, weight = generator.get_state(), torch.full(shape, math.nan)
    initializer.TABLE["zeros"](weight, generator)
    assert torch.equal(weight, torch.zeros(shape))
    assert torch.equal(before, generator.get_state())


RANDOM = [("glorot_uniform", {"gain": 1.0}), ("he_normal", {"gain": 1.0}), ("normal", {"std": 0.01})]


@pytest.mark.parametrize(("name", "settings"), RANDOM)
@pytest.mark.parametrize("shape", [(17, 33), (1, 7), (7, 1), (1, 1)])
def test_bits_follow_from_the_generator(name, settings, shape):
    """The same seed gives the same bits, another seed other numbers; the global generator is not used."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fill(name, shape, 3, **settings)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, fill(name, shape, 3, **settings))
    assert not (first == fill(name, shape, 4, **settings)).any()


@pytest.mark.parametrize(("name", "settings"), RANDOM)
def test_units_and_inputs_are_independent(name, settings):
    """Correlations of rows and of columns stay within five standard errors."""
    weight = fill(name, (40, 4000), **settings).double()
    for rows in (weight, weight.reshape(4000, 40).T):
        correlation = torch.corrcoef(rows) - torch.eye(40)
        assert correlation.abs().max() < 5 / math.sqrt(4000)


@pytest.mark.parametrize(
    ("activation", "option"),
    [("relu", "he_normal"), ("sigmoid", "glorot_uniform"), ("tanh", "glorot_uniform")],
)
def test_auto_depends_on_the_activation(activation, option):
    """He for ReLU, Glorot uniform for activations that saturate at both ends."""
    assert initializer.recipe(activations.TABLE[activation]) == option


def test_auto_itself_cannot_fill_weights():
    """`auto` must be replaced before a net is built."""
    with pytest.raises(TypeError, match="auto"):
        fill("auto", (2, 2))

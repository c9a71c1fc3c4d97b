"""The moments, ranges, ranks and counts of each initializer, for wide, thin and one-unit layers."""

import numpy as np
import pytest
import torch

from dlfound.nn.activation import TABLE as ACTIVATIONS
from dlfound.nn.initializer import TABLE, recipe
from dlfound.options.configure import configure
from dlfound.streams import stream
from dlfound.training.assemble import resolve

FAMILY = ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal"]
SHAPES = [(400, 300), (30, 2000), (2000, 30), (1, 5000), (5000, 1)]


def drawn(name, shape, *settings):
    weight = torch.full(shape, float("nan"))
    configure([f"initializer={name}", *settings]).build("initializer")(weight, stream(0, "test"))
    return weight.double().numpy()


def deviation(name, shape):
    units, inputs = shape
    return {
        "glorot_uniform": np.sqrt(2 / (inputs + units)),
        "glorot_normal": np.sqrt(2 / (inputs + units)),
        "he_uniform": np.sqrt(2 / inputs),
        "he_normal": np.sqrt(2 / inputs),
        "lecun_normal": np.sqrt(1 / inputs),
        "normal": 0.01,
        "uniform": 0.1 / np.sqrt(12),
    }[name]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [*FAMILY, "normal", "uniform"])
def test_moments(name, shape):
    w, sigma = drawn(name, shape), deviation(name, shape)
    n = w.size
    assert abs(w.mean()) < 5 * sigma / np.sqrt(n)
    fourth = 1.8 if "uniform" in name else 3.0  # the fourth moment over sigma^4 of each distribution
    assert w.var() == pytest.approx(sigma**2, abs=5 * sigma**2 * np.sqrt((fourth - 1) / n))
    assert (w**4).mean() / sigma**4 == pytest.approx(fourth, rel=0.25)
    if "uniform" in name:
        bound = sigma * np.sqrt(3)
        assert np.abs(w).max() <= bound * (1 + 1e-6) and np.abs(w).max() > 0.99 * bound


@pytest.mark.parametrize("name", [*FAMILY, "orthogonal"])
def test_gain_scales(name):
    np.testing.assert_allclose(
        drawn(name, (20, 30), "initializer.gain=3"), 3 * drawn(name, (20, 30)), rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(40, 40), (8, 100), (100, 8), (1, 50), (50, 1), (1, 1)], ids=str)
def test_orthogonal(shape):
    w = drawn("orthogonal", shape)
    small = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-5)
    assert np.linalg.matrix_rank(w) == min(shape)


@pytest.mark.parametrize("shape", [(200, 300), (50, 15), (50, 4), (1, 40), (3, 1)], ids=str)
def test_sparse(shape):
    w = drawn("sparse", shape)
    assert ((w != 0).sum(1) == min(15, shape[1])).all()
    if shape == (200, 300):
        values = w[w != 0]
        assert values.std() == pytest.approx(0.25, rel=0.05)
        assert len({tuple(row.nonzero()[0]) for row in w}) == 200  # each unit has different inputs
    assert ((drawn("sparse", (9, 30), "initializer.nonzero=4") != 0).sum(1) == 4).all()


def test_zeros_and_constant():
    assert (drawn("zeros", (3, 4)) == 0).all()
    np.testing.assert_allclose(drawn("constant", (3, 4), "initializer.value=-0.25"), -0.25)


def test_auto_takes_the_initializer_that_the_activation_names():
    family = ["relu", "leaky_relu", "elu", "gelu", "silu", "mish"]
    expected = dict.fromkeys(family, "he_normal") | {"selu": "lecun_normal"}
    others = ["sigmoid", "tanh", "softplus", "softsign", "identity", "maxout"]
    expected |= dict.fromkeys(others, "glorot_uniform")
    assert {name: recipe(option) for name, option in ACTIVATIONS.items()} == expected
    assert set(expected.values()) <= set(TABLE)
    assert all(name in TABLE["auto"].__doc__ for name in family)


class Registered(torch.nn.Tanh):
    """An activation of a person's own, which names its initializer."""

    initializer = "orthogonal"


def test_a_registered_activation_may_name_its_initializer():
    assert recipe(Registered) == "orthogonal"
    assert recipe(torch.nn.Tanh) == "glorot_uniform"


@pytest.mark.parametrize("activation", ["selu", "leaky_relu", "tanh"])
def test_auto_is_resolved_by_the_configured_activation(activation):
    config, notes = resolve(configure([f"activation={activation}"]), "multiclass")
    expected = recipe(ACTIVATIONS[activation])
    assert config.name("initializer") == expected
    assert notes[0] == f"initializer=auto takes {expected}, for {activation}"


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"auto", "zeros", "constant"}))
def test_the_same_stream_gives_the_same_weights(name):
    assert (drawn(name, (30, 20)) == drawn(name, (30, 20))).all()


def test_selu_keeps_mean_and_variance_through_many_layers():
    """With lecun_normal, activations stay near mean 0 and variance 1: Klambauer et al. 2017."""
    h = torch.randn(2000, 400, generator=stream(0, "x"))
    generator = stream(0, "w")
    for _ in range(12):
        weight = torch.empty(400, 400)
        TABLE["lecun_normal"](weight, generator, gain=1.0)
        h = torch.nn.functional.selu(h @ weight.T)
    assert abs(h.mean()) < 0.1 and h.var().item() == pytest.approx(1, abs=0.2)

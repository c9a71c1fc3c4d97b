"""Dropout: the distribution of its factors, evaluation without it, and the ensemble that it approximates."""

import itertools

import numpy as np
import pytest
import torch

from dlfound.nn import activation, batchnorm, dropout, initializer
from dlfound.nn.modules import MLP, build_mlp
from dlfound.streams import stream

RATES = [0.1, 0.2, 0.5, 0.9]


def factors(rate: float, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return (
        dropout.standard(input=0.0, hidden=rate).draw(shape, rate, stream(seed, "dropout")).double().numpy()
    )


def build(noise, hidden=(6,), inputs=4, outputs=3, name="tanh") -> MLP:
    """A net in float64 with weights of about one and random biases, so that zeros hide nothing."""
    model = build_mlp(
        inputs, outputs, list(hidden), activation=activation.TABLE[name],
        initialize=lambda w, g: initializer.normal(w, g, std=1.0), norm=batchnorm.none, noise=noise,
        generator=stream(2, "test"),
    ).double()  # fmt: skip
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(generator=stream(3, name))
    return model


def softmax(a: np.ndarray) -> np.ndarray:
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("rate", RATES)
def test_factors_are_zero_or_one_over_one_minus_rate(rate):
    """They are zero with probability `rate`, and their mean is one within five standard errors."""
    drawn, kept = factors(rate, (1000, 400)), 1 / (1 - rate)
    assert np.allclose(np.unique(drawn), [0, kept], rtol=1e-6, atol=0)
    assert abs(drawn.mean() - 1) < 5 * np.sqrt(rate / (1 - rate) / drawn.size)
    assert abs((drawn == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / drawn.size)


@pytest.mark.parametrize("rate", RATES)
def test_rows_and_units_are_drawn_independently(rate):
    """Each row and column has the rate as its share of zeros, and no two of them are correlated."""
    drawn = factors(rate, (400, 400), seed=1)
    for axis in (0, 1):
        shares = (drawn == 0).mean(axis)
        assert np.abs(shares - rate).max() < 6 * np.sqrt(rate * (1 - rate) / 400)
        assert abs(shares.std() / np.sqrt(rate * (1 - rate) / 400) - 1) < 0.25  # spread of independent draws
        correlation = np.corrcoef(drawn, rowvar=axis == 1) - np.eye(400)
        assert np.abs(correlation).max() < 6.5 / np.sqrt(400)


def test_every_step_has_a_new_mask():
    """The masks of two steps agree in half of their entries; the same step has the same mask."""
    first, second = (factors(0.5, (300, 300), seed) for seed in (5, 6))
    assert abs((first == second).mean() - 0.5) < 5 * 0.5 / 300
    assert np.array_equal(first, factors(0.5, (300, 300), 5))


def test_one_generator_gives_each_call_new_factors():
    """Two draws from one generator agree in half of their entries."""
    noise, generator = dropout.standard(input=0.0, hidden=0.5), stream(0, "dropout")
    first, second = (noise.draw((100, 100), 0.5, generator) for _ in range(2))
    assert abs((first == second).double().mean() - 0.5) < 5 * 0.5 / 100


def test_the_net_draws_one_factor_for_each_row_and_unit():
    """Input first, then each hidden layer, each with its own rate; no global random numbers are drawn."""
    model = build(dropout.standard(input=0.2, hidden=0.5), hidden=(30, 20), inputs=40)
    before = torch.get_rng_state()
    drawn = model.noise(500, stream(0, "dropout"))
    assert torch.equal(before, torch.get_rng_state())
    assert [tuple(d.shape) for d in drawn] == [(500, 40), (500, 30), (500, 20)]
    for d, rate in zip(drawn, (0.2, 0.5, 0.5), strict=True):
        assert abs((d == 0).double().mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / d.numel())


@pytest.mark.parametrize(("rates", "widths"), [((0.0, 0.5), [30, 20]), ((0.5, 0.0), [40]), ((0.0, 0.0), [])])
def test_a_rate_of_zero_is_no_dropout(rates, widths):
    """The net draws no noise where the rate is zero."""
    model = build(dropout.standard(input=rates[0], hidden=rates[1]), hidden=(30, 20), inputs=40)
    assert [d.shape[1] for d in model.noise(3, stream(0, "dropout"))] == widths


def test_none_draws_nothing():
    """It keeps every unit, in training too."""
    model = build(dropout.none())
    x = torch.randn(5, 4, generator=stream(4, "x"), dtype=torch.float64)
    assert model.noise(5, stream(0, "dropout")) == []
    assert torch.equal(model.train()(x), model.eval()(x))


def test_evaluation_is_the_net_without_dropout():
    """In evaluation nothing is dropped, scaled or drawn: the bits are those of a net without dropout."""
    with_noise, without = build(dropout.standard(input=0.3, hidden=0.5), (8, 8)), build(None, (8, 8))
    x = torch.randn(50, 4, generator=stream(4, "x"), dtype=torch.float64)
    before = torch.get_rng_state()
    assert torch.equal(with_noise.eval()(x), without.eval()(x))
    assert torch.equal(before, torch.get_rng_state())


def test_factors_of_one_change_nothing_in_training():
    """Training and evaluation differ in the factors alone."""
    model = build(dropout.standard(input=0.3, hidden=0.5), (8, 8))
    x = torch.randn(50, 4, generator=stream(4, "x"), dtype=torch.float64)
    ones = [torch.ones_like(d) for d in model.noise(50, stream(0, "dropout"))]
    assert torch.equal(model.train()(x, ones), model.eval()(x))


def test_training_multiplies_inputs_and_activations():
    """The factors apply to x and to tanh(W h + b), never to the output; against NumPy."""
    model = build(dropout.standard(input=0.3, hidden=0.5), (8, 7)).train()
    x = torch.randn(50, 4, generator=stream(4, "x"), dtype=torch.float64)
    drawn = model.noise(50, stream(0, "dropout"))
    m, (w, v, u) = (
        [d.double().numpy() for d in drawn],
        [layer.linear for layer in model.hidden] + [model.output],
    )
    h = x.numpy() * m[0]
    for layer, mask in ((w, m[1]), (v, m[2])):
        h = np.tanh(h @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()) * mask
    expected = h @ u.weight.detach().numpy().T + u.bias.detach().numpy()
    assert np.allclose(model(x, drawn).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_the_mean_over_masks_of_a_linear_net_is_its_evaluation():
    """The mean over many masks agrees within five standard errors."""
    model = build(dropout.standard(input=0.0, hidden=0.5))
    x = torch.randn(1, 4, generator=stream(4, "x"), dtype=torch.float64).expand(40_000, 4)
    with torch.no_grad():
        outputs = model.train()(x, model.noise(40_000, stream(7, "dropout"))).numpy()
        expected = model.eval()(x[:1]).numpy()
    assert (np.abs(outputs.mean(0) - expected) < 5 * outputs.std(0) / 200).all()


@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_evaluation_is_the_geometric_mean_of_all_masked_nets(rate, name):
    """With one hidden layer and softmax, the net predicts the geometric mean over all 2^6 masks.

    Each masked net is weighted by the probability of its mask. The factors of a mask have mean one, and
    log-probabilities are linear in them except for the normaliser: the lecture, minute 53.
    """
    units = 6
    model = build(dropout.standard(input=0.0, hidden=rate), (units,), name=name).train()
    masks = np.array(list(itertools.product([0.0, 1.0], repeat=units)))
    weights = (rate ** (1 - masks) * (1 - rate) ** masks).prod(1)
    for seed in range(20):
        x = 2 * torch.randn(1, 4, generator=stream(seed, "x"), dtype=torch.float64)
        noise = [torch.from_numpy(masks / (1 - rate))]
        with torch.no_grad():
            members = softmax(model.train()(x.expand(len(masks), 4), noise).numpy())
            ours = softmax(model.eval()(x).numpy())[0]
        mean = np.exp((weights[:, None] * np.log(members)).sum(0))
        assert np.abs(ours - mean / mean.sum()).max() < 1e-12
        assert np.abs(members - ours).max() > 1e-3  # the masked nets do differ

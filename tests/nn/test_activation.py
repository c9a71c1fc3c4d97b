"""Every activation and its gradient agree with the closed form in NumPy, and maxout with a loop."""

import numpy as np
import pytest
import torch

from dlfound.nn.activation import TABLE
from dlfound.options.configure import configure

POINTS = np.concatenate([np.linspace(-6, 6, 241) + 0.013, [-30.0, 30.0]])  # no point is on a kink


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def normal_cdf(a):
    from math import erf

    return np.array([(1 + erf(v / np.sqrt(2))) / 2 for v in a])


LAMBDA = 1.0507009873554804934193349852946  # Klambauer et al. 2017
ALPHA = 1.6732632423543772848170429916717
FORMS = {
    "sigmoid": (sigmoid, lambda a: sigmoid(a) * (1 - sigmoid(a))),
    "tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "relu": (lambda a: np.maximum(a, 0), lambda a: (a > 0) * 1.0),
    "leaky_relu": (lambda a: np.where(a > 0, a, 0.01 * a), lambda a: np.where(a > 0, 1, 0.01)),
    "elu": (lambda a: np.where(a > 0, a, np.exp(a) - 1), lambda a: np.where(a > 0, 1, np.exp(a))),
    "selu": (
        lambda a: LAMBDA * np.where(a > 0, a, ALPHA * (np.exp(a) - 1)),
        lambda a: LAMBDA * np.where(a > 0, 1, ALPHA * np.exp(a)),
    ),
    "gelu": (
        lambda a: a * normal_cdf(a),
        lambda a: normal_cdf(a) + a * np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi),
    ),
    "silu": (lambda a: a * sigmoid(a), lambda a: sigmoid(a) * (1 + a * (1 - sigmoid(a)))),
    "softplus": (lambda a: np.log1p(np.exp(-np.abs(a))) + np.maximum(a, 0), sigmoid),
    "softsign": (lambda a: a / (1 + np.abs(a)), lambda a: 1 / (1 + np.abs(a)) ** 2),
    "mish": (
        lambda a: a * np.tanh(np.logaddexp(0, a)),
        lambda a: np.tanh(np.logaddexp(0, a)) + a * (1 - np.tanh(np.logaddexp(0, a)) ** 2) * sigmoid(a),
    ),
    "identity": (lambda a: a, np.ones_like),
}


def test_every_activation_has_a_closed_form_here():
    assert {*FORMS, "maxout"} == set(TABLE)


@pytest.mark.parametrize("name", FORMS)
def test_value_and_gradient(name):
    module = configure([f"activation={name}"]).build("activation")()
    a = torch.tensor(POINTS, requires_grad=True)
    h = module(a)
    h.sum().backward()
    value, slope = FORMS[name]
    np.testing.assert_allclose(h.detach().numpy(), value(POINTS), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(a.grad.numpy(), slope(POINTS), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "setting", "value"), [("leaky_relu", "slope", 0.3), ("elu", "alpha", 2.0)])
def test_settings_reach_the_formula(name, setting, value):
    module = configure([f"activation={name}", f"activation.{setting}={value}"]).build("activation")()
    below = module(torch.tensor([-1.0], dtype=torch.float64)).item()
    assert below == pytest.approx(-0.3 if name == "leaky_relu" else 2 * (np.exp(-1) - 1))


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_maxout_against_a_loop(pieces):
    rng = np.random.default_rng(pieces)
    a = rng.standard_normal((7, 4 * pieces))
    tensor = torch.tensor(a, requires_grad=True)
    h = TABLE["maxout"](pieces=pieces)(tensor)
    weights = rng.standard_normal((7, 4))
    (h * torch.tensor(weights)).sum().backward()
    expected = np.empty((7, 4))
    gradient = np.zeros_like(a)
    for row in range(7):
        for unit in range(4):
            values = a[row, unit * pieces : (unit + 1) * pieces]
            expected[row, unit] = max(values)
            gradient[row, unit * pieces + int(np.argmax(values))] = weights[row, unit]
    np.testing.assert_array_equal(h.detach().numpy(), expected)
    np.testing.assert_array_equal(tensor.grad.numpy(), gradient)


def test_a_net_of_maxout_units_has_the_configured_width():
    import dlfound

    quick = ["train.epochs=1", "early_stopping=none", "lr_decay=none", "logger=none"]
    run = dlfound.train([*quick, "activation=maxout", "activation.pieces=3", "model.hidden=[20,7]"])
    assert run.model.body.hidden[0].linear.weight.shape == (60, 64)
    assert run.model.body.hidden[1].linear.weight.shape == (21, 20)
    assert run.report["net"] == "64-20-7-10"

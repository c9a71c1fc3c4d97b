"""A look at the layers of a net: its numbers against torch.nn and NumPy, and its sample of rows."""

import math

import numpy as np
import pytest
import torch
from support.looks import INPUTS, LOSSES, by_torch, make, make_part, option
from torch import nn

from dlfound.nn.modules import Dropout, Maxout, Network, build_mlp
from dlfound.nn.preprocessing import Standardise, empty
from dlfound.objective import regularization
from dlfound.optim.optimizers import TABLE
from dlfound.streams import stream
from dlfound.training.device import DeviceData
from dlfound.training.layers import SAMPLE_ROWS, LayerProbe
from dlfound.training.metrics import evaluate
from dlfound.training.step import Step

# ---- numbers


@pytest.mark.parametrize("g", ["tanh", "relu", "sigmoid", "elu", "identity"])
@pytest.mark.parametrize(
    ("of", "penalty"), [("cross_entropy", False), ("binary_cross_entropy", True), ("mse", True)]
)
@pytest.mark.parametrize("norm", [False, True])
def test_a_look_against_torch_nn(g, of, penalty, norm):
    """Every number of every layer, with and without batch statistics."""
    network, step = make(g, of=of, penalty=penalty, norm=norm)
    rows = make_part(40, of)
    value, states = LayerProbe(network, step, rows).look()
    expected, layers = by_torch(network.body, rows.inputs, rows.encoded, of, penalty)
    assert value == pytest.approx(expected, rel=1e-12)
    assert [state.name for state in states] == ["layer1", "layer2", "output"]
    for state, layer in zip(states, layers, strict=True):
        gradient, h = layer["linear"].weight.grad, layer["h"].detach().numpy()
        assert torch.equal(state.weights, layer["linear"].weight)
        assert np.allclose(state.gradient, gradient, rtol=1e-10, atol=1e-14)
        assert state.grad_norm == pytest.approx(math.sqrt((gradient.numpy() ** 2).sum()), rel=1e-10)
        assert np.allclose(state.activations, h, rtol=1e-12, atol=1e-14)
        assert state.backprop == pytest.approx(
            40 * math.sqrt((layer["a"].grad.numpy() ** 2).mean()), rel=1e-10
        )
        assert (state.zero, state.dead) == pytest.approx(((h == 0).mean(), (h == 0).all(0).mean()), rel=1e-6)
    assert (states[0].zero > 0.1) == (g == "relu")


def test_backprop_by_central_differences():
    """Moving a bias for one row alone gives the gradient of the mean loss by a pre-activation."""
    network, step = make(hidden=(3,))
    rows = make_part(5)
    w, b = (
        t.detach().numpy() for t in (network.body.hidden[0].linear.weight, network.body.hidden[0].linear.bias)
    )
    v, c = (t.detach().numpy() for t in (network.body.output.weight, network.body.output.bias))
    x, y = rows.inputs.numpy(), rows.encoded.numpy()

    def mean_loss(moved: np.ndarray) -> float:
        o = np.tanh(x @ w.T + b + moved) @ v.T + c
        return float((np.log(np.exp(o).sum(1)) - o[np.arange(5), y]).mean())

    slopes = [(mean_loss(1e-5 * e) - mean_loss(-1e-5 * e)) / 2e-5 for e in np.eye(15).reshape(15, 5, 3)]
    (_, (state, _)) = LayerProbe(network, step, rows).look()
    assert state.backprop == pytest.approx(5 * math.sqrt(np.mean(np.square(slopes))), rel=1e-7)


def test_backprop_does_not_depend_on_the_number_of_rows():
    """If each row occurs twice, each gets half of the gradient, and the number stays."""
    network, step = make()
    rows = make_part(20)
    twice = DeviceData(*(torch.cat([t, t]) for t in rows))
    once, again = (LayerProbe(network, step, part).look()[1] for part in (rows, twice))
    for first, second in zip(once, again, strict=True):
        assert first.backprop == pytest.approx(second.backprop, rel=1e-12)


def fill(network: Network, *values) -> None:
    """Set weights and biases, in the order of the net's parameters."""
    with torch.no_grad():
        for parameter, value in zip(network.body.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))


def look_at_small_net(g: str, weights, x) -> list:
    """The look at a net of one input, two units, and three outputs without effect."""
    body = build_mlp(
        1, 3, [2], activation=option(g), initialize=lambda w, _: w.zero_(), norm=lambda _: None, noise=None,
        generator=stream(0, "test"),
    )  # fmt: skip
    network = Network(empty(1, image=True), body, None)
    fill(network, *weights, [[1.0, 2.0], [0.5, 0.0], [0.0, 1.0]], [0.1, 0.2, 0.3])
    step = Step(body, LOSSES["cross_entropy"], regularization.no_penalty, None, TABLE["sgd"](lr=0.1))
    x = torch.tensor(x)[:, None]
    return LayerProbe(network, step, DeviceData(x, torch.zeros(len(x), dtype=torch.long), x)).look()[1]


@pytest.mark.parametrize(
    ("biases", "zero", "dead"),
    [([0.0, 0.0], 4 / 8, 0.0), ([0.0, -9.0], 6 / 8, 0.5), ([-9.0, -9.0], 1.0, 1.0), ([9.0, 9.0], 0.0, 0.0)],
)
def test_zero_and_dead_by_counting(biases, zero, dead):
    """Two rectified units of opposite sign on four rows."""
    layer, output = look_at_small_net("relu", ([[1.0], [-1.0]], biases), [-2.0, -1.0, 1.0, 2.0])
    assert (layer.zero, layer.dead, layer.saturated) == (zero, dead, None)
    assert (output.zero, output.dead, output.saturated) == (0.0, 0.0, None)


@pytest.mark.parametrize(
    ("g", "share"),
    [("tanh", 4 / 10), ("sigmoid", 1 / 10), ("softsign", 2 / 10), ("elu", 1 / 10), ("relu", None)],
)
def test_saturated_by_counting(g, share):
    """Pre-activations -6 -1 0 2.5 4 in one unit, and two fifths of that in the other."""
    layer, output = look_at_small_net(g, ([[1.0], [0.4]], [0.0, 0.0]), [-6.0, -1.0, 0.0, 2.5, 4.0])
    assert layer.saturated == (None if share is None else pytest.approx(share)) and output.saturated is None


def test_the_saturated_share_is_that_beyond_the_exact_ends():
    """For many pre-activations, the share lies between those beyond the grid's end and the exact end."""
    network, step = make("tanh", std=2.0)
    rows = make_part(200)
    a = [
        layer["a"].detach().numpy()
        for layer in by_torch(network.body, rows.inputs, rows.encoded, "cross_entropy")[1]
    ]
    for state, pre in zip(LayerProbe(network, step, rows).look()[1][:-1], a, strict=False):
        certain, possible = (np.abs(pre) > 2.2001).mean(), (np.abs(pre) > np.arccosh(np.sqrt(20))).mean()
        assert certain - 1e-6 <= state.saturated <= possible + 1e-6
        assert 0.3 < state.saturated < 0.9


# ---- the sample


def test_the_sample_is_the_first_rows():
    for rows in (1, 7, SAMPLE_ROWS, SAMPLE_ROWS + 50):
        network, step = make()
        part = make_part(rows)
        value, states = LayerProbe(network, step, part).look()
        count = min(rows, 256)
        assert [len(state.activations) for state in states] == [count] * 3
        expected, layers = by_torch(network.body, part.inputs[:count], part.encoded[:count], "cross_entropy")
        assert value == pytest.approx(expected, rel=1e-12)
        assert states[0].backprop == pytest.approx(
            count * math.sqrt((layers[0]["a"].grad ** 2).mean()), rel=1e-10
        )


@pytest.mark.parametrize("of", LOSSES)
def test_dropout_is_off(of):
    """At the input and in the layers: the loss is that of an evaluation."""
    network, step = make(of=of, drop=True, dtype=torch.float32)
    rows = make_part(50, of, torch.float32)
    assert sum(isinstance(module, Dropout) for module in network.modules()) == 3
    value, states = LayerProbe(network, step, rows).look()
    assert value == evaluate(network, LOSSES[of], rows)["loss"]
    assert np.allclose(states[-1].activations, network.body(rows.inputs).detach(), atol=1e-6)


def test_pixels_are_normalised():
    """Bytes are normalised as for the net."""
    network, step = make(dtype=torch.float32)
    network.preprocessing = Standardise(torch.full((INPUTS,), 100.0), torch.full((INPUTS,), 50.0))
    pixels = torch.randint(0, 256, (30, INPUTS), generator=stream(3, "x"), dtype=torch.uint8)
    _, states = LayerProbe(network, step, DeviceData(pixels, make_part(30).encoded, pixels)).look()
    first = network.body.hidden[0].linear
    a = ((pixels.numpy() - 100.0) / 50) @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    assert np.allclose(states[0].activations, np.tanh(a), atol=1e-5)


def test_maxout_and_activations_with_parameters():
    """Activations belong to units, backprop to pieces; parameters of the activation are left out."""
    network, step = make(lambda: Maxout(3))
    rows = make_part(25)
    _, states = LayerProbe(network, step, rows).look()
    _, layers = by_torch(network.body, rows.inputs, rows.encoded, "cross_entropy")
    assert states[0].activations.shape == (25, 6) and states[0].weights.shape == (18, INPUTS)
    assert states[0].backprop == pytest.approx(25 * math.sqrt((layers[0]["a"].grad ** 2).mean()), rel=1e-10)
    network, step = make(lambda: nn.PReLU(dtype=torch.float64))
    _, states = LayerProbe(network, step, rows).look()
    _, layers = by_torch(network.body, rows.inputs, rows.encoded, "cross_entropy")
    assert [state.saturated for state in states] == [None] * 3
    assert np.allclose(states[1].gradient, layers[1]["linear"].weight.grad, rtol=1e-10, atol=1e-14)

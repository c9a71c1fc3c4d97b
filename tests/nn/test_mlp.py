"""The net against a loop in NumPy (a = W h + b, normalisation, activation, dropout), and its parameters."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit

from dlfound.nn import activation, batchnorm, dropout, initializer, model
from dlfound.nn.modules import MLP, build_mlp
from dlfound.objective import regularization
from dlfound.optim.optimizers import SGD
from dlfound.streams import stream
from dlfound.training.step import Step

ACTIVATIONS = {"sigmoid": expit, "tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}
HIDDEN = [[], [1], [7], [5, 9], [8, 1, 6], [4] * 6]


def build(hidden, name="tanh", *, norm=False, rates=None, inputs=5, outputs=3, seed=0) -> MLP:
    def normalise(width):
        return batchnorm.batch(width, momentum=0.1, eps=1e-5, statistics="exact") if norm else None

    return build_mlp(
        inputs, outputs, hidden, activation=activation.TABLE[name],
        initialize=lambda w, g: initializer.normal(w, g, std=0.7), norm=normalise,
        noise=rates and dropout.standard(input=rates[0], hidden=rates[1]),
        generator=stream(seed, "initialisation"),
    )  # fmt: skip


def disturb(net: MLP) -> MLP:
    """Make it float64, with biases, gains, shifts and moving averages that are neither zero nor one."""
    net.double()
    with torch.no_grad():
        for i, (name, tensor) in enumerate([*net.named_parameters(), *net.named_buffers()]):
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5, generator=stream(i, "disturb"))
                if name.endswith(("bias", "shift", "mean")):
                    tensor.sub_(1)
    return net


def by_hand(net: MLP, x: np.ndarray, g, noise: list[np.ndarray], training: bool) -> np.ndarray:
    """The forward pass in NumPy."""
    noise = list(noise)
    h = x * noise.pop(0) if net.dropout is not None and training else x
    for layer in net.hidden:
        state = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
        a = h @ state["linear.weight"].T
        if layer.norm is None:
            a = a + state["linear.bias"]
        else:
            mean, var = (a.mean(0), a.var(0)) if training else (state["norm.mean"], state["norm.var"])
            a = state["norm.gain"] * (a - mean) / np.sqrt(var + 1e-5) + state["norm.shift"]
        h = g(a)
        if layer.dropout is not None and training:
            h = h * noise.pop(0)
    assert noise == []
    return h @ net.output.weight.detach().numpy().T + net.output.bias.detach().numpy()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_forward_is_the_loop_in_numpy(name, hidden):
    """Each combination of depth, activation, normalisation, dropout and mode gives NumPy's numbers."""
    x = torch.randn(11, 5, generator=stream(1, "x"), dtype=torch.float64)
    for rates in (None, (0.2, 0.5), (0.0, 0.5), (0.2, 0.0)):
        for norm, training in itertools.product((False, True), (False, True)):
            net = disturb(build(hidden, name, norm=norm, rates=rates)).train(training)
            noise = net.noise(11, stream(2, "dropout")) if training else []
            factors = [n.double().numpy() for n in noise]
            expected = by_hand(net, x.numpy(), ACTIVATIONS[name], factors, training)
            with torch.no_grad():
                outputs = net(x, noise)
            assert outputs.shape == (11, 3)
            case = (rates, norm, training)
            assert np.allclose(outputs.numpy(), expected, rtol=1e-11, atol=1e-11), case


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_large_inputs(name):
    """They follow the formula without NaN and overflow."""
    a = torch.tensor([-1e4, -50.0, -1.0, 0.0, 1.0, 50.0, 1e4], dtype=torch.float64)
    assert np.allclose(activation.TABLE[name]()(a).numpy(), ACTIVATIONS[name](a.numpy()), rtol=1e-14, atol=0)


def test_activation_comes_after_normalisation_and_before_dropout():
    """Only in this order is a kept sigmoid unit above zero and a dropped one exactly zero."""
    net = build([50], "sigmoid", norm=True, rates=(0.0, 0.5)).train()
    x, noise = torch.randn(20, 5, generator=stream(1, "x")), net.noise(20, stream(2, "dropout"))
    with torch.no_grad():
        layer = net.hidden[0]
        h = layer(x, iter(noise))
        a = layer.linear(x)
        expected = torch.sigmoid((a - a.mean(0)) / (a.var(0, unbiased=False) + 1e-5).sqrt())
    assert torch.equal(h == 0, noise[0] == 0)
    assert torch.allclose(h[noise[0] > 0], 2 * expected[noise[0] > 0], atol=1e-5)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("norm", [False, True])
def test_parameters_by_count_and_shape(hidden, norm):
    """Each layer has (units, inputs) weights and a bias; in normalised layers gain and shift replace it."""
    net, widths = build(hidden, norm=norm), [5, *hidden, 3]
    expected = []
    for below, width in itertools.pairwise(widths[:-1]):
        expected += [(width, below), (width,), (width,)] if norm else [(width, below), (width,)]
    expected += [(3, widths[-2]), (3,)]
    assert [tuple(p.shape) for p in net.parameters()] == expected
    assert [tuple(b.shape) for b in net.buffers()] == [(w,) for w in hidden for _ in range(2)] * norm


def test_parameter_count_of_a_usual_net():
    """784-256-256-10 has 200,960 + 65,792 + 2,570 parameters."""
    net = build([256, 256], inputs=784, outputs=10)
    assert sum(p.numel() for p in net.parameters()) == 269_322


@pytest.mark.parametrize("norm", [False, True])
def test_biases_and_shifts_start_at_zero_and_gains_at_one(norm):
    """Only the weights are random."""
    for name, parameter in build([8, 6], norm=norm).named_parameters():
        if name.endswith(("bias", "shift")):
            assert torch.equal(parameter, torch.zeros_like(parameter))
        elif name.endswith("gain"):
            assert torch.equal(parameter, torch.ones_like(parameter))
        else:
            assert (parameter != 0).all()


def test_weights_depend_on_the_generator_alone():
    """The same seed gives the same bits, another seed other weights; the global generator is not used."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (build([8, 6], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.ndim == 1 or not (a == c).any()


def test_weights_are_drawn_from_the_input_up():
    """The generator fills the layers in order, and no layer repeats another."""
    generator, net = stream(4, "initialisation"), build([5, 5], inputs=5, outputs=5, seed=4)
    for layer in [*(hidden.linear for hidden in net.hidden), net.output]:
        assert torch.equal(layer.weight, torch.empty(5, 5).normal_(0, 0.7, generator=generator))


def test_the_output_layer_is_linear():
    """Without hidden layers, outputs are additive and unbounded: there is no softmax or activation."""
    net = disturb(build([], "relu"))
    x, y = (torch.randn(9, 5, generator=stream(k, "x"), dtype=torch.float64) for k in (1, 2))
    with torch.no_grad():
        assert torch.allclose(net(x + y) + net(0 * x), net(x) + net(y), rtol=0, atol=1e-12)
        assert torch.allclose(net(1e6 * x) - net(0 * x), 1e6 * (net(x) - net(0 * x)), rtol=1e-9, atol=0)


def test_model_options_return_the_hidden_widths():
    """mlp returns its list; perceptron has no hidden layer."""
    assert model.mlp(hidden=[3, 4]) == [3, 4]
    assert model.perceptron() == []


def test_training_without_noise_fails():
    """A net with dropout needs its factors in training, and does not run without them."""
    net = build([4], rates=(0.2, 0.5)).train()
    with pytest.raises((StopIteration, RuntimeError, ValueError)):
        net(torch.zeros(2, 5))


def step_of(net: MLP, **parts) -> Step:
    """A step with a flat loss, so that only the penalty and the constraint change the weights."""
    parts = {"penalty": regularization.no_penalty, "constraint": None} | parts
    return Step(net, lambda outputs, y: 0 * outputs.sum(), parts["penalty"], parts["constraint"], SGD(lr=0.5))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("name", "gradient"), [("l2", lambda w: 2 * w), ("l1", torch.sign)])
def test_penalties_change_weights_alone(norm, name, gradient):
    """A step on the penalty moves W by its gradient; biases, gains and shifts keep their bits."""
    net = disturb(build([6, 4], norm=norm)).float().train()
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    step_of(net, penalty=lambda ws: regularization.REGULARIZERS[name](ws, strength=0.1))(
        torch.ones(3, 5), None, []
    )
    for key, p in net.named_parameters():
        if key.endswith("weight"):
            assert torch.allclose(p, before[key] - 0.5 * 0.1 * gradient(before[key]), rtol=1e-6, atol=1e-7)
            assert not torch.equal(p, before[key])
        else:
            assert torch.equal(p, before[key])


@pytest.mark.parametrize("norm", [False, True])
def test_constraints_change_weights_alone(norm):
    """A small limit shortens each unit's weights; biases, gains and shifts keep their bits."""
    net = disturb(build([6, 4], norm=norm)).float().train()
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    step_of(net, constraint=lambda w: regularization.max_norm(w, max_norm=0.01))(torch.ones(3, 5), None, [])
    for key, p in net.named_parameters():
        if key.endswith("weight"):
            assert torch.allclose(p.norm(dim=1), torch.full((len(p),), 0.01), rtol=1e-6)
        else:
            assert torch.equal(p, before[key])

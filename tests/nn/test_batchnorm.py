"""Batch normalisation against NumPy and torch.nn.BatchNorm1d; exact statistics against NumPy."""

import numpy as np
import pytest
import torch

from dlfound.nn import activation, batchnorm, dropout, initializer
from dlfound.nn.modules import MLP, BatchNorm, build_mlp, exact_statistics
from dlfound.streams import stream

EPS = 1e-5


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=stream(seed, "test"), dtype=torch.float64)


def layer(width: int, momentum: float = 0.1, eps: float = EPS) -> BatchNorm:
    """A layer in float64 whose gain and shift are neither one nor zero."""
    norm = batchnorm.batch(width, momentum=momentum, eps=eps, statistics="exact").double()
    with torch.no_grad():
        norm.gain.copy_(1 + 0.3 * normal(width, seed=1))
        norm.shift.copy_(normal(width, seed=2))
    return norm


def build(hidden: list[int], name: str = "tanh") -> MLP:
    return build_mlp(
        4, 2, hidden, activation=activation.TABLE[name],
        initialize=lambda w, g: initializer.normal(w, g, std=1.0),
        norm=lambda width: layer(width).float(), noise=dropout.standard(input=0.2, hidden=0.5),
        generator=stream(3, "test"),
    ).double()  # fmt: skip


@pytest.mark.parametrize("eps", [1e-5, 1e-2, 1.0])
@pytest.mark.parametrize("rows", [2, 3, 64])
def test_training_normalises_by_the_batch(rows, eps):
    """gain (a - mean) / sqrt(var + eps) + shift, with the batch's mean and biased variance."""
    norm, a = layer(7, eps=eps), 3 * normal(rows, 7) + 5
    numbers, (gain, shift) = a.numpy(), (norm.gain.detach().numpy(), norm.shift.detach().numpy())
    expected = gain * (numbers - numbers.mean(0)) / np.sqrt(numbers.var(0) + eps) + shift
    assert np.allclose(norm.train()(a).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_evaluation_normalises_by_the_moving_averages():
    """In evaluation, rows do not affect each other, and the averages do not change."""
    norm, a = layer(7), normal(20, 7)
    with torch.no_grad():
        norm.mean.copy_(normal(7, seed=3))
        norm.var.copy_(normal(7, seed=4).square() + 0.1)
    gain, shift, mean, var = (t.detach().numpy().copy() for t in (norm.gain, norm.shift, norm.mean, norm.var))
    output = norm.eval()(a).detach()
    assert np.allclose(
        output.numpy(), gain * (a.numpy() - mean) / np.sqrt(var + EPS) + shift, rtol=1e-12, atol=1e-12
    )
    assert torch.allclose(torch.cat([norm(row[None]) for row in a]), output, rtol=0, atol=1e-15)
    assert np.array_equal(norm.mean.numpy(), mean)
    assert np.array_equal(norm.var.numpy(), var)


def test_gradients_go_through_the_statistics():
    """The gradients by a, gain and shift are those of the paper's equations, in NumPy."""
    norm, a, out = layer(6).train(), normal(9, 6, seed=5) + 2, normal(9, 6, seed=6)
    a.requires_grad_()
    gradients = torch.autograd.grad((norm(a) * out).sum(), [a, norm.gain, norm.shift])
    x, d, gain = a.detach().numpy(), out.numpy(), norm.gain.detach().numpy()
    mean, deviation = x.mean(0), np.sqrt(x.var(0) + EPS)
    unit = (x - mean) / deviation
    # Ioffe & Szegedy 2015, section 3: the six derivatives, one after the other
    d_unit = d * gain
    d_var = (d_unit * (x - mean) * -0.5 * deviation**-3).sum(0)
    d_mean = (-d_unit / deviation).sum(0) + d_var * (-2 * (x - mean)).mean(0)
    d_x = d_unit / deviation + d_var * 2 * (x - mean) / len(x) + d_mean / len(x)
    for mine, theirs in zip(gradients, (d_x, (d * unit).sum(0), d.sum(0)), strict=True):
        assert np.allclose(mine.numpy(), theirs, rtol=1e-10, atol=1e-10)


def test_gradients_by_central_differences():
    """Each entry of the gradient is (f(a + e) - f(a - e)) / 2e of the formula in NumPy."""
    norm, a, out = layer(3).train(), normal(5, 3, seed=5), normal(5, 3, seed=6).numpy()
    gain, shift = norm.gain.detach().numpy(), norm.shift.detach().numpy()

    def f(x: np.ndarray) -> float:
        return float(((gain * (x - x.mean(0)) / np.sqrt(x.var(0) + EPS) + shift) * out).sum())

    a.requires_grad_()
    (gradient,) = torch.autograd.grad((norm(a) * torch.from_numpy(out)).sum(), a)
    for i in np.ndindex(5, 3):
        e = np.zeros((5, 3))
        e[i] = 1e-6
        x = a.detach().numpy()
        assert abs(gradient[i] - (f(x + e) - f(x - e)) / 2e-6) < 1e-7


@pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0])
def test_moving_averages_are_those_of_torch(momentum):
    """Averages and outputs agree with torch.nn.BatchNorm1d over thirty batches of several sizes."""
    norm, theirs = layer(5, momentum).train(), torch.nn.BatchNorm1d(5, eps=EPS, momentum=momentum).double()
    with torch.no_grad():
        theirs.weight.copy_(norm.gain)
        theirs.bias.copy_(norm.shift)
    for k in range(30):
        a = (1 + k % 4) * normal(2 + 7 * (k % 3), 5, seed=k) + k
        assert torch.allclose(norm(a), theirs(a), rtol=1e-12, atol=1e-12)
        assert torch.allclose(norm.mean, theirs.running_mean, rtol=1e-12)
        assert torch.allclose(norm.var, theirs.running_var, rtol=1e-12)
    a = normal(4, 5)
    assert torch.allclose(norm.eval()(a), theirs.eval()(a), rtol=1e-12, atol=1e-12)


def test_moving_averages_by_hand():
    """Two batches of two rows, momentum 0.5: mean 0 -> 1.5 -> 3.75, variance 1 -> 1.5 -> 4.75."""
    norm = batchnorm.batch(1, momentum=0.5, eps=EPS, statistics="running").train()
    assert (norm.mean.item(), norm.var.item()) == (0, 1)
    norm(torch.tensor([[2.0], [4.0]]))  # mean 3, unbiased variance 2
    assert (norm.mean.item(), norm.var.item()) == (1.5, 1.5)
    norm(torch.tensor([[4.0], [8.0]]))  # mean 6, unbiased variance 8
    assert (norm.mean.item(), norm.var.item()) == (3.75, 4.75)


def test_normalised_layers_have_no_bias():
    """The shift replaces the bias; the output layer is not normalised and keeps its bias."""
    net = build([5, 3])
    assert [hidden.linear.bias for hidden in net.hidden] == [None, None]
    assert net.output.bias is not None
    assert [n for n, _ in net.named_parameters() if "bias" in n] == ["output.bias"]


def test_a_constant_unit_outputs_its_shift():
    """A variance of zero does not lead to a division by zero."""
    norm = layer(3).train()
    assert torch.allclose(norm(torch.full((4, 3), 7.0).double()), norm.shift.expand(4, 3), rtol=0, atol=1e-12)


def test_options():
    """`none` makes no module; `batch` starts with gain 1 and shift 0 and keeps its kind of statistics."""
    assert batchnorm.none(5) is None
    for word in ("exact", "running"):
        norm = batchnorm.batch(5, momentum=0.1, eps=EPS, statistics=word)
        assert norm.exact == (word == "exact")
        assert torch.equal(norm.gain, torch.ones(5)) and torch.equal(norm.shift, torch.zeros(5))


# Exact statistics.

G = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}


def statistics_by_hand(net: MLP, x: np.ndarray, g) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and biased variance of each pre-activation over all rows, from the bottom layer up."""
    statistics, h = [], x
    for hidden in net.hidden:
        a = h @ hidden.linear.weight.detach().numpy().T
        mean, var = a.mean(0), a.var(0)
        statistics.append((mean, var))
        unit = (a - mean) / np.sqrt(var + hidden.norm.eps)
        h = g(hidden.norm.gain.detach().numpy() * unit + hidden.norm.shift.detach().numpy())
    return statistics


@pytest.mark.parametrize("name", G)
@pytest.mark.parametrize("size", [1, 7, 50, 96, 97, 1000])
@pytest.mark.parametrize("hidden", [[6], [6, 5, 4]])
def test_exact_statistics_are_those_of_all_rows(hidden, size, name):
    """They equal NumPy's over all rows, for batches of any size, layer by layer."""
    net, x = build(hidden, name).train(), 2 * normal(97, 4, seed=8) + 1
    with torch.no_grad():
        net(x, net.noise(97, stream(0, "dropout")))  # moves the averages to something else
    exact_statistics(net, lambda: x.split(size))
    for layer, (mean, var) in zip(net.hidden, statistics_by_hand(net, x.numpy(), G[name]), strict=True):
        assert np.allclose(layer.norm.mean.numpy(), mean, rtol=1e-10, atol=1e-12)
        assert np.allclose(layer.norm.var.numpy(), var, rtol=1e-10, atol=1e-12)


def test_exact_statistics_make_evaluation_agree_with_one_full_batch():
    """With them, evaluation gives the outputs of training on one batch of all rows."""
    net, x = build([6, 5, 4]), normal(97, 4, seed=8)
    exact_statistics(net, lambda: x.split(10))
    at_test = net.eval()(x)
    ones = [torch.ones_like(noise) for noise in net.noise(97, stream(0, "dropout"))]
    assert torch.allclose(net.train()(x, ones), at_test, rtol=1e-10, atol=1e-10)


def test_exact_statistics_of_float32_numbers_far_from_zero():
    """The mean is a hundred deviations: sums in float64 keep the variance, unlike sums in float32."""
    net, x = build([6]).float(), (normal(5000, 4, seed=8) + 100).float()
    exact_statistics(net, lambda: x.split(64))
    weight = net.hidden[0].linear.weight.detach()
    a = torch.nn.functional.linear(x, weight).double().numpy()
    assert np.allclose(net.hidden[0].norm.mean.numpy(), a.mean(0), rtol=1e-6)
    assert np.allclose(net.hidden[0].norm.var.numpy(), a.var(0), rtol=1e-5)


def test_exact_statistics_change_nothing_else():
    """They change no parameter, draw no random numbers, leave no hook, and give the same again."""
    net, x = build([6, 5]), normal(97, 4, seed=8)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    state = torch.get_rng_state()
    exact_statistics(net, lambda: x.split(10))
    first = {name: b.clone() for name, b in net.named_buffers()}
    exact_statistics(net, lambda: x.split(10))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert all(torch.equal(b, first[name]) for name, b in net.named_buffers())
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_a_constant_unit_has_variance_zero():
    """Rounding does not make its variance negative, which would give NaN."""
    net = build([3]).float()
    x = torch.full((1000, 4), 0.1)
    exact_statistics(net, lambda: x.split(7))
    assert (net.hidden[0].norm.var >= 0).all()
    assert net.hidden[0].norm.var.max() < 1e-12
    assert net(x).isfinite().all()

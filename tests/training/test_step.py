"""The gradients of a step: against central differences in NumPy, and without side effects."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp
from support.steps import OPTIMIZERS, OUTPUTS, ROWS, STRENGTH, make_batch, make_net, make_step, tensor

from dlfound.nn.modules import MLP
from dlfound.streams import stream
from dlfound.training.step import Step

G = {"sigmoid": expit, "tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}


def objective(
    net: MLP, vector: np.ndarray, x, y, noise, of: str, penalty: str, g: str
) -> tuple[float, np.ndarray]:
    """Loss plus penalty, and the outputs, for the parameters in a vector: all in NumPy."""
    x, y, noise = x.numpy(), y.numpy(), [n.numpy() for n in noise]
    tensors, cut = {}, 0
    for name, parameter in net.named_parameters():
        tensors[name] = vector[cut : cut + parameter.numel()].reshape(parameter.shape)
        cut += parameter.numel()
    h = x * noise.pop(0) if noise else x
    for i in range(len(net.hidden)):
        a = h @ tensors[f"hidden.{i}.linear.weight"].T
        if f"hidden.{i}.norm.gain" in tensors:
            unit = (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-5)
            a = unit * tensors[f"hidden.{i}.norm.gain"] + tensors[f"hidden.{i}.norm.shift"]
        else:
            a = a + tensors[f"hidden.{i}.linear.bias"]
        h = G[g](a) * noise.pop(0) if noise else G[g](a)
    o = h @ tensors["output.weight"].T + tensors["output.bias"]
    value = {
        "cross_entropy": lambda: (logsumexp(o, 1) - o[np.arange(len(o)), y.astype(int).ravel()]).mean(),
        "binary_cross_entropy": lambda: (np.logaddexp(0, o) - o * y).mean(),
        "mse": lambda: ((o - y) ** 2).mean(),
    }[of]()
    omega = {"none": np.zeros_like, "l2": np.square, "l1": np.abs}[penalty]
    return value + STRENGTH * sum(omega(w).sum() for name, w in tensors.items() if name.endswith("weight")), o


COMBINATIONS = list(itertools.product(OUTPUTS, ["none", "l1", "l2"], [False, True], [False, True]))


@pytest.mark.parametrize(("of", "penalty", "norm", "drop"), COMBINATIONS)
def test_gradients_by_central_differences(of, penalty, norm, drop):
    """All losses, penalties, with and without normalisation and dropout: all entries and 20 directions."""
    check_gradient(of, penalty, norm, drop, "tanh")


@pytest.mark.parametrize("g", ["sigmoid", "relu"])
@pytest.mark.parametrize("norm", [False, True])
def test_gradients_of_the_other_activations(g, norm):
    """ReLU is tested where no unit is within 1e-4 of its kink."""
    check_gradient("cross_entropy", "l2", norm, True, g)


def check_gradient(of: str, penalty: str, norm: bool, drop: bool, g: str) -> None:
    net = make_net(OUTPUTS[of], norm=norm, drop=drop, g=g)
    step = make_step(net, of, penalty)
    x, y = make_batch(of)
    noise = [n.double() for n in net.noise(ROWS, stream(6, "dropout"))]
    assert len(noise) == (3 if drop else 0)
    if g == "relu":
        assert_away_from_kinks(net, x, noise)
    result = step.loss_grad(step.params, step.buffers, x, y, noise)
    w, gradient = step.params.numpy().copy(), result.grads.numpy()

    def f(vector: np.ndarray) -> float:
        return objective(net, vector, x, y, noise, of, penalty, g)[0]

    def difference(direction: np.ndarray) -> float:
        return (f(w + 1e-6 * direction) - f(w - 1e-6 * direction)) / 2e-6

    assert np.allclose(
        result.outputs.numpy(), objective(net, w, x, y, noise, of, penalty, g)[1], rtol=1e-11, atol=1e-12
    )
    assert np.isclose(result.loss.item(), objective(net, w, x, y, noise, of, "none", g)[0], rtol=1e-12)
    for i, e in enumerate(np.eye(len(w))):
        assert abs(gradient[i] - difference(e)) < 1e-8
    for direction in np.random.default_rng(0).standard_normal((20, len(w))):
        assert abs(gradient @ direction - difference(direction)) < 1e-7
    assert np.abs(gradient).max() > 0.01


def assert_away_from_kinks(net: MLP, x: torch.Tensor, noise: list[torch.Tensor]) -> None:
    nearest = []
    buffers = [b.clone() for b in net.buffers()]

    def look(module, args):
        nearest.append(args[0].abs().min().item())

    hooks = [hidden.activation.register_forward_pre_hook(look) for hidden in net.hidden]
    net(x, noise)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for b, old in zip(net.buffers(), buffers, strict=True):
            b.copy_(old)
    assert min(nearest) > 1e-4


def snapshot(step: Step) -> list[bytes]:
    """All bits of a step and of its net."""
    own = [step.params, step.buffers, step.t, step.skip, *step.slots]
    return [v.detach().numpy().tobytes() for v in (*own, *step.model.parameters(), *step.model.buffers())]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_loss_grad_is_pure(norm, optim):
    """It gives the same bits twice; parameters, buffers, slots, counters and the net stay as they are."""
    net = make_net(3, norm=norm, drop=True)
    step = make_step(net, penalty="l2", optim=optim)
    x, y = make_batch("cross_entropy")
    noise = net.noise(ROWS, stream(6, "dropout"))
    before = snapshot(step)
    global_state = torch.get_rng_state()
    first = step.loss_grad(step.params, step.buffers, x, y, noise)
    again = step.loss_grad(step.params, step.buffers, x, y, noise)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert snapshot(step) == before
    assert torch.equal(global_state, torch.get_rng_state())
    assert not any(v.requires_grad for v in (*first, step.params, step.buffers))
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("norm", [False, True])
def test_loss_grad_of_a_foreign_vector(norm):
    """For the parameters of another net it gives that net's gradient, and this net stays as it is."""
    net = make_net(3, norm=norm)
    other = make_net(3, norm=norm)
    step = make_step(net)
    x, y = make_batch("cross_entropy")
    with torch.no_grad():
        for i, parameter in enumerate(other.parameters()):
            parameter.copy_(tensor(*parameter.shape, seed=50 + i))
    theirs = make_step(other)
    before = snapshot(step)
    foreign = torch.cat([p.detach().flatten() for p in other.parameters()])
    kept = foreign.clone()
    result = step.loss_grad(foreign, step.buffers, x, y, [])
    assert torch.equal(result.grads, theirs.loss_grad(theirs.params, theirs.buffers, x, y, []).grads)
    assert not torch.equal(result.grads, step.loss_grad(step.params, step.buffers, x, y, []).grads)
    assert torch.equal(foreign, kept) and not foreign.requires_grad
    assert snapshot(step) == before


def test_loss_grad_leaves_the_net_whole_after_an_error():
    """After a batch of the wrong width, the net still holds its own tensors."""
    step = make_step(make_net(3, norm=True))
    x, y = make_batch("cross_entropy")
    before = snapshot(step)
    with pytest.raises(RuntimeError):
        step.loss_grad(step.params + 1, step.buffers, x[:, :2], y, [])
    assert snapshot(step) == before
    step.params += 1
    assert snapshot(step) != before  # the net's tensors are still views of the vector


def test_loss_grad_returns_the_averages_after_the_batch():
    """The new moving averages are returned as a vector; the given ones stay."""
    net = make_net(3, norm=True)
    step = make_step(net)
    x, y = make_batch("cross_entropy")
    given = step.buffers.clone()
    result = step.loss_grad(step.params, step.buffers, x, y, [])
    a = (x @ net.hidden[0].linear.weight.T).detach()
    assert torch.equal(step.buffers, given)
    assert torch.allclose(result.buffers[:5], 0.1 * a.mean(0), rtol=1e-12)
    assert torch.allclose(result.buffers[5:10], 0.9 + 0.1 * a.var(0), rtol=1e-12)


def test_the_penalty_is_in_the_gradient_but_not_in_the_loss():
    """The loss is that of the data; the gradients differ by 2 lambda W."""
    x, y = make_batch("cross_entropy")
    plain = make_step(make_net(3))
    penalised = make_step(make_net(3), penalty="l2")
    a, b = (s.loss_grad(s.params, s.buffers, x, y, []) for s in (plain, penalised))
    assert torch.equal(a.loss, b.loss)
    expected = torch.cat(
        [2 * STRENGTH * p.detach().flatten() * (p.ndim == 2) for p in penalised.model.parameters()]
    )
    assert torch.allclose(b.grads - a.grads, expected, rtol=1e-9, atol=1e-12)


class UnusedWeight(torch.nn.Module):
    """y = w x, and a weight without effect."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.ones(1, 2).double())
        self.weight = torch.nn.Parameter(torch.ones(1, 2).double())

    def forward(self, x, noise):
        return x @ self.weight.T


def test_a_parameter_without_influence_has_gradient_zero():
    """It has its entries in the vector, so the others keep their positions."""
    step, x = make_step(UnusedWeight(), "mse"), tensor(3, 2)
    grads = step.loss_grad(step.params, step.buffers, x, torch.zeros(3, 1).double(), []).grads
    expected = 2 * x.T.numpy() @ x.numpy().sum(1) / 3
    assert np.allclose(grads.numpy(), [0, 0, *expected], rtol=1e-12)

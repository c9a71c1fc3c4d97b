"""The update of a step: against NumPy, skipped where a value is not finite, and the projection."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from support.steps import (
    OPTIMIZERS,
    STRENGTH,
    make_batch,
    make_loss,
    make_net,
    make_penalty,
    make_step,
    tensor,
)

from dlfound.nn.modules import BatchNorm
from dlfound.objective import regularization
from dlfound.optim.optimizers import TABLE
from dlfound.training.step import RULE_ELEMENTS as BLOCK
from dlfound.training.step import Step

# ---- the update


def reference_update(optim: str, w: np.ndarray, state: list[np.ndarray], g: np.ndarray, t: int, **settings):
    """One update in NumPy float64."""
    of = OPTIMIZERS[optim] | settings
    if optim == "sgd":
        return w - of["lr"] * g, state
    if optim == "momentum":
        d = g + of["momentum"] * (state[0] if state else 0)
        return w - of["lr"] * d, [d]
    (b1, b2), (m, v) = of["betas"], state or [0, 0]
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    return w - of["lr"] * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + of["eps"]), [m, v]


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_twenty_steps_in_numpy(optim, name):
    """Gradient, penalty, rule and projection: a linear net is trained in NumPy too."""
    dtype, tolerance = {"float32": (torch.float32, 2e-4), "float64": (torch.float64, 1e-10)}[name]
    net = make_net(2, hidden=()).to(dtype)
    step = make_step(net, "mse", "l2", limit=0.9, optim=optim)
    x, y = make_batch("mse", dtype)
    w, b = (p.detach().double().numpy().copy() for p in net.parameters())
    state, limited = [], 0
    for t in range(1, 21):
        error = 2 * (x.double().numpy() @ w.T + b - y.double().numpy()) / y.numel()
        g = np.concatenate([(error.T @ x.double().numpy() + 2 * STRENGTH * w).ravel(), error.sum(0)])
        new, state = reference_update(optim, np.concatenate([w.ravel(), b]), state, g, t)
        w, b = new[: w.size].reshape(w.shape), new[w.size :]
        norms = np.linalg.norm(w, axis=1, keepdims=True)
        limited += (norms > 0.9).sum()
        w = w * np.minimum(1, 0.9 / norms)
        step(x, y, [])
        assert np.allclose(net.output.weight.detach().numpy(), w, rtol=tolerance, atol=tolerance)
        assert np.allclose(net.output.bias.detach().numpy(), b, rtol=tolerance, atol=tolerance)
    assert limited > 0
    assert step.t.item() == 20 and step.skip.item() == 0


def test_a_step_returns_loss_and_outputs_before_it():
    """They are those of the weights before the step; the loss has no penalty."""
    net = make_net(2, hidden=()).float()
    step = make_step(net, "mse", "l2")
    x, y = make_batch("mse", torch.float32)
    expected = net(x).detach()
    value, outputs, _ = step(x, y, [])
    assert torch.equal(outputs, expected)
    assert value.item() == pytest.approx(((expected - y) ** 2).mean().item(), rel=1e-6)
    assert not torch.equal(net(x), expected)


def test_the_rate_can_change_between_steps():
    """`set_lr` applies from the next step on, exactly."""
    net = make_net(2, hidden=()).float()
    step = make_step(net, "mse")
    x, y = make_batch("mse", torch.float32)
    for lr in (0.5, 0.125, 1e-6):
        step.set_lr(lr)
        assert step.lr == lr
        before = step.params.clone()
        g = step.loss_grad(step.params, step.buffers, x, y, []).grads
        step(x, y, [])
        assert torch.allclose(step.params, before - lr * g, rtol=1e-6, atol=1e-8)


@dataclass
class Decaying:
    """A rule without a kernel: two slots, element by element, and t."""

    lr: float
    slots: ClassVar = ("sum", "last")

    def rule(self, w, g, slots, t):
        s = slots[0] + g * g / t
        return w - self.lr * g / (1 + s) - 0.01 * slots[1], (s, g)


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 4465])
def test_blocks_do_not_change_the_rule(size):
    """Vectors shorter and longer than a block, or of its length, give five steps of the rule in NumPy."""
    step = Step(make_net(3), make_loss("cross_entropy"), regularization.no_penalty, None, Decaying(0.05))
    w = tensor(size)
    slots = (torch.zeros_like(w), torch.zeros_like(w))
    mine = w.numpy().copy()
    s = np.zeros(size)
    last = np.zeros(size)
    for t in range(1, 6):
        g = tensor(size, seed=t)
        step.update(w, g, slots, torch.tensor(float(t), dtype=torch.float64), torch.zeros(()))
        s = s + g.numpy() ** 2 / t
        mine = mine - 0.05 * g.numpy() / (1 + s) - 0.01 * last
        last = g.numpy()
    for ours, expected in zip((w, *slots), (mine, s, last), strict=True):
        assert np.allclose(ours.numpy(), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("size", [5, 2 * BLOCK + 4465])
def test_blocks_skip_too(size):
    """With `skip` = 1, a rule without a kernel changes no bit, even if the gradient is NaN."""
    step = Step(make_net(3), make_loss("cross_entropy"), regularization.no_penalty, None, Decaying(0.05))
    vectors = [tensor(size, seed=i, dtype=torch.float32) for i in range(3)]
    g = tensor(size, seed=9, dtype=torch.float32)
    g[-1] = torch.nan
    before = [v.numpy().tobytes() for v in (*vectors, g)]
    step.update(vectors[0], g, vectors[1:], torch.tensor(2.0), torch.ones(()))
    assert [v.numpy().tobytes() for v in (*vectors, g)] == before


def test_a_rule_without_a_kernel_trains_a_net():
    """The loss of a small regression falls, and t counts the steps."""
    net = make_net(2).float()
    step = Step(net, make_loss("mse"), regularization.no_penalty, None, Decaying(0.05))
    values = [step(*make_batch("mse", torch.float32), [])[0].item() for _ in range(50)]
    assert values[-1] < 0.5 * values[0]
    assert step.t.item() == 50


# ---- values that are not finite

POISONS = {
    "NaN input": (torch.nan, 0.0),
    "infinite target": (0.0, torch.inf),
    "square overflows": (0.0, 1e30),
}


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("optim", [*OPTIMIZERS, "decaying"])
@pytest.mark.parametrize("poison", POISONS)
def test_a_loss_that_is_not_finite_changes_no_bit(poison, optim, norm):
    """Parameters, averages, slots and t stay; later good batches change nothing either."""
    option = Decaying(0.05) if optim == "decaying" else TABLE[optim](**OPTIMIZERS[optim])
    net = make_net(2, norm=norm).float()
    check_bits_stay(POISONS[poison], Step(net, make_loss("mse"), make_penalty("l2"), None, option))


@pytest.mark.parametrize("limit", [0.3, 0.6, 0.7, 0.8, 1.1])
@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_a_skipped_step_projects_nothing(optim, limit):
    """Weights at the limit keep their last digit."""
    check_bits_stay(POISONS["NaN input"], make_step(make_net(2).float(), "mse", "l2", limit, optim))


def check_bits_stay(poison: tuple[float, float], step: Step) -> None:
    """Three good steps, a bad one, a good one: the last two change no bit of the run."""
    x, y = make_batch("mse", torch.float32)
    for _ in range(3):
        step(x, y, [])
    assert step.skip.item() == 0
    own = (step.params, step.buffers, step.t, *step.slots)
    before = [v.numpy().tobytes() for v in own]
    good = (x.clone(), y.clone())
    x[2, 1] += poison[0]
    y[4, 0] += poison[1]
    assert not step(x, y, [])[0].isfinite()
    assert step.skip.item() == 1
    assert [v.numpy().tobytes() for v in own] == before
    assert step(*good, [])[0].isfinite()
    assert step.skip.item() == 1
    assert [v.numpy().tobytes() for v in own] == before
    assert step.t.item() == 3


def test_a_gradient_that_is_not_finite_under_a_finite_loss():
    """With a penalty of infinite slope, the step is skipped, and the returned loss is not finite."""
    net = make_net(2).float()
    step = make_step(net, "mse")
    x, y = make_batch("mse", torch.float32)
    step(x, y, [])
    before = step.params.numpy().tobytes()
    step.penalty = lambda weights: sum((0 * w).sum().abs().sqrt() for w in weights)  # its derivative is 0 / 0
    value, outputs, _ = step(x, y, [])
    assert outputs.isfinite().all() and not value.isfinite()
    assert step.params.numpy().tobytes() == before
    assert (step.skip.item(), step.t.item()) == (1, 1)


@pytest.mark.parametrize("size", [1e15, 1e25])
def test_a_large_gradient_is_not_an_infinite_one(size):
    """The step is made if loss and gradient are finite, even if the squares of the gradient overflow."""
    net = make_net(2, hidden=()).float()
    step = Step(
        net,
        lambda outputs, y: size * outputs.mean(),
        regularization.no_penalty,
        None,
        TABLE["sgd"](lr=1 / size),
    )
    before = step.params.clone()
    value, *_ = step(*make_batch("mse", torch.float32), [])
    assert value.isfinite()
    assert step.skip.item() == 0
    assert not torch.equal(step.params, before)


# ---- views and projection


def test_the_net_shares_its_vectors():
    """A change of the vector is a change of the net, and vice versa; the order is that of the net."""
    net = make_net(3, norm=True)
    expected = torch.cat([p.detach().flatten() for p in net.parameters()])
    averages = torch.cat([b.flatten() for b in net.buffers()])
    step = make_step(net)
    assert torch.equal(step.params, expected) and torch.equal(step.buffers, averages)
    step.params.fill_(0.5)
    assert all((p == 0.5).all() for p in net.parameters())
    with torch.no_grad():
        net.output.bias.fill_(7)
    assert (step.params[-3:] == 7).all()
    assert all(isinstance(m, BatchNorm) == hasattr(m, "mean") for m in net.modules())
    step.buffers.fill_(2)
    assert all((b == 2).all() for b in net.buffers())
    assert net.training and set(net.state_dict()) == {
        n for n, _ in [*net.named_parameters(), *net.named_buffers()]
    }


def test_a_net_without_hidden_layers_or_buffers():
    """The smallest net makes a step."""
    step = make_step(make_net(3, hidden=()).float())
    step(*make_batch("cross_entropy", torch.float32), [])
    assert step.buffers.numel() == 0 and step.t.item() == 1


def test_project_limits_each_matrix_of_any_vector():
    """The rows of all weight matrices are limited; biases, gains and shifts keep their bits."""
    step = make_step(make_net(3, norm=True), limit=0.5)
    vector = 3 * tensor(len(step.params), seed=8)
    own = step.params.clone()
    before = vector.clone()
    step.project(vector)
    assert torch.equal(step.params, own)
    pieces = zip(step.model.parameters(), vector.split(sizes(step)), before.split(sizes(step)), strict=True)
    for parameter, now, was in pieces:
        if parameter.ndim == 1:
            assert torch.equal(now, was)
        else:
            rows, old = now.view(parameter.shape).numpy(), was.view(parameter.shape).numpy()
            assert np.allclose(
                rows, old * np.minimum(1, 0.5 / np.linalg.norm(old, axis=1, keepdims=True)), rtol=1e-13
            )
    make_step(make_net(3), limit=None).project(vector)


def sizes(step: Step) -> list[int]:
    return [p.numel() for p in step.model.parameters()]


def test_without_a_constraint_nothing_is_projected():
    """Weights of any length keep their bits."""
    step = make_step(make_net(3))
    vector = 100 * tensor(len(step.params))
    before = vector.clone()
    step.project(vector)
    assert torch.equal(vector, before)

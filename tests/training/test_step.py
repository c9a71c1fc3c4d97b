"""The step: gradients against central differences in NumPy, purity, updates, skipped steps, projection."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp

from dlfound.nn import activation, batchnorm, dropout, initializer
from dlfound.nn.modules import MLP, BatchNorm, build_mlp
from dlfound.objective import constraint, loss, regularizer
from dlfound.optim.optimizers import TABLE
from dlfound.streams import stream
from dlfound.training.step import RULE_ELEMENTS as BLOCK
from dlfound.training.step import Step

ROWS = 7
INPUTS = 4
OUTPUTS = {"cross_entropy": 3, "binary_cross_entropy": 1, "mse": 2}
PLAIN = {"label_smoothing": 0.0, "class_weight": "none"}
STRENGTH = 0.03
G = {"sigmoid": expit, "tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}
OPTIMIZERS = {
    "sgd": {"lr": 0.1},
    "momentum": {"lr": 0.05, "momentum": 0.9},
    "adam": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8},
}


def tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=stream(seed, "test"), dtype=torch.float64).to(dtype)


def make_loss(name: str):
    return loss.TABLE[name](**({} if name == "mse" else PLAIN))


def make_penalty(name: str):
    return (
        regularizer.none
        if name == "none"
        else lambda weights: regularizer.TABLE[name](weights, strength=STRENGTH)
    )


def normalise(width):
    return batchnorm.batch(width, momentum=0.1, eps=1e-5, statistics="exact")


def make_net(outputs: int, *, norm=False, drop=False, g="tanh", hidden=(5, 4)) -> MLP:
    """A net in float64, with biases, gains and shifts away from zero and one."""
    net = build_mlp(
        INPUTS, outputs, list(hidden), activation=activation.TABLE[g],
        initialize=lambda w, generator: initializer.normal(w, generator, std=0.7),
        norm=normalise if norm else batchnorm.none,
        noise=dropout.standard(input=0.2, hidden=0.5) if drop else None, generator=stream(1, "test"),
    ).double()  # fmt: skip
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            if parameter.ndim == 1:
                parameter += tensor(len(parameter), seed=i) / 3
    return net.train()


def make_step(net, of="cross_entropy", penalty="none", limit=None, optim="sgd", **settings) -> Step:
    limited = None if limit is None else lambda w: constraint.max_norm(w, max_norm=limit)
    option = TABLE[optim](**(OPTIMIZERS[optim] | settings))
    return Step(net, make_loss(of), make_penalty(penalty), limited, option)


def make_batch(of: str, dtype: torch.dtype = torch.float64, rows: int = ROWS):
    """Inputs and encoded targets."""
    x = tensor(rows, INPUTS, seed=3, dtype=dtype)
    columns = OUTPUTS[of]
    if of == "mse":
        return x, tensor(rows, columns, seed=4, dtype=dtype)
    classes = torch.randint(0, max(2, columns), (rows,), generator=stream(5, "test"))
    return x, classes if of == "cross_entropy" else classes[:, None].to(dtype)


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
    found = step.loss_grad(step.params, step.buffers, x, y, noise)
    w, gradient = step.params.numpy().copy(), found.grads.numpy()

    def f(vector: np.ndarray) -> float:
        return objective(net, vector, x, y, noise, of, penalty, g)[0]

    def difference(direction: np.ndarray) -> float:
        return (f(w + 1e-6 * direction) - f(w - 1e-6 * direction)) / 2e-6

    assert np.allclose(
        found.outputs.numpy(), objective(net, w, x, y, noise, of, penalty, g)[1], rtol=1e-11, atol=1e-12
    )
    assert np.isclose(found.loss.item(), objective(net, w, x, y, noise, of, "none", g)[0], rtol=1e-12)
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
    found = step.loss_grad(foreign, step.buffers, x, y, [])
    assert torch.equal(found.grads, theirs.loss_grad(theirs.params, theirs.buffers, x, y, []).grads)
    assert not torch.equal(found.grads, step.loss_grad(step.params, step.buffers, x, y, []).grads)
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
    found = step.loss_grad(step.params, step.buffers, x, y, [])
    a = (x @ net.hidden[0].linear.weight.T).detach()
    assert torch.equal(step.buffers, given)
    assert torch.allclose(found.buffers[:5], 0.1 * a.mean(0), rtol=1e-12)
    assert torch.allclose(found.buffers[5:10], 0.9 + 0.1 * a.var(0), rtol=1e-12)


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
    step = Step(make_net(3), make_loss("cross_entropy"), regularizer.none, None, Decaying(0.05))
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
    for found, expected in zip((w, *slots), (mine, s, last), strict=True):
        assert np.allclose(found.numpy(), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("size", [5, 2 * BLOCK + 4465])
def test_blocks_skip_too(size):
    """With `skip` = 1, a rule without a kernel changes no bit, even if the gradient is NaN."""
    step = Step(make_net(3), make_loss("cross_entropy"), regularizer.none, None, Decaying(0.05))
    vectors = [tensor(size, seed=i, dtype=torch.float32) for i in range(3)]
    g = tensor(size, seed=9, dtype=torch.float32)
    g[-1] = torch.nan
    before = [v.numpy().tobytes() for v in (*vectors, g)]
    step.update(vectors[0], g, vectors[1:], torch.tensor(2.0), torch.ones(()))
    assert [v.numpy().tobytes() for v in (*vectors, g)] == before


def test_a_rule_without_a_kernel_trains_a_net():
    """The loss of a small regression falls, and t counts the steps."""
    net = make_net(2).float()
    step = Step(net, make_loss("mse"), regularizer.none, None, Decaying(0.05))
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
        net, lambda outputs, y: size * outputs.mean(), regularizer.none, None, TABLE["sgd"](lr=1 / size)
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

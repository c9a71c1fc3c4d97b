"""Update rules against their papers in NumPy, against torch.optim, and against their fused kernels."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from dlfound.optim.optimizers import SGD, TABLE, Adam, Momentum
from dlfound.streams import stream

OPTIONS = {
    "sgd": {"lr": 0.1},
    "momentum": {"lr": 0.05, "momentum": 0.9},
    "adam": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8},
}
# Settings far from the defaults: one that is taken for another shows.
ODD = [
    ("sgd", {"lr": 1.7}),
    ("momentum", {"lr": 0.3, "momentum": 0.0}),
    ("momentum", {"lr": 0.01, "momentum": 0.99}),
    ("adam", {"lr": 0.2, "betas": [0.0, 0.0], "eps": 0.1}),
    ("adam", {"lr": 0.003, "betas": [0.5, 0.8], "eps": 1e-3}),
    ("adam", {"lr": 0.003, "betas": [0.99, 0.6], "eps": 1e-12}),
]
ALL = [*OPTIONS.items(), *ODD]


def tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=stream(seed, "test"), dtype=torch.float64).to(dtype)


def zeros(option, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros_like(like) for _ in option.slots)


def paper(name: str, w: np.ndarray, gradients: list[np.ndarray], **of) -> np.ndarray:
    """The parameters after these gradients, by the formulas of the papers in NumPy."""
    d = m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        if name == "sgd":  # the lecture, minute 13
            w = w - of["lr"] * g
        elif name == "momentum":  # the lecture, minute 40: a running direction, then the rate
            d = g + of["momentum"] * d
            w = w - of["lr"] * d
        else:  # Kingma & Ba 2015, algorithm 1
            beta1, beta2 = of["betas"]
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
            w = w - of["lr"] * m_hat / (np.sqrt(v_hat) + of["eps"])
    return w


def logistic(seed: int = 0):
    """The gradient of a penalised logistic regression on 40 rows, in NumPy."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((40, 6)) * [1, 2, 3, 0.5, 0.1, 1], rng.integers(0, 2, 40)
    return lambda w: x.T @ (expit(x @ w) - y) / 40 + 0.02 * w


def quadratic(seed: int = 0):
    """The gradient of w' A w / 2 - b' w, curvatures from 0.01 to 1."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    a, b = turn @ np.diag(np.geomspace(0.01, 1, 6)) @ turn.T, rng.standard_normal(6)
    return lambda w: a @ w - b


@pytest.mark.parametrize(("name", "settings"), ALL)
def test_the_rule_agrees_with_the_paper(name, settings):
    """Ten gradients of very different sizes, to the last digits of float64; t is a tensor, as in a step."""
    option, w = TABLE[name](**settings), tensor(50)
    gradients = [10.0 ** (k % 5 - 2) * tensor(50, seed=k + 1) for k in range(10)]
    slots, start = zeros(option, w), w.numpy().copy()
    for t, g in enumerate(gradients, 1):
        w, slots = option.rule(w, g, slots, torch.tensor(float(t), dtype=torch.float64))
        assert len(slots) == len(option.slots)
        expected = paper(name, start, [g.numpy() for g in gradients[:t]], **settings)
        assert np.allclose(w.numpy(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("gradient", [logistic(), quadratic()], ids=["logistic", "quadratic"])
@pytest.mark.parametrize(("name", "settings"), [*OPTIONS.items(), *ODD[1:3], *ODD[4:]])
def test_two_hundred_steps_as_torch(name, settings, gradient):
    """Both start at the same point, and each follows its own gradients, in float64."""
    option, w = TABLE[name](**settings), tensor(6)
    theirs = torch.nn.Parameter(w.clone())
    if name == "adam":
        optimizer = torch.optim.Adam([theirs], settings["lr"], tuple(settings["betas"]), settings["eps"])
    else:
        optimizer = torch.optim.SGD(
            [theirs], settings["lr"], momentum=settings.get("momentum", 0), dampening=0
        )
    slots, start = zeros(option, w), w.clone()
    for t in range(1, 201):
        w, slots = option.rule(
            w, torch.from_numpy(gradient(w.numpy())), slots, torch.tensor(float(t)).double()
        )
        theirs.grad = torch.from_numpy(gradient(theirs.detach().numpy()))
        optimizer.step()
        assert torch.allclose(w, theirs, rtol=1e-9, atol=1e-10)
    assert (w - start).abs().max() > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
@pytest.mark.parametrize(("name", "settings"), ALL)
def test_the_fused_kernel_agrees_with_the_rule(name, settings, dtype, tolerance):
    """Parameters and slots agree over a hundred steps, relative to the distance moved."""
    option, w = TABLE[name](**settings), tensor(1000, dtype=dtype)
    fused, fused_slots, slots = w.clone(), zeros(option, w), zeros(option, w)
    go = torch.zeros(())
    start = w.clone()
    for k in range(1, 101):
        g, t = tensor(1000, seed=k, dtype=dtype), torch.tensor(float(k), dtype=dtype)
        w, slots = option.rule(w, g, slots, t)
        option.fused(fused, g, fused_slots, t, go)
    way = (w - start).abs().max()
    assert (fused - w).abs().max() < tolerance * max(1, way)
    if settings.get("momentum") == 0:  # a direction that nothing reads need not be kept
        return
    for mine, theirs in zip(slots, fused_slots, strict=True):
        assert torch.allclose(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "settings"), ALL)
def test_the_fused_kernel_takes_the_rate_as_a_tensor(name, settings):
    """A tensor gives the same bits as a number, and can change between steps."""
    one, other, w = TABLE[name](**settings), TABLE[name](**settings), tensor(100, dtype=torch.float32)
    other.lr = torch.tensor(other.lr)
    copies, slots = (w.clone(), w.clone()), (zeros(one, w), zeros(one, w))
    for k in (1, 2, 3):
        g, t = tensor(100, seed=k, dtype=torch.float32), torch.tensor(float(k))
        one.fused(copies[0], g, slots[0], t, torch.zeros(()))
        other.fused(copies[1], g, slots[1], t, torch.zeros(()))
    assert torch.allclose(copies[0], copies[1], rtol=1e-6, atol=1e-7)
    assert not torch.equal(copies[0], w)


@pytest.mark.parametrize("bad", [1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(("name", "settings"), ALL)
def test_a_skipped_step_changes_no_bit(name, settings, bad):
    """With `skip` = 1, parameters, slots, gradient and t keep their bits for any gradient."""
    option, w = TABLE[name](**settings), tensor(1000, dtype=torch.float32)
    slots, t = zeros(option, w), torch.tensor(1.0)
    option.fused(w, tensor(1000, seed=1, dtype=torch.float32), slots, t, torch.zeros(()))
    g = tensor(1000, seed=2, dtype=torch.float32)
    g[::7] = bad
    before = [v.clone() for v in (w, g, t, *slots)]
    option.fused(w, g, slots, t, torch.ones(()))
    for old, new in zip(before, (w, g, t, *slots), strict=True):
        assert old.numpy().tobytes() == new.numpy().tobytes()


@pytest.mark.parametrize(("name", "settings"), ALL)
def test_the_rule_changes_no_argument(name, settings):
    """A rule is a function: the arguments keep their bits."""
    option, w, g = TABLE[name](**settings), tensor(20), tensor(20, seed=1)
    slots, t = tuple(tensor(20, seed=2 + i).abs() for i in range(len(option.slots))), torch.tensor(3.0)
    before = [v.clone() for v in (w, g, t, *slots)]
    new, new_slots = option.rule(w, g, slots, t)
    assert all(torch.equal(old, now) for old, now in zip(before, (w, g, t, *slots), strict=True))
    assert not torch.equal(new, w)
    again, again_slots = option.rule(w, g, slots, t)
    assert torch.equal(new, again)
    assert all(torch.equal(a, b) for a, b in zip(new_slots, again_slots, strict=True))


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def together_of(values: list):
    """Numbers of the members -> a column; lists of the members -> a list of columns."""
    return (
        [column(*each) for each in zip(*values, strict=True)]
        if isinstance(values[0], list)
        else column(*values)
    )


POPULATIONS = [
    (SGD, [{"lr": lr} for lr in (0.01, 0.1, 1.0)]),
    (Momentum, [{"lr": lr, "momentum": m} for lr, m in ((0.01, 0.9), (0.1, 0.0), (1.0, 0.5))]),
    (
        Adam,
        [
            {"lr": lr, "betas": [a, b], "eps": e}
            for lr, a, b, e in ((1e-3, 0.9, 0.999, 1e-8), (0.1, 0.0, 0.9, 1e-3), (0.01, 0.5, 0.5, 0.1))
        ],
    ),
]


@pytest.mark.parametrize(("option", "members"), POPULATIONS, ids=["sgd", "momentum", "adam"])
def test_settings_broadcast_over_a_population(option, members):
    """Three nets in the rows of one matrix, each with its own settings, move as each does alone."""
    settings = {name: [member[name] for member in members] for name in members[0]}
    together = option(**{name: together_of(values) for name, values in settings.items()})
    alone, w = [option(**member) for member in members], tensor(3, 30)
    slots, singles = zeros(together, w), [(row, zeros(o, row)) for row, o in zip(w, alone, strict=True)]
    for k in range(1, 11):
        g, t = tensor(3, 30, seed=k), torch.tensor(float(k), dtype=torch.float64)
        w, slots = together.rule(w, g, slots, t)
        singles = [
            o.rule(row, g[i], s, t) for i, (o, (row, s)) in enumerate(zip(alone, singles, strict=True))
        ]
        assert torch.allclose(w, torch.stack([row for row, _ in singles]), rtol=1e-13, atol=1e-14)


def test_momentum_by_hand():
    """Gradient 1 at each step, beta 0.5, rate 1: the directions are 1, 1.5, 1.75."""
    option, w, slots = Momentum(lr=1.0, momentum=0.5), torch.zeros(1), (torch.zeros(1),)
    for t, expected in enumerate((-1.0, -2.5, -4.25), 1):
        w, slots = option.rule(w, torch.ones(1), slots, t)
        assert w.item() == expected


def test_the_rate_acts_after_the_direction():
    """A new rate does not scale past gradients: direction 1, then 1.5, with rates 1 and 0.1."""
    option, slots = Momentum(lr=1.0, momentum=0.5), (torch.zeros(1),)
    w, slots = option.rule(torch.zeros(1), torch.ones(1), slots, 1)
    option.lr = 0.1
    w, slots = option.rule(w, torch.ones(1), slots, 2)
    assert w.item() == pytest.approx(-1.15)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_adams_first_step_is_the_rate(size):
    """Both means are unbiased, so the first step is lr g / |g| for gradients of any size."""
    option = Adam(lr=0.01, betas=[0.9, 0.999], eps=1e-12)
    g = torch.tensor([size, -size], dtype=torch.float64)
    w, _ = option.rule(torch.zeros(2).double(), g, zeros(option, g), 1)
    assert torch.allclose(w, torch.tensor([-0.01, 0.01]).double(), rtol=1e-6)


@pytest.mark.parametrize(("name", "settings"), OPTIONS.items())
def test_a_gradient_of_zero_makes_no_step(name, settings):
    """Nothing moves, and Adam does not divide zero by zero."""
    option, w = TABLE[name](**settings), tensor(5)
    new, slots = option.rule(w, torch.zeros(5).double(), zeros(option, w), 1)
    assert torch.equal(new, w)
    assert all(torch.equal(s, torch.zeros(5).double()) for s in slots)

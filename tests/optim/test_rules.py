"""Element-by-element rules: ten steps by the paper's formula in NumPy, two hundred steps of torch.optim."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dlfound.optim.optimizers import TABLE
from dlfound.options.configure import configure

ELEMENTWISE = sorted(set(TABLE) - {"muon", "lbfgs"})


def rule_of(name, *settings):
    return configure([f"optim={name}", *settings]).build("optim")()


def follow(optimizer, w, gradient, steps):
    """The parameters after each step of our rule."""
    slots, path = tuple(torch.zeros_like(w) for _ in optimizer.slots), []
    for t in range(1, steps + 1):
        w, slots = optimizer.rule(w, gradient(w), slots, torch.tensor(float(t), dtype=w.dtype))
        path.append(w.numpy().copy())
    return np.array(path)


def numpy_change(name, g, s):
    """The change of the parameters by the rules without moments, with the defaults of conf/."""
    if name == "sgd":
        return 0.1 * g
    if name == "momentum":
        s.d = g + 0.9 * s.d
        return 0.01 * s.d
    if name == "nesterov":  # Sutskever et al. 2013, rewritten for the gradient at the looked-ahead point
        s.d = g + 0.9 * s.d
        return 0.01 * (g + 0.9 * s.d)
    if name == "adagrad":
        s.v = s.v + g**2
        return 0.01 * g / (np.sqrt(s.v) + 1e-10)
    if name == "rmsprop":
        s.v = 0.9 * s.v + 0.1 * g**2
        return 0.001 * g / (np.sqrt(s.v) + 1e-8)
    assert name == "adadelta"
    s.v = 0.95 * s.v + 0.05 * g**2
    step = np.sqrt(s.u + 1e-6) / np.sqrt(s.v + 1e-6) * g
    s.u = 0.95 * s.u + 0.05 * step**2
    return step


def numpy_change_of_adams_family(name, w, g, t, s):
    """The change of the parameters by the rules with moments, with the defaults of conf/."""
    b1 = 0.9
    b2 = 0.999
    s.m = b1 * s.m + (1 - b1) * g
    s.v = b2 * s.v + (1 - b2) * g**2
    m = s.m / (1 - b1**t)
    root = np.sqrt(s.v / (1 - b2**t)) + 1e-8
    if name == "adam":
        return 0.001 * m / root
    if name == "adamw":
        return 0.001 * (m / root + 0.01 * w)
    if name == "nadam":
        mu = b1 * (1 - 0.5 * 0.96 ** (t * 0.004))
        following = b1 * (1 - 0.5 * 0.96 ** ((t + 1) * 0.004))
        s.product *= mu
        ahead = (1 - mu) * g / (1 - s.product) + following * s.m / (1 - s.product * following)
        return 0.002 * ahead / root
    assert name == "radam"
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    if length <= 5:
        return 0.001 * m
    r = np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return 0.001 * r * m * np.sqrt(1 - b2**t) / (np.sqrt(s.v) + 1e-8)


def numpy_path(name, w, gradient, steps):
    """The parameters after each step, by the formulas of the papers."""
    path = []
    state = SimpleNamespace(d=0.0, m=0.0, v=0.0, u=0.0, product=1.0)
    for t in range(1, steps + 1):
        g = gradient(w)
        if name in ("adam", "adamw", "nadam", "radam"):
            w = w - numpy_change_of_adams_family(name, w, g, t, state)
        else:
            w = w - numpy_change(name, g, state)
        path.append(w.copy())
    return np.array(path)


SCALES = np.array([1.0, 10.0, 0.1, 3.0, 0.01])
START = np.array([1.0, -2.0, 3.0, 0.5, -4.0])


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_ten_steps_by_the_formula_of_the_paper(name):
    ours = follow(rule_of(name), torch.tensor(START), lambda w: torch.tensor(SCALES) * w, 10)
    np.testing.assert_allclose(ours, numpy_path(name, START, lambda w: SCALES * w, 10), rtol=1e-12)


def torch_optimizer(name, w):
    o = torch.optim
    return {
        "sgd": lambda: o.SGD([w], 0.1),
        "momentum": lambda: o.SGD([w], 0.01, momentum=0.9),
        "nesterov": lambda: o.SGD([w], 0.01, momentum=0.9, nesterov=True),
        "adagrad": lambda: o.Adagrad([w], 0.01),
        "rmsprop": lambda: o.RMSprop([w], 0.001, alpha=0.9),
        "adadelta": lambda: o.Adadelta([w], 1.0, rho=0.95, eps=1e-6),
        "adam": lambda: o.Adam([w]),
        "adamw": lambda: o.AdamW([w]),
        "nadam": lambda: o.NAdam([w]),
        "radam": lambda: o.RAdam([w]),
    }[name]()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_two_hundred_steps_as_torch(name):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    y = (x @ torch.randn(6, generator=generator, dtype=torch.float64) > 0).double()

    def objective(w):  # logistic regression: neither quadratic nor separable into coordinates
        return torch.nn.functional.binary_cross_entropy_with_logits(x @ w, y)

    theirs = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer, path = torch_optimizer(name, theirs), []
    for _ in range(200):
        optimizer.zero_grad()
        objective(theirs).backward()
        optimizer.step()
        path.append(theirs.detach().numpy().copy())

    def gradient(w):
        w = w.clone().requires_grad_()
        return torch.autograd.grad(objective(w), w)[0]

    ours = follow(rule_of(name), torch.zeros(6, dtype=torch.float64), gradient, 200)
    rounding = 1e-5 if name == "nadam" else 1e-9  # torch keeps nadam's product of momenta in float32
    np.testing.assert_allclose(ours, np.array(path), rtol=rounding, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if hasattr(TABLE[n], "fused")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_kernels_agree_with_the_rule(name, dtype):
    optimizer = rule_of(name)
    ours = follow(
        optimizer, torch.tensor(START, dtype=dtype), lambda w: torch.tensor(SCALES, dtype=dtype) * w, 50
    )
    w, skip, t = torch.tensor(START, dtype=dtype), torch.zeros(()), torch.zeros((), dtype=dtype)
    slots = tuple(torch.zeros_like(w) for _ in optimizer.slots)
    for row in ours:
        t += 1
        optimizer.fused(w, torch.tensor(SCALES, dtype=dtype) * w, slots, t, skip)
        np.testing.assert_allclose(w.numpy(), row, rtol=1e-12 if dtype == torch.float64 else 2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_settings_broadcast_over_a_population(name):
    rates = torch.tensor([[0.001], [0.01], [0.1]], dtype=torch.float64)
    together = rule_of(name)
    together.lr = rates
    w = torch.tensor(START).expand(3, -1)
    path = follow(together, w, lambda w: torch.tensor(SCALES) * w, 5)
    for i, rate in enumerate(rates[:, 0].tolist()):
        alone = follow(
            rule_of(name, f"optim.lr={rate}"), torch.tensor(START), lambda w: torch.tensor(SCALES) * w, 5
        )
        np.testing.assert_allclose(path[:, i], alone, rtol=1e-12)

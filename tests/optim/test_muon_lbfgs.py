"""Muon with AdamW for vectors, and L-BFGS with its line search, against NumPy, SciPy and torch.optim."""

import itertools

import numpy as np
import pytest
import torch

from dlfound.nn.modules import build_mlp
from dlfound.objective.loss import TABLE as LOSSES
from dlfound.optim.joint_rules import orthogonalised
from dlfound.options.configure import configure
from dlfound.streams import stream
from dlfound.training.step import Step


def net(hidden=(12, 5)):
    model = build_mlp(
        6, 3, hidden,
        activation=torch.nn.Tanh,
        initialize=lambda w, g: w.normal_(0, 0.4, generator=g),
        norm=lambda width: None,
        noise=None,
        generator=stream(0, "weights"),
    )  # fmt: skip
    return model.double().train()


def data(rows=50):
    g = stream(0, "data")
    return torch.randn(rows, 6, generator=g, dtype=torch.float64), torch.randint(0, 3, (rows,), generator=g)


def step_with(*words, model=None, penalty=lambda weights: 0.0):
    optimizer = configure(list(words)).build("optim")()
    loss = LOSSES["cross_entropy"]([], label_smoothing=0.0, class_weight="none")
    return Step(model or net(), loss, penalty, None, optimizer)


def newton_schulz(g, a=3.4445, b=-4.7750, c=2.0315):
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / np.linalg.norm(x)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


@pytest.mark.parametrize("shape", [(20, 20), (30, 8), (8, 30), (1, 5), (5, 1)], ids=str)
def test_orthogonalised_keeps_directions_and_equalises_lengths(shape):
    g = np.random.default_rng(0).standard_normal(shape)
    x = orthogonalised(torch.tensor(g)).numpy()
    np.testing.assert_allclose(x, newton_schulz(g), rtol=1e-9, atol=1e-12)
    u, s, vt = np.linalg.svd(g, full_matrices=False)
    lengths = np.diag(u.T @ x @ vt.T)
    well_off = s > 0.05 * s.max()
    assert (np.abs(lengths[well_off] - 1) < 0.5).all()
    assert np.abs(u.T @ x @ vt.T - np.diag(lengths)).max() < 1e-9


def test_muon_ten_steps_in_numpy():
    step, (x, y) = step_with("optim=muon", "optim.weight_decay=0.1"), data()
    tensors = [v.clone().numpy() for v in step.parameter_layout.views(step.params)]
    d, m, v = ([np.zeros_like(w) for w in tensors] for _ in range(3))
    for t in range(1, 11):
        flat = torch.tensor(np.concatenate([w.ravel() for w in tensors]))
        grads = step.parameter_layout.views(step.loss_grad(flat, step.buffers, x, y, ()).grads)
        for i, (w, g) in enumerate(zip(tensors, (g.numpy() for g in grads), strict=True)):
            if w.ndim == 2:
                d[i] = 0.95 * d[i] + 0.05 * g
                moved = newton_schulz(0.95 * d[i] + 0.05 * g) * np.sqrt(max(1, w.shape[0] / w.shape[1]))
                tensors[i] = w * (1 - 0.02 * 0.1) - 0.02 * moved
            else:
                m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g**2
                moved = m[i] / (1 - 0.9**t) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
                tensors[i] = w * (1 - 0.001 * 0.1) - 0.001 * moved
        step(x, y, ())
        expected = np.concatenate([w.ravel() for w in tensors])
        np.testing.assert_allclose(step.params.numpy(), expected, rtol=1e-8, atol=1e-10)


def test_muon_two_hundred_steps_as_torch():
    """Torch iterates in bfloat16, so the paths diverge slowly; the losses must stay close."""
    step, (x, y) = step_with("optim=muon"), data()
    theirs = net()
    matrices = [p for p in theirs.parameters() if p.dim() == 2]
    vectors = [p for p in theirs.parameters() if p.dim() == 1]
    optimizers = [
        torch.optim.Muon(matrices, 0.02, weight_decay=0.0, momentum=0.95),
        torch.optim.AdamW(vectors, 0.001, weight_decay=0.0),
    ]
    for t in range(200):
        loss = torch.nn.functional.cross_entropy(theirs(x), y)
        theirs.zero_grad()
        loss.backward()
        ours, *_ = step(x, y, ())
        assert ours.item() == pytest.approx(loss.item(), rel=0.05, abs=0.02), t
        for optimizer in optimizers:
            optimizer.step()


def test_both_rates_of_muon_decay_together():
    fast, slow = (
        step_with("optim=muon", *words) for words in ([], ["optim.lr=0.01", "optim.vector_lr=0.0005"])
    )
    x, y = data()
    fast.set_lr(0.01)
    fast(x, y, ())
    slow(x, y, ())
    assert torch.allclose(fast.params, slow.params, rtol=1e-12)


def penalty(weights):
    """Keeps the optimum finite for any data."""
    return 0.01 * sum(w.square().sum() for w in weights)


def test_lbfgs_two_hundred_steps_as_torch():
    words = ["optim=lbfgs", "optim.line_search=none", "optim.lr=0.5"]
    # Without hidden layers the problem is convex: rounding cannot send the two to different minima.
    step, (x, y), theirs = step_with(*words, model=net([]), penalty=penalty), data(), net([])
    optimizer = torch.optim.LBFGS(
        theirs.parameters(), lr=0.5, max_iter=1, history_size=10, tolerance_grad=0, tolerance_change=0
    )

    def objective():
        matrices = [p for p in theirs.parameters() if p.dim() == 2]
        return torch.nn.functional.cross_entropy(theirs(x), y) + penalty(matrices)

    def closure():
        optimizer.zero_grad()
        objective().backward()
        return objective()

    for t in range(200):
        optimizer.step(closure)
        step(x, y, ())
        flat = torch.cat([p.detach().flatten() for p in theirs.parameters()])
        assert torch.allclose(step.params, flat, rtol=1e-6, atol=1e-7), t


def test_lbfgs_finds_the_minimum_of_scipy():
    from scipy.optimize import minimize

    step, (x, y) = step_with("optim=lbfgs", model=net([]), penalty=penalty), data()

    def objective(flat):
        result = step.loss_grad(torch.tensor(flat), step.buffers, x, y, ())
        return result.objective.item(), result.grads.numpy()

    best = minimize(objective, step.params.numpy().copy(), jac=True, method="BFGS", options={"gtol": 1e-10})
    for _ in range(100):
        step(x, y, ())
    assert objective(step.params.numpy())[0] == pytest.approx(best.fun, abs=1e-10)


def test_lbfgs_direction_is_bfgs_with_all_pairs():
    """The inverse Hessian is built explicitly from the pairs: Nocedal & Wright 2006, equation 6.17."""
    rng = np.random.default_rng(0)
    from dlfound.optim.joint_rules import _newton

    a = rng.standard_normal((5, 5))
    hessian = a @ a.T + np.eye(5)
    changes = rng.standard_normal((4, 5))
    differences = changes @ hessian
    inverse = np.eye(5) * (changes[-1] @ differences[-1]) / (differences[-1] @ differences[-1])
    for s, y in zip(changes, differences, strict=True):
        rho = 1 / (s @ y)
        left = np.eye(5) - rho * np.outer(s, y)
        inverse = left @ inverse @ left.T + rho * np.outer(s, s)
    g = rng.standard_normal(5)
    ours = _newton(torch.tensor(g), torch.tensor(changes), torch.tensor(differences)).numpy()
    np.testing.assert_allclose(ours, inverse @ g, rtol=1e-10)


def test_the_line_search_never_increases_the_loss():
    step, (x, y) = step_with("optim=lbfgs", "optim.lr=4"), data()
    values = [step(x, y, ())[0].item() for _ in range(100)]
    assert all(b <= a for a, b in itertools.pairwise(values))
    assert values[-1] < 0.05


def test_lbfgs_needs_the_full_batch_and_no_constraint():
    import dlfound

    run = dlfound.train(
        ["optim=lbfgs", "train.epochs=3", "early_stopping=none", "lr_decay=none", "data=moons"]
    )
    assert run.report["batch_size"] == 700
    for words in (["train.batch_size=64"], ["constraint=max_norm"]):
        with pytest.raises(dlfound.Error) as caught:
            dlfound.train(["optim=lbfgs", *words])
        assert caught.value.code == 2

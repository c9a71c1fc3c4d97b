"""Penalties and their gradients against NumPy, also at zero."""

import numpy as np
import pytest
import torch

from dlfound.objective import regularization

SHAPES = [(4, 3), (1, 1), (2, 7)]


def matrices(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in SHAPES]


def penalty(name: str, weights: list[np.ndarray], strength: float):
    """The penalty and its gradient for each matrix."""
    leaves = [torch.from_numpy(w).requires_grad_() for w in weights]
    cost = regularization.REGULARIZERS[name](leaves, strength=strength)
    return cost.item(), [g.numpy() for g in torch.autograd.grad(cost, leaves)]


@pytest.mark.parametrize("strength", [0.0, 1e-4, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_l2_is_the_sum_of_squares(seed, strength):
    """lambda sum w^2 over all matrices, without a half; the gradient is 2 lambda W."""
    weights = matrices(seed)
    value, gradients = penalty("l2", weights, strength)
    assert np.isclose(value, strength * sum((w**2).sum() for w in weights), rtol=1e-13)
    for g, w in zip(gradients, weights, strict=True):
        assert np.allclose(g, 2 * strength * w, rtol=1e-14)


@pytest.mark.parametrize("strength", [0.0, 1e-4, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_l1_is_the_sum_of_magnitudes(seed, strength):
    """lambda sum |w| over all matrices; the gradient is lambda sign(W)."""
    weights = matrices(seed)
    value, gradients = penalty("l1", weights, strength)
    assert np.isclose(value, strength * sum(np.abs(w).sum() for w in weights), rtol=1e-13)
    for g, w in zip(gradients, weights, strict=True):
        assert np.allclose(g, strength * np.sign(w), rtol=1e-14)


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_weights_of_zero_have_no_gradient(name):
    """A weight of zero is pushed to neither side."""
    value, gradients = penalty(name, [np.zeros((3, 2)), np.array([[0.0, 2.0]])], 0.5)
    assert value == {"l1": 1.0, "l2": 2.0}[name]
    assert np.array_equal(gradients[0], np.zeros((3, 2)))
    assert gradients[1][0, 0] == 0 and gradients[1][0, 1] > 0


def test_by_hand():
    """W = (3, -4) gives 25 and 7, times lambda."""
    weights = [np.array([[3.0, -4.0]])]
    assert penalty("l2", weights, 0.1)[0] == pytest.approx(2.5)
    assert penalty("l1", weights, 0.1)[0] == pytest.approx(0.7)


def test_none_is_zero():
    """The penalty is zero for any weights."""
    assert regularization.REGULARIZERS["none"]([torch.ones(3, 2)]) == 0.0


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_the_strength_may_be_a_tensor(name):
    """A tensor gives the same number as a float, so it can change without a new trace."""
    weights = [torch.from_numpy(w) for w in matrices(0)]
    of = regularization.REGULARIZERS[name]
    assert (
        of(weights, strength=torch.tensor(0.3, dtype=torch.float64)).item()
        == of(weights, strength=0.3).item()
    )

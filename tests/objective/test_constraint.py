"""The limit on each unit's incoming weights is a projection of each row."""

import numpy as np
import pytest
import torch

from dlfound.objective import regularization
from dlfound.streams import stream

TYPES = [(torch.float32, 1e-6), (torch.float64, 1e-14)]


def matrix(seed: int, dtype: torch.dtype, shape=(40, 13)) -> torch.Tensor:
    """Rows of norms from 0.01 to 100."""
    w = torch.randn(shape, generator=stream(seed, "test"), dtype=torch.float64)
    return (w * torch.logspace(-2, 2, len(w), dtype=torch.float64)[:, None] / w.norm(dim=1, keepdim=True)).to(
        dtype
    )


def project(w: torch.Tensor, limit: float) -> torch.Tensor:
    return regularization.CONSTRAINTS["max_norm"](w, max_norm=limit)


@pytest.mark.parametrize(("dtype", "precision"), TYPES)
@pytest.mark.parametrize("limit", [0.05, 1.0, 3.0, 50.0])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_projection_on_the_ball(seed, limit, dtype, precision):
    """Each row is w min(1, limit / |w|) by NumPy; its direction stays."""
    w = matrix(seed, dtype)
    wide = w.double().numpy()
    expected = wide * np.minimum(1, limit / np.linalg.norm(wide, axis=1, keepdims=True))
    projected = project(w, limit)
    assert projected.dtype == dtype and projected.shape == w.shape
    assert np.allclose(projected.double().numpy(), expected, rtol=4 * precision, atol=0)
    assert (projected.double().norm(dim=1) <= limit * (1 + 2 * precision)).all()


@pytest.mark.parametrize(("dtype", "precision"), TYPES)
@pytest.mark.parametrize("limit", [0.05, 1.0, 3.0])
def test_shorter_rows_keep_every_bit(limit, dtype, precision):
    """Only rows beyond the limit change."""
    w = matrix(7, dtype)
    short = w.double().norm(dim=1) < limit * (1 - 2 * precision)
    assert 0 < short.sum() < len(w)
    projected = project(w, limit)
    assert torch.equal(projected[short], w[short])
    assert not (projected[~short] == w[~short]).any()


@pytest.mark.parametrize(("dtype", "precision"), TYPES)
@pytest.mark.parametrize("seed", range(5))
def test_it_is_idempotent(seed, dtype, precision):
    """A second projection changes at most the last digit."""
    once = project(matrix(seed, dtype), 0.7)
    assert torch.allclose(project(once, 0.7), once, rtol=2 * precision, atol=0)


def test_no_allowed_point_is_nearer():
    """For every allowed v, (w - p) and (v - p) form no acute angle: p is a projection."""
    w, limit = matrix(1, torch.float64), 1.0
    p = project(w, limit)
    for seed in range(50):
        v = torch.randn(w.shape, generator=stream(seed, "v"), dtype=torch.float64)
        radius = limit * torch.rand(len(w), 1, generator=stream(seed, "radius"), dtype=torch.float64)
        v *= radius / v.norm(dim=1, keepdim=True)
        assert (((w - p) * (v - p)).sum(1) <= 1e-12).all()


def test_a_unit_is_a_row():
    """The limit is on incoming weights, not on outgoing ones: an example by hand."""
    w = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert torch.allclose(project(w, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))


def test_rows_of_zeros_stay_and_the_argument_is_unchanged():
    """There is no division by zero, and a new matrix is returned."""
    w = torch.cat([torch.zeros(2, 5), 10 * torch.ones(2, 5)])
    before = w.clone()
    projected = project(w, 1.0)
    assert torch.equal(w, before)
    assert torch.equal(projected[:2], torch.zeros(2, 5))
    assert projected.isfinite().all()


def test_none_allows_everything():
    """Weights of any length stay."""
    w = matrix(0, torch.float32)
    assert torch.equal(regularization.CONSTRAINTS["none"](w), w)

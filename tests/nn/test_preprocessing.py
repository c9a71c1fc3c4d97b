"""Normalised inputs against NumPy: columns, images, binary and constant columns, and the inverse."""

import numpy as np
import pytest
import torch

from dlfound.nn.modules import Network
from dlfound.nn.preprocessing import Standardise, empty, fit_columns, fit_images

TYPES = [np.float64, np.float32, np.int64, np.uint8]


def columns(seed: int, rows: int = 60) -> np.ndarray:
    """Columns of very different sizes; none is binary or constant."""
    rng = np.random.default_rng(seed)
    scale, offset = 10.0 ** rng.uniform(-6, 6, 12), rng.standard_normal(12)
    return scale * (rng.standard_normal((rows, 12)) + 3 * offset)


def normalised(x: np.ndarray, fitted: Standardise) -> np.ndarray:
    """Raw rows through the network's preprocessing, as in a run."""
    return Network(fitted, torch.nn.Identity(), None)(torch.from_numpy(x)).double().numpy()


@pytest.mark.parametrize("seed", range(10))
def test_each_column_is_standardised(seed):
    """(x - mean) / std of NumPy (biased): the training rows get mean 0 and deviation 1."""
    x = columns(seed)
    z = normalised(x, fit_columns(torch.from_numpy(x)))
    assert np.abs(z - (x - x.mean(0)) / x.std(0)).max() < 1e-4
    assert np.abs(z.mean(0)).max() < 1e-5
    assert np.abs(z.std(0) - 1).max() < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_other_rows_use_the_numbers_of_the_training_rows(seed):
    """Validation and test rows are shifted and scaled by the training rows' numbers, not their own."""
    train, other = columns(seed), columns(seed, rows=17) * 2
    z = normalised(other, fit_columns(torch.from_numpy(train)))
    assert np.allclose(z, (other - train.mean(0)) / train.std(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", TYPES)
def test_columns_of_zeros_and_ones_are_unchanged(kind):
    """A column of only 0 and 1 keeps its bits; a column with another value does not."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (50, 6)).astype(kind)
    x[3, 5] = 2
    z = normalised(x, fit_columns(torch.from_numpy(x)))
    assert np.array_equal(z[:, :5], x[:, :5])
    last = x[:, 5].astype(float)
    assert np.allclose(z[:, 5], (last - last.mean()) / last.std(), atol=1e-6)


def test_a_value_between_zero_and_one_is_not_binary():
    """A column of 0, 0.5 and 1 is normalised."""
    x = np.array([[0.0], [0.5], [1.0]])
    assert np.allclose(
        normalised(x, fit_columns(torch.from_numpy(x)))[:, 0], np.array([-1, 0, 1]) * np.sqrt(1.5)
    )


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.1, 1 / 3, 7.7, 1e-30, 123456.789, -1e10, 1e30, 255.0])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 10, 1000])
def test_a_constant_column_is_finite(value, rows):
    """Its deviation has a lower bound: training rows are near zero, and a new value is finite."""
    fitted = fit_columns(torch.full((rows, 1), value, dtype=torch.float64))
    z = normalised(np.full((rows, 1), value), fitted)
    assert np.isfinite(z).all()
    if value not in (0.0, 1.0):  # those stay, as binary
        assert np.abs(z).max() < 0.1
    assert np.isfinite(normalised(np.array([[value + 1.0]]), fitted)).all()


@pytest.mark.parametrize("spread", [1e-16, 1e-12, 1e-9, 1e-7, 9e-7, 1.1e-6, 1e-4, 1.0])
@pytest.mark.parametrize("magnitude", [1e-20, 1e-3, 1.0, 1e3, 1.7e9, 1.7e18, 1e30])
def test_no_column_is_blown_up(magnitude, spread):
    """No training row is more than sqrt(n - 1) deviations away, for columns of any size and spread.

    Time stamps are an example: large numbers that differ little.
    """
    x = magnitude * (1 + spread * np.random.default_rng(0).standard_normal((50, 1)))
    assert np.abs(normalised(x, fit_columns(torch.from_numpy(x)))).max() < np.sqrt(49) + 0.1


@pytest.mark.parametrize("scale", [1e-300, 1e-50, 1e-44, 1e-39, 1e-37, 1e37])
def test_columns_of_extreme_numbers_are_never_nan(scale):
    """Values too small for float32 are normalised or count as constant, but never become NaN."""
    x = scale * np.array([[-1.0], [0.5], [2.0]])
    assert not np.isnan(normalised(x, fit_columns(torch.from_numpy(x)))).any()


@pytest.mark.parametrize("kind", TYPES)
def test_any_number_type_becomes_float32(kind):
    """Integers and doubles give the same float32 numbers."""
    x = np.random.default_rng(1).integers(0, 17, (40, 3)).astype(kind)
    z = Network(fit_columns(torch.from_numpy(x)), torch.nn.Identity(), None)(torch.from_numpy(x))
    assert z.dtype == torch.float32
    wide = x.astype(float)
    assert np.abs(z.double().numpy() - (wide - wide.mean(0)) / wide.std(0)).max() < 1e-6


@pytest.mark.parametrize("kind", [np.float64, np.uint8])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_standardised_per_channel(channels, kind):
    """They agree with NumPy over rows, height and width; each pixel keeps its position."""
    rng = np.random.default_rng(channels)
    x = (rng.integers(0, 256, (30, channels, 5, 4)) // np.array([1, 2, 4])[:channels, None, None]).astype(
        kind
    )
    wide = x.astype(float)
    mean, deviation = wide.mean((0, 2, 3), keepdims=True), wide.std((0, 2, 3), keepdims=True)
    z = normalised(x.reshape(30, -1), fit_images(torch.from_numpy(x.reshape(30, -1)), channels))
    assert np.abs(z - ((wide - mean) / deviation).reshape(30, -1)).max() < 1e-5


def test_a_blank_pixel_is_not_blown_up():
    """A pixel that is almost always blank is scaled by the deviation of its channel, not by its own."""
    x = np.random.default_rng(0).uniform(0, 255, (1000, 9))
    x[:, 0] = 0
    x[0, 0] = 255
    z = normalised(x, fit_images(torch.from_numpy(x), 1))
    assert np.abs(z).max() < 3


@pytest.mark.parametrize("value", [0.0, 0.1, 255.0])
def test_a_constant_channel_is_finite(value):
    """Black or white channels are near zero and never NaN."""
    x = np.random.default_rng(0).uniform(0, 1, (20, 2, 4))
    x[:, 1] = value
    z = normalised(x.reshape(20, 8), fit_images(torch.from_numpy(x.reshape(20, 8)), 2)).reshape(20, 2, 4)
    assert np.isfinite(z).all()
    assert np.abs(z[:, 1]).max() < 1e-3
    assert abs(z[:, 0].std() - 1) < 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_inverse_restores_the_numbers(seed):
    """`inverse` of the normalised numbers gives the original ones, in their own unit."""
    x = columns(seed)
    fitted = fit_columns(torch.from_numpy(x))
    back = fitted.inverse(torch.from_numpy(normalised(x, fitted))).double().numpy()
    assert (np.abs(back - x).max(0) < 1e-6 * np.abs(x).max(0)).all()


def test_inverse_by_hand():
    """It is 2 z + 10."""
    fitted = Standardise(torch.tensor([10.0]), torch.tensor([2.0]))
    assert fitted(torch.tensor([[14.0], [10.0]])).tolist() == [[2.0], [0.0]]
    assert fitted.inverse(torch.tensor([[2.0], [0.0]])).tolist() == [[14.0], [10.0]]


def test_an_empty_module_changes_no_bit():
    """Neither the module nor its inverse changes a number."""
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(empty(3, image=True)(x), x)
    assert torch.equal(empty(3, image=True).inverse(x), x)


def test_the_numbers_are_buffers():
    """They are saved with the weights and never trained."""
    fitted = fit_columns(torch.from_numpy(columns(0)))
    assert set(fitted.state_dict()) == {"mean", "deviation"}
    assert list(fitted.parameters()) == []

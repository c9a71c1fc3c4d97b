"""Normalisation of inputs and targets: fitted on the training rows, and saved as buffers with the weights."""

import torch
from torch import Tensor, nn

CONSTANT_DEVIATION = 1e-12  # relative to a column's magnitude: at most this deviation is rounding


class Standardise(nn.Module):
    """(x - mean) / deviation, (rows, columns) of any number type -> (rows, columns) float32.

    It computes in the type of its two buffers: float64 for columns, whose values may be large and differ
    little (time stamps); float32 for pixels.
    """

    plan = None  # each column stays a column, so schema.json needs no plan

    def __init__(self, mean: Tensor, deviation: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, x: Tensor) -> Tensor:
        return ((x.to(self.mean.dtype) - self.mean) / self.deviation).float()

    @property
    def features(self) -> int:
        """The number of columns of the result."""
        return self.mean.numel()

    def inverse(self, z: Tensor) -> Tensor:
        """Convert normalised numbers back to the unit of x."""
        return z * self.deviation + self.mean


def fit_columns(x: Tensor) -> Standardise:
    """Standardise each column by its own mean and deviation; columns of only 0 and 1 stay as they are.

    Source: the lecture, minute 38.

    Args:
        x: (rows, columns).
    """
    x = x.double()
    mean = x.mean(0)
    deviation = _floored(x.std(0, unbiased=False), x.abs().amax(0))
    binary = ((x == 0) | (x == 1)).all(0)
    return Standardise(torch.where(binary, 0.0, mean), torch.where(binary, 1.0, deviation))


def fit_images(x: Tensor, channels: int) -> Standardise:
    """Standardise by one mean and deviation per channel.

    A deviation per pixel would blow up the pixels that are almost always blank.

    Args:
        x: (rows, channels * height * width), channel by channel.
    """
    planes = x.double().unflatten(1, (channels, -1))
    mean = planes.mean((0, 2))
    deviation = _floored(planes.std((0, 2), unbiased=False), planes.abs().amax((0, 2)))
    size = planes.shape[2]
    return Standardise(mean.float().repeat_interleave(size), deviation.float().repeat_interleave(size))


def _floored(deviation: Tensor, magnitude: Tensor) -> Tensor:
    """The deviation; for a constant column its magnitude, so that rounding errors are not blown up."""
    constant = torch.where(magnitude > 0, magnitude, 1.0)
    return torch.where(deviation > CONSTANT_DEVIATION * magnitude, deviation, constant)


def empty(columns: int, image: bool) -> Standardise:
    """A module of the right shape and type, to be filled with the buffers of a run."""
    dtype = torch.float32 if image else torch.float64
    return Standardise(torch.zeros(columns, dtype=dtype), torch.ones(columns, dtype=dtype))

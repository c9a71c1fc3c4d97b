"""Normalised inputs and targets: numbers fitted on the training split, kept as buffers beside the weights."""

import torch
from torch import Tensor, nn

FLOOR = 1e-12  # of a deviation, relative to the column's magnitude: below it the column is constant up to rounding


class Standardise(nn.Module):
    """(x - mean) / deviation, (rows, columns) of any number type -> (rows, columns) float32.

    Computed in the type of its two numbers: float64 for columns, which may be large and differ little (time stamps);
    float32 for pixels.
    """

    plan = None  # what becomes of a column needs no words: it stays a column

    def __init__(self, mean: Tensor, deviation: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, x: Tensor) -> Tensor:
        return ((x.to(self.mean.dtype) - self.mean) / self.deviation).float()

    @property
    def features(self) -> int:
        """How many columns come out: as many as come in."""
        return self.mean.numel()

    def inverse(self, z: Tensor) -> Tensor:
        """Back to the unit of x."""
        return z * self.deviation + self.mean


def fit_columns(x: Tensor) -> Standardise:
    """Each column by its own mean and deviation; columns that hold only 0 and 1 stay as they are.

    Source: the lecture, minute 38. x: (rows, columns).
    """
    x = x.double()
    mean, deviation = x.mean(0), _floored(x.std(0, unbiased=False), x.abs().amax(0))
    binary = ((x == 0) | (x == 1)).all(0)
    return Standardise(torch.where(binary, 0.0, mean), torch.where(binary, 1.0, deviation))


def fit_images(x: Tensor, channels: int) -> Standardise:
    """One mean and deviation a channel; each pixel by its own would blow up those that are nearly always blank.

    x: (rows, channels * height * width), channel by channel.
    """
    planes = x.double().unflatten(1, (channels, -1))
    mean = planes.mean((0, 2))
    deviation = _floored(planes.std((0, 2), unbiased=False), planes.abs().amax((0, 2)))
    size = planes.shape[2]
    return Standardise(mean.float().repeat_interleave(size), deviation.float().repeat_interleave(size))


def _floored(deviation: Tensor, magnitude: Tensor) -> Tensor:
    """What is constant is divided by its own size, so that no rounding is blown up."""
    return torch.where(deviation > FLOOR * magnitude, deviation, torch.where(magnitude > 0, magnitude, 1.0))


def empty(columns: int, image: bool) -> Standardise:
    """Of the right shape and type, to be filled with a run's numbers."""
    kind = torch.float32 if image else torch.float64
    return Standardise(torch.zeros(columns, dtype=kind), torch.ones(columns, dtype=kind))

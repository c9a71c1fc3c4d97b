"""A net as it is used: from a row as the data hold it to outputs, with all the numbers in between."""

import torch
from torch import Tensor, nn

from dlfound.nn.preprocessing import Standardise


class Network(nn.Module):
    """Preprocessing and net as one module, (rows, columns) raw -> (rows, outputs).

    Outputs are logits for classes; for regression, standardised numbers that `target.inverse` brings back to
    their unit.

    Attributes:
        preprocessing: normalises inputs; body: the net; target: normalises targets, None for classes.
    """

    def __init__(self, preprocessing: nn.Module, body: nn.Module, target: Standardise | None):
        super().__init__()
        self.preprocessing, self.body, self.target = preprocessing, body, target

    def ready(self, x: Tensor) -> Tensor:
        """Inputs as they lie on the device -> float32, normalised: pixels are normalised here, the rest is already."""
        return self.preprocessing(x) if x.dtype == torch.uint8 else x

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.preprocessing(x))

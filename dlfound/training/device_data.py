"""The data as tensors on the device: no loader stands between them and the step."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlfound.data.dataset import Dataset
from dlfound.nn.network import Network

PIECE = 65536  # rows that are prepared at a time


class Part(NamedTuple):
    """Training, validation or test rows.

    Attributes:
        inputs: (rows, columns): pixels as uint8, everything else float32 and normalised; `Network.ready` takes both.
        encoded: the targets as the loss takes them.
        targets: class numbers (rows,), or (rows, columns) in the target's own unit.
    """

    inputs: Tensor
    encoded: Tensor
    targets: Tensor


def make_resident(dataset: Dataset, network: Network, loss, device: torch.device) -> dict[str, Part]:
    """train, val and test on the device; pixels stay bytes there, a quarter of the memory."""
    return {name: _part(dataset, rows, network, loss, device) for name, rows in dataset.parts.items()}


def _part(dataset: Dataset, rows: np.ndarray, network: Network, loss, device: torch.device) -> Part:
    targets = torch.from_numpy(dataset.targets[rows]).to(device)
    return Part(
        _inputs(dataset, rows, network, device), encode(dataset, rows, network, loss, targets), targets
    )


def _inputs(dataset: Dataset, rows: np.ndarray, network: Network, device: torch.device) -> Tensor:
    """Prepared piece by piece: the rows of a large table need not lie in memory twice."""
    if dataset.inputs.dtype == np.uint8:
        return torch.from_numpy(dataset.inputs[rows]).to(device)
    inputs = torch.empty(len(rows), network.preprocessing.features, device=device)
    for first in range(0, len(rows), PIECE):
        piece = torch.from_numpy(dataset.inputs[rows[first : first + PIECE]]).to(device)
        inputs[first : first + len(piece)] = network.preprocessing(piece)
    return inputs


def encode(dataset: Dataset, rows: np.ndarray, network: Network, loss, targets: Tensor) -> Tensor:
    """Targets as the loss takes them, numbers standardised first; with weights where rows do not count alike."""
    encoded = loss.encode(targets if network.target is None else network.target(targets))
    if dataset.weights is None:
        return encoded
    return loss.packed(encoded, torch.from_numpy(dataset.weights[rows]).to(encoded.device))

"""The data as tensors on the device: no loader stands between them and the step."""

from typing import NamedTuple

import torch
from torch import Tensor

from dlfound.data.dataset import Dataset
from dlfound.nn.network import Network


class Part(NamedTuple):
    """Training, validation or test rows.

    Attributes:
        inputs: (rows, columns) float32, normalised.
        encoded: the targets as the loss takes them.
        targets: class numbers (rows,), or (rows, columns) in the target's own unit.
    """

    inputs: Tensor
    encoded: Tensor
    targets: Tensor


def make_resident(dataset: Dataset, network: Network, loss, device: torch.device) -> dict[str, Part]:
    """train, val and test, normalised by the network's own numbers."""
    parts = {}
    for name, rows in dataset.parts.items():
        inputs = network.preprocess(torch.from_numpy(dataset.inputs[rows]).to(device))
        targets = torch.from_numpy(dataset.targets[rows]).to(device)
        standardised = targets if network.target is None else network.target(targets)
        parts[name] = Part(inputs, loss.encode(standardised), targets)
    return parts

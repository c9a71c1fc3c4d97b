"""The data as tensors on the device: no loader stands between them and the step."""

from typing import NamedTuple

import torch
from torch import Tensor

from dlfound.data.dataset import Dataset
from dlfound.nn.network import Network


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
    parts = {}
    for name, rows in dataset.parts.items():
        inputs = torch.from_numpy(dataset.inputs[rows]).to(device)
        if inputs.dtype != torch.uint8:
            inputs = network.preprocessing(inputs)
        targets = torch.from_numpy(dataset.targets[rows]).to(device)
        parts[name] = Part(inputs, encode(network, loss, targets), targets)
    return parts


def encode(network: Network, loss, targets: Tensor) -> Tensor:
    """Targets as the loss takes them: class numbers, or numbers that are standardised first."""
    return loss.encode(targets if network.target is None else network.target(targets))

"""What is measured of outputs: the loss, and the metrics of the task. Numbers are finite, or None."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dlfound.nn.network import Network
from dlfound.objective.tasks import GROWING
from dlfound.training.classification import accuracy, classification_metrics, label_metrics
from dlfound.training.device_data import Part

EVALUATION_ROWS = 8192  # at a time: bounds the memory of what is done with rows
BLOCK = (
    512  # rows that the net takes at once, always: how sums are cut into parts depends on how many there are
)


def evaluate(network: Network, loss, part: Part) -> dict[str, float | None]:
    """Loss and metrics of the net on a part's rows, in evaluation mode."""
    return measure(network, loss, outputs_of(network, part.inputs), part.encoded, part.targets)


@torch.inference_mode()
def outputs_of(network: Network, inputs: Tensor) -> Tensor:
    """(rows, columns) inputs of a part -> (rows, outputs), in evaluation mode.

    A row's outputs are the same bits, whichever rows stand beside it and in whatever order.
    """
    network.eval()
    return torch.cat([_block(network, x) for x in inputs.split(BLOCK)])


def _block(network: Network, x: Tensor) -> Tensor:
    """(rows, outputs) of at most BLOCK rows; copies of the last one fill the block."""
    full = torch.cat([x, x[-1:].expand(BLOCK - len(x), *x.shape[1:])]) if 0 < len(x) < BLOCK else x
    return network.body(network.ready(full))[: len(x)]


@torch.inference_mode()
def measure(
    network: Network, loss, outputs: Tensor, encoded: Tensor, targets: Tensor, *, brief: bool = False
) -> dict[str, float | None]:
    """The loss and the task's metrics of given outputs; all None where an output is not finite.

    Args:
        network: knows the target's unit.
        loss: one of `objective.loss`.
        encoded: the targets as the loss takes them.
        targets: class numbers (rows,) or numbers in their own unit (rows, columns).
        brief: only the cheap ones, `objective.tasks.BRIEF`.
    """
    found = {"loss": finite(loss(outputs, encoded))}
    if network.target is not None:
        found |= regression_metrics(network.target.inverse(outputs), targets)
    elif targets.dim() == 2:
        found |= {name: finite(v) for name, v in label_metrics(loss, outputs, targets, brief=brief).items()}
    elif brief:
        found["accuracy"] = finite(accuracy(loss.classes(outputs), targets))
    else:
        found |= {name: finite(v) for name, v in classification_metrics(loss, outputs, targets).items()}
    if not outputs.isfinite().all():  # argmax of NaN is class 0: never call that a prediction
        return dict.fromkeys(found)
    return found


def regression_metrics(predicted: Tensor, targets: Tensor) -> dict[str, float | None]:
    """Root mean squared error, mean absolute error, and the share of variance explained (mean over columns)."""
    targets = targets.double()
    error = predicted.double() - targets
    spread = (targets - targets.mean(0)).square().mean(0)
    rounding = (1e-12 * targets.abs().amax(0)).square()
    spread = torch.where(spread > rounding, spread, 0.0)  # a constant target has no variance to explain
    return {
        "rmse": finite(error.square().mean().sqrt()),
        "mae": finite(error.abs().mean()),
        "r2": finite((1 - error.square().mean(0) / spread).mean()),
    }


def monitored(monitor: str) -> str:
    """The metric that `train.monitor` means."""
    return "loss" if monitor == "auto" else monitor


def watch(monitor: str) -> Callable[[dict[str, float | None]], float]:
    """How decay, stopping and the choice of the best net see a validation: lower is better, NaN where undefined."""
    name = monitored(monitor)
    sign = -1.0 if name in GROWING else 1.0

    def value(found: dict[str, float | None]) -> float:
        return math.nan if found[name] is None else sign * found[name]

    return value


def finite(value: Tensor) -> float | None:
    """A scalar as a number; None where it is none."""
    number = float(value)
    return number if math.isfinite(number) else None

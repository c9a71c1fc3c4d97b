"""Metrics of a net's outputs: the loss and the metrics of the task. Each is a finite number, or None if
undefined."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dlfound.nn.modules import Network
from dlfound.objective.tasks import HIGHER_IS_BETTER, Metrics, gives_probabilities
from dlfound.training.device import DeviceData

EVALUATION_ROWS = 8192  # rows at a time: limits the memory of what is computed from rows

# The net always takes this number of rows at once: how sums are split into parts depends on the number of
# rows.
BLOCK_ROWS = 512

CALIBRATION_BINS = 15  # as in Guo et al. 2017
SMALLEST_NORMAL = torch.finfo(torch.float64).tiny  # smaller probabilities lose digits


# ---- evaluation


def evaluate(network: Network, loss, part: DeviceData) -> Metrics:
    """Loss and metrics of the net on the rows of a part, in evaluation mode."""
    return measure(network, loss, outputs_of(network, part.inputs), part.encoded, part.targets)


@torch.inference_mode()
def outputs_of(network: Network, inputs: Tensor) -> Tensor:
    """The outputs for the inputs of a part, (rows, columns) -> (rows, outputs), in evaluation mode.

    A row's outputs have the same bits with any other rows and in any order.
    """
    network.eval()
    return torch.cat([_outputs_of_block(network, x) for x in inputs.split(BLOCK_ROWS)])


def _outputs_of_block(network: Network, x: Tensor) -> Tensor:
    """(rows, outputs) of at most BLOCK_ROWS rows; copies of the last row fill the block."""
    rows = len(x)
    if 0 < rows < BLOCK_ROWS:
        x = torch.cat([x, x[-1:].expand(BLOCK_ROWS - rows, *x.shape[1:])])
    return network.body(network.ready(x))[:rows]


@torch.inference_mode()
def measure(
    network: Network, loss, outputs: Tensor, encoded: Tensor, targets: Tensor, *, brief: bool = False
) -> Metrics:
    """The loss and the metrics of given outputs; all are None if an output is not finite.

    Args:
        network: its `target` gives the unit of numbers.
        loss: one of `objective.loss`.
        outputs: (rows, outputs).
        encoded: the targets as the loss takes them.
        targets: class numbers (rows,), or numbers in their own unit (rows, columns).
        brief: only the cheap metrics, `objective.tasks.CHEAP_METRICS`.
    """
    metrics = {"loss": loss(outputs, encoded)}
    if network.target is not None:
        metrics |= regression_metrics(network.target.inverse(outputs), targets)
    elif brief:
        metrics["accuracy"] = accuracy(loss.classes(outputs), targets)
    elif targets.dim() == 2:
        metrics |= label_metrics(loss, outputs, targets)
    else:
        metrics |= classification_metrics(loss, outputs, targets)
    if not outputs.isfinite().all():  # the argmax of NaN is class 0, which is not a prediction
        return dict.fromkeys(metrics)
    return {name: finite(value) for name, value in metrics.items()}


def monitored(monitor: str) -> str:
    """The metric that `train.monitor` stands for."""
    return "loss" if monitor == "auto" else monitor


def watch(monitor: str) -> Callable[[Metrics], float]:
    """How decay, stopping and the best net see a validation: lower is better, NaN is undefined."""
    name = monitored(monitor)
    sign = -1.0 if name in HIGHER_IS_BETTER else 1.0
    return lambda metrics: math.nan if metrics[name] is None else sign * metrics[name]


def finite(value: Tensor | float) -> float | None:
    """A scalar as a number; None if it is not finite."""
    number = float(value)
    return number if math.isfinite(number) else None


# ---- the metrics of a task: scalar tensors, NaN or infinite where a metric is undefined


def regression_metrics(predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """RMSE, MAE and R2 (averaged over columns) of (rows, columns); R2 is undefined for a constant target."""
    targets = targets.double()
    error = predicted.double() - targets
    variance = (targets - targets.mean(0)).square().mean(0)
    rounding = (1e-12 * targets.abs().amax(0)).square()
    variance = torch.where(variance > rounding, variance, 0.0)
    return {
        "rmse": error.square().mean().sqrt(),
        "mae": error.abs().mean(),
        "r2": (1 - error.square().mean(0) / variance).mean(),
    }


def accuracy(predicted: Tensor, targets: Tensor) -> Tensor:
    """The share of rows, or of cells of rows and labels, that are predicted correctly."""
    return (predicted == targets).double().mean()


def classification_metrics(loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """All metrics of classes; those of probabilities only if the loss gives probabilities.

    Args:
        loss: one of `objective.loss`.
        outputs: (rows, classes), or (rows, 1) for class 1 of two.
        targets: class numbers (rows,).
    """
    targets = targets.long()
    metrics = count_metrics(loss.classes(outputs), targets)
    outputs = outputs.double()
    if not gives_probabilities(loss):
        scores = outputs[:, 1:] - outputs[:, :1] if outputs.shape[1] == 2 else outputs
        return metrics | {"auroc": auroc(scores, targets)}
    p = loss.probabilities(outputs)
    # Two classes are ranked by their odds: p would round all that is almost certain to 1.
    scores = p[:, 1:] / p[:, :1] if p.shape[1] == 2 else p
    return metrics | {
        "auroc": auroc(scores, targets),
        "log_loss": -_log_of_right(p, outputs, targets).mean(),
        "ece": calibration_error(p, targets),
    }


def label_metrics(loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The metrics of several labels per row.

    Args:
        outputs: (rows, labels).
        targets: (rows, labels) of 0 and 1.
    """
    predicted = loss.classes(outputs)
    hits = (predicted * targets).double().sum(0)
    both = (predicted + targets).double().sum(0)
    labels = range(targets.shape[1])
    areas = torch.stack([auroc(outputs[:, [k]].double(), targets[:, k].long()) for k in labels])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(outputs.double(), targets.double())
    return {
        "accuracy": accuracy(predicted, targets),
        "exact_match": (predicted == targets).all(1).double().mean(),
        "f1_macro": (2 * hits / both).nanmean(),
        "auroc": areas.nanmean(),
        "log_loss": entropy,
    }


def count_metrics(predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The metrics that follow from three counts per class; a confusion matrix would take more memory."""
    both = torch.bincount(torch.cat([predicted, targets])).double()
    rows = torch.bincount(targets, minlength=len(both)).double()
    hits = torch.bincount(targets[predicted == targets], minlength=len(both)).double()
    return {
        "accuracy": accuracy(predicted, targets),
        "balanced_accuracy": (hits / rows).nanmean(),
        "f1_macro": (2 * hits / both).nanmean(),
    }


def _log_of_right(p: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
    """log p of each row's class. Where p has lost digits, log softmax of the outputs replaces it."""
    index = targets.unsqueeze(1)
    right = p.gather(1, index)
    inexact = (right < SMALLEST_NORMAL).squeeze(1)
    scores = torch.cat([torch.zeros_like(outputs), outputs], 1) if outputs.shape[1] == 1 else outputs
    logs = right.log()
    logs[inexact] = torch.log_softmax(scores[inexact], 1).gather(1, index[inexact])
    return logs


def auroc(scores: Tensor, targets: Tensor) -> Tensor:
    """The area under the ROC curve, averaged over classes, by Mann & Whitney's U from the ranks of rows.

    Args:
        scores: (rows, classes), higher for more likely; or (rows, 1) for class 1 of two.
        targets: class numbers (rows,).
    """
    ranks = np.stack([_mean_ranks(column) for column in scores.T.numpy(force=True)])
    classes = torch.arange(len(ranks), device=scores.device) + (len(ranks) == 1)
    hits = targets == classes.unsqueeze(1)
    n = hits.sum(1).double()
    u = (torch.from_numpy(ranks).to(scores.device) * hits).sum(1) - n * (n + 1) / 2
    return (u / (n * (len(targets) - n))).mean()


def _mean_ranks(scores: np.ndarray) -> np.ndarray:
    """The ranks 1, 2, ... of scores (rows,); equal scores share their mean rank."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[places]


def calibration_error(probabilities: Tensor, targets: Tensor) -> Tensor:
    """The expected calibration error of the most probable class; each bin includes its upper edge.

    Args:
        probabilities: (rows, classes), in double precision.
        targets: class numbers (rows,).
    """
    confidence, predicted = probabilities.max(1)
    count = CALIBRATION_BINS
    edges = torch.linspace(0, 1, count + 1, dtype=confidence.dtype, device=confidence.device)[1:-1]
    numbers = torch.arange(count, device=confidence.device).unsqueeze(1)
    bins = numbers == torch.bucketize(confidence, edges)
    correct = (predicted == targets).double()
    gaps = bins.double() @ (correct - confidence)  # a product adds in a fixed order, unlike index_add
    return gaps.abs().sum() / len(targets)

"""What is measured of classes. Each metric is a scalar tensor, NaN where it is undefined."""

import torch
from torch import Tensor

from dlfound.objective.tasks import gives_probabilities

BINS = 15  # of the calibration error, as Guo et al. 2017 take them
TINY = torch.finfo(torch.float64).tiny  # probabilities below it lose digits, down to 0


def accuracy(predicted: Tensor, targets: Tensor) -> Tensor:
    """The share of rows whose class is found."""
    return (predicted == targets).double().mean()


def classification_metrics(loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """All metrics of classes; those of probabilities only where the loss gives them.

    Args:
        loss: one of `objective.loss`.
        outputs: (rows, classes); or (rows, 1), which speaks for class 1 of two.
        targets: class numbers (rows,).
    """
    targets = targets.long()
    found, outputs = of_counts(loss.classes(outputs), targets), outputs.double()
    if not gives_probabilities(loss):
        ranking = outputs[:, 1:] - outputs[:, :1] if outputs.shape[1] == 2 else outputs
        return found | {"auroc": auroc(ranking, targets)}
    p = loss.probabilities(outputs)
    ranking = (
        p[:, 1:] / p[:, :1] if p.shape[1] == 2 else p
    )  # odds: p itself rounds all that is nearly sure to 1
    log_loss = -_log_of_right(p, outputs, targets).mean()
    return found | {
        "auroc": auroc(ranking, targets),
        "log_loss": log_loss,
        "ece": calibration_error(p, targets),
    }


def label_metrics(loss, outputs: Tensor, targets: Tensor, *, brief: bool = False) -> dict[str, Tensor]:
    """The metrics of several labels; outputs and targets (rows, labels), targets 0 and 1.

    Args:
        brief: only the cheap one.
    """
    right = loss.classes(outputs) == targets
    found = {"accuracy": right.double().mean()}
    if brief:
        return found
    single = [(outputs[:, [k]].double(), targets[:, k].long()) for k in range(targets.shape[1])]
    predicted = loss.classes(outputs)
    hits, both = (predicted * targets).double().sum(0), (predicted + targets).double().sum(0)
    areas = torch.stack([auroc(scores, label) for scores, label in single])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(outputs.double(), targets.double())
    return found | {
        "exact_match": right.all(1).double().mean(),
        "f1_macro": (2 * hits / both).nanmean(),
        "auroc": areas.nanmean(),
        "log_loss": entropy,
    }


def of_counts(predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The metrics that three counts a class lead to; a confusion matrix would grow with the classes' square."""
    both = torch.bincount(torch.cat([predicted, targets])).double()
    rows = torch.bincount(targets, minlength=len(both)).double()
    hits = torch.bincount(targets[predicted == targets], minlength=len(both)).double()
    return {
        "accuracy": accuracy(predicted, targets),
        "balanced_accuracy": (hits / rows).nanmean(),
        "f1_macro": (2 * hits / both).nanmean(),
    }


def _log_of_right(p: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
    """log p of each row's class; where p is rounded, the softmax's logarithm, which is not: never log 0."""
    at = targets.unsqueeze(1)
    right = p.gather(1, at)
    lost = (right < TINY).squeeze(1)
    scores = torch.cat([torch.zeros_like(outputs), outputs], 1) if outputs.shape[1] == 1 else outputs
    logs = right.log()
    logs[lost] = torch.log_softmax(scores[lost], 1).gather(1, at[lost])
    return logs


def auroc(scores: Tensor, targets: Tensor) -> Tensor:
    """The area under the ROC curve, from the ranks of each class's rows (Mann & Whitney's U); the mean over classes.

    Args:
        scores: (rows, classes), the higher, the more likely; or (rows, 1), which speaks for class 1 of two.
        targets: class numbers (rows,).
    """
    lines = scores.T.contiguous()
    order = torch.from_numpy(lines.numpy(force=True).argsort(1)).to(
        lines.device
    )  # NumPy's is faster on a CPU
    wanted = torch.arange(len(lines), device=lines.device) + (len(lines) == 1)
    hits = targets[order] == wanted.unsqueeze(1)
    n = hits.sum(1).double()
    u = (_mean_ranks(lines.gather(1, order)) * hits).sum(1) - n * (n + 1) / 2
    return (u / (n * (len(targets) - n))).mean()


def _mean_ranks(ordered: Tensor) -> Tensor:
    """1, 2, ... along each line of sorted values; equal values share the mean of theirs."""
    rows = ordered.shape[1]
    place = torch.arange(1, rows + 1, device=ordered.device)
    edge, change = torch.ones_like(ordered[:, :1], dtype=torch.bool), ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(torch.cat([edge, change], 1), place, 0).cummax(1).values
    last = torch.where(torch.cat([change, edge], 1), place, rows).flip(1).cummin(1).values.flip(1)
    return (first + last).double() / 2


def calibration_error(probabilities: Tensor, targets: Tensor) -> Tensor:
    """The expected calibration error of the most probable class; a bin holds its upper edge, not its lower.

    Args:
        probabilities: (rows, classes), in double precision.
        targets: class numbers (rows,).
    """
    confidence, predicted = probabilities.max(1)
    edges = torch.linspace(0, 1, BINS + 1, dtype=confidence.dtype, device=confidence.device)[1:-1]
    bins = torch.arange(BINS, device=confidence.device).unsqueeze(1) == torch.bucketize(confidence, edges)
    gaps = bins.double() @ (
        (predicted == targets).double() - confidence
    )  # adds in one order, unlike index_add
    return gaps.abs().sum() / len(targets)

"""The four tasks, and the metrics of each.

`loss` is the loss of the training. The metrics of classes are taken over all rows:

- accuracy: the share of rows that are predicted correctly.
  Source: Hastie, Tibshirani & Friedman 2009, section 7.2.
- balanced_accuracy: the share of each class's rows that are predicted correctly, averaged over classes.
  Classes without rows are left out. Source: Brodersen et al. 2010.
- f1_macro: 2 correct / (rows of the class + rows predicted as it), averaged over classes. Classes that
  neither occur nor are predicted are left out. Source: Sokolova & Lapalme 2009.
- auroc: how often a row of a class is ranked above a row of another class; ties count half. Two classes are
  ranked by the probability of the second. Several classes are ranked one against the rest, each by its own
  probability, and averaged. It is undefined where a class has no rows, or all rows.
  Source: Hanley & McNeil 1982; several classes: Fawcett 2006.
- log_loss: the mean of -log p(right class): the cross-entropy without label smoothing and class weights.
  Source: Bishop 2006, equation 4.108.
- ece, the expected calibration error: the difference between the highest probability of a row and the share
  of such rows that are correct, averaged over the rows in 15 bins of equal width.
  Source: Guo et al. 2017, equation 3, https://arxiv.org/abs/1706.04599

With several yes-or-no labels per row, accuracy and log_loss are taken over all cells of rows and labels.
exact_match is the share of rows whose labels are all predicted correctly. f1_macro and auroc are computed for
the "yes" of each label and averaged over labels.
Source: Zhang & Zhou 2014, "A review on multi-label learning algorithms".

The metrics of numbers are in the target's own unit:

- rmse, mae: the root of the mean squared error, and the mean absolute error.
  Source: Hastie, Tibshirani & Friedman 2009, section 7.2.
- r2: 1 - squared error / variance, averaged over columns. It is undefined for a constant target.
  Source: Kvalseth 1985.
"""

from typing import Any

BINARY = "binary"
MULTICLASS = "multiclass"
MULTILABEL = "multilabel"
REGRESSION = "regression"

_METRICS_OF_CLASSES = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "auroc", "log_loss", "ece")
METRICS: dict[str, tuple[str, ...]] = {
    BINARY: _METRICS_OF_CLASSES,
    MULTICLASS: _METRICS_OF_CLASSES,
    MULTILABEL: ("loss", "accuracy", "exact_match", "f1_macro", "auroc", "log_loss"),
    REGRESSION: ("loss", "rmse", "mae", "r2"),
}

HIGHER_IS_BETTER = ("accuracy", "balanced_accuracy", "exact_match", "f1_macro", "auroc", "r2")
"""The metrics of which a higher value is better; of all others a lower one is."""

Metrics = dict[str, float | None]
"""Metric -> its value, a finite number; None if it is undefined or unknown."""

CHEAP_METRICS = ("loss", "accuracy", "rmse", "mae", "r2")
"""Cheap metrics: they are measured on the training batches too, and `train` always shows them."""

OF_PROBABILITIES = ("log_loss", "ece")
"""The metrics that need probabilities: not measured with a loss whose outputs are scores."""


def gives_probabilities(loss: Any) -> bool:
    """False for a loss (or its class) whose outputs are scores, as those of hinge."""
    return getattr(loss, "probabilities", None) is not None

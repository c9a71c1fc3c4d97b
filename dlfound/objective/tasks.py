"""The four tasks, and what is measured in each.

loss is that of the training. For classes, of all rows:

- accuracy: the share of rows whose class is found. Source: Hastie, Tibshirani & Friedman 2009, section 7.2.
- balanced_accuracy: the mean over classes of the share of the class's rows that are found; classes without rows are
  left out. Source: Brodersen et al. 2010.
- f1_macro: the mean over classes of 2 found / (rows of the class + rows taken for it); classes that neither occur nor
  are predicted are left out. Source: Sokolova & Lapalme 2009.
- auroc: how often a row of a class is ranked above one of another class, ties counting half: two classes by the
  probability of the second; more by each class's own, one against the rest, then the mean over classes. Undefined
  where a class has no row, or all. Source: Hanley & McNeil 1982; several classes: Fawcett 2006.
- log_loss: the mean of -log p(right class): the cross-entropy without label smoothing and class weights.
  Source: Bishop 2006, equation 4.108.
- ece, the expected calibration error: how far the highest probability of a row is from the share of such rows that are
  right: the mean over rows in 15 bins of equal width. Source: Guo et al. 2017, equation 3.

For several labels a row, each yes or no, the same of all cells of rows and labels; accuracy is the share of labels that
are right. exact_match is the share of rows in which all are; f1_macro and auroc are means over labels, of each one's
yes. Source: Zhang & Zhou 2014, "A review on multi-label learning algorithms".

For numbers, in the target's own unit:

- rmse, mae: the root of the mean squared error; the mean absolute error.
  Source: Hastie, Tibshirani & Friedman 2009, section 7.2.
- r2: 1 - squared error / variance, the mean over columns; undefined for a constant. Source: Kvalseth 1985.
"""

from typing import Any

BINARY, MULTICLASS, MULTILABEL, REGRESSION = "binary", "multiclass", "multilabel", "regression"

_OF_CLASSES = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "auroc", "log_loss", "ece")
METRICS: dict[str, tuple[str, ...]] = {
    BINARY: _OF_CLASSES,
    MULTICLASS: _OF_CLASSES,
    MULTILABEL: ("loss", "accuracy", "exact_match", "f1_macro", "auroc", "log_loss"),
    REGRESSION: ("loss", "rmse", "mae", "r2"),
}

GROWING = ("accuracy", "balanced_accuracy", "exact_match", "f1_macro", "auroc", "r2")
"""The metrics of which more is better."""

BRIEF = ("loss", "accuracy", "rmse", "mae", "r2")
"""The cheap ones: measured on the batches of the training too, and shown by `train` whatever the monitor is."""

OF_PROBABILITIES = ("log_loss", "ece")
"""Not measured with a loss whose outputs are mere scores."""


def gives_probabilities(loss: Any) -> bool:
    """False for a loss (or its class) whose outputs are mere scores, like those of hinge."""
    return getattr(loss, "probabilities", None) is not None

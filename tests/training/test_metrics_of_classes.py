"""The metrics of classes and labels against scikit-learn, NumPy and numbers by hand; NaN if undefined."""

import math
import warnings
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from dlfound.objective import loss
from dlfound.objective.tasks import METRICS, OF_PROBABILITIES
from dlfound.training import metrics
from dlfound.training.metrics import auroc, calibration_error, classification_metrics, label_metrics

PLAIN = {"label_smoothing": 0.0, "class_weight": "none"}
CE, BCE = (loss.TABLE[name]((), **PLAIN) for name in ("cross_entropy", "binary_cross_entropy"))
HINGE = loss.TABLE["hinge"](())
SIZES = [1, 2, 5, 17, 64, 270]


def measure(of, outputs, targets) -> dict[str, float]:
    """The metrics of float32 outputs (rows, classes or 1) and class numbers."""
    measured = classification_metrics(
        of, torch.tensor(outputs, dtype=torch.float32), torch.from_numpy(targets)
    )
    return {name: value.item() for name, value in measured.items()}


def cases(classes, tied: bool = False, columns=None):
    """Outputs and targets of many sizes; some cases lack a class."""
    for seed in range(6):
        for rows in SIZES:
            rng = np.random.default_rng([seed, rows, classes])
            outputs = 2 * rng.standard_normal((rows, columns or classes))
            targets = rng.integers(0, classes - (seed == 5), rows)
            outputs += 1.5 * np.eye(classes)[targets][:, -outputs.shape[1] :] * (seed % 3)
            yield (np.round(outputs) if tied else outputs).astype(np.float32), targets


def area(targets, scores) -> float:
    """scikit-learn's area, of class 1 or averaged; NaN where a class has no rows, or all rows."""
    columns = (
        [(targets == k, s) for k, s in enumerate(scores.T)] if scores.ndim == 2 else [(targets == 1, scores)]
    )
    if any(len(set(right)) < 2 for right, _ in columns):
        return math.nan
    return np.mean([roc_auc_score(right, s) for right, s in columns])


def calibration_gap(p, targets) -> float:
    """Guo et al. 2017, equation 3, one bin at a time."""
    confidence, right = p.max(1), p.argmax(1) == targets
    edges = np.linspace(0, 1, 16)
    gap = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap += inside.sum() / len(p) * abs(right[inside].mean() - confidence[inside].mean())
    return gap


def assert_agrees(measured, targets, predicted, p):
    """Compare the metrics that scikit-learn has too, and the calibration error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of a missing class
        balanced = balanced_accuracy_score(targets, predicted)
    assert measured["accuracy"] == pytest.approx(accuracy_score(targets, predicted), rel=1e-12)
    assert measured["balanced_accuracy"] == pytest.approx(balanced, rel=1e-12)
    assert measured["f1_macro"] == pytest.approx(f1_score(targets, predicted, average="macro"), rel=1e-12)
    assert measured["log_loss"] == pytest.approx(log_loss(targets, p, labels=range(p.shape[1])), rel=1e-9)
    assert measured["ece"] == pytest.approx(calibration_gap(p, targets), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_several_classes_against_scikit_learn(classes):
    """From one row on, with classes that are missing or never predicted."""
    defined = 0
    for o, c in cases(classes):
        p = softmax(o.astype(float), 1)
        measured = measure(CE, o, c)
        assert tuple(measured) == METRICS["multiclass"][1:]
        assert_agrees(measured, c, o.argmax(1), p)
        assert measured["auroc"] == pytest.approx(area(c, p), rel=1e-9, nan_ok=True)
        if len(set(c)) == classes > 2:
            defined += 1
            assert measured["auroc"] == pytest.approx(
                roc_auc_score(c, p, multi_class="ovr", average="macro"), rel=1e-9
            )
    assert defined >= 8


@pytest.mark.parametrize("tied", [False, True])
def test_two_classes_against_scikit_learn(tied):
    """With one output or two: ranked by the probability of class 1, ties count half."""
    for o, c in cases(2, tied, columns=1):
        p = np.stack([expit(-o[:, 0].astype(float)), expit(o[:, 0].astype(float))], 1)
        measured = measure(BCE, o, c)
        assert_agrees(measured, c, (o[:, 0] > 0).astype(int), p)
        assert measured["auroc"] == pytest.approx(area(c, p[:, 1]), rel=1e-12, nan_ok=True)
    for o, c in cases(2, tied):
        p = softmax(o.astype(float), 1)
        measured = measure(CE, o, c)
        assert_agrees(measured, c, o.argmax(1), p)
        assert measured["auroc"] == pytest.approx(
            area(c, (o[:, 1] - o[:, 0]).astype(float)), rel=1e-12, nan_ok=True
        )


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_scores_are_ranked_directly(classes, tied):
    """Hinge: two classes by the difference of their scores; metrics of probabilities are absent."""
    for o, c in cases(classes, tied):
        measured = measure(HINGE, o, c)
        assert tuple(measured) == tuple(
            name for name in METRICS["multiclass"][1:] if name not in OF_PROBABILITIES
        )
        scores = o.astype(float)[:, 1] - o[:, 0] if classes == 2 else o
        assert measured["auroc"] == pytest.approx(area(c, scores), rel=1e-12, nan_ok=True)


def test_a_loss_without_probabilities_gives_scores():
    """The attribute may be absent; a single output is the score of class 1."""

    class Margin:
        def classes(self, outputs):
            return (outputs[:, 0] > 0).long()

    for o, c in cases(2, columns=1):
        measured = measure(Margin(), o, c)
        assert not set(measured) & set(OF_PROBABILITIES)
        assert measured["auroc"] == pytest.approx(area(c, o[:, 0]), rel=1e-12, nan_ok=True)


def test_smoothing_and_weights_change_the_loss_and_not_the_metrics():
    """log_loss is the plain cross-entropy of the predictions, for any loss of the training."""
    o, c = next((o, c) for o, c in cases(2) if len(o) == 270)
    plain = measure(CE, o, c)
    for name, outputs in (("cross_entropy", o), ("binary_cross_entropy", o[:, 1:] - o[:, :1])):
        other = loss.TABLE[name]((90, 180), label_smoothing=0.3, class_weight=[1.0, 5.0])
        assert measure(other, outputs, c) == pytest.approx(plain, rel=1e-6)
        assert (
            other(torch.from_numpy(outputs), other.encode(torch.from_numpy(c))).item()
            > plain["log_loss"] * 1.1
        )


def test_a_monotonic_map_keeps_the_area():
    """AUROC depends on the order alone; a change of sign mirrors it."""
    for o, c in cases(2, tied=True, columns=1):
        before = measure(BCE, o, c)["auroc"]
        for mapped in (3 * o + 1, o**3, np.arctan(o)):
            assert measure(BCE, mapped, c)["auroc"] == pytest.approx(before, rel=1e-15, nan_ok=True)
        assert measure(BCE, -o, c)["auroc"] == pytest.approx(1 - before, rel=1e-12, nan_ok=True)
    for o, c in cases(4, tied=True):
        before = measure(HINGE, o, c)["auroc"]
        assert measure(HINGE, o**3 - 7, c)["auroc"] == pytest.approx(before, rel=1e-15, nan_ok=True)


def test_neither_the_order_of_rows_nor_the_names_of_classes_matter():
    """Shuffled rows and renamed classes give the same numbers."""
    rng = np.random.default_rng(0)
    for o, c in cases(5):
        rows, names = rng.permutation(len(c)), rng.permutation(5)
        renamed = np.empty_like(o)
        renamed[:, names] = o
        assert measure(CE, renamed[rows], names[c][rows]) == pytest.approx(
            measure(CE, o, c), rel=1e-9, nan_ok=True
        )


def test_by_hand():
    """Three rows of class 0, of which two are correct; one row of class 1, which is correct."""
    o, c = np.array([[2.0, 0], [1, 0], [0, 1], [0, 3]]), np.array([0, 0, 0, 1])
    measured = measure(HINGE, o, c)
    assert measured["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert measured["f1_macro"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert measured["auroc"] == 1
    # Half of those with confidence 0.8 are right, and all of those with 0.6.
    half = np.log([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]])
    measured = measure(CE, half, np.array([0, 1, 1, 1]))
    assert measured["ece"] == pytest.approx((0.3 + 0.4) / 2, rel=1e-6)
    assert measured["log_loss"] == pytest.approx(-np.log([0.8, 0.2, 0.6, 0.6]).mean(), rel=1e-6)


def test_a_bin_includes_its_upper_edge():
    """Confidences 1 and 0.95 share a bin, in which a right and a wrong prediction cancel."""
    p = torch.tensor([[0.0, 1.0], [0.05, 0.95]], dtype=torch.float64)
    assert calibration_error(p, torch.tensor([0, 1])).item() == pytest.approx(abs(1 - 1.95) / 2)
    assert calibration_error(p, torch.tensor([1, 1])).item() == pytest.approx(0.025)
    edge = torch.linspace(0, 1, 16, dtype=torch.float64)[12].item()  # 0.8; its bin has 0.75, not 0.85
    p = torch.tensor([[1 - s, s] for s in (edge, 0.75, 0.85)], dtype=torch.float64)
    assert calibration_error(p, torch.tensor([0, 1, 1])).item() == pytest.approx(
        (abs(1 - 0.8 - 0.75) + 0.15) / 3
    )


@pytest.mark.parametrize("rows", [2, 13, 270, 1001])
@pytest.mark.parametrize("classes", [2, 3, 5, 10])
def test_a_constant_prediction(classes, rows):
    """Its area is exactly one half, and its calibration error that of one number."""
    o = np.tile(np.linspace(0, 1, classes), (rows, 1))
    c = np.arange(rows) % classes
    measured = measure(CE, o, c)
    confidence = softmax(np.linspace(0, 1, classes)).max()
    assert measured["auroc"] == 0.5 or (rows < classes and math.isnan(measured["auroc"]))
    assert measured["ece"] == pytest.approx(abs((c == classes - 1).mean() - confidence), rel=1e-6)
    even = measure(CE, np.zeros((rows, classes)), c)
    assert even["ece"] == pytest.approx(abs((c == 0).mean() - 1 / classes), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("wrong", [50.0, 700.0, 720.0, 745.0, 800.0, 3e4])
def test_the_log_of_a_probability_that_is_rounded_to_zero(wrong):
    """However sure of the wrong class, -log p is finite: the difference of the outputs."""
    c = np.array([1, 1, 0])
    two = np.array([[wrong, 0], [0, 0], [0, 0]])
    expected = -log_softmax(two, 1)[range(3), c].mean()
    assert expected == pytest.approx((wrong + 2 * math.log(2)) / 3)
    assert measure(CE, two, c)["log_loss"] == pytest.approx(expected, rel=1e-12)
    assert measure(BCE, [[-wrong], [0], [0]], c)["log_loss"] == pytest.approx(expected, rel=1e-12)
    several = np.array([[0, -wrong, -2], [0, 0, 0], [0, 0, 0]])
    expected = -log_softmax(several, 1)[range(3), c].mean()
    assert measure(CE, several, c)["log_loss"] == pytest.approx(expected, rel=1e-12)


def test_probabilities_that_round_to_one_are_still_ranked():
    """They are ranked by their odds."""
    o, c = np.array([[40.0], [41], [60], [61]]), np.array([0, 1, 0, 1])
    for of, outputs in ((BCE, o), (CE, np.hstack([-o / 2, o / 2]))):
        assert measure(of, outputs, c)["auroc"] == 0.75
        assert measure(of, -outputs, c)["auroc"] == 0.25


def test_the_area_of_many_rows_is_exact():
    """Sums beyond the digits of float32: two classes of 30,000 rows against U in whole numbers."""
    rng = np.random.default_rng(0)
    c, s = rng.integers(0, 2, 60_000), rng.integers(0, 40_000, 60_000)
    measured = auroc(torch.from_numpy(s[:, None]).double(), torch.from_numpy(c)).item()
    low, high = np.sort(s[c == 0]), s[c == 1]
    below = np.searchsorted(low, high).sum() + np.searchsorted(low, high, "right").sum()
    assert measured == pytest.approx(below / 2 / len(low) / len(high), rel=1e-14)


# ---- several labels


@pytest.mark.parametrize("labels", [2, 5])
@pytest.mark.parametrize("rows", [1, 2, 17, 300])
def test_the_metrics_of_labels_agree_with_scikit_learn(rows, labels):
    """The mean area omits constant labels, and the mean F1 labels that never occur."""
    loss_of = loss.TABLE["binary_cross_entropy"]((), **PLAIN)
    for seed in range(6):
        rng = np.random.default_rng([seed, rows, labels])
        targets = (rng.random((rows, labels)) < rng.random(labels)).astype(np.int64)
        outputs = (rng.normal(size=(rows, labels)) + 2 * targets - 1).astype(np.float32)
        if seed == 5:
            outputs = np.round(outputs)  # ties
        measured = label_metrics(loss_of, torch.from_numpy(outputs), torch.from_numpy(targets))
        predicted = (outputs > 0).astype(int)
        p = expit(outputs.astype(np.float64))
        assert measured["accuracy"].item() == pytest.approx((predicted == targets).mean(), rel=1e-12)
        assert measured["exact_match"].item() == pytest.approx(accuracy_score(targets, predicted), rel=1e-12)
        occurs = (targets + predicted).any(0)
        scores = f1_score(targets, predicted, average=None, zero_division=0)[occurs]
        assert measured["f1_macro"].item() == pytest.approx(
            scores.mean() if occurs.any() else math.nan, nan_ok=True
        )
        areas = [roc_auc_score(t, s) for t, s in zip(targets.T, outputs.T, strict=True) if len(set(t)) == 2]
        assert measured["auroc"].item() == pytest.approx(np.mean(areas) if areas else math.nan, nan_ok=True)
        entropy = -(targets * np.log(p) + (1 - targets) * np.log1p(-p)).mean()
        assert measured["log_loss"].item() == pytest.approx(entropy, rel=1e-9)
        tensors = (torch.from_numpy(array) for array in (outputs, targets.astype(np.float32), targets))
        brief = metrics.measure(SimpleNamespace(target=None), loss_of, *tensors, brief=True)
        assert list(brief) == ["loss", "accuracy"] and brief["accuracy"] == measured["accuracy"]
        assert {"loss", *measured} == set(METRICS["multilabel"])

"""Losses against their definitions in NumPy and against scikit-learn; predictions; gradients by formula."""

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp
from sklearn.metrics import log_loss, mean_squared_error

from dlfound.objective import loss
from dlfound.objective.tasks import BINARY, MULTICLASS, MULTILABEL, REGRESSION

PLAIN = {"label_smoothing": 0.0, "class_weight": "none"}
CE, BCE = (loss.TABLE[name]((), **PLAIN) for name in ("cross_entropy", "binary_cross_entropy"))
MSE = loss.TABLE["mse"]()


def logits(rows: int, columns: int, scale: float = 3.0, seed: int = 0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((rows, columns))


def labels(rows: int, classes: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, rows)


def value(of, outputs: np.ndarray, targets: np.ndarray) -> float:
    """The loss of raw targets, encoded as in a run, in the type of the outputs."""
    return of(
        torch.from_numpy(outputs), of.encode(torch.from_numpy(targets)).to(encoded_type(of, outputs))
    ).item()


def encoded_type(of, outputs: np.ndarray) -> torch.dtype:
    return torch.int64 if of is CE else torch.from_numpy(outputs).dtype


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (7, 2), (50, 3), (200, 10)])
def test_cross_entropy_is_log_sum_exp_minus_the_right_output(rows, classes, scale):
    """The mean of log sum exp(o) - o[class], in NumPy."""
    o, c = logits(rows, classes, scale), labels(rows, classes)
    expected = (logsumexp(o, 1) - o[np.arange(rows), c]).mean()
    assert np.isclose(value(CE, o, c), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_cross_entropy_is_the_log_loss_of_scikit_learn(classes):
    """With the softmax computed separately."""
    o, c = logits(100, classes), labels(100, classes)
    p = np.exp(o) / np.exp(o).sum(1, keepdims=True)
    assert np.isclose(value(CE, o, c), log_loss(c, p, labels=range(classes)), rtol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("rows", [1, 7, 200])
def test_binary_cross_entropy_by_definition(rows, scale):
    """The mean of -log sigmoid(o) for class 1 and -log(1 - sigmoid(o)) for class 0."""
    o, c = logits(rows, 1, scale), labels(rows, 2)
    p = expit(o[:, 0])
    expected = -np.where(c == 1, np.log(p), np.log1p(-p)).mean()
    assert np.isclose(value(BCE, o, c), expected, rtol=1e-9)


def test_binary_cross_entropy_is_the_log_loss_of_scikit_learn():
    """With the sigmoid computed separately."""
    o, c = logits(100, 1), labels(100, 2)
    assert np.isclose(value(BCE, o, c), log_loss(c, expit(o[:, 0])), rtol=1e-9)


def test_two_outputs_and_one_are_the_same_binary_problem():
    """Cross-entropy of (0, o) is binary cross-entropy of o."""
    o, c = logits(60, 1), labels(60, 2)
    assert np.isclose(value(CE, np.hstack([0 * o, o]), c), value(BCE, o, c), rtol=1e-12)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("rows", [1, 7, 200])
def test_mse_by_definition(rows, columns):
    """The mean over rows and columns of (output - target)^2, as in scikit-learn."""
    o, y = logits(rows, columns), logits(rows, columns, seed=9)
    expected = sum((o[i, k] - y[i, k]) ** 2 for i in range(rows) for k in range(columns)) / (rows * columns)
    assert np.isclose(MSE(torch.from_numpy(o), torch.from_numpy(y)).item(), expected, rtol=1e-12)
    assert np.isclose(expected, mean_squared_error(y, o), rtol=1e-12)


def test_by_hand():
    """Three values that are easy to compute."""
    assert value(CE, np.zeros((4, 10)), labels(4, 10)) == pytest.approx(np.log(10))
    assert value(BCE, np.zeros((3, 1)), labels(3, 2)) == pytest.approx(np.log(2))
    assert value(MSE, np.array([[1.0, 2.0]]), np.array([[3.0, 2.0]])) == pytest.approx(2.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_confident_outputs_are_finite_in_float32(sign):
    """Outputs of +-10,000 give 10,000 or 20,000 for the wrong class, 0 for the right one, and no infinity."""
    o, right, wrong = np.float32(sign * 10_000), np.array([int(sign > 0)]), np.array([int(sign < 0)])
    pair = np.array([[-o, o]], np.float32)
    assert (value(CE, pair, right), value(CE, pair, wrong)) == (0, 20_000)
    assert (value(BCE, pair[:, 1:], right), value(BCE, pair[:, 1:], wrong)) == (0, 10_000)


def test_small_probabilities_keep_their_logarithm():
    """The loss is computed from outputs, not from probabilities, also far below float32's smallest number."""
    assert value(BCE, np.array([[-200.0]], np.float32), np.array([1])) == pytest.approx(200)
    assert value(CE, np.array([[0.0, -200.0]], np.float32), np.array([1])) == pytest.approx(200)


@pytest.mark.parametrize(
    ("of", "outputs", "targets"),
    [
        (CE, logits(9, 4), labels(9, 4)),
        (BCE, logits(9, 1), labels(9, 2)),
        (MSE, logits(9, 2), logits(9, 2, seed=5)),
    ],
    ids=["cross_entropy", "binary_cross_entropy", "mse"],
)
def test_gradient_by_the_outputs(of, outputs, targets):
    """(prediction - target) / rows for softmax and sigmoid, and twice the mean error for mse."""
    o = torch.from_numpy(outputs).requires_grad_()
    (gradient,) = torch.autograd.grad(
        of(o, of.encode(torch.from_numpy(targets)).to(encoded_type(of, outputs))), o
    )
    if of is CE:
        expected = (np.exp(outputs - logsumexp(outputs, 1, keepdims=True)) - np.eye(4)[targets]) / 9
    elif of is BCE:
        expected = (expit(outputs) - targets[:, None]) / 9
    else:
        expected = 2 * (outputs - targets.astype(np.float32)) / 18
    assert np.allclose(gradient.numpy(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_probabilities_are_softmax(classes, scale):
    """They agree with NumPy, lie between 0 and 1, sum to 1, and are highest for the largest output."""
    o = logits(80, classes, scale)
    p = CE.probabilities(torch.from_numpy(o)).numpy()
    assert np.allclose(p, np.exp(o - logsumexp(o, 1, keepdims=True)), rtol=1e-9, atol=1e-300)
    assert np.allclose(p.sum(1), 1, rtol=1e-12) and (p >= 0).all()
    assert scale == 0 or np.array_equal(p.argmax(1), o.argmax(1))


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_probabilities_of_two_classes_are_sigmoids(scale):
    """(rows, 2), of class 0 and of class 1; tiny ones keep their digits too."""
    o = logits(80, 1, scale)
    p = BCE.probabilities(torch.from_numpy(o)).numpy()
    assert np.allclose(p, np.hstack([expit(-o), expit(o)]), rtol=1e-12, atol=1e-300)
    assert np.allclose(p.sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1.0, 1e4])
def test_the_class_is_the_most_probable_one(scale):
    """The largest output, or the sign of a single one, even where float32's probabilities are equal."""
    o = logits(80, 4, scale).astype(np.float32)
    assert np.array_equal(CE.classes(torch.from_numpy(o)).numpy(), o.argmax(1))
    assert np.array_equal(BCE.classes(torch.from_numpy(o[:, :1])).numpy(), o[:, 0] > 0)


def test_encoded_targets():
    """Class numbers; (rows, 1) floats; (rows, columns) floats."""
    classes = torch.tensor([1, 0, 1], dtype=torch.int32)
    assert CE.encode(classes).dtype == torch.int64
    assert CE.encode(classes).tolist() == [1, 0, 1]
    assert BCE.encode(classes).dtype == torch.float32
    assert BCE.encode(classes).tolist() == [[1.0], [0.0], [1.0]]
    numbers = torch.tensor([[1.5, 2.0]], dtype=torch.float64)
    assert MSE.encode(numbers).dtype == torch.float32
    assert MSE.encode(numbers).tolist() == [[1.5, 2.0]]


def test_number_of_outputs():
    """One per class; one for two classes; one per column of the target."""
    assert (CE.outputs(2, 0), CE.outputs(10, 0)) == (2, 10)
    assert BCE.outputs(2, 0) == 1
    assert (MSE.outputs(0, 1), MSE.outputs(0, 4)) == (1, 4)


def test_tasks_and_auto():
    """auto takes a loss that serves the task, and no loss claims a task that it cannot serve."""
    assert [loss.AUTO[task] for task in (MULTICLASS, BINARY, REGRESSION)] == [
        "cross_entropy",
        "binary_cross_entropy",
        "mse",
    ]
    assert set(CE.tasks) == {BINARY, MULTICLASS}
    assert set(BCE.tasks) == {BINARY, MULTILABEL}
    assert set(MSE.tasks) == {REGRESSION}

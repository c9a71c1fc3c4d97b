"""Label smoothing, class weights, hinge, absolute error and Huber's loss, each against NumPy."""

import numpy as np
import pytest
import torch
from scipy.special import log_expit, log_softmax
from sklearn.utils.class_weight import compute_class_weight

import dlfound
from dlfound.objective.loss import TABLE, class_weights


def problem(rows=40, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return 2 * rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)


def loss_and_gradient(name, outputs, targets, counts=(), **settings):
    """The loss and its gradient by the outputs, in float64."""
    loss, o = TABLE[name](counts, **settings), torch.tensor(outputs, requires_grad=True)
    encoded = loss.encode(torch.tensor(targets))
    value = loss(o, encoded.to(o.dtype) if encoded.is_floating_point() else encoded)
    value.backward()
    return value.item(), o.grad.numpy()


def numeric(function, outputs, eps=1e-6):
    gradient = np.zeros_like(outputs)
    for i in np.ndindex(outputs.shape):
        up, down = outputs.copy(), outputs.copy()
        up[i] += eps
        down[i] -= eps
        gradient[i] = (function(up) - function(down)) / (2 * eps)
    return gradient


def agree(name, expected, outputs, targets, counts=(), **settings):
    value, gradient = loss_and_gradient(name, outputs, targets, counts, **settings)
    assert value == pytest.approx(expected(outputs), rel=1e-6)
    np.testing.assert_allclose(gradient, numeric(expected, outputs), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("weights", ["none", [1.0, 2.0, 0.5, 3.0], "balanced"])
def test_cross_entropy(smoothing, weights):
    outputs, targets = problem()
    counts = [10, 20, 5, 15]
    w = np.ones(4) if weights == "none" else np.array([50 / 40, 50 / 80, 50 / 20, 50 / 60])
    w = np.array(weights) if isinstance(weights, list) else w
    wanted = np.full((40, 4), smoothing / 4)
    wanted[np.arange(40), targets] += 1 - smoothing

    def expected(o):
        return -(w[targets] * (wanted * log_softmax(o, 1)).sum(1)).mean()

    agree(
        "cross_entropy", expected, outputs, targets, counts, label_smoothing=smoothing, class_weight=weights
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", ["none", [0.5, 4.0]])
def test_binary_cross_entropy(smoothing, weights):
    outputs, targets = problem(classes=2)
    outputs = outputs[:, :1]
    w = np.ones(2) if weights == "none" else np.array(weights)
    one = targets[:, None] * (1 - smoothing) + smoothing / 2

    def expected(o):
        return -(w[targets][:, None] * (one * log_expit(o) + (1 - one) * log_expit(-o))).mean()

    agree(
        "binary_cross_entropy",
        expected,
        outputs,
        targets,
        [20, 20],
        label_smoothing=smoothing,
        class_weight=weights,
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_hinge(classes):
    outputs, targets = problem(classes=classes)

    def expected(o):
        total = 0.0
        for row, right in zip(o, targets, strict=True):
            total += sum(max(0.0, 1 - row[right] + row[c]) for c in range(classes) if c != right) / classes
        return total / len(o)

    agree("hinge", expected, outputs, targets)


@pytest.mark.parametrize("columns", [1, 3])
def test_losses_for_numbers(columns):
    outputs, _ = problem(classes=columns)
    targets = np.random.default_rng(1).standard_normal((40, columns))

    def huber(delta):
        def loss(o):
            e = np.abs(o - targets)
            return np.where(e <= delta, e**2 / 2, delta * (e - delta / 2)).mean()

        return loss

    targets32 = targets.astype(np.float32).astype(np.float64)  # targets are encoded as float32
    targets = targets32
    agree("mse", lambda o: ((o - targets) ** 2).mean(), outputs, targets)
    agree("mae", lambda o: np.abs(o - targets).mean(), outputs, targets)
    for delta in (0.3, 1.0, 5.0):
        agree("huber", huber(delta), outputs, targets, delta=delta)


def test_balanced_agrees_with_scikit_learn():
    labels = np.repeat([0, 1, 2], [5, 70, 25])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights("balanced", [5, 70, 25]).numpy(), expected, rtol=1e-6)
    assert class_weights("balanced", [4, 0, 4]).tolist() == pytest.approx(
        [8 / 12, 1, 8 / 12]
    )  # an absent class: 1


def test_too_few_weights_are_refused():
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train(["loss=cross_entropy", "loss.class_weight=[1,2,3]"])
    assert caught.value.code == 2 and "3 numbers" in str(caught.value) and "10 classes" in str(caught.value)


def test_a_rare_class_is_found_more_often_with_balanced_weights():
    rng = np.random.default_rng(0)
    y = (rng.uniform(size=2000) < 0.05).astype(int)
    x = rng.standard_normal((2000, 2)) + 1.2 * y[:, None]
    recalls = {}
    for weight in ("none", "balanced"):
        words = [
            "model=perceptron",
            "loss=binary_cross_entropy",
            f"loss.class_weight={weight}",
            "train.epochs=8",
            "optim.lr=0.01",
        ]
        run = dlfound.train([*words, "logger=none"], data=(x, y))
        recalls[weight] = (run.predict(x[y == 1]) == "1").mean()
    assert recalls["balanced"] > recalls["none"] + 0.3


def test_hinge_gives_scores_not_probabilities():
    words = ["data=moons", "loss=hinge", "train.epochs=6", "optim.lr=0.01", "logger=none"]
    run = dlfound.train(words)
    assert run.report["test"]["accuracy"] > 0.85 and set(run.predict([[0, 1], [1, -1]])) <= {"upper", "lower"}
    with pytest.raises(dlfound.Error) as caught:
        run.probabilities([[0, 1]])
    assert caught.value.code == 2

"""Metrics against scikit-learn and NumPy; an undefined metric is None, never a number."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, mean_squared_error, r2_score

from dlfound.nn import activation, batchnorm, dropout, initializer
from dlfound.nn.modules import Network, build_mlp
from dlfound.nn.preprocessing import Standardise, empty
from dlfound.objective import loss
from dlfound.objective.tasks import HIGHER_IS_BETTER, METRICS, OF_PROBABILITIES
from dlfound.streams import stream
from dlfound.training import metrics
from dlfound.training.device import DeviceData

PLAIN = {"label_smoothing": 0.0, "class_weight": "none"}
CE, BCE = (loss.TABLE[name]((), **PLAIN) for name in ("cross_entropy", "binary_cross_entropy"))
MSE = loss.TABLE["mse"]()


def normalise(width):
    return batchnorm.batch(width, momentum=0.1, eps=1e-5, statistics="exact")


def network(target: Standardise | None = None, outputs: int = 3, norm=False, hidden=(6,)) -> Network:
    body = build_mlp(
        4, outputs, hidden, activation=activation.TABLE["tanh"],
        initialize=lambda w, g: initializer.normal(w, g, std=1.0),
        norm=normalise if norm else batchnorm.none,
        noise=dropout.standard(input=0.2, hidden=0.5), generator=stream(0, "test"),
    )  # fmt: skip
    return Network(empty(4, image=True), body, target)


def measure(
    of, outputs: np.ndarray, targets: np.ndarray, target: Standardise | None = None, brief=False
) -> dict:
    """The metrics of given outputs; the targets are encoded as in a run."""
    wanted = torch.from_numpy(targets)
    encoded = of.encode(wanted if target is None else target(wanted))
    return metrics.measure(network(target), of, torch.from_numpy(outputs), encoded, wanted, brief=brief)


@pytest.mark.parametrize("seed", range(5))
def test_classes_against_scikit_learn(seed):
    """Loss and accuracy of several classes; test_metrics_of_classes.py has the other metrics."""
    rng = np.random.default_rng(seed)
    o, c = rng.standard_normal((101, 4)).astype(np.float32), rng.integers(0, 4, 101)
    p = np.exp(o - logsumexp(o, 1, keepdims=True)).astype(float)
    measured = measure(CE, o, c)
    assert tuple(measured) == METRICS["multiclass"]
    assert measured["loss"] == pytest.approx(
        log_loss(c, p / p.sum(1, keepdims=True), labels=range(4)), rel=1e-5
    )
    assert measured["log_loss"] == pytest.approx(measured["loss"], rel=1e-5)
    assert measured["accuracy"] == pytest.approx(accuracy_score(c, o.argmax(1)), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_two_classes_against_scikit_learn(seed):
    """Loss and accuracy of one output, which is positive for class 1."""
    rng = np.random.default_rng(seed)
    o, c = rng.standard_normal((101, 1)).astype(np.float32), rng.integers(0, 2, 101)
    measured = measure(BCE, o, c)
    assert measured["loss"] == pytest.approx(log_loss(c, 1 / (1 + np.exp(-o[:, 0].astype(float)))), rel=1e-5)
    assert measured["accuracy"] == pytest.approx(accuracy_score(c, o[:, 0] > 0), rel=1e-12)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_numbers_against_scikit_learn(seed, columns):
    """rmse, mae and r2 (averaged over columns) in the target's unit; the loss in standard deviations."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((83, columns)) * [1, 50, 0.01][:columns] + [5, -100, 0][:columns]
    target = Standardise(torch.tensor([5.0, -100, 0][:columns]), torch.tensor([1.0, 50, 0.01][:columns]))
    o = (target(torch.from_numpy(y)).numpy() + 0.3 * rng.standard_normal((83, columns))).astype(np.float32)
    p = o * target.deviation.numpy().astype(float) + target.mean.numpy()
    measured = measure(MSE, o, y, target)
    assert set(measured) == {"loss", "rmse", "mae", "r2"}
    assert measured["rmse"] == pytest.approx(math.sqrt(mean_squared_error(y, p)), rel=1e-4)
    assert measured["mae"] == pytest.approx(mean_absolute_error(y, p), rel=1e-4)
    assert measured["r2"] == pytest.approx(r2_score(y, p), rel=1e-4)
    assert measured["r2"] == pytest.approx(
        np.mean([r2_score(y[:, k], p[:, k]) for k in range(columns)]), rel=1e-4
    )
    assert measured["loss"] == pytest.approx(
        ((o - target(torch.from_numpy(y)).numpy()) ** 2).mean(), rel=1e-4
    )


def regression(predicted, targets) -> dict[str, float | None]:
    return {name: metrics.finite(v) for name, v in metrics.regression_metrics(predicted, targets).items()}


def test_numbers_by_hand():
    """Errors 1 and -3 for targets 2 and 6: rmse sqrt 5, mae 2, r2 1 - 10 / 8."""
    measured = regression(torch.tensor([[3.0], [3.0]]), torch.tensor([[2.0], [6.0]]))
    assert measured == {"rmse": pytest.approx(5**0.5), "mae": pytest.approx(2.0), "r2": pytest.approx(-0.25)}


def test_a_perfect_prediction():
    """It has the values 0, 0 and 1."""
    y = torch.randn(50, 2, generator=stream(0, "y"), dtype=torch.float64)
    assert regression(y, y) == {"rmse": 0, "mae": 0, "r2": 1}


def test_r2_far_from_zero():
    """Targets of a million with a spread of one: the mean is subtracted before squaring."""
    rng = np.random.default_rng(0)
    y = 1e6 + rng.standard_normal((200, 1))
    p = y + 0.5 * rng.standard_normal((200, 1))
    measured = regression(torch.from_numpy(p), torch.from_numpy(y))
    assert measured["r2"] == pytest.approx(r2_score(y, p), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 7.7, -1e6 / 7, 1e-20])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 10, 100])
def test_r2_of_a_constant_target_is_undefined(value, rows):
    """It has no variance to explain, whatever the rounding of the mean; the errors are still measured."""
    y = torch.full((rows, 1), value, dtype=torch.float64)
    for error in (0.0, 0.5):
        measured = regression(y + error, y)
        assert measured["r2"] is None
        assert measured["rmse"] == pytest.approx(error)
        assert measured["mae"] == pytest.approx(error)


def test_r2_with_one_constant_column_is_undefined():
    """The mean over columns does not skip undefined columns."""
    y = torch.randn(50, 2, generator=stream(0, "y"), dtype=torch.float64)
    y[:, 1] = 3
    assert regression(y + 0.1, y)["r2"] is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("of", [CE, BCE], ids=["cross_entropy", "binary_cross_entropy"])
def test_outputs_that_are_not_finite_give_no_metric(of, bad):
    """One NaN or infinity makes all metrics undefined, though an argmax would give a class."""
    for right in (0, 1):
        o, c = np.zeros((10, 1 if of is BCE else 3), np.float32), np.array([0, 1] * 5)
        o[4, 0], c[4] = bad, right
        assert measure(of, o, c) == dict.fromkeys(METRICS["multiclass"])
        assert measure(of, o, c, brief=True) == {"loss": None, "accuracy": None}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_give_no_metric(bad):
    """The same with a loss without probabilities."""
    o, c = np.zeros((10, 3), np.float32), np.array([0, 1] * 5)
    o[4, 2] = bad
    measured = measure(loss.TABLE["hinge"](()), o, c)
    assert measured == dict.fromkeys(name for name in METRICS["multiclass"] if name not in OF_PROBABILITIES)


def test_brief_gives_the_cheap_metrics():
    """They are the same numbers as in the full set."""
    rng = np.random.default_rng(0)
    o, c = rng.standard_normal((50, 3)).astype(np.float32), rng.integers(0, 3, 50)
    whole = measure(CE, o, c)
    assert measure(CE, o, c, brief=True) == {name: whole[name] for name in ("loss", "accuracy")}
    target = Standardise(torch.zeros(3), torch.ones(3))
    assert measure(MSE, o, o + 1.0, target, brief=True) == measure(MSE, o, o + 1.0, target)


def test_a_missing_class_leaves_only_the_area_undefined():
    """The area is None, not NaN; the other metrics are measured."""
    measured = measure(CE, np.eye(3, dtype=np.float32)[[0, 1, 0, 1]], np.array([0, 1, 1, 1]))
    assert measured["auroc"] is None
    assert all(math.isfinite(value) for name, value in measured.items() if name != "auroc")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_give_no_metric(bad):
    """One bad prediction among ten makes every metric undefined."""
    o, y = np.zeros((10, 2), np.float32), np.arange(20.0).reshape(10, 2)
    o[4, 1] = bad
    target = Standardise(torch.zeros(2), torch.ones(2))
    assert measure(MSE, o, y, target) == {"loss": None, "rmse": None, "mae": None, "r2": None}


@pytest.mark.parametrize("rows", [1, metrics.EVALUATION_ROWS, 2 * metrics.EVALUATION_ROWS + 3])
def test_evaluation_in_pieces_equals_evaluation_at_once(rows):
    """Each row counts once, also in a short last piece: the mean over rows, in NumPy."""
    net = network(norm=True)
    x = torch.randn(rows, 4, generator=stream(1, "x"))
    c = torch.randint(0, 3, (rows,), generator=stream(2, "c"))
    measured = metrics.evaluate(net, CE, DeviceData(x, c, c))
    net.eval()
    with torch.no_grad():
        o = net.body(x).double().numpy()
    expected = (logsumexp(o, 1) - o[np.arange(rows), c.numpy()]).mean()
    assert measured["loss"] == pytest.approx(expected, rel=1e-4)
    assert measured["accuracy"] == pytest.approx((o.argmax(1) == c.numpy()).mean(), abs=1e-9)


def test_outputs_of_a_row_do_not_depend_on_other_rows():
    """Bit by bit: alone, in another order, among few or many. Products of 1, 3 or 45 rows would differ."""
    net = network(norm=True)
    x = torch.randn(2 * metrics.BLOCK_ROWS + 3, 4, generator=stream(1, "x"))
    wide = network(outputs=1, hidden=(300, 300))
    for model in (net, wide):
        whole = metrics.outputs_of(model, x)
        order = torch.randperm(len(x), generator=stream(2, "order"))
        for rows in (order, *order.split(45), *order[:9].split(1), *order[9:].split(3)[:20]):
            assert torch.equal(metrics.outputs_of(model, x[rows]), whole[rows])


def test_evaluation_draws_and_changes_nothing():
    """In a net in training mode: dropout is off, averages stay, and the result is the same again."""
    net = network(norm=True).train()
    x, c = torch.randn(20, 4, generator=stream(1, "x")), torch.zeros(20, dtype=torch.int64)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    first = metrics.evaluate(net, CE, DeviceData(x, c, c))
    net.train()
    assert metrics.evaluate(net, CE, DeviceData(x, c, c)) == first
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_the_value_of_the_monitor():
    """Lower is better: metrics where more is better change their sign, and undefined ones are NaN."""
    measured = {"loss": 0.5, "accuracy": 0.75, "rmse": 2.0, "mae": 1.0, "r2": 0.25}
    seen = {name: metrics.watch(name)(measured) for name in ("auto", *measured)}
    assert seen == {"auto": 0.5, "loss": 0.5, "accuracy": -0.75, "rmse": 2.0, "mae": 1.0, "r2": -0.25}
    for name in ("auto", *measured):
        assert math.isnan(metrics.watch(name)(dict.fromkeys(measured)))


def test_every_metric_has_a_direction():
    """A good net is better than a poor one by every monitor."""
    c = np.array([0, 1, 2] * 5)
    good = measure(CE, 20 * np.eye(3, dtype=np.float32)[c], c)
    poor = measure(CE, np.eye(3, dtype=np.float32)[(c + np.arange(15) // 5) % 3], c)
    y, target = np.arange(10.0).reshape(10, 1), Standardise(torch.zeros(1), torch.ones(1))
    for better, worse in ((good, poor), (measure(MSE, y + 0.1, y, target), measure(MSE, y + 3, y, target))):
        for name in better:
            assert metrics.watch(name)(better) < metrics.watch(name)(worse), name
    assert set(HIGHER_IS_BETTER) < {name for names in METRICS.values() for name in names}

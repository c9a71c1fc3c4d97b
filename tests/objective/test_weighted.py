"""Weighted rows, the loss of each row, and several labels: against NumPy, scikit-learn and repeated rows."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import log_loss, mean_squared_error

import dlfound
from dlfound.errors import Code, Error
from dlfound.objective.loss import TABLE, Weighted
from dlfound.objective.tasks import gives_probabilities

PLAIN = {"label_smoothing": 0.0, "class_weight": "none"}
SMOOTH = {"label_smoothing": 0.2, "class_weight": [0.5, 2.0, 3.0]}
LOSSES = {
    "cross_entropy": lambda: TABLE["cross_entropy"]((5, 5, 5), **PLAIN),
    "cross_entropy with classes weighed": lambda: TABLE["cross_entropy"]((5, 5, 5), **SMOOTH),
    "binary_cross_entropy": lambda: TABLE["binary_cross_entropy"]((5, 5), **PLAIN),
    "binary with classes weighed": lambda: TABLE["binary_cross_entropy"](
        (5, 5), **{**SMOOTH, "class_weight": [1, 3]}
    ),
    "several labels": lambda: TABLE["binary_cross_entropy"]((), **PLAIN),
    "hinge": lambda: TABLE["hinge"](()),
    "mse": lambda: TABLE["mse"](),
    "mae": lambda: TABLE["mae"](),
    "huber": lambda: TABLE["huber"](delta=0.7),
}


def drawn(name, rows=40, seed=0):
    """Random outputs and targets that fit a loss."""
    rng = np.random.default_rng(seed)
    if name in ("mse", "mae", "huber"):
        return rng.normal(size=(rows, 2)), rng.normal(size=(rows, 2))
    if name == "several labels":
        return rng.normal(size=(rows, 4)), rng.integers(0, 2, (rows, 4))
    columns = 1 if name.startswith("binary") else 3
    return rng.normal(size=(rows, columns)), rng.integers(0, max(columns, 2), rows)


def encoded(loss, targets):
    return loss.encode(torch.from_numpy(targets))


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_of_the_rows_losses_is_the_loss(name):
    """And the loss of a row is the loss of that row alone."""
    loss = LOSSES[name]()
    outputs, targets = drawn(name)
    outputs = torch.from_numpy(outputs).float()
    y = encoded(loss, targets)
    each = loss.each(outputs, y)
    assert each.shape == (40,) and each.mean().item() == pytest.approx(loss(outputs, y).item(), rel=1e-5)
    alone = [loss(outputs[[row]], y[[row]]).item() for row in range(40)]
    assert each.tolist() == pytest.approx(alone, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_of_two_counts_as_the_row_twice(name):
    """The loss and its gradient agree, except for the mean weight; a row of weight 0 does not count."""
    plain = LOSSES[name]()
    outputs, targets = drawn(name)
    weights = np.random.default_rng(1).integers(0, 4, 40)
    weighted = Weighted(name, LOSSES[name]())
    rows = np.repeat(np.arange(40), weights)
    leaf = torch.from_numpy(outputs).float().requires_grad_()
    repeated = torch.from_numpy(outputs).float().requires_grad_()
    packed = weighted.packed(weighted.encode(torch.from_numpy(targets)), torch.from_numpy(weights).double())
    of_weights = weighted(leaf, packed)
    of_rows = plain(repeated[rows], encoded(plain, targets)[rows])
    assert of_weights.item() == pytest.approx(of_rows.item(), rel=1e-5)
    of_weights.backward()
    of_rows.backward()
    assert torch.allclose(leaf.grad, repeated.grad, rtol=1e-4, atol=1e-7)
    assert (leaf.grad[torch.from_numpy(weights == 0)] == 0).all()


def test_weights_agree_with_scikit_learn():
    """The loss is sum of weight times loss over sum of weights; the scale of the weights has no effect."""
    rng = np.random.default_rng(2)
    weights = rng.exponential(size=40)
    outputs, targets = drawn("binary_cross_entropy")
    expected = {"binary_cross_entropy": log_loss(targets, expit(outputs), sample_weight=weights)}
    numbers, wanted = drawn("mse")
    expected["mse"] = mean_squared_error(wanted, numbers, sample_weight=weights)
    for name, value in expected.items():
        given, truth = drawn(name)
        loss = Weighted(name, LOSSES[name]())
        for scale in (1, 1000):
            packed = loss.packed(loss.encode(torch.from_numpy(truth)), torch.from_numpy(scale * weights))
            assert loss(torch.from_numpy(given).float(), packed).item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("mse", "mae", "huber")])
def test_a_weighted_loss_predicts_as_the_loss_does(name):
    loss, outputs = LOSSES[name](), torch.from_numpy(drawn(name)[0])
    weighted = Weighted(name, loss)
    assert torch.equal(weighted.classes(outputs), loss.classes(outputs))
    assert gives_probabilities(weighted) == gives_probabilities(loss) == (name != "hinge")
    if name != "hinge":
        assert torch.equal(weighted.probabilities(outputs), loss.probabilities(outputs))


def test_a_loss_without_each_cannot_be_weighted():
    with pytest.raises(Error, match="which loss=mine does not give") as caught:
        Weighted("mine", lambda outputs, encoded: 0)
    assert caught.value.code == Code.CONFIG


# ---- several labels


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_several_labels_are_the_mean_over_rows_and_labels(smoothing):
    """By NumPy; without smoothing, it is the mean of scikit-learn's log loss over labels."""
    loss = TABLE["binary_cross_entropy"]((), label_smoothing=smoothing, class_weight="none")
    outputs, targets = drawn("several labels")
    y = targets * (1 - smoothing) + smoothing / 2
    p = expit(outputs)
    expected = -(y * np.log(p) + (1 - y) * np.log1p(-p)).mean()
    tensor = torch.from_numpy(outputs).float()
    assert loss(tensor, encoded(loss, targets)).item() == pytest.approx(expected, rel=1e-5)
    if not smoothing:
        assert expected == pytest.approx(np.mean([log_loss(targets[:, k], p[:, k]) for k in range(4)]))
    assert loss.probabilities(tensor).numpy() == pytest.approx(p, rel=1e-5)
    assert np.array_equal(loss.classes(tensor).numpy(), p > 0.5) and loss.outputs(0, 4) == 4


def test_class_weights_are_refused_for_several_labels():
    with pytest.raises(Error, match=r"loss\.class_weight=balanced needs one class per row") as caught:
        TABLE["binary_cross_entropy"]((), label_smoothing=0.0, class_weight="balanced")
    assert caught.value.code == Code.CONFIG


# ---- in a training


def test_training_with_weights_equals_training_with_repeated_rows():
    """On the full batch, from the same weights, with columns of 0 and 1 so that no preprocessing differs."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (30, 4))
    rows[:, 3] = rows[:, 0] ^ (rng.random(30) < 0.2)
    weights = rng.integers(0, 4, 30)
    tables = {
        "weighted.csv": np.column_stack([rows, weights]),
        "repeated.csv": np.column_stack([np.repeat(rows, weights, 0), np.ones(weights.sum(), int)]),
        "val.csv": np.column_stack([rows[:9], np.ones(9, int)]),
    }
    for name, table in tables.items():
        np.savetxt(name, table, "%d", ",", header="a,b,c,y,w", comments="")
    words = [
        "data=table", "data.target=y", "data.val_path=val.csv", "data.test_path=val.csv", "data.weight=w",
        "train.batch_size=full", "train.epochs=9", "early_stopping=none", "lr_decay=none", "optim=sgd",
        "optim.lr=0.3", "model.hidden=[8]", "logger=none", "run.threads=1",
    ]  # fmt: skip
    runs = [dlfound.train([*words, f"data.path={name}"]) for name in ("weighted.csv", "repeated.csv")]
    unweighted = dlfound.train([*words, "data.path=weighted.csv", "data.weight=null", "data.drop=[w]"])
    for part in ("train", "val", "test"):
        first, again, other = (run.report[part]["loss"] for run in (*runs, unweighted))
        assert first == pytest.approx(again, rel=1e-5) and first != pytest.approx(other, rel=1e-5)
    for name, tensor in runs[0].model.body.state_dict().items():
        assert torch.allclose(tensor, runs[1].model.body.state_dict()[name], rtol=1e-4, atol=1e-6), name

"""What the checks of the data must not blame, and what they must: rows, columns and labels made by hand."""

import numpy as np
import pytest

import dlfound
from dlfound.config import options
from dlfound.data.dataset import classification, regression
from dlfound.data.split import cut

SPLIT = [0.7, 0.15, 0.15]


@pytest.fixture
def told(monkeypatch):
    """(check's signs and verdicts) of a dataset, by a source that is registered for it."""
    monkeypatch.setattr(options, "_registered", {})

    def ask(data, *words):
        def source(*, seed: int, split: list):
            return data

        options._registered.clear()
        dlfound.register("data", "own", source)
        done = dlfound.check(["data=own", "model.hidden=[4]", "run.threads=1", *words], only=["data"]).checks[
            "data"
        ]
        return {finding.sign: finding.verdict for finding in done.findings if finding.verdict != "pass"}

    return ask


def of_classes(x, y, parts=None):
    names = [f"c{k}" for k in range(x.shape[1])]
    return classification(x, y, [str(k) for k in range(y.max() + 1)], names, parts or cut(len(x), SPLIT, 0))


def clouds(rows=900, classes=3, seed=0, columns=4):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    centres = np.random.default_rng(99).standard_normal((classes, columns))
    return 2 * centres[y] + rng.standard_normal((rows, columns)), y


def test_clouds_are_sound(told):
    assert told(of_classes(*clouds())) == {}


def test_rows_sorted_by_class_are_sound(told):
    x, y = clouds()
    order = np.argsort(y, kind="stable")
    assert told(of_classes(x[order], y[order])) == {}


def test_classes_in_an_order_are_not_shifted_ones(told):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 900)
    assert told(of_classes((y + 0.6 * rng.standard_normal(900))[:, None], y)) == {}


@pytest.mark.parametrize("columns", [3, 6])
def test_rows_that_are_equal_by_nature_are_no_leak(told, columns):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (1000, columns)).astype(float)
    y = (x.sum(1) + rng.integers(0, 2, 1000) > columns).astype(int)
    assert told(of_classes(x, y)) == {}


@pytest.mark.parametrize(("shared", "verdict"), [(1, "warn"), (2, "fail"), (40, "fail")])
def test_test_rows_in_training_are_counted(told, shared, verdict):
    x, y = clouds(1000)
    parts = cut(1000, SPLIT, 0)
    parts["train"] = np.concatenate([parts["train"], parts["test"][:shared]])
    assert told(of_classes(x, y, parts)) == {"overlap": verdict}


def test_long_tails_are_no_outliers_but_a_billion_is(told):
    x, y = clouds()
    x[:, 0] = np.exp(x[:, 0])
    assert told(of_classes(x, y)) == {}
    x[cut(900, SPLIT, 0)["train"][3], 1] = 1e9
    assert "outliers" in told(of_classes(x, y))


def test_columns_that_are_mostly_zero_are_no_outliers(told):
    x, y = clouds()
    x[:, 0] = np.where(np.arange(900) % 50 == 0, np.abs(x[:, 0]) * 1000, 0)
    assert told(of_classes(x, y)) == {}


def test_a_strong_column_is_no_copy_and_a_rounded_target_is_one(told):
    x, y = clouds()
    strong = y + 0.15 * np.random.default_rng(1).standard_normal(900)
    assert told(of_classes(np.column_stack([x, strong]), y)) == {}
    target = x[:, 0] * x[:, 1] + np.random.default_rng(2).standard_normal(900)
    names = [f"c{k}" for k in range(5)]
    for column, expected in (
        (target + np.random.default_rng(3).standard_normal(900), {}),
        (np.round(target, 2), "copies"),
    ):
        found = told(regression(np.column_stack([x, column]), target, names, cut(900, SPLIT, 0)))
        assert found == {} if expected == {} else found[expected] == "fail"


def test_a_column_that_marks_one_class_of_several_is_a_warning(told):
    x, y = clouds()
    assert told(of_classes(np.column_stack([x, y == 1]), y)) == {"telling": "warn"}


def test_what_only_neighbours_know_is_not_chance(told):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (900, 2))
    assert told(of_classes(x, (x[:, 0] * x[:, 1] > 0).astype(int))) == {}
    assert told(of_classes(x, rng.integers(0, 2, 900))) == {"chance": "warn"}


def test_an_imbalance_is_told_with_the_weights_that_mend_it():
    x, y = clouds(1500, 2)
    kept = (y == 0) | (np.arange(1500) % 20 == 0)
    done = dlfound.check(["model.hidden=[4]"], data=(x[kept], y[kept]), only=["data"]).checks["data"]
    (finding,) = done.findings
    train = np.bincount(y[kept][cut(int(kept.sum()), SPLIT, 0)["train"]])
    assert (
        finding.number == train[0] / train[1]
        and finding.override == "loss=binary_cross_entropy loss.class_weight=balanced"
    )


def test_columns_in_another_unit_and_missing_classes_are_told(told):
    x, y = clouds()
    parts = cut(900, SPLIT, 0)
    x[parts["val"], 2] *= 1e5
    assert told(of_classes(x, y, parts)) == {"unlike": "warn"}
    x, y = clouds(900, 4)
    parts["train"] = parts["train"][y[parts["train"]] != 2]
    assert told(of_classes(x, y, parts)) == {"absent": "warn"}

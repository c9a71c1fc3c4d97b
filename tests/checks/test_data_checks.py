"""The data check finds faults planted in small data sets and blames no sound one."""

import numpy as np
import pytest

import dlfound
from dlfound.config import catalog as options
from dlfound.data.dataset import classification, regression
from dlfound.data.split import cut

SPLIT = [0.7, 0.15, 0.15]


@pytest.fixture
def findings_of(monkeypatch):
    """Check a data set through a registered source; returns sign -> verdict of what does not pass."""
    monkeypatch.setattr(options, "_registered", {})

    def check(data):
        def source(*, seed: int, split: list):
            return data

        options._registered.clear()
        dlfound.register("data", "own", source)
        report = dlfound.check(["data=own", "model.hidden=[4]", "run.threads=1"], only=["data"])
        return {
            finding.sign: finding.verdict for _, finding in report.findings() if finding.verdict != "pass"
        }

    return check


def of_classes(x, y, parts=None):
    names = [f"c{k}" for k in range(x.shape[1])]
    return classification(x, y, [str(k) for k in range(y.max() + 1)], names, parts or cut(len(x), SPLIT, 0))


def clouds(rows=900, classes=3, seed=0, columns=4):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    centres = np.random.default_rng(99).standard_normal((classes, columns))
    return 2 * centres[y] + rng.standard_normal((rows, columns)), y


def test_clouds_are_sound(findings_of):
    assert findings_of(of_classes(*clouds())) == {}


def test_rows_sorted_by_class_are_sound(findings_of):
    x, y = clouds()
    order = np.argsort(y, kind="stable")
    assert findings_of(of_classes(x[order], y[order])) == {}


def test_ordered_classes_are_not_shifted(findings_of):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 900)
    assert findings_of(of_classes((y + 0.6 * rng.standard_normal(900))[:, None], y)) == {}


@pytest.mark.parametrize("columns", [3, 6])
def test_equal_rows_are_no_leak_if_columns_have_few_values(findings_of, columns):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (1000, columns)).astype(float)
    y = (x.sum(1) + rng.integers(0, 2, 1000) > columns).astype(int)
    assert findings_of(of_classes(x, y)) == {}


@pytest.mark.parametrize(("shared", "verdict"), [(1, "warn"), (2, "fail"), (40, "fail")])
def test_test_rows_among_the_training_rows_are_counted(findings_of, shared, verdict):
    x, y = clouds(1000)
    parts = cut(1000, SPLIT, 0)
    parts["train"] = np.concatenate([parts["train"], parts["test"][:shared]])
    assert findings_of(of_classes(x, y, parts)) == {"overlap": verdict}


def test_a_long_tail_is_sound_and_a_billion_is_an_outlier(findings_of):
    x, y = clouds()
    x[:, 0] = np.exp(x[:, 0])
    assert findings_of(of_classes(x, y)) == {}
    x[cut(900, SPLIT, 0)["train"][3], 1] = 1e9
    assert "outliers" in findings_of(of_classes(x, y))


def test_a_column_of_mostly_zeros_has_no_outliers(findings_of):
    x, y = clouds()
    x[:, 0] = np.where(np.arange(900) % 50 == 0, np.abs(x[:, 0]) * 1000, 0)
    assert findings_of(of_classes(x, y)) == {}


def test_a_predictive_column_is_sound_and_a_rounded_target_is_a_copy(findings_of):
    x, y = clouds()
    strong = y + 0.15 * np.random.default_rng(1).standard_normal(900)
    assert findings_of(of_classes(np.column_stack([x, strong]), y)) == {}
    target = x[:, 0] * x[:, 1] + np.random.default_rng(2).standard_normal(900)
    names = [f"c{k}" for k in range(5)]
    for column, expected in (
        (target + np.random.default_rng(3).standard_normal(900), {}),
        (np.round(target, 2), "copies"),
    ):
        findings = findings_of(regression(np.column_stack([x, column]), target, names, cut(900, SPLIT, 0)))
        assert findings == {} if expected == {} else findings[expected] == "fail"


def test_a_column_that_marks_one_class_of_several_is_a_warning(findings_of):
    x, y = clouds()
    assert findings_of(of_classes(np.column_stack([x, y == 1]), y)) == {"telling": "warn"}


def test_targets_that_only_neighbours_predict_are_not_chance(findings_of):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (900, 2))
    assert findings_of(of_classes(x, (x[:, 0] * x[:, 1] > 0).astype(int))) == {}
    assert findings_of(of_classes(x, rng.integers(0, 2, 900))) == {"chance": "warn"}


def test_an_imbalance_comes_with_the_override_for_class_weights():
    x, y = clouds(1500, 2)
    remaining = (y == 0) | (np.arange(1500) % 20 == 0)
    report = dlfound.check(["model.hidden=[4]"], data=(x[remaining], y[remaining]), only=["data"])
    ((_, finding),) = report.findings()
    train = np.bincount(y[remaining][cut(int(remaining.sum()), SPLIT, 0)["train"]])
    assert finding.number == train[0] / train[1]
    assert finding.override == "loss=binary_cross_entropy loss.class_weight=balanced"


def test_a_column_in_another_unit_and_a_class_without_rows_are_warnings(findings_of):
    x, y = clouds()
    parts = cut(900, SPLIT, 0)
    x[parts["val"], 2] *= 1e5
    assert findings_of(of_classes(x, y, parts)) == {"unlike": "warn"}
    x, y = clouds(900, 4)
    parts["train"] = parts["train"][y[parts["train"]] != 2]
    assert findings_of(of_classes(x, y, parts)) == {"absent": "warn"}

"""The metrics of whole runs: where they are written, which selects the best epoch, which are refused."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score
from support.run_files import lines_of
from support.trained import SHORT

import dlfound
from dlfound.cli import main
from dlfound.commands.train import result_text
from dlfound.objective import loss
from dlfound.objective.tasks import METRICS, OF_PROBABILITIES
from dlfound.runs.train import load_data

SPIRALS = ["data=spirals", "data.rows=200", "data.classes=3"]
GRADE = ["data=passfail", "data.target=grade", "data.rows=120"]
SCORES = {name for name in METRICS["multiclass"] if name not in OF_PROBABILITIES}
CLASSES = METRICS["multiclass"]
NUMBERS = METRICS["regression"]
HIGHER_IS_BETTER = ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "r2")


@pytest.mark.parametrize(
    ("words", "measured", "cheap"),
    [
        (SPIRALS, set(CLASSES), {"loss", "accuracy"}),
        (["data=moons"], set(CLASSES), {"loss", "accuracy"}),
        (["data=moons", "loss=cross_entropy"], set(CLASSES), {"loss", "accuracy"}),
        ([*SPIRALS, "loss=hinge"], SCORES, {"loss", "accuracy"}),
        (GRADE, set(NUMBERS), set(NUMBERS)),
    ],
    ids=["three classes", "two classes", "two outputs", "hinge", "numbers"],
)
def test_validations_and_the_report_have_all_metrics_and_training_batches_the_cheap_ones(
    words, measured, cheap
):
    run = dlfound.train([*SHORT, *words])
    for line in lines_of(run.path):
        assert set(line["train"]) == cheap and set(line["val"]) == measured
    assert {frozenset(run.report[part]) for part in ("train", "val", "test")} == {frozenset(measured)}


def test_the_report_agrees_with_scikit_learn():
    """Computed from the saved net's own probabilities, on the test rows."""
    run = dlfound.train([*SHORT, *SPIRALS, "loss=cross_entropy", "loss.label_smoothing=0.2"])
    data = load_data(run.config)
    metrics = run.report["test"]
    rows = data.parts["test"]
    c = data.targets[rows]
    p = run.probabilities(data.inputs[rows]).astype(float)
    p /= p.sum(1, keepdims=True)
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(c, p.argmax(1)))
    assert metrics["f1_macro"] == pytest.approx(f1_score(c, p.argmax(1), average="macro"))
    assert metrics["auroc"] == pytest.approx(roc_auc_score(c, p, multi_class="ovr"), abs=1e-3)  # float32 ties
    assert metrics["log_loss"] == pytest.approx(log_loss(c, p), rel=1e-5)
    assert metrics["log_loss"] != pytest.approx(metrics["loss"], rel=1e-3)  # the loss is smoothed


@pytest.mark.parametrize(
    ("metric", "words"),
    [(m, SPIRALS) for m in CLASSES]
    + [("auroc", ["data=moons", "data.noise=0.6"]), *((m, GRADE) for m in NUMBERS)],
)
def test_any_metric_can_select_the_best_epoch(metric, words):
    """The best epoch is the first one with the best validation, in the metric's own direction."""
    more = ["train.epochs=8", "optim.lr=0.05", f"train.monitor={metric}"]
    run = dlfound.train([*SHORT[1:], *words, *more])
    values = [line["val"][metric] for line in lines_of(run.path)]
    best = max(values) if metric in HIGHER_IS_BETTER else min(values)
    assert run.report["best_epoch"] == 1 + values.index(best)
    assert len(set(values)) > 1 and run.report["monitor"] == metric
    short = list(NUMBERS) if words is GRADE else ["loss", "accuracy"]
    head = result_text(run).splitlines()[1].split()
    assert head == [*short, *([metric] if metric not in short else [])]


def test_eval_shows_all_metrics(capsys):
    """In its table and in its JSON; `train --json` has them too."""
    assert main(["train", *SHORT, *SPIRALS, "run.dir=here", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert main(["eval", "here"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == list(CLASSES)
    assert [line.split()[0] for line in table[1:4]] == ["train", "val", "test"] and len(table[3].split()) == 8
    assert max(map(len, table[:4])) <= 80
    assert main(["eval", "here", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics == {part: report[part] for part in ("train", "val", "test")}
    assert set(metrics["test"]) == set(CLASSES)


# Refused monitors.


def test_a_metric_of_probabilities_is_refused_for_a_loss_that_gives_scores(capsys):
    """Together with all other mistakes, before any data are read."""
    for metric in OF_PROBABILITIES:
        assert main(["train", f"train.monitor={metric}", "loss=hinge", "train.epochs=0", "optim=sdg"]) == 2
        err = capsys.readouterr().err
        assert f"train.monitor={metric} needs probabilities, but loss=hinge gives scores" in err
        assert "loss=auto" in err and "train.epochs" in err and "optim=sgd" in err
    assert main(["train", "train.monitor=log_loss", "loss=hinge"]) == 2
    assert "train.monitor=loss, or loss=auto" in capsys.readouterr().err
    assert main(["train", "train.monitor=ece", "loss=hinge", "data=image_folder", "data.path=nowhere"]) == 2


def test_a_misspelt_metric_is_answered_with_the_nearest_and_all_names(capsys):
    near = {"auc": "auroc", "f1": "f1_macro", "logloss": "log_loss", "bal_accuracy": "balanced_accuracy"}
    for typed, meant in near.items():
        assert main(["train", f"train.monitor={typed}"]) == 2
        err = capsys.readouterr().err
        assert f"did you mean train.monitor={meant}?" in err
        assert f"must be auto, {', '.join(CLASSES[:-1])} or {CLASSES[-1]} for a multiclass task" in err


def test_a_metric_of_another_task_is_refused(capsys):
    """Before the data are read if the source tells the task, else after."""
    assert main(["train", "data=sine", "train.monitor=auroc"]) == 2
    assert "must be auto, loss, rmse, mae or r2 for a regression task, got 'auroc'" in capsys.readouterr().err
    x = np.arange(40.0).reshape(20, 2)
    for metric, y in (("ece", x[:, 0]), ("rmse", np.arange(20) % 2)):
        with pytest.raises(dlfound.Error) as caught:
            dlfound.train([f"train.monitor={metric}"], data=(x, y))
        assert caught.value.code == 2


# Registered losses.


@pytest.mark.parametrize("how", ["None", "absent", "a function"])
def test_a_registered_loss_without_probabilities(how, registry, tmp_path):
    """It is measured like hinge. A monitor that needs probabilities is refused, and leaves no folder."""

    class Margin(loss.Hinge):
        pass

    class Bare:
        outputs = loss.Hinge.outputs
        encode = loss.Hinge.encode
        classes = loss.Hinge.classes
        __call__ = loss.Hinge.__call__

        def __init__(self, counts=()):
            pass

    made = {"None": Margin, "absent": Bare, "a function": lambda counts=(): Margin(counts)}[how]
    dlfound.register("loss", "margin", made)
    run = dlfound.train([*SHORT, *SPIRALS, "loss=margin", "train.monitor=auroc"])
    assert set(run.report["test"]) == SCORES and all(v is not None for v in run.report["test"].values())
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train([*SHORT, *SPIRALS, "loss=margin", "train.monitor=ece", "run.dir=here"])
    assert caught.value.code == 2 and "loss=margin gives scores" in str(caught.value)
    assert not (tmp_path / "here").exists()


def test_a_registered_loss_with_probabilities(registry):
    """The metrics of probabilities are computed from its own."""

    class Tempered(loss.CrossEntropy):
        def __init__(self, counts=()):
            super().__init__(counts, label_smoothing=0.0, class_weight="none")

        def probabilities(self, outputs):
            return (outputs / 3).softmax(1)

    dlfound.register("loss", "tempered", Tempered)
    run = dlfound.train([*SHORT, *SPIRALS, "loss=tempered", "train.monitor=log_loss"])
    data = load_data(run.config)
    rows = data.parts["val"]
    p = run.probabilities(data.inputs[rows]).astype(float)
    right = p[range(len(rows)), data.targets[rows]]
    assert run.report["val"]["log_loss"] == pytest.approx(-np.log(right).mean(), rel=1e-5)
    assert run.report["val"]["log_loss"] != pytest.approx(run.report["val"]["loss"], rel=1e-3)


def test_an_undefined_metric_is_null_in_files_and_a_dash_in_tables():
    """Validation lacks a class, so auroc is undefined, and no epoch counts as the best by it."""
    rng = np.random.default_rng(0)
    y = np.array([0, 1] * 30 + [2])
    words = ["train.monitor=auroc", "data.seed=1"]  # this seed puts the only row of class 2 into training
    run = dlfound.train([*SHORT, *words], data=(rng.standard_normal((61, 2)) + y[:, None], y))
    validations = [line["val"] for line in lines_of(run.path)]
    assert all(val["auroc"] is None and val["f1_macro"] is not None for val in validations)
    assert run.report["val"]["auroc"] is None and run.report["best_epoch"] == 0
    assert any("auroc was undefined" in warning for warning in run.report["warnings"])
    assert [line.split()[-1] for line in result_text(run).splitlines()[3:5]] == ["-", "-"]

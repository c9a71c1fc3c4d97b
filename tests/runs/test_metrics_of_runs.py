"""The metrics of whole runs: where they stand, which of them decide, and what is told where one cannot be meant."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score

import dlfound
from dlfound.cli import main
from dlfound.commands.train import describe
from dlfound.config import catalog as options
from dlfound.objective import loss
from dlfound.objective.tasks import METRICS, OF_PROBABILITIES
from dlfound.runs.train import load_data

QUICK = ["train.epochs=3", "early_stopping=none", "lr_decay=none", "model.hidden=[8]", "logger=none"]
SPIRALS = ["data=spirals", "data.rows=200", "data.classes=3"]
GRADE = ["data=passfail", "data.target=grade", "data.rows=120"]
SCORES = {name for name in METRICS["multiclass"] if name not in OF_PROBABILITIES}
CLASSES, NUMBERS = METRICS["multiclass"], METRICS["regression"]


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is forgotten after it."""
    from hydra.core.config_store import ConfigStore

    monkeypatch.setattr(options, "_registered", {})
    monkeypatch.setattr(ConfigStore.instance(), "repo", {**ConfigStore.instance().repo})


def lines(run) -> list[dict]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("words", "measured", "brief"),
    [
        (SPIRALS, set(CLASSES), {"loss", "accuracy"}),
        (["data=moons"], set(CLASSES), {"loss", "accuracy"}),
        (["data=moons", "loss=cross_entropy"], set(CLASSES), {"loss", "accuracy"}),
        ([*SPIRALS, "loss=hinge"], SCORES, {"loss", "accuracy"}),
        (GRADE, set(NUMBERS), set(NUMBERS)),
    ],
    ids=["several", "two", "two outputs", "hinge", "numbers"],
)
def test_where_metrics_stand(words, measured, brief):
    """All of them of each validation and in the report; the cheap ones of the training's batches."""
    run = dlfound.train([*QUICK, *words])
    for line in lines(run):
        assert set(line["train"]) == brief and set(line["val"]) == measured
    assert {frozenset(run.report[part]) for part in ("train", "val", "test")} == {frozenset(measured)}


def test_the_report_agrees_with_scikit_learn():
    """From the saved net's own probabilities, on the rows of the test."""
    run = dlfound.train([*QUICK, *SPIRALS, "loss=cross_entropy", "loss.label_smoothing=0.2"])
    data, found = load_data(run.config), run.report["test"]
    rows = data.parts["test"]
    x, c = data.inputs[rows], data.targets[rows]
    p = run.probabilities(x).astype(float)
    p /= p.sum(1, keepdims=True)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(c, p.argmax(1)))
    assert found["f1_macro"] == pytest.approx(f1_score(c, p.argmax(1), average="macro"))
    assert found["auroc"] == pytest.approx(roc_auc_score(c, p, multi_class="ovr"), abs=1e-3)  # float32 ties
    assert found["log_loss"] == pytest.approx(log_loss(c, p), rel=1e-5)
    assert found["log_loss"] != pytest.approx(found["loss"], rel=1e-3)  # which is smoothed


@pytest.mark.parametrize(
    ("metric", "words"),
    [(m, SPIRALS) for m in CLASSES]
    + [("auroc", ["data=moons", "data.noise=0.6"]), *((m, GRADE) for m in NUMBERS)],
)
def test_any_metric_can_decide_what_is_best(metric, words, capsys):
    """The best epoch is the first of those with the best validation, in the metric's own direction."""
    more = [
        "train.epochs=8",
        "optim.lr=0.05",
        f"train.monitor={metric}",
        "early_stopping=none",
        "lr_decay=none",
    ]
    assert main(["train", *words, *more, "model.hidden=[8]", "logger=none", "run.dir=here"]) == 0
    run, shown = dlfound.open_run("here"), capsys.readouterr().out
    seen = [line["val"][metric] for line in lines(run)]
    most = metric in ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "r2")
    assert run.report["best_epoch"] == 1 + seen.index(max(seen) if most else min(seen))
    assert len(set(seen)) > 1 and run.report["monitor"] == metric
    head = shown.splitlines()[1].split()
    short = list(NUMBERS) if words is GRADE else ["loss", "accuracy"]
    assert head == [*short, *([metric] if metric not in short else [])]


def test_eval_shows_all(capsys):
    """The table of `eval` has every metric; so has the JSON of both verbs."""
    assert main(["train", *QUICK, *SPIRALS, "run.dir=here", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert main(["eval", "here"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == list(CLASSES)
    assert [line.split()[0] for line in table[1:4]] == ["train", "val", "test"] and len(table[3].split()) == 8
    assert max(map(len, table[:4])) <= 80
    assert main(["eval", "here", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == {part: report[part] for part in ("train", "val", "test")}
    assert set(again["test"]) == set(CLASSES)


def test_what_needs_probabilities_is_refused_of_scores(capsys):
    """Together with all else that is wrong, before anything is read."""
    for metric in OF_PROBABILITIES:
        assert main(["train", f"train.monitor={metric}", "loss=hinge", "train.epochs=0", "optim=sdg"]) == 2
        told = capsys.readouterr().err
        assert f"train.monitor={metric} needs probabilities, but loss=hinge gives scores" in told
        assert "loss=auto" in told and "train.epochs" in told and "optim=sgd" in told
    assert main(["train", "train.monitor=log_loss", "loss=hinge"]) == 2
    assert "train.monitor=loss, or loss=auto" in capsys.readouterr().err
    assert main(["train", "train.monitor=ece", "loss=hinge", "data=image_folder", "data.path=nowhere"]) == 2


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("auc", "auroc"), ("f1", "f1_macro"), ("logloss", "log_loss"), ("bal_accuracy", "balanced_accuracy")],
)
def test_a_metric_misspelt_has_its_nearest(typed, meant, capsys):
    """Every metric of the task is named, too."""
    assert main(["train", f"train.monitor={typed}"]) == 2
    told = capsys.readouterr().err
    assert f"did you mean train.monitor={meant}?" in told
    assert f"must be auto, {', '.join(CLASSES[:-1])} or {CLASSES[-1]} for a multiclass task" in told


def test_metrics_of_another_task_are_refused(capsys):
    """Known before the data are read, and after."""
    assert main(["train", "data=sine", "train.monitor=auroc"]) == 2
    assert "must be auto, loss, rmse, mae or r2 for a regression task, got 'auroc'" in capsys.readouterr().err
    x = np.arange(40.0).reshape(20, 2)
    for metric, y in (("ece", x[:, 0]), ("rmse", np.arange(20) % 2)):
        with pytest.raises(dlfound.Error) as caught:
            dlfound.train([f"train.monitor={metric}"], data=(x, y))
        assert caught.value.code == 2


@pytest.mark.parametrize("how", ["None", "absent", "a function"])
def test_a_registered_loss_without_probabilities(how, registry, tmp_path):
    """It trains and is measured like hinge; what needs probabilities cannot be its monitor, and leaves no folder."""

    class Margin(loss.Hinge):
        pass

    class Bare:
        outputs, encode = loss.Hinge.outputs, loss.Hinge.encode
        classes, __call__ = loss.Hinge.classes, loss.Hinge.__call__

        def __init__(self, counts=()):
            pass

    made = {"None": Margin, "absent": Bare, "a function": lambda counts=(): Margin(counts)}[how]
    dlfound.register("loss", "margin", made)
    run = dlfound.train([*QUICK, *SPIRALS, "loss=margin", "train.monitor=auroc"])
    assert set(run.report["test"]) == SCORES and all(v is not None for v in run.report["test"].values())
    with pytest.raises(dlfound.Error) as caught:
        dlfound.train([*QUICK, *SPIRALS, "loss=margin", "train.monitor=ece", "run.dir=here"])
    assert caught.value.code == 2 and "loss=margin gives scores" in str(caught.value)
    assert not (tmp_path / "here").exists()


def test_a_registered_loss_with_probabilities(registry):
    """All is measured, from what it calls probabilities."""

    class Tempered(loss.CrossEntropy):
        def __init__(self, counts=()):
            super().__init__(counts, label_smoothing=0.0, class_weight="none")

        def probabilities(self, outputs):
            return (outputs / 3).softmax(1)

    dlfound.register("loss", "tempered", Tempered)
    run = dlfound.train([*QUICK, *SPIRALS, "loss=tempered", "train.monitor=log_loss"])
    data = load_data(run.config)
    rows = data.parts["val"]
    p = run.probabilities(data.inputs[rows]).astype(float)
    right = p[range(len(rows)), data.targets[rows]]
    assert run.report["val"]["log_loss"] == pytest.approx(-np.log(right).mean(), rel=1e-5)
    assert run.report["val"]["log_loss"] != pytest.approx(run.report["val"]["loss"], rel=1e-3)


def test_what_is_undefined_is_null_and_a_dash():
    """A class without rows in validation: the area is null in every file, and no epoch counts as the best by it."""
    rng = np.random.default_rng(0)
    y = np.array([0, 1] * 30 + [2])
    words = ["train.monitor=auroc", "data.seed=1"]  # with it the only row of class 2 is one of the training
    run = dlfound.train([*QUICK, *words], data=(rng.standard_normal((61, 2)) + y[:, None], y))
    assert all(line["val"]["auroc"] is None and line["val"]["f1_macro"] is not None for line in lines(run))
    assert run.report["val"]["auroc"] is None and run.report["best_epoch"] == 0
    assert any("auroc was undefined" in warning for warning in run.report["warnings"])
    assert [line.split()[-1] for line in describe(run).splitlines()[3:5]] == ["-", "-"]

"""Numbers that go wrong, seen from the command: messages, exit codes, and what is saved of the run."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from support.run_files import all_files, contents, lines_of, remove_end, report_of

import dlfound
from dlfound.cli import main
from dlfound.data.split import cut
from dlfound.runs.checkpoints import Checkpoints

SHORT = ["train.epochs=3", "early_stopping=none", "lr_decay=none", "logger=none", "run.dir=here"]
WORDS = ["data=moons", *SHORT[1:], "train.epochs=40"]
DEEP = ["model.hidden=[8,8]", "optim=sgd"]
# A linear fit at a rate that is a little too high: the error doubles at each step, and is finite for some
# epochs.
LATE = ["data=sine", "model=perceptron", "optim=sgd", "optim.lr=1.5"]


def diverge(capsys, *words: str) -> tuple[str, str]:
    """Train a run that diverges; return the two parts of the message."""
    assert main(["train", *WORDS, *words]) == 5
    *_, message, fix = capsys.readouterr().err.splitlines()
    assert message.startswith("dlfound: error[numeric]: ") and fix.startswith("  fix: ")
    return message.removeprefix("dlfound: error[numeric]: "), fix.removeprefix("  fix: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            [*DEEP, "optim.lr=1e6"],
            "the net's output is not finite at step 3 (epoch 1, lr 1e+06)",
            id="the net",
        ),
        pytest.param(
            [*DEEP, "optim.lr=1e10"],
            "layer2's output is not finite at step 3 (epoch 1, lr 1e+10)",
            id="a layer",
        ),
        pytest.param(LATE, "the loss is not finite at step 64 (epoch 6, lr 1.5)", id="the loss"),
    ],
)
def test_the_message_names_the_layer_the_step_and_the_rate(words, message, capsys):
    said, fix = diverge(capsys, *words)
    assert said == message and fix.startswith("try a smaller learning rate, optim.lr=")
    assert report_of("here")["error"]["what"] == message
    assert f"error: {message}" in Path("here/log.txt").read_text()


CYCLE = ["optim=sgd", "lr_decay=one_cycle", "lr_decay.warmup=2", "lr_decay.max_lr=1e9"]


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ([*DEEP, "optim.lr=1e6"], "try a smaller learning rate, optim.lr=0.1, or batchnorm=batch"),
        ([*LATE, "optim.lr=1.5"], "try a smaller learning rate, optim.lr=0.1"),
        ([*CYCLE, "optim.lr=0.01"], "try a smaller learning rate, lr_decay.max_lr=0.1, or batchnorm=batch"),
        (["optim=sgd", "optim.lr=1e30", "batchnorm=batch"], "try a smaller learning rate, optim.lr=0.1"),
    ],
    ids=["deep", "shallow", "one_cycle", "batchnorm"],
)
def test_the_fix_names_the_setting_that_was_too_large(words, fix, capsys):
    assert diverge(capsys, *words)[1].partition(";")[0] == fix


def test_an_infinite_gradient_under_a_finite_loss_is_noticed(capsys):
    words = ["initializer=normal", "initializer.std=1e9", "regularizer=l2", "regularizer.strength=1e30"]
    message, fix = diverge(capsys, *words)
    assert (
        message == "the gradient of the output layer is not finite at the very first step, before any update"
    )
    assert "the regularizer" in fix


def test_the_last_good_state_is_saved(capsys):
    message, fix = diverge(capsys, *LATE, "train.checkpoint=1")
    report = report_of("here")
    losses = [line["val"]["loss"] for line in lines_of("here")]
    done = len(losses)
    assert report["status"] == "diverged" and report["epochs_run"] == done > 1
    assert report["best_epoch"] == 1 + losses.index(min(losses))
    assert report["val"]["loss"] == pytest.approx(min(losses))
    assert f"(epoch {done + 1}, lr " in message and "the best net so far is in here" in fix
    checkpoint, warnings = Checkpoints(Path("here")).newest()
    assert warnings == [] and checkpoint.state["progress"]["epoch"] == done + 1
    tensors = [*checkpoint.tensors.values(), *load_file("here/model.safetensors").values()]
    assert all(tensor.isfinite().all() for tensor in tensors)
    before = all_files("here")
    assert main(["train", "resume=here", "train.epochs=400"]) == 5  # it is finished: the same message again
    err = capsys.readouterr().err
    assert message in err
    assert f"it diverged after epoch {done}, so more epochs would not continue it" in err
    assert all_files("here") == before


def test_a_killed_run_diverges_at_the_same_step(capsys):
    said = diverge(capsys, *LATE, "train.checkpoint=1")
    before = contents("here")
    remove_end("here", checkpoints=0)
    assert diverge(capsys, *LATE, "train.checkpoint=1") == said
    assert contents("here") == before


# Arrays.

X = np.random.default_rng(0).standard_normal((60, 3))
PLAIN = ["model.hidden=[8]", *SHORT]
HELD_OUT = cut(60, [0.7, 0.15, 0.15], 0)["val"]


def test_a_validation_loss_that_is_not_finite_is_null_in_the_report():
    for y, metric in ((X @ [1.0, 2, 3], "rmse"), (np.arange(60) % 3, "accuracy")):
        rows = X.copy()
        rows[HELD_OUT[0]] = 3e38
        with pytest.raises(dlfound.Error, match="the validation loss is not finite after epoch 1") as caught:
            dlfound.train([*PLAIN, f"run.dir={metric}"], data=(rows, y))
        assert caught.value.code == 5
        report = report_of(metric)
        assert report["val"][metric] is None is report["val"]["loss"] and report["best_epoch"] == 0
        assert report["train"][metric] is not None


def test_a_column_that_is_constant_in_training_is_ignored():
    rows = X.copy()
    rows[:, 1] = 7
    run = dlfound.train(PLAIN, data=(rows, X @ [1.0, 2, 3]))
    assert run.report["status"] == "done" and None not in run.report["test"].values()
    rows[:, 1] = -1e6
    assert np.isfinite(run.predict(rows)).all()


def test_huge_targets_scale_the_error_or_are_refused():
    y = X @ [1.0, 2, 3]
    small, huge = (dlfound.train(["run.dir=null", *PLAIN[:-1]], data=(X, y * size)) for size in (1, 2.0**100))
    assert huge.report["test"]["rmse"] == pytest.approx(2.0**100 * small.report["test"]["rmse"], rel=1e-6)
    with pytest.raises(dlfound.Error, match="huge values") as caught:
        dlfound.train(PLAIN, data=(X, y * 1e300))
    assert caught.value.code == 3 and not Path("here").exists()


def test_a_class_that_only_validation_has_is_reported_as_undefined():
    y = np.array(["a", "b"] * 30)
    y[HELD_OUT[:2]] = "z"
    run = dlfound.train([*PLAIN, "loss=cross_entropy", "loss.class_weight=balanced"], data=(X, y))
    report = json.loads(json.dumps(run.report, allow_nan=False))
    assert report["status"] == "done" and report["train"]["auroc"] is None
    assert report["val"]["loss"] is not None is not report["val"]["f1_macro"]
    is_warned = any("auroc is undefined" in text for text in report["warnings"])
    assert is_warned == (report["val"]["auroc"] is None)


@pytest.mark.parametrize("words", [["initializer=zeros"], ["initializer=constant", "initializer.value=-1"]])
def test_units_that_cannot_learn_are_a_warning(words, capsys):
    assert main(["train", *WORDS, *words, "train.epochs=2"]) == 0
    err = capsys.readouterr().err
    assert "they stay copies of each other" in err or "dead units" in err
    report_of("here")

"""Numbers that go wrong, seen from the command: what is told, the exit code, and that nothing good is lost."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from support.run_files import take_end

import dlfound
from dlfound.cli import main
from dlfound.data.split import cut
from dlfound.runs.checkpoints import Checkpoints

WORDS = [
    "data=moons", "train.epochs=40", "early_stopping=none", "lr_decay=none", "logger=none",
    "run.dir=here",
]  # fmt: skip
DEEP = ["model.hidden=[8,8]", "optim=sgd"]
# A line fitted at a rate that is a little too large: the error doubles at each step, and is finite for some epochs.
LATE = ["data=sine", "model=perceptron", "optim=sgd", "optim.lr=1.5"]


def ended(capsys, *words: str) -> list[str]:
    """The two lines with which a training ends that goes wrong."""
    assert main(["train", *WORDS, *words]) == 5
    *_, what, fix = capsys.readouterr().err.splitlines()
    assert what.startswith("dlfound: error[numeric]: ") and fix.startswith("  fix: ")
    return [what.removeprefix("dlfound: error[numeric]: "), fix.removeprefix("  fix: ")]


def report() -> dict:
    """The report; it holds no number that is not finite."""
    return json.loads(Path("here/report.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("words", "what"),
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
def test_the_layer_the_rate_and_the_step_are_named(words, what, capsys):
    told = ended(capsys, *words)
    assert told[0] == what and told[1].startswith("try a smaller learning rate, optim.lr=")
    assert report()["error"]["what"] == what and f"error: {what}" in Path("here/log.txt").read_text()


CYCLE = ["optim=sgd", "lr_decay=one_cycle", "lr_decay.warmup=2", "lr_decay.max_lr=1e9"]


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ([*DEEP, "optim.lr=1e6"], "try a smaller learning rate, optim.lr=0.1, or batchnorm=batch"),
        ([*LATE, "optim.lr=1.5"], "try a smaller learning rate, optim.lr=0.1"),
        ([*CYCLE, "optim.lr=0.01"], "try a smaller learning rate, lr_decay.max_lr=0.1, or batchnorm=batch"),
        (["optim=sgd", "optim.lr=1e30", "batchnorm=batch"], "try a smaller learning rate, optim.lr=0.1"),
    ],
)
def test_the_advice_is_of_what_was_too_large(words, fix, capsys):
    assert ended(capsys, *words)[1].partition(";")[0] == fix


def test_a_gradient_under_a_finite_loss(capsys):
    words = ["initializer=normal", "initializer.std=1e9", "regularizer=l2", "regularizer.strength=1e30"]
    what, fix = ended(capsys, *words)
    assert what == "the gradient of the output layer is not finite at the very first step, before any update"
    assert "the regularizer" in fix


def test_the_last_good_state_is_kept(capsys):
    what, fix = ended(capsys, *LATE, "train.checkpoint=1")
    found, lines = (
        report(),
        [json.loads(line) for line in Path("here/metrics.jsonl").read_text().splitlines()],
    )
    assert found["status"] == "diverged" and found["epochs_run"] == len(lines) > 1
    losses = [line["val"]["loss"] for line in lines]
    assert found["best_epoch"] == 1 + losses.index(min(losses)) and found["val"]["loss"] == pytest.approx(
        min(losses)
    )
    assert f"(epoch {len(lines) + 1}, lr " in what and "the best net so far is in here" in fix
    kept, told = Checkpoints(Path("here")).newest()
    assert told == [] and kept.state["progress"]["epoch"] == len(lines) + 1
    tensors = [*kept.tensors.values(), *load_file("here/model.safetensors").values()]
    assert all(tensor.isfinite().all() for tensor in tensors)
    before = {
        path: path.read_bytes() for path in Path("here").rglob("*") if path.is_file() and path.name != ".lock"
    }
    assert main(["train", "resume=here", "train.epochs=400"]) == 5  # it is over, and says the same again
    err = capsys.readouterr().err
    assert (
        what in err and f"it diverged after epoch {len(lines)}, so more epochs would not continue it" in err
    )
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_killed_run_diverges_at_the_same_step(capsys):
    told = ended(capsys, *LATE, "train.checkpoint=1")
    before = report(), Path("here/metrics.jsonl").read_bytes(), Path("here/model.safetensors").read_bytes()
    take_end("here", checkpoints=0)
    assert ended(capsys, *LATE, "train.checkpoint=1") == told
    after = report(), Path("here/metrics.jsonl").read_bytes(), Path("here/model.safetensors").read_bytes()
    times = dict.fromkeys(("seconds", "samples_per_second"))
    assert (before[0] | times, *before[1:]) == (after[0] | times, *after[1:])


# Arrays.

X = np.random.default_rng(0).standard_normal((60, 3))
PLAIN = [
    "model.hidden=[8]",
    "train.epochs=3",
    "early_stopping=none",
    "lr_decay=none",
    "logger=none",
    "run.dir=here",
]
HELD_OUT = cut(60, [0.7, 0.15, 0.15], 0)["val"]


def test_a_validation_that_is_not_finite_has_no_metrics(capsys):
    for y, nothing in ((X @ [1.0, 2, 3], "rmse"), (np.arange(60) % 3, "accuracy")):
        rows = X.copy()
        rows[HELD_OUT[0]] = 3e38
        with pytest.raises(dlfound.Error, match="the validation loss is not finite after epoch 1") as caught:
            dlfound.train([*PLAIN, f"run.dir={nothing}"], data=(rows, y))
        assert caught.value.code == 5
        found = json.loads(Path(nothing, "report.json").read_text(), parse_constant=pytest.fail)
        assert found["val"][nothing] is None is found["val"]["loss"] and found["best_epoch"] == 0
        assert found["train"][nothing] is not None


def test_a_column_that_does_not_vary_is_nothing_to_predict_from_either():
    rows = X.copy()
    rows[:, 1] = 7
    run = dlfound.train(PLAIN, data=(rows, X @ [1.0, 2, 3]))
    assert run.report["status"] == "done" and None not in run.report["test"].values()
    rows[:, 1] = -1e6
    assert np.isfinite(run.predict(rows)).all()


def test_huge_targets():
    y = X @ [1.0, 2, 3]
    small, huge = (dlfound.train(["run.dir=null", *PLAIN[:-1]], data=(X, y * size)) for size in (1, 2.0**100))
    assert huge.report["test"]["rmse"] == pytest.approx(2.0**100 * small.report["test"]["rmse"], rel=1e-6)
    with pytest.raises(dlfound.Error, match="huge values") as caught:
        dlfound.train(PLAIN, data=(X, y * 1e300))
    assert caught.value.code == 3 and not Path("here").exists()


def test_a_class_that_training_never_sees():
    y = np.array(["a", "b"] * 30)
    y[HELD_OUT[:2]] = "z"
    run = dlfound.train([*PLAIN, "loss=cross_entropy", "loss.class_weight=balanced"], data=(X, y))
    report()
    assert run.report["status"] == "done" and run.report["train"]["auroc"] is None
    assert run.report["val"]["loss"] is not None is not run.report["val"]["f1_macro"]
    assert any("auroc is undefined" in text for text in run.report["warnings"]) == (
        run.report["val"]["auroc"] is None
    )


@pytest.mark.parametrize("words", [["initializer=zeros"], ["initializer=constant", "initializer.value=-1"]])
def test_units_that_cannot_learn_are_a_warning_and_no_error(words, capsys):
    assert main(["train", *WORDS, *words, "train.epochs=2"]) == 0
    err = capsys.readouterr().err
    assert "they stay copies of each other" in err or "dead units" in err
    report()

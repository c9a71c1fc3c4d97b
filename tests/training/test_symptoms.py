"""Warnings: each appears once, everywhere, in a run that deserves it; sound runs get none."""

import json
import re

import numpy as np
import pytest
from support.warnings import FIT, FIXED, SICK, kinds

import dlfound
from dlfound.cli import main
from dlfound.data.split import cut


@pytest.mark.parametrize("name", SICK)
def test_each_warning_once_and_everywhere(name, capsys):
    """The report, log.txt and standard error have the same warnings, and no others."""
    words, expected = SICK[name]
    assert main(["train", *FIXED, *words, "run.dir=here", "--json"]) == 0
    out, err = capsys.readouterr()
    warnings = json.loads(out)["warnings"]
    warned = kinds(warnings)
    wanted = set(expected.split())
    assert len(warned) == len(set(warned)) and set(warned) - (FIT - wanted) == wanted
    assert err.splitlines() == [f"dlfound: warning: {text}" for text in warnings]
    assert not re.search(r"\b(nan|inf|None|True|tensor)\b", err)
    log = (dlfound.open_run("here").path / "log.txt").read_text().splitlines()
    assert [line for line in log if line.startswith("warning: ")] == [f"warning: {text}" for text in warnings]


def test_python_gets_warnings_in_the_report_alone(capsys):
    words, expected = SICK["underfitting"]
    assert kinds(dlfound.train([*FIXED, *words]).report["warnings"]) == [expected]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("common", "rare", "metric"), [(["a", "b"], "c", "auroc"), ([0.5, 0.5], 1.5, "r2")])
def test_a_metric_is_undefined(common, rare, metric):
    """Only the training rows have the class, or the other target, that would make it defined."""
    targets = np.array(common * 30, dtype=object)
    targets[cut(60, [0.7, 0.15, 0.15], 0)["train"][:3]] = rare
    run = dlfound.train([*FIXED, "train.epochs=3"], data=(np.arange(60.0)[:, None], targets))
    assert run.report["val"][metric] is None and run.report["train"][metric] is not None
    assert kinds(run.report["warnings"]).count(metric) == 1


def test_a_diverged_run_is_not_judged(capsys):
    """Its metrics say nothing about the size of the net."""
    assert main(["train", *FIXED, "optim=sgd", "optim.lr=1e6", "train.epochs=2"]) == 5
    assert "fitting" not in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_not_compared(capsys):
    """Weights so large that squares overflow: the error is reported, without shares of NaN."""
    words = ["data=moons", "initializer=normal", "initializer.std=1e19", "train.epochs=2"]
    assert main(["train", *FIXED[:2], *words]) == 5
    err = capsys.readouterr().err
    assert "not finite at the very first step" in err and "nan" not in err and "RuntimeWarning" not in err


# ---- sound settings

CURVED = np.random.default_rng(0).standard_normal((300, 4))
SOUND = {
    "defaults": [],
    "tanh, momentum, cosine": ["activation=tanh", "optim=momentum", "lr_decay=cosine", "train.epochs=12"],
    "sigmoid": ["activation=sigmoid", "data=moons", "train.epochs=20"],
    "elu, circles": ["activation=elu", "data=circles"],
    "selu, rmsprop": ["activation=selu", "optim=rmsprop", "train.epochs=12"],
    "softsign, orthogonal": [
        "activation=softsign", "initializer=orthogonal", "optim=nesterov", "train.epochs=12",
    ],
    "gelu, adamw, one cycle": ["activation=gelu", "optim=adamw", "lr_decay=one_cycle", "train.epochs=12"],
    "maxout": ["activation=maxout", "train.epochs=8"],
    "leaky, batchnorm": ["activation=leaky_relu", "batchnorm=batch", "train.epochs=12"],
    "dropout": ["dropout=standard", "dropout.input=0.2", "dropout.hidden=0.5", "train.epochs=15"],
    "l2, smooth labels, short rows": [
        "regularizer=l2", "constraint=max_norm", "loss=cross_entropy", "loss.label_smoothing=0.1",
        "train.epochs=12",
    ],
    "lbfgs, two classes": ["optim=lbfgs", "data=moons"],
    "hinge": ["loss=hinge"],
    "deep, tanh": ["model.hidden=[64,64,64,64,64,64]", "activation=tanh", "train.epochs=12"],
    "two classes": ["data=passfail"],
    "perceptron": ["model=perceptron", "optim.lr=0.01", "train.epochs=12"],
    "regression": ["data=passfail", "data.target=grade"],
    "regression, huber": ["data=sine", "loss=huber", "train.epochs=40"],
    "full batch": ["train.batch_size=full", "optim.lr=0.003", "train.epochs=60"],
    "regression, two columns": ["train.epochs=40"],
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_sound_settings_get_no_warning(name):
    short = any(word.startswith("train.epochs") for word in SOUND[name])
    words = [*(["early_stopping=none"] if short else []), "logger=none", *SOUND[name]]
    if short and not any(word.startswith("lr_decay") for word in words):
        words.append("lr_decay=none")
    data = (CURVED, np.c_[np.tanh(CURVED[:, 0]), CURVED[:, 1] * 3]) if name.endswith("columns") else None
    assert dlfound.train(words, data=data).report["warnings"] == []

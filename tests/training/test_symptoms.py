"""Warnings: each appears once, everywhere, in a run that deserves it; sound runs get none."""

import json
import re
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import dlfound
from dlfound.cli import main
from dlfound.data.split import cut
from dlfound.nn.initializer import recipe
from dlfound.options.configure import configure
from dlfound.runs.train import load_data
from dlfound.training.assemble import resolve
from dlfound.training.layers import LayerState
from dlfound.training.loop import Epoch
from dlfound.training.symptoms import Symptoms

FIXED = ["early_stopping=none", "lr_decay=none", "logger=none"]
NO_CHANGE = ["optim=sgd", "optim.lr=1e-30", "train.epochs=1"]  # the weights stay the same
ONE_ROW = ["data.rows=10", "data.split=[0.8,0.1,0.1]", "train.epochs=2"]

KINDS = {
    "saturated": r"^saturated units in layer\d",
    "dead": r"^dead units in layer\d",
    "vanishes": r"^the gradient vanishes towards the inputs",
    "explodes": r"^the gradient explodes towards the inputs",
    "copies": r"^all units of layer\d( and layer\d)* have equal weights",
    "large": r"^the training loss jumped .* the learning rate is too large",
    "small": r"^the loss hardly decreases .* the learning rate is too small",
    "over": r"^overfitting: ",
    "under": r"^underfitting, or uninformative inputs: ",
    "auroc": r"^auroc is undefined on the validation rows: it needs rows of every class",
    "r2": r"^r2 is undefined on the validation rows: the target does not vary",
}

# Overrides -> the warnings that the run gets (except those of a poor fit, in cases about something else).
SICK = {
    "saturated": (
        ["activation=tanh", "initializer=normal", "initializer.std=1", "train.epochs=3"],
        "saturated",
    ),
    "dead": (["optim.lr=0.05", "train.epochs=4"], "dead"),
    "vanishing": (["activation=sigmoid", f"model.hidden={[64] * 7}", "train.epochs=3"], "vanishes"),
    "exploding": (
        [f"model.hidden={[64] * 6}", "initializer=normal", "initializer.std=1", "train.epochs=2"],
        "explodes",
    ),
    "constant": (["initializer=constant", "train.epochs=3"], "copies"),
    "zeros": (["initializer=zeros", "activation=sigmoid", "train.epochs=3"], "copies"),
    "zeros of relu": (["initializer=zeros", "train.epochs=2"], "copies"),
    "rate too large": (["optim.lr=0.3", "train.epochs=4"], "dead large"),
    "rate too small": (["optim=sgd", "optim.lr=1e-6", "train.epochs=6"], "small"),
    "overfitting": (["data.split=[0.04,0.48,0.48]", "train.epochs=40"], "over"),
    "underfitting": (["data=xor", "model=perceptron", "train.epochs=12"], "under"),
    "no class": (["data=moons", *ONE_ROW], "auroc"),
    "no variance": (["data=sine", *ONE_ROW], "r2"),
}
FIT = {"over", "under"}


def kinds(warnings: list[str]) -> list[str]:
    """The kind of each warning; each has exactly one."""
    found = [[kind for kind, pattern in KINDS.items() if re.search(pattern, text)] for text in warnings]
    assert all(len(of) == 1 for of in found), warnings
    return [kind for (kind,) in found]


@pytest.mark.parametrize("name", SICK)
def test_each_warning_once_and_everywhere(name, capsys):
    """The report, log.txt and standard error have the same warnings, and no others."""
    words, expected = SICK[name]
    assert main(["train", *FIXED, *words, "run.dir=here", "--json"]) == 0
    out, err = capsys.readouterr()
    warnings = json.loads(out)["warnings"]
    found = kinds(warnings)
    wanted = set(expected.split())
    assert len(found) == len(set(found)) and set(found) - (FIT - wanted) == wanted
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


# ---- the numbers in the warnings, from the saved net and the data alone


@cache
def digits_sample(most: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """The first training rows and their classes."""
    data = load_data(configure([]))
    rows = data.parts["train"][:most]
    return data.inputs[rows], data.targets[rows]


def pre_activations(run, g) -> list[np.ndarray]:
    """Of each hidden layer, in NumPy."""
    weights = {name: t.detach().double().numpy() for name, t in run.model.state_dict().items()}
    h = (digits_sample()[0] - weights["preprocessing.mean"]) / weights["preprocessing.deviation"]
    found = []
    for i in range(len(run.model.body.hidden)):
        found.append(
            h @ weights[f"body.hidden.{i}.linear.weight"].T + weights[f"body.hidden.{i}.linear.bias"]
        )
        h = g(found[-1])
    return found


def the_one(run, kind: str) -> str:
    (text,) = [text for text in run.report["warnings"] if re.search(KINDS[kind], text)]
    return text


def listed(shares: dict[str, float]) -> str:
    return " and ".join(f"{name} ({share:.0%})" for name, share in shares.items() if share > 0.5)


def test_the_share_of_saturated_units():
    """tanh is flat beyond 2.2, where its slope is below a twentieth of that at 0. Only one layer is named."""
    words = ["activation=tanh", "initializer=normal", "initializer.std=0.6", "model.hidden=[16,8]"]
    run = dlfound.train([*FIXED, *NO_CHANGE, *words])
    shares = {f"layer{i}": (np.abs(a) > 2.2).mean() for i, a in enumerate(pre_activations(run, np.tanh), 1)}
    assert shares["layer1"] > 0.55 and shares["layer2"] < 0.45
    assert f"saturated units in {listed(shares)} at the start: " in the_one(run, "saturated")


def test_the_share_of_dead_units():
    run = dlfound.train([*FIXED, "optim.lr=0.05", "train.epochs=1"])
    layers = pre_activations(run, lambda a: np.maximum(a, 0))
    shares = {f"layer{i}": (a <= 0).all(0).mean() for i, a in enumerate(layers, 1)}
    assert shares["layer1"] > 0.6
    assert f"dead units in {listed(shares)} after epoch 1: they are zero for all of 256 rows" in the_one(
        run, "dead"
    )


def test_the_ratio_of_the_gradients():
    """By torch alone, at the pre-activations of the first and the last hidden layer."""
    run = dlfound.train([*FIXED, *NO_CHANGE, "activation=sigmoid", f"model.hidden={[20] * 7}"])
    h, c = (torch.from_numpy(array) for array in digits_sample())
    h, seen = run.model.preprocessing(h), []
    for layer in run.model.body.hidden:
        seen.append(layer.linear(h))
        seen[-1].retain_grad()
        h = seen[-1].sigmoid()
    nn.functional.cross_entropy(run.model.body.output(h), c).backward()
    first, last = (a.grad.double().square().mean().sqrt().item() for a in (seen[0], seen[-1]))
    assert f"in layer1 it is {first / last:.1e} times that in layer7" in the_one(run, "vanishes")


def test_the_losses_in_the_warnings():
    """A jump: from the loss on all training rows to that of the epoch. No progress: losses on the sample."""
    unchanged = dlfound.train([*FIXED, *NO_CHANGE])
    start, whole = cross_entropy(unchanged), cross_entropy(unchanged, 10**6)
    run = dlfound.train([*FIXED, "optim.lr=0.3", "train.epochs=2"])
    first = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0])["train"]["loss"]
    assert f"jumped from {whole:.3g} to {first:.3g} in epoch 1: " in the_one(run, "large")
    run = dlfound.train([*FIXED, "optim=sgd", "optim.lr=1e-6", "train.epochs=3"])
    assert run.report["best_epoch"] == 3
    losses = f"({start:.4g} at the start, {cross_entropy(run):.4g} after epoch 3)"
    assert losses in the_one(run, "small")


def cross_entropy(run, most: int = 256) -> float:
    x, c = digits_sample(most)
    return -np.log(run.probabilities(x)[np.arange(len(x)), c].astype(float)).mean()


def test_the_metrics_in_the_warnings_are_those_of_the_report():
    for name, kind, metric in (
        ("overfitting", "over", "accuracy"),
        ("underfitting", "under", "balanced_accuracy"),
    ):
        run = dlfound.train([*FIXED, *SICK[name][0]])
        there, here = (run.report[part][metric] for part in ("train", "val"))
        assert (
            f": {metric} is {there:.3g} on the training rows and {here:.3g} on the validation rows"
            in the_one(run, kind)
        )


# ---- suggestions

ZEROS = torch.zeros(2, 2)
TROUBLES = {  # changed values of both hidden layers
    "saturated": {"saturated": 0.9}, "dead": {"dead": 0.9}, "vanishes": {"backprop": 1e-9},
    "explodes": {"backprop": 1e9}, "copies": {"copies": True},
}  # fmt: skip


def layer(name: str, **trouble) -> LayerState:
    sound = {
        "saturated": 0.1, "zero": 0.3, "dead": 0.0, "backprop": 1.0, "grad_norm": 1.0, "update_ratio": 1e-3,
        "copies": False,
    }  # fmt: skip
    return LayerState(name, ZEROS, ZEROS, ZEROS, **sound | trouble)


def epoch(number: int, loss: float) -> Epoch:
    found = {"loss": loss, "accuracy": 0.5}
    return Epoch(number, 1.0, found, {**found, "auroc": 0.5}, 1.0, torch.zeros(2), 0.0, 0.0)


def usual(config) -> bool:
    """True if the initializer is the one that auto takes."""
    return config.name("initializer") == recipe(config.build("activation").func)


def all_advice(config) -> list[str]:
    """Every warning that a configuration without auto can get, from made-up numbers."""

    def symptoms() -> Symptoms:
        return Symptoms(config, config["optim"]["lr"], [5, 5, 5], {"train": 700, "val": 150, "test": 150})

    texts = []
    slow = [layer("layer1", update_ratio=1e-9), layer("output", update_ratio=None)]
    for name, trouble in TROUBLES.items():
        if config.name("model") != "mlp" or (name == "copies" and usual(config)):
            continue  # this cannot happen
        states = [
            layer("layer1", **trouble),
            layer("layer2", **{**trouble, "backprop": 1.0}),
            layer("output"),
        ]
        early = symptoms()
        late = symptoms()
        texts += early.start(1.0, 1.0, states)
        texts += late.start(1.0, 1.0, [layer("layer1"), layer("output")]) + late.epoch(
            epoch(1, 1.0), 1.0, states
        )
        assert early.epoch(epoch(1, 1.0), 1.0, states) == []  # reported already
    for number, loss, states in ((1, 9.0, [layer("output")]), (3, 1.0, slow)):
        late = symptoms()
        texts += late.start(1.0, 1.0, states) + late.epoch(epoch(number, loss), 1.0, states)
    for there, here in ((1.0, 0.5), (0.35, 0.34)):
        texts += symptoms().end(*({"accuracy": v, "balanced_accuracy": v} for v in (there, here)))
    return texts


def suggestions(text: str) -> list[str]:
    return re.split(", | or ", text.rpartition("try ")[2])


CHOICES = [
    "", "activation=relu", "activation=tanh", "activation=leaky_relu", "activation=selu", "activation=maxout",
    "initializer=he_normal", "initializer=glorot_uniform", "initializer=zeros", "batchnorm=batch",
    "dropout=standard", "regularizer=l2", "model=perceptron", "optim=lbfgs",
    "activation=tanh initializer=glorot_uniform batchnorm=batch",
    "activation=leaky_relu initializer=he_normal batchnorm=batch", "activation=selu initializer=lecun_normal",
    "activation=leaky_relu batchnorm=batch regularizer=l2 dropout=standard model=mlp",
]  # fmt: skip


@pytest.mark.parametrize("words", CHOICES)
def test_nothing_is_suggested_that_is_chosen_already(words):
    """Neither by its own name nor by `auto`."""
    config = configure(words.split())
    settled, _ = resolve(config, "multiclass")
    texts, rates = all_advice(settled), {f"{config['optim']['lr'] * by:.3g}" for by in (0.1, 100)}
    assert len(texts) == (4 if words == "model=perceptron" else 12 if usual(settled) else 14)
    for text in texts:
        assert all(suggestions(text)) and len(suggestions(text)) == len(set(suggestions(text))), text
        for word in suggestions(text):
            group, equals, option = word.partition("=")
            if group == "optim.lr":
                assert option in rates, text
            elif equals:
                assert option not in (config.name(group), settled.name(group)), text
            assert word != "initializer=auto" or not usual(settled), text


def test_suggestions_are_valid_overrides():
    """Each word that sets something is taken by the command."""
    words = {
        word for text in all_advice(resolve(configure([]), "multiclass")[0]) for word in suggestions(text)
    }
    words = {word for word in words if "=" in word}
    assert {"activation=leaky_relu", "batchnorm=batch", "regularizer=l2", "optim.lr=0.1"} <= words
    for word in words:
        configure([word])


@pytest.mark.parametrize(
    ("number", "loss", "ratio", "warns"),
    [(3, 0.999, 1e-6, True), (2, 0.999, 1e-6, False), (3, 0.9, 1e-6, False), (3, 0.999, 1e-4, False)],
    ids=["no progress", "too early to say", "the loss has fallen", "the weights change"],
)
def test_a_rate_is_too_small_if_neither_loss_nor_weights_change(number, loss, ratio, warns):
    """Small steps alone are no problem, as at the end of a schedule."""
    config, _ = resolve(configure([]), "multiclass")
    symptoms = Symptoms(config, 0.001, [5, 5, 5], {"train": 700, "val": 150, "test": 150})
    symptoms.start(1.0, 1.0, [layer("layer1"), layer("output")])
    states = [layer("layer1", update_ratio=ratio), layer("output", update_ratio=None)]
    assert kinds(symptoms.epoch(epoch(number, loss), loss, states)) == (["small"] if warns else [])


def test_a_schedule_that_ends_with_a_small_rate_gets_no_warning():
    """With random labels and a cosine to zero."""
    rng = np.random.default_rng(0)
    words = [
        "model=perceptron",
        "initializer=zeros",
        "lr_decay=cosine",
        "early_stopping=none",
        "train.epochs=20",
    ]
    run = dlfound.train(words, data=(rng.normal(size=(600, 3)), rng.integers(0, 2, 600)))
    assert "small" not in kinds(run.report["warnings"])


def test_rare_rows_with_large_weights_make_no_jump():
    """One row in a hundred has half of the loss, and the sample has few of them."""
    x, y = np.random.default_rng(0).normal(size=(2000, 4)), np.arange(2000) % 100 == 0
    words = [
        "loss=cross_entropy",
        "loss.class_weight=balanced",
        "optim=sgd",
        "optim.lr=1e-9",
        "train.epochs=2",
    ]
    run = dlfound.train([*FIXED, *words], data=(x, y.astype(int)))
    assert "large" not in kinds(run.report["warnings"])


def test_with_dropout_copies_do_not_stay():
    run = dlfound.train([*FIXED, "initializer=constant", "dropout=standard", "train.epochs=1"])
    assert "only dropout makes them differ" in the_one(run, "copies")


def test_the_last_suggestion():
    """Columns that do not vary: every unit is zero, and all other suggestions are followed already."""
    words = ["batchnorm=batch", "activation=leaky_relu", "train.epochs=2"]
    run = dlfound.train([*FIXED, *words], data=(np.zeros((60, 3)), ["a", "b", "b"] * 20))
    assert the_one(run, "dead").endswith("; try inputs that vary more")

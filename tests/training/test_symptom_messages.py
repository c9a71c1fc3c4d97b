"""The numbers in warnings, and the suggestions."""

import json
import re
from functools import cache

import numpy as np
import pytest
import torch
from support.warnings import FIXED, KINDS, NO_CHANGE, SICK, kinds
from torch import nn

import dlfound
from dlfound.nn.initializer import recipe
from dlfound.options.configure import configure
from dlfound.runs.train import load_data
from dlfound.training.assemble import resolve
from dlfound.training.layers import LayerState
from dlfound.training.loop import Epoch
from dlfound.training.symptoms import Memory, Symptoms

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
    layers = []
    for i in range(len(run.model.body.hidden)):
        layers.append(
            h @ weights[f"body.hidden.{i}.linear.weight"].T + weights[f"body.hidden.{i}.linear.bias"]
        )
        h = g(layers[-1])
    return layers


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
    assert f"dead units in {listed(shares)} after epoch 1: they are zero for all 256 sampled rows" in the_one(
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

SCHEMA = {"class_counts": [5, 5, 5], "split": {"train": 700, "val": 150, "test": 150}}
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
    metrics = {"loss": loss, "accuracy": 0.5}
    return Epoch(number, 1.0, metrics, {**metrics, "auroc": 0.5}, 1.0, torch.zeros(2), 0.0, 0.0)


def usual(config) -> bool:
    """True if the initializer is the one that auto takes."""
    return config.name("initializer") == recipe(config.build("activation").func)


def all_advice(config) -> list[str]:
    """Every warning that a configuration without auto can get, from made-up numbers."""

    def symptoms() -> Symptoms:
        return Symptoms(config, config["optim"]["lr"], SCHEMA, Memory())

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
    symptoms = Symptoms(config, 0.001, SCHEMA, Memory())
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

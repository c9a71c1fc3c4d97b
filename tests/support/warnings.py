"""Trainings that get warnings, and the kinds of warnings."""

import re

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
    matches = [[kind for kind, pattern in KINDS.items() if re.search(pattern, text)] for text in warnings]
    assert all(len(of) == 1 for of in matches), warnings
    return [kind for (kind,) in matches]

"""Warnings about a training. Each sign of trouble is a function that returns a message, or "" if all is well.

A message says what is wrong and what to try. Each sign is reported once in a run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlfound.config.config import Config
from dlfound.nn.initializer import recipe
from dlfound.objective.tasks import Metrics
from dlfound.training.layers import SAMPLE_ROWS, LayerState
from dlfound.training.loop import Epoch
from dlfound.training.metrics import finite

# Thresholds of the signs. The tests train with sound settings of many kinds, and none of them reaches one.
SATURATED = 0.5  # share of a layer's activations on a flat end
DEAD = 0.5  # share of a layer's units that are zero for every row
FADED = 1e-3  # gradient of the first hidden layer over that of the last; its inverse is an exploding gradient
MIN_ROWS_FOR_DEAD = 10  # with fewer rows, a unit may be zero for all of them by chance
JUMP = 1.5  # times the initial loss
REBOUND = 0.25  # times the initial loss: a rise from the lowest loss
NO_PROGRESS = 0.98  # times the initial loss: a higher loss means that nothing was learned
TINY_UPDATE = 1e-5  # change of the weights by a step, over the weights; about 1e-3 is usual
DECAYED_RATE = 0.5  # times the configured rate: a lower rate is small on purpose
PATIENCE_EPOCHS = 3  # a loss without progress is reported from this epoch on
OVERFIT_GAP = {"accuracy": 0.1, "r2": 0.25}  # training minus validation
MIN_SKILL = 1 / 3  # on a scale from a constant prediction (0) to a perfect one (1)
START = "at the start"


@dataclass
class Memory:
    """The part of the symptoms that later epochs depend on. A loss that is not finite is None.

    Attributes:
        reported: the names of the signs that were reported.
        initial_loss, sample_loss: the loss before the first step, on all training rows and on the sample.
        lowest_loss: the lowest training loss of an epoch.
    """

    reported: list[str] = field(default_factory=list)
    initial_loss: float | None = None
    sample_loss: float | None = None
    lowest_loss: float | None = None


class Symptoms:
    """Looks for signs of trouble at the start, after each epoch and at the end; returns the new messages.

    Args:
        config: without `auto` options.
        lr: the configured learning rate.
        schema: the content of schema.json.
        memory: what a resumed run remembers.
    """

    def __init__(self, config: Config, lr: float, schema: Mapping[str, Any], memory: Memory):
        self.config = config
        self.lr = lr
        self.classes = sum(count > 0 for count in schema["class_counts"])  # 0 for numbers and several labels
        self.rows = schema["split"]
        self.memory = memory

    def start(self, initial_loss: float, sample_loss: float, layers: Sequence[LayerState]) -> list[str]:
        """Look before the first step; the losses are the means over the training rows and over the sample."""
        self.memory.initial_loss = finite(initial_loss)
        self.memory.sample_loss = finite(sample_loss)
        return self._report(self._of_layers(layers, START))

    def epoch(self, epoch: Epoch, loss: float, layers: Sequence[LayerState]) -> list[str]:
        """Look after an epoch; `loss` is the mean over the sample, without dropout."""
        messages = self._of_layers(layers, f"after epoch {epoch.number}")
        messages |= {f"undefined {name}": undefined(name, value) for name, value in epoch.val.items()}
        messages["rate"] = jump(self, epoch) or crawl(self, epoch, loss, layers)
        losses = [value for value in (self.memory.lowest_loss, epoch.train["loss"]) if value is not None]
        self.memory.lowest_loss = min(losses, default=None)
        return self._report(messages)

    def end(self, train: Metrics, val: Metrics) -> list[str]:
        """Look at the metrics of the best net."""
        return self._report({"fit": underfitting(self, train, val) or overfitting(self, train, val)})

    def _of_layers(self, layers: Sequence[LayerState], when: str) -> dict[str, str]:
        return {name: sign(self, layers, when) for name, sign in LAYER_SIGNS.items()}

    def _report(self, messages: Mapping[str, str]) -> list[str]:
        """The messages of the signs that are reported for the first time."""
        new = {name: text for name, text in messages.items() if text and name not in self.memory.reported}
        self.memory.reported += new
        return list(new.values())

    def rate(self, factor: float) -> str:
        """The override that multiplies the learning rate."""
        return f"optim.lr={self.lr * factor:.3g}"

    def advice(self, *suggestions: str) -> str:
        """Those of the suggestions that the run does not follow already, as "try a, b or c"."""
        config = self.config
        chosen = {f"{group}={config.name(group)}" for group in config.catalog.groups}
        if f"initializer={recipe(config.build('activation').func)}" in chosen:
            chosen.add("initializer=auto")
        if config["train"]["batch_size"] == 1:
            chosen.add("batchnorm=batch")  # one row has no variance
        if config.name("model") == "perceptron":
            chosen |= {"a larger model.hidden", "a smaller model.hidden"}
        left = [text for text in suggestions if text and text not in chosen] or ["inputs that vary more"]
        return f"try {', '.join(left[:-1])} or {left[-1]}" if len(left) > 1 else f"try {left[0]}"


# ---- layers


def saturated(run: Symptoms, layers: Sequence[LayerState], when: str) -> str:
    """Many activations lie on a flat end of the activation function."""
    names = _above({layer.name: layer.saturated or 0 for layer in layers}, SATURATED)
    if not names:
        return ""
    lower = "" if when == START else run.rate(0.1)
    advice = run.advice("initializer=glorot_uniform", "batchnorm=batch", lower, "smaller weights")
    return f"saturated units in {names} {when}: they pass almost no gradient back; {advice}"


def dead(run: Symptoms, layers: Sequence[LayerState], when: str) -> str:
    """Many units are zero for every row."""
    names = _above({layer.name: layer.dead for layer in layers[:-1] if not layer.copies}, DEAD)
    rows = min(SAMPLE_ROWS, run.rows["train"])
    if not names or rows < MIN_ROWS_FOR_DEAD:
        return ""
    lower = "" if when == START else run.rate(0.1)
    advice = run.advice(lower, "initializer=he_normal", "activation=leaky_relu", "batchnorm=batch")
    effect = f"they are zero for all {rows} sampled rows and cannot learn"
    return f"dead units in {names} {when}: {effect}; {advice}"


def vanishing_gradient(run: Symptoms, layers: Sequence[LayerState], when: str) -> str:
    """The gradient of the first hidden layer is much smaller, or much larger, than that of the last one."""
    hidden = layers[:-1]
    if len(hidden) < 2 or hidden[0].backprop == 0 or hidden[-1].backprop == 0:
        return ""
    ratio = hidden[0].backprop / hidden[-1].backprop
    if FADED <= ratio <= 1 / FADED or math.isnan(ratio):
        return ""
    problem = "vanishes" if ratio < 1 else "explodes"
    numbers = f"in {hidden[0].name} it is {ratio:.1e} times that in {hidden[-1].name}"
    advice = run.advice("initializer=auto", "activation=relu", "batchnorm=batch", "fewer layers")
    return f"the gradient {problem} towards the inputs {when}: {numbers}; {advice}"


def copies(run: Symptoms, layers: Sequence[LayerState], when: str) -> str:
    """All units of a layer have the same weights."""
    names = [layer.name for layer in layers if layer.copies]
    if not names:
        return ""
    has_dropout = run.config["dropout"].get("hidden", 0) > 0
    effect = "only dropout makes them differ" if has_dropout else "they stay copies of each other"
    return f"all units of {' and '.join(names)} have equal weights {when}: {effect}; try initializer=auto"


LAYER_SIGNS = {"saturated": saturated, "dead": dead, "gradient": vanishing_gradient, "copies": copies}


def _above(shares: Mapping[str, float], bound: float) -> str:
    """The layers whose share is above the bound: "layer1 (93%) and layer2 (71%)"."""
    return " and ".join(f"{name} ({share:.0%})" for name, share in shares.items() if share > bound)


# ---- learning rate


def jump(run: Symptoms, epoch: Epoch) -> str:
    """The training loss is far above the initial or the lowest loss."""
    loss = epoch.train["loss"]
    initial = run.memory.initial_loss
    if loss is None or initial is None:
        return ""
    lowest = math.inf if run.memory.lowest_loss is None else run.memory.lowest_loss
    if loss <= min(JUMP * initial, lowest + REBOUND * initial):
        return ""
    numbers = f"from {min(lowest, initial):.3g} to {loss:.3g} in epoch {epoch.number}"
    return f"the training loss jumped {numbers}: the learning rate is too large; {run.advice(run.rate(0.1))}"


def crawl(run: Symptoms, epoch: Epoch, loss: float, layers: Sequence[LayerState]) -> str:
    """Neither the loss on the sample nor the weights change."""
    initial = run.memory.sample_loss
    if epoch.number < PATIENCE_EPOCHS or epoch.lr < DECAYED_RATE * run.lr or initial is None:
        return ""
    ratios = [layer.update_ratio for layer in layers if layer.update_ratio is not None]
    largest = max(ratios, default=math.inf)  # no ratio is known for weights that are zero
    if not loss > NO_PROGRESS * initial or largest >= TINY_UPDATE:
        return ""
    losses = f"{initial:.4g} at the start, {loss:.4g} after epoch {epoch.number}"
    update = f"a step changes the weights by {largest:.0e} of their size (1e-03 is usual)"
    problem = f"the loss hardly decreases ({losses}), and {update}"
    return f"{problem}: the learning rate is too small; {run.advice(run.rate(100))}"


# ---- metrics


def undefined(name: str, value: float | None) -> str:
    """A validation metric is undefined."""
    if value is not None:
        return ""
    reasons = {"r2": "the target does not vary there", "auroc": "it needs rows of every class"}
    return f"{name} is undefined on the validation rows: {reasons.get(name, 'an output is not finite')}"


def overfitting(run: Symptoms, train: Metrics, val: Metrics) -> str:
    """The training rows are predicted much better than the validation rows."""
    name = "accuracy" if "accuracy" in train else "r2"
    if train[name] is None or val[name] is None:
        return ""
    chance = 0.0
    if name == "accuracy":  # two standard errors of the share of validation rows
        chance = 2 * math.sqrt(max(val[name] * (1 - val[name]), 0) / run.rows["val"])
    if train[name] - val[name] <= OVERFIT_GAP[name] + chance:
        return ""
    advice = run.advice("regularizer=l2", "dropout=standard", "a smaller model.hidden", "more rows")
    return f"overfitting: {_both(name, train, val)}; {advice}"


def underfitting(run: Symptoms, train: Metrics, val: Metrics) -> str:
    """Neither the training nor the validation rows are predicted much better than by a constant."""
    constants = {"balanced_accuracy": 1 / max(run.classes, 1), "auroc": 0.5, "r2": 0.0}
    name = next(name for name in constants if name in val)
    constant = constants[name]
    if train[name] is None or val[name] is None:
        return ""
    if max(train[name], val[name]) > constant + MIN_SKILL * (1 - constant):
        return ""
    values = f"{_both(name, train, val)} (a constant prediction gives {constant:.3g})"
    advice = run.advice("model=mlp", "a larger model.hidden", "more train.epochs", "another optim.lr")
    return f"underfitting, or uninformative inputs: {values}; {advice}"


def _both(name: str, train: Metrics, val: Metrics) -> str:
    return f"{name} is {train[name]:.3g} on the training rows and {val[name]:.3g} on the validation rows"

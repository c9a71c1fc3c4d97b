"""What goes wrong in a training, in plain words, each with what to try. Each is told once a run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dlfound.config.config import Config
from dlfound.nn.initializer import recipe
from dlfound.training.layers import SAMPLE_ROWS, LayerState
from dlfound.training.loop import Epoch

Measured = Mapping[str, float | None]

# Where a value starts to be a symptom; none of them is met by the sound settings of the tests.
SATURATED = 0.5  # share of a layer's activations on a flat end
DEAD = 0.5  # share of a layer's units that are zero for every row
FADED = 1e-3  # the first hidden layer's gradient over the last one's; its inverse is an explosion
JUMP = 1.5  # times the loss before any training
REBOUND = 0.25  # of the loss before any training: how far it may climb back from its lowest
STILL = 0.98  # of the loss before any training: above it nothing has been learned
TINY = 1e-5  # update over weight; about 1e-3 is usual
FEW = 10  # rows: fewer say little of a unit
STEADY = 0.5  # of the configured rate: below it, it is meant to be small
PATIENCE = 3  # epochs before a loss that stands still is told
GAP = {"accuracy": 0.1, "r2": 0.25}  # training above validation
SKILL = 1 / 3  # between always the same answer (0) and none wrong (1)
START = "at the start"


@dataclass
class Memory:
    """The part of the symptoms that later epochs depend on. A loss that is not finite is None.

    Attributes:
        reported: the names of the symptoms that were reported: each is reported once a run.
        initial_loss, sample_loss: the loss before the first step, on all training rows and on the sample.
        lowest_loss: the lowest training loss of an epoch.
    """

    reported: list[str] = field(default_factory=list)
    initial_loss: float | None = None
    sample_loss: float | None = None
    lowest_loss: float | None = None

    @property
    def initial(self) -> float:
        """`initial_loss`; NaN, which compares as false, where it is unknown."""
        return math.nan if self.initial_loss is None else self.initial_loss

    @property
    def sample(self) -> float:
        """`sample_loss`; NaN where it is unknown."""
        return math.nan if self.sample_loss is None else self.sample_loss

    @property
    def lowest(self) -> float:
        """`lowest_loss`; infinity before the first epoch."""
        return math.inf if self.lowest_loss is None else self.lowest_loss


class Symptoms:
    """Looks for signs of trouble at the start, after each epoch, and at the end; returns what to say.

    Args:
        config: to suggest what is not chosen already.
        lr: the learning rate as configured.
        class_counts: training rows of each class; empty for numbers and several labels.
        rows: training, validation and test rows.
    """

    def __init__(
        self,
        config: Config,
        lr: float,
        class_counts: Sequence[int],
        rows: Mapping[str, int],
        memory: Memory | None = None,
    ):
        self.config, self.lr, self.rows = config, lr, rows
        self.classes = sum(count > 0 for count in class_counts)
        self.sample = min(SAMPLE_ROWS, rows["train"])
        self.memory = memory or Memory()

    def start(self, whole: float, loss: float, layers: Sequence[LayerState]) -> list[str]:
        """Before the first step; `whole`, `loss`: the mean loss on the training rows and on the sample."""
        self.memory.initial_loss = whole if math.isfinite(whole) else None
        self.memory.sample_loss = loss if math.isfinite(loss) else None
        return self._once({name: sign(layers, START) for name, sign in self._of_layers().items()})

    def epoch(self, epoch: Epoch, loss: float, layers: Sequence[LayerState]) -> list[str]:
        """After an epoch; `loss`: the mean loss on the sample, dropout off."""
        when = f"after epoch {epoch.number}"
        found = {name: sign(layers, when) for name, sign in self._of_layers().items()}
        found |= {f"undefined {name}": self._undefined(name, value) for name, value in epoch.val.items()}
        found["rate"] = self._jumps(epoch) or self._crawls(epoch, loss, layers)
        if epoch.train["loss"] is not None:
            self.memory.lowest_loss = min(self.memory.lowest, epoch.train["loss"])
        return self._once(found)

    def end(self, train: Measured, val: Measured) -> list[str]:
        """Once the best weights are back and measured."""
        return self._once({"fit": self._underfits(train, val) or self._overfits(train, val)})

    def _once(self, found: Mapping[str, str]) -> list[str]:
        new = {name: text for name, text in found.items() if text and name not in self.memory.reported}
        self.memory.reported += new
        return list(new.values())

    def _try(self, *words: str) -> str:
        """The suggestions that are not chosen already."""
        chosen = {f"{group}={self.config.name(group)}" for group in self.config.catalog.groups}
        if f"initializer={recipe(self.config.name('activation'))}" in chosen:
            chosen.add("initializer=auto")
        if self.config["train"]["batch_size"] == 1:
            chosen.add("batchnorm=batch")  # one row has no variance
        if self.config.name("model") == "perceptron":
            chosen |= {"a larger model.hidden", "a smaller model.hidden"}
        left = [word for word in words if word and word not in chosen] or ["inputs that vary more"]
        return "try " + ", ".join(left[:-1]) + " or " * (len(left) > 1) + left[-1]

    def _rate(self, factor: float) -> str:
        return f"optim.lr={self.lr * factor:.3g}"

    # Layers.

    def _of_layers(self) -> dict[str, Callable[[Sequence[LayerState], str], str]]:
        return {
            "saturated": self._saturated,
            "dead": self._dead,
            "gradient": self._gradient,
            "copies": self._copies,
        }

    def _saturated(self, layers: Sequence[LayerState], when: str) -> str:
        where = _shares({layer.name: layer.saturated or 0 for layer in layers}, SATURATED)
        lower = "" if when == START else self._rate(0.1)
        advice = self._try("initializer=glorot_uniform", "batchnorm=batch", lower, "smaller weights")
        return (
            where and f"saturated units in {where} {when}: next to no gradient passes through them; {advice}"
        )

    def _dead(self, layers: Sequence[LayerState], when: str) -> str:
        if self.sample < FEW:
            return ""
        where = _shares({layer.name: layer.dead for layer in layers[:-1] if not layer.copies}, DEAD)
        lower = "" if when == START else self._rate(0.1)
        advice = self._try(lower, "initializer=he_normal", "activation=leaky_relu", "batchnorm=batch")
        told = f"dead units in {where} {when}: zero for every one of {self.sample} rows, so they cannot learn"
        return where and f"{told}; {advice}"

    def _gradient(self, layers: Sequence[LayerState], when: str) -> str:
        hidden = layers[:-1]
        if len(hidden) < 2 or hidden[0].backprop == 0 or hidden[-1].backprop == 0:
            return ""
        share = hidden[0].backprop / hidden[-1].backprop
        if FADED <= share <= 1 / FADED or math.isnan(share):
            return ""
        what = "vanishes" if share < 1 else "explodes"
        told = f"the gradient {what} on its way down {when}: {hidden[0].name} gets {share:.1e} times {hidden[-1].name}'s"
        return (
            f"{told}; {self._try('initializer=auto', 'activation=relu', 'batchnorm=batch', 'fewer layers')}"
        )

    def _copies(self, layers: Sequence[LayerState], when: str) -> str:
        names = [layer.name for layer in layers if layer.copies]
        noisy = self.config["dropout"].get("hidden", 0) > 0
        what = "nothing but dropout tells them apart" if noisy else "they stay copies of each other"
        told = f"all units of {' and '.join(names)} have equal weights {when}: {what}"
        return f"{told}; try initializer=auto" if names else ""

    # The loss.

    def _jumps(self, epoch: Epoch) -> str:
        loss, allowed = epoch.train["loss"], self.memory.lowest + REBOUND * self.memory.initial
        if loss is None or not loss > min(
            JUMP * self.memory.initial, allowed
        ):  # also where nothing is known of the start
            return ""
        before = min(self.memory.lowest, self.memory.initial)
        told = f"the training loss jumped to {loss:.3g} in epoch {epoch.number}, from {before:.3g}"
        return f"{told}: the learning rate is too large; {self._try(self._rate(0.1))}"

    def _crawls(self, epoch: Epoch, loss: float, layers: Sequence[LayerState]) -> str:
        ratios = [layer.update_ratio for layer in layers if layer.update_ratio is not None]
        largest = max(ratios, default=math.inf)  # of weights that are zero nothing is known
        if (
            epoch.number < PATIENCE
            or epoch.lr < STEADY * self.lr
            or not loss > STILL * self.memory.sample  # also if it is unknown
            or largest >= TINY
        ):
            return ""
        told = f"the loss hardly moves: {self.memory.sample:.4g} at the start, {loss:.4g} after epoch {epoch.number}"
        why = f"a step changes the weights by {largest:.0e} of their size, where 1e-03 is usual"
        return f"{told}, and {why}: the learning rate is too small; {self._try(self._rate(100))}"

    # What was measured.

    def _undefined(self, name: str, value: float | None) -> str:
        if value is not None:
            return ""
        why = {
            "r2": "the target does not vary there",
            "auroc": "it needs rows of every class, and rows of others",
        }.get(name, "an output is not finite")
        return f"{name} is undefined on the validation rows: {why}"

    def _overfits(self, train: Measured, val: Measured) -> str:
        name = "accuracy" if "accuracy" in train else "r2"
        there, here = train[name], val[name]
        if there is None or here is None:
            return ""
        chance = 2 * math.sqrt(max(here * (1 - here), 0) / self.rows["val"]) if name == "accuracy" else 0
        if there - here <= GAP[name] + chance:
            return ""
        advice = self._try("regularizer=l2", "dropout=standard", "a smaller model.hidden", "more rows")
        return f"overfitting: {name} {there:.3g} in training, {here:.3g} in validation; {advice}"

    def _underfits(self, train: Measured, val: Measured) -> str:
        same_for_all = {"balanced_accuracy": 1 / max(self.classes, 1), "auroc": 0.5, "r2": 0.0}
        name, same = next((name, value) for name, value in same_for_all.items() if name in val)
        there, here = train[name], val[name]
        if there is None or here is None or max(there, here) > same + SKILL * (1 - same):
            return ""
        told = f"underfitting, or inputs that say little: {name} {there:.3g} in training, {here:.3g} in validation"
        advice = self._try("model=mlp", "a larger model.hidden", "more train.epochs", "another optim.lr")
        return f"{told}, where always the same answer gives {same:.3g}; {advice}"


def _shares(of: Mapping[str, float], bound: float) -> str:
    """layer1 (93%) and layer2 (71%): those above the bound."""
    return " and ".join(f"{name} ({share:.0%})" for name, share in of.items() if share > bound)

"""What training makes small: how wrong the outputs for a row are, as one number, averaged over the rows.
Softmax, or sigmoid for two classes, belongs to the loss: the net's last layer is linear, and predictions apply it.

Each option is a class, made from the number of training rows in each class (none for numbers). Besides the loss itself
it knows the tasks it serves, how many outputs a net needs for it, how targets are encoded, and which class outputs
stand for. `each` gives the loss row by row: for rows that do not count alike.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import lazy_loader

from dlfound.config.setting_types import Fraction, Positive, either, listed, number, word
from dlfound.errors import Code, Error
from dlfound.objective.tasks import BINARY, MULTICLASS, MULTILABEL, REGRESSION, gives_probabilities

torch = lazy_loader.load("torch")

_WEIGHTS = listed("a list of numbers > 0, one a class", number("", lambda v: v > 0), 2, 10_000)
ClassWeight = Annotated[str | list, either(word("none", "balanced"), _WEIGHTS)]


def class_weights(setting: str | list[float], counts: Sequence[int]) -> "torch.Tensor | None":
    """One weight a class: None for all alike; balanced gives rows / (classes * rows of the class).

    A class that has no training rows gets the weight 1. Source: King & Zeng 2001.

    Raises:
        Error: as many weights as there are no classes (code 2).
    """
    if setting == "none":
        return None
    if setting == "balanced":
        return torch.tensor([sum(counts) / (len(counts) * n) if n else 1.0 for n in counts])
    if len(setting) != len(counts):
        what = f"loss.class_weight has {len(setting)} numbers, but there are {len(counts)} classes"
        raise Error(what, "give one number a class, in the order of schema.json", Code.CONFIG)
    return torch.tensor(setting)


class CrossEntropy:
    """-log softmax(outputs)[class]: the negative log-likelihood of the right class.

        softmax(outputs)[k] = exp(outputs[k]) / (exp(outputs[1]) + ... + exp(outputs[K])), K classes

    With `label_smoothing` s the right class counts 1 - s + s/K and each other one s/K; with `class_weight` each row's
    loss is multiplied by its class's, and balanced takes rows / (K rows of the class). The mean is always over rows.

    Source: the lecture, minutes 15 to 18; Bishop 2006, equation 4.108; smoothing: Szegedy et al. 2016.
    """

    tasks = (BINARY, MULTICLASS)

    def __init__(self, counts: Sequence[int] = (), *, label_smoothing: Fraction, class_weight: ClassWeight):
        self.smoothing, self.weights = label_smoothing, class_weights(class_weight, counts)

    def outputs(self, classes: int, columns: int) -> int:
        """How many outputs the net needs: one a class."""
        return classes

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Class numbers (rows,) as the loss takes them."""
        return target.long()

    def __call__(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """The mean over rows; outputs (rows, classes)."""
        entropy = torch.nn.functional.cross_entropy
        if self.weights is None:
            return entropy(outputs, encoded, label_smoothing=self.smoothing)
        return self.each(outputs, encoded).mean()

    def each(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """(rows,): the loss of each row."""
        entropy = torch.nn.functional.cross_entropy
        each = entropy(outputs, encoded, label_smoothing=self.smoothing, reduction="none")
        if self.weights is None:
            return each
        self.weights = self.weights.to(outputs)
        return self.weights[encoded] * each

    def classes(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """The most probable class of each row, (rows,)."""
        return outputs.argmax(1)

    def probabilities(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """Softmax: (rows, classes)."""
        return torch.softmax(outputs, 1)


class BinaryCrossEntropy:
    """-log sigmoid(output) for class 1, -log(1 - sigmoid(output)) for class 0.

        sigmoid(output) = 1 / (1 + exp(-output))

    The net has one output, the log-odds of class 1; of several labels one each, and the mean is over all. With
    `label_smoothing` s the two targets are s/2 and 1 - s/2; with `class_weight` each row's loss is multiplied by its
    class's.

    Source: MIT 6.S191, lecture 1; Bishop 2006, equation 4.90.
    """

    tasks = (BINARY, MULTILABEL)

    def __init__(self, counts: Sequence[int] = (), *, label_smoothing: Fraction, class_weight: ClassWeight):
        if class_weight != "none" and not counts:
            what = f"loss.class_weight={class_weight} is for classes, and the rows have several labels"
            raise Error(what, "loss.class_weight=none, or data.weight", Code.CONFIG)
        self.smoothing, self.weights = label_smoothing, class_weights(class_weight, counts)

    def outputs(self, classes: int, columns: int) -> int:
        """One output: the log-odds of class 1; or one a label."""
        return columns or 1

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Class numbers 0 and 1 as (rows, 1) floats, or (rows, labels)."""
        return target.float() if target.dim() == 2 else target.float().unsqueeze(1)

    def __call__(
        self, outputs: "torch.Tensor", encoded: "torch.Tensor", reduction: str = "mean"
    ) -> "torch.Tensor":
        """The mean over rows and labels; outputs (rows, 1), or (rows, labels)."""
        target = encoded * (1 - self.smoothing) + self.smoothing / 2 if self.smoothing else encoded
        weight = None
        if self.weights is not None:
            self.weights = self.weights.to(outputs)
            weight = torch.lerp(self.weights[0], self.weights[1], encoded)
        return torch.nn.functional.binary_cross_entropy_with_logits(
            outputs, target, weight, reduction=reduction
        )

    def each(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """(rows,): the loss of each row."""
        return self(outputs, encoded, "none").mean(1)

    def classes(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """Class 1 where its probability is above one half: (rows,), or (rows, labels)."""
        found = (outputs > 0).long()
        return found[:, 0] if outputs.shape[1] == 1 else found

    def probabilities(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """(rows, 2): of class 0 and class 1; of several labels (rows, labels): of each one's class 1."""
        return torch.sigmoid(torch.cat([-outputs, outputs], 1) if outputs.shape[1] == 1 else outputs)


class Hinge:
    """The mean over classes of max(0, 1 - output of the right class + output of the other): a margin of 1.

    A row whose right class leads all others by 1 costs nothing. Outputs are scores, not probabilities.

    Source: Weston & Watkins 1999; for two classes Cortes & Vapnik 1995.
    """

    tasks = (BINARY, MULTICLASS)
    probabilities = None  # outputs are scores, not log-odds

    def __init__(self, counts: Sequence[int] = ()):
        pass

    def outputs(self, classes: int, columns: int) -> int:
        """One score a class."""
        return classes

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Class numbers (rows,)."""
        return target.long()

    def __call__(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """The mean over rows; outputs (rows, classes)."""
        return torch.nn.functional.multi_margin_loss(outputs, encoded)

    def each(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """(rows,): the loss of each row."""
        return torch.nn.functional.multi_margin_loss(outputs, encoded, reduction="none")

    def classes(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """The class with the highest score, (rows,)."""
        return outputs.argmax(1)


class _Numbers:
    """What the losses for numbers share: one output a column of the target, which is standardised."""

    tasks = (REGRESSION,)

    def __init__(self, function, **settings):
        self._function, self._settings = function, settings

    def outputs(self, classes: int, columns: int) -> int:
        """One output a column of the target."""
        return columns

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Standardised numbers (rows, columns)."""
        return target.float()

    def __call__(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """The mean over rows and columns; outputs (rows, columns)."""
        return self._function(outputs, encoded, **self._settings)

    def each(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """(rows,): the loss of each row, the mean over its columns."""
        return self._function(outputs, encoded, **self._settings, reduction="none").mean(1)


def mse(counts: Sequence[int] = ()) -> _Numbers:
    """(output - target)^2, the mean over rows and over the columns of the target, which is standardised.

    Large errors count most. The single answer that makes it smallest is the mean.

    Source: MIT 6.S191, lecture 1; Bishop 2006, equation 1.2.
    """
    return _Numbers(torch.nn.functional.mse_loss)


def mae(counts: Sequence[int] = ()) -> _Numbers:
    """|output - target|: outliers pull no harder than other rows; aims at the median.

    Source: Bishop 2006, section 1.5.5.
    """
    return _Numbers(torch.nn.functional.l1_loss)


def huber(counts: Sequence[int] = (), *, delta: Positive) -> _Numbers:
    """Half the square of errors up to delta (in deviations of the target), growing linearly beyond.

        e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2), with e = output - target

    Near the target it is as smooth as mse, far from it as patient with outliers as mae.

    Source: Huber 1964.
    """
    return _Numbers(torch.nn.functional.huber_loss, delta=delta)


class Weighted:
    """A loss under which rows do not count alike: the mean of each row's loss times its weight, which is 1 on average.

    Args:
        name: the word that chose the loss.

    Raises:
        Error: a registered loss that does not tell the loss of each row (code 2).
    """

    def __init__(self, name: str, loss: Any):
        if not hasattr(loss, "each"):
            what = f"loss={name} does not tell the loss of each row, which data.weight needs"
            raise Error(what, "give it a method each(outputs, encoded), or data.weight=null", Code.CONFIG)
        self.loss, self.outputs, self.encode = loss, loss.outputs, loss.encode
        self.classes = getattr(loss, "classes", None)  # a loss for numbers has none
        self.probabilities = loss.probabilities if gives_probabilities(loss) else None

    def packed(self, encoded: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
        """Encoded targets and (rows,) weights as one tensor, the weights in its last column."""
        self._classes = encoded.dim() == 1
        mean = weights.mean()
        weights = torch.where(mean > 0, weights / mean, weights)
        return torch.cat([encoded.view(len(encoded), -1).double(), weights[:, None].double()], 1).float()

    def __call__(self, outputs: "torch.Tensor", packed: "torch.Tensor") -> "torch.Tensor":
        """The mean over rows; `packed`: as above."""
        encoded = packed[:, 0].long() if self._classes else packed[:, :-1]
        return (self.loss.each(outputs, encoded) * packed[:, -1]).mean()


def auto(counts: Sequence[int] = ()) -> None:
    """cross_entropy for several classes, binary_cross_entropy for two and for several labels, mse for numbers.

    The run says which one it took.
    """
    raise TypeError("auto stands for another option: choose recipe(task)")


TABLE = {
    "auto": auto,
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "hinge": Hinge,
    "mse": mse,
    "mae": mae,
    "huber": huber,
}

TASKS = {name: made.tasks for name, made in TABLE.items() if hasattr(made, "tasks")} | dict.fromkeys(
    ("mse", "mae", "huber"), _Numbers.tasks
)
"""Loss -> the tasks it serves; what is registered from Python is not in it."""


def recipe(task: str) -> str:
    """The option that `auto` stands for with this task."""
    bce = "binary_cross_entropy"
    return {MULTICLASS: "cross_entropy", BINARY: bce, MULTILABEL: bce, REGRESSION: "mse"}[task]

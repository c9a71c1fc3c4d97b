"""The error that training minimises: how wrong the outputs for a row are, averaged over the rows.
The net's last layer is linear. Softmax (sigmoid for two classes) belongs to the loss and to predictions.

Each option is a class, or a function that returns an object. It takes the number of training rows in each
class (none for numbers). It has the `tasks` that it serves, the number of `outputs` that the net needs, and
`encode` for the targets. A call gives the mean over rows, and `each` the loss of each row, for weighted rows.
A loss of classes also turns outputs into `classes`, and into `probabilities` unless its outputs are scores.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import lazy_loader

from dlfound.config.setting_types import Fraction, Positive, either, listed, number, word
from dlfound.errors import Code, Error
from dlfound.objective.tasks import BINARY, MULTICLASS, MULTILABEL, REGRESSION, gives_probabilities

torch = lazy_loader.load("torch")

_WEIGHTS = listed("a list of numbers > 0, one per class", number("", lambda v: v > 0), 2, 10_000)
ClassWeight = Annotated[str | list, either(word("none", "balanced"), _WEIGHTS)]


def class_weights(setting: str | list[float], counts: Sequence[int]) -> "torch.Tensor | None":
    """The weight of each class, (classes,); None if all classes count the same.

    `balanced` gives rows / (classes * rows of the class), and 1 for a class without training rows.
    Source: King & Zeng 2001.

    Raises:
        Error: the number of weights is not the number of classes (code 2).
    """
    if setting == "none":
        return None
    if setting == "balanced":
        return torch.tensor([sum(counts) / (len(counts) * n) if n else 1.0 for n in counts])
    if len(setting) != len(counts):
        message = f"loss.class_weight has {len(setting)} numbers, but the data have {len(counts)} classes"
        raise Error(message, "give one number per class, in the order of schema.json", Code.CONFIG)
    return torch.tensor(setting)


class _Loss:
    """A loss that is called as loss(outputs, encoded, reduction)."""

    def each(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """The loss of each row, averaged over its columns, (rows,)."""
        each = self(outputs, encoded, "none")
        return each if each.dim() == 1 else each.mean(1)


class _ClassLoss(_Loss):
    """A loss of classes: the net has one output per class, and the highest output is the predicted class."""

    tasks = (BINARY, MULTICLASS)

    def outputs(self, classes: int, columns: int) -> int:
        """One output per class."""
        return classes

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Class numbers (rows,), as int64."""
        return target.long()

    def classes(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """The class with the highest output, (rows,)."""
        return outputs.argmax(1)


class CrossEntropy(_ClassLoss):
    """-log softmax(outputs)[class]: the negative log-likelihood of the right class.

        softmax(outputs)[k] = exp(outputs[k]) / (exp(outputs[1]) + ... + exp(outputs[K])), K classes

    With `label_smoothing` s, the right class counts 1 - s + s/K and each other class s/K. With
    `class_weight`, each row's loss is multiplied by the weight of its class; balanced sets that weight to
    rows / (K rows of the class). The loss is always averaged over rows.

    Source: the lecture, minutes 15 to 18; Bishop 2006, equation 4.108; smoothing: Szegedy et al. 2016.
    https://arxiv.org/abs/1512.00567
    """

    def __init__(self, counts: Sequence[int] = (), *, label_smoothing: Fraction, class_weight: ClassWeight):
        self.smoothing = label_smoothing
        self.weights = class_weights(class_weight, counts)

    def __call__(self, outputs, encoded, reduction: str = "mean") -> "torch.Tensor":
        """The mean over rows. outputs: (rows, classes); encoded: (rows,)."""
        entropy = torch.nn.functional.cross_entropy
        if self.weights is None:
            return entropy(outputs, encoded, label_smoothing=self.smoothing, reduction=reduction)
        self.weights = self.weights.to(outputs)
        each = entropy(outputs, encoded, label_smoothing=self.smoothing, reduction="none")
        each = self.weights[encoded] * each
        return each.mean() if reduction == "mean" else each

    def probabilities(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """The softmax of the outputs, (rows, classes)."""
        return torch.softmax(outputs, 1)


class BinaryCrossEntropy(_Loss):
    """-log sigmoid(output) for class 1, -log(1 - sigmoid(output)) for class 0.

        sigmoid(output) = 1 / (1 + exp(-output))

    The net has one output, the log-odds of class 1. With several labels per row, it has one output per label,
    and the loss is averaged over all labels. With `label_smoothing` s, the two targets are s/2 and 1 - s/2.
    With `class_weight`, each row's loss is multiplied by the weight of its class.

    Source: MIT 6.S191, lecture 1; Bishop 2006, equation 4.90.
    """

    tasks = (BINARY, MULTILABEL)

    def __init__(self, counts: Sequence[int] = (), *, label_smoothing: Fraction, class_weight: ClassWeight):
        if class_weight != "none" and not counts:
            message = f"loss.class_weight={class_weight} needs one class per row, not several labels"
            raise Error(
                message, "use loss.class_weight=none, or weight the rows with data.weight", Code.CONFIG
            )
        self.smoothing = label_smoothing
        self.weights = class_weights(class_weight, counts)

    def outputs(self, classes: int, columns: int) -> int:
        """One output, or one per label."""
        return columns or 1

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Classes 0 and 1 as floats, (rows, 1) or (rows, labels)."""
        return target.float() if target.dim() == 2 else target.float().unsqueeze(1)

    def __call__(self, outputs, encoded, reduction: str = "mean") -> "torch.Tensor":
        """The mean over rows and labels. outputs, encoded: (rows, 1) or (rows, labels)."""
        target = encoded * (1 - self.smoothing) + self.smoothing / 2 if self.smoothing else encoded
        weight = None
        if self.weights is not None:
            self.weights = self.weights.to(outputs)
            weight = torch.lerp(self.weights[0], self.weights[1], encoded)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits
        return entropy(outputs, target, weight, reduction=reduction)

    def classes(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """1 where its probability is above one half, else 0: (rows,) or (rows, labels)."""
        predicted = (outputs > 0).long()
        return predicted[:, 0] if outputs.shape[1] == 1 else predicted

    def probabilities(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """Of classes 0 and 1, (rows, 2); with several labels, of class 1 of each label, (rows, labels)."""
        return torch.sigmoid(torch.cat([-outputs, outputs], 1) if outputs.shape[1] == 1 else outputs)


class Hinge(_ClassLoss):
    """max(0, 1 - output of the right class + output of another class), averaged over classes: a margin of 1.

    A row whose right class leads all others by 1 has zero loss. Outputs are scores, not probabilities.

    Source: Weston & Watkins 1999; for two classes Cortes & Vapnik 1995.
    """

    probabilities = None  # outputs are scores, not log-odds

    def __init__(self, counts: Sequence[int] = ()):
        pass

    def __call__(self, outputs, encoded, reduction: str = "mean") -> "torch.Tensor":
        """The mean over rows. outputs: (rows, classes); encoded: (rows,)."""
        return torch.nn.functional.multi_margin_loss(outputs, encoded, reduction=reduction)


class _RegressionLoss(_Loss):
    """A loss of numbers: the net has one output per column of the target, which is standardised."""

    tasks = (REGRESSION,)

    def __init__(self, function: Callable, **settings: float):
        self._function = function
        self._settings = settings

    def outputs(self, classes: int, columns: int) -> int:
        """One output per column of the target."""
        return columns

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Standardised numbers (rows, columns), as float32."""
        return target.float()

    def __call__(self, outputs, encoded, reduction: str = "mean") -> "torch.Tensor":
        """The mean over rows and columns. outputs, encoded: (rows, columns)."""
        return self._function(outputs, encoded, **self._settings, reduction=reduction)


def mse(counts: Sequence[int] = ()) -> _RegressionLoss:
    """(output - target)^2, averaged over rows and over the columns of the target, which is standardised.

    Large errors count most. The best constant prediction is the mean of the targets.

    Source: MIT 6.S191, lecture 1; Bishop 2006, equation 1.2.
    """
    return _RegressionLoss(torch.nn.functional.mse_loss)


def mae(counts: Sequence[int] = ()) -> _RegressionLoss:
    """|output - target|: outliers have no more influence than other rows.

    The best constant prediction is the median of the targets.

    Source: Bishop 2006, section 1.5.5.
    """
    return _RegressionLoss(torch.nn.functional.l1_loss)


def huber(counts: Sequence[int] = (), *, delta: Positive) -> _RegressionLoss:
    """Half the squared error up to delta, and linear beyond; delta is in standard deviations of the target.

        e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2), with e = output - target

    It is smooth near the target, as mse, and robust to outliers, as mae.

    Source: Huber 1964.
    """
    return _RegressionLoss(torch.nn.functional.huber_loss, delta=delta)


mse.tasks = mae.tasks = huber.tasks = _RegressionLoss.tasks


class Weighted:
    """A loss with a weight for each row: the mean of weight times loss, with weights scaled to a mean of 1.

    Args:
        name: the option of the loss, for messages.

    Raises:
        Error: a registered loss cannot give the loss of each row (code 2).
    """

    def __init__(self, name: str, loss: Any):
        if not hasattr(loss, "each"):
            message = f"data.weight needs the loss of each row, which loss={name} does not give"
            raise Error(message, "give it a method each(outputs, encoded), or data.weight=null", Code.CONFIG)
        self.loss = loss
        self.outputs = loss.outputs
        self.encode = loss.encode
        self.classes = getattr(loss, "classes", None)  # None for numbers
        self.probabilities = loss.probabilities if gives_probabilities(loss) else None

    def packed(self, encoded: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
        """Encoded targets and weights (rows,) as one tensor, with the weights in the last column."""
        self._classes = encoded.dim() == 1
        mean = weights.mean()
        weights = torch.where(mean > 0, weights / mean, weights)
        return torch.cat([encoded.view(len(encoded), -1).double(), weights[:, None].double()], 1).float()

    def __call__(self, outputs: "torch.Tensor", packed: "torch.Tensor") -> "torch.Tensor":
        """The weighted mean over rows; `packed` as `self.packed` returns it."""
        encoded = packed[:, 0].long() if self._classes else packed[:, :-1]
        return (self.loss.each(outputs, encoded) * packed[:, -1]).mean()


AUTO = {
    BINARY: "binary_cross_entropy",
    MULTICLASS: "cross_entropy",
    MULTILABEL: "binary_cross_entropy",
    REGRESSION: "mse",
}
"""Task -> the loss that `auto` stands for."""


def auto(counts: Sequence[int] = ()) -> None:
    """cross_entropy for several classes, binary_cross_entropy for two or for several labels, mse for numbers.

    The run reports which one it uses.
    """
    raise TypeError("auto stands for another option: replace it by AUTO[task]")


TABLE = {
    "auto": auto,
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "hinge": Hinge,
    "mse": mse,
    "mae": mae,
    "huber": huber,
}

TASKS = {name: option.tasks for name, option in TABLE.items() if hasattr(option, "tasks")}
"""Loss -> the tasks that it serves; without the losses that people register from Python."""

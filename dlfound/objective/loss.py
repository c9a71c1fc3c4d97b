"""Losses. Each option is a class with the tasks it serves, and what belongs to it: encoding, prediction."""

import lazy_loader

from dlfound.objective.tasks import BINARY, MULTICLASS, REGRESSION

torch = lazy_loader.load("torch")


class CrossEntropy:
    """-log softmax(outputs)[class]: the negative log-likelihood of the right class.

    Source: the lecture, minutes 15 to 18; Bishop 2006, equation 4.108.
    """

    tasks = (BINARY, MULTICLASS)

    def outputs(self, classes: int, columns: int) -> int:
        """How many outputs the net needs: one a class."""
        return classes

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Class numbers (rows,) as the loss takes them."""
        return target.long()

    def __call__(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """The mean over rows; outputs (rows, classes)."""
        return torch.nn.functional.cross_entropy(outputs, encoded)

    def probabilities(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """Softmax: (rows, classes)."""
        return torch.softmax(outputs, 1)


class BinaryCrossEntropy:
    """-log sigmoid(output) for class 1, -log(1 - sigmoid(output)) for class 0.

    Source: MIT 6.S191, lecture 1; Bishop 2006, equation 4.90.
    """

    tasks = (BINARY,)

    def outputs(self, classes: int, columns: int) -> int:
        """One output: the log-odds of class 1."""
        return 1

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Class numbers 0 and 1 as (rows, 1) floats."""
        return target.float().unsqueeze(1)

    def __call__(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """The mean over rows; outputs (rows, 1)."""
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs, encoded)

    def probabilities(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """(rows, 2): of class 0 and class 1."""
        return torch.sigmoid(torch.cat([-outputs, outputs], 1))


class MSE:
    """(output - target)^2, the mean over rows and over the columns of the target, which is standardised.

    Source: MIT 6.S191, lecture 1; Bishop 2006, equation 1.2.
    """

    tasks = (REGRESSION,)

    def outputs(self, classes: int, columns: int) -> int:
        """One output a column of the target."""
        return columns

    def encode(self, target: "torch.Tensor") -> "torch.Tensor":
        """Standardised numbers (rows, columns)."""
        return target.float()

    def __call__(self, outputs: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """The mean over rows and columns; outputs (rows, columns)."""
        return torch.nn.functional.mse_loss(outputs, encoded)


def auto() -> None:
    """cross_entropy for several classes, binary_cross_entropy for two, mse for numbers."""
    raise TypeError("auto stands for another option: choose recipe(task)")


TABLE = {"auto": auto, "cross_entropy": CrossEntropy, "binary_cross_entropy": BinaryCrossEntropy, "mse": MSE}


def recipe(task: str) -> str:
    """The option that `auto` stands for with this task."""
    return {MULTICLASS: "cross_entropy", BINARY: "binary_cross_entropy", REGRESSION: "mse"}[task]

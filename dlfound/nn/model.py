"""The kinds of net. Each option returns the widths of the hidden layers, from the input up."""

from dlfound.config.kinds import Widths


def mlp(*, hidden: Widths) -> list[int]:
    """A multi-layer perceptron: any number of hidden layers, a = W h + b and h = g(a).

    Source: the lecture, minutes 2 to 4; Rumelhart, Hinton & Williams 1986.
    """
    return hidden


def perceptron() -> list[int]:
    """No hidden layer: one linear unit for each output.

    Source: Rosenblatt 1958; MIT 6.S191, lecture 1.
    """
    return []


TABLE = {"mlp": mlp, "perceptron": perceptron}

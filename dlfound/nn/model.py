"""The kind of net: how many hidden layers lie between inputs and outputs, and how wide each of them is.
An output layer follows, which is linear; its width depends on the data and the loss.

Each option returns the widths of the hidden layers, from the input up.
"""

from dlfound.config.setting_types import Widths


def mlp(*, hidden: Widths) -> list[int]:
    """A multi-layer perceptron: any number of hidden layers, a = W h + b and h = g(a).

    The h on the right is that of the layer below, or the inputs; g is the activation. `hidden` lists the
    widths from the input up: [64] is one hidden layer, [128, 64] are two.

    Source: the lecture, minutes 2 to 4; Rumelhart, Hinton & Williams 1986.
    """
    return hidden


def perceptron() -> list[int]:
    """No hidden layer: each output is a linear unit.

    Between two classes it can only draw a straight line or a plane. The contrast shows what hidden layers do.

    Source: Rosenblatt 1958; MIT 6.S191, lecture 1.
    """
    return []


TABLE = {"mlp": mlp, "perceptron": perceptron}

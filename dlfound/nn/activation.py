"""Activations h = g(a): each option returns a module of torch.nn, applied unit by unit."""

import lazy_loader

torch = lazy_loader.load("torch")


def sigmoid() -> "torch.nn.Module":
    """1 / (1 + exp(-a)): between 0 and 1, saturates at both ends.

    Source: the lecture, minute 4; Rumelhart, Hinton & Williams 1986.
    """
    return torch.nn.Sigmoid()


def tanh() -> "torch.nn.Module":
    """(exp(a) - exp(-a)) / (exp(a) + exp(-a)): between -1 and 1, centred on zero, saturates at both ends.

    Source: the lecture, minute 5; LeCun et al. 1998, "Efficient BackProp", section 4.4.
    """
    return torch.nn.Tanh()


def relu() -> "torch.nn.Module":
    """max(0, a): does not saturate above zero, and makes exact zeros below.

    Source: the lecture, minute 6; Glorot, Bordes & Bengio 2011.
    """
    return torch.nn.ReLU()


TABLE = {"sigmoid": sigmoid, "tanh": tanh, "relu": relu}

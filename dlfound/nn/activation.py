"""The function that a hidden unit applies to its pre-activation a, the weighted sum of its inputs plus a
bias: h = g(a). Without it, a net of any depth would be one linear map. The output layer has no activation.

Each option returns a torch.nn module that is applied to each unit. The attribute `initializer` of an option
is the initializer that `initializer=auto` takes for it; it takes glorot_uniform for an option without that
attribute.
"""

from typing import Annotated

import lazy_loader

from dlfound.config.setting_types import NonNegative, Positive, whole

torch = lazy_loader.load("torch")

Pieces = Annotated[int, whole("a whole number in 2...16", 2, 16)]


def sigmoid() -> "torch.nn.Module":
    """1 / (1 + exp(-a)): values between 0 and 1, which saturate at both ends.

    Its slope, h (1 - h), is at most 1/4 and almost zero where |a| is large, so gradients vanish in a deep
    net.

    Source: the lecture, minute 4; Rumelhart, Hinton & Williams 1986.
    """
    return torch.nn.Sigmoid()


def tanh() -> "torch.nn.Module":
    """(exp(a) - exp(-a)) / (exp(a) + exp(-a)): values between -1 and 1, which saturate at both ends.

    It is a stretched sigmoid, 2 sigmoid(2a) - 1. Its outputs are centred on zero, which suits the next layer
    better than the positive outputs of the sigmoid.

    Source: the lecture, minute 5; LeCun et al. 1998, "Efficient BackProp", section 4.4.
    """
    return torch.nn.Tanh()


def relu() -> "torch.nn.Module":
    """max(0, a): it does not saturate above zero, and gives exact zeros below.

    An active unit passes the gradient unchanged, an inactive unit passes none. A unit that is inactive on
    every row has stopped learning.

    Source: the lecture, minute 6; Glorot, Bordes & Bengio 2011.
    https://proceedings.mlr.press/v15/glorot11a.html
    """
    return torch.nn.ReLU()


relu.initializer = "he_normal"


def leaky_relu(*, slope: NonNegative) -> "torch.nn.Module":
    """a above zero, slope times a below: no unit can die.

    Some gradient passes below zero too, so a unit that is negative on every row can recover.

    Source: Maas, Hannun & Ng 2013.
    """
    return torch.nn.LeakyReLU(slope)


leaky_relu.initializer = "he_normal"


def elu(*, alpha: Positive) -> "torch.nn.Module":
    """a above zero, alpha (exp(a) - 1) below: the mean of the activations is near zero.

    Far below zero it approaches -alpha. With alpha = 1, its slope is continuous at zero.

    Source: Clevert, Unterthiner & Hochreiter 2016.
    https://arxiv.org/abs/1511.07289
    """
    return torch.nn.ELU(alpha)


elu.initializer = "he_normal"


def selu() -> "torch.nn.Module":
    """ELU with the scale and the alpha that keep mean 0 and variance 1 from layer to layer.

        1.0507 a above zero, 1.0507 * 1.6733 (exp(a) - 1) below

    This needs standardised inputs and the initializer lecun_normal, which initializer=auto takes for it.

    Source: Klambauer et al. 2017, equation 2.
    https://arxiv.org/abs/1706.02515
    """
    return torch.nn.SELU()


selu.initializer = "lecun_normal"


def gelu() -> "torch.nn.Module":
    """a Phi(a), where Phi is the distribution function of the normal distribution: a smooth ReLU.

    Phi(a) is the probability that a standard normal number lies below a.
    The minimum of a Phi(a) is -0.17, near a = -0.75.

    Source: Hendrycks & Gimpel 2016.
    https://arxiv.org/abs/1606.08415
    """
    return torch.nn.GELU()


gelu.initializer = "he_normal"


def silu() -> "torch.nn.Module":
    """a sigmoid(a), also called swish: a smooth ReLU.

    The minimum is -0.28, near a = -1.28; further down it goes to zero.

    Source: Elfwing, Uchibe & Doya 2018; Ramachandran, Zoph & Le 2017.
    https://arxiv.org/abs/1702.03118, https://arxiv.org/abs/1710.05941
    """
    return torch.nn.SiLU()


silu.initializer = "he_normal"


def softplus() -> "torch.nn.Module":
    """log(1 + exp(a)): a smooth ReLU that is never zero.

    Its slope is sigmoid(a). All outputs are positive: 0.69 at a = 0.

    Source: Dugas et al. 2001; Glorot, Bordes & Bengio 2011.
    """
    return torch.nn.Softplus()


def softsign() -> "torch.nn.Module":
    """a / (1 + |a|): it is like tanh, but saturates slowly.

    Its slope, 1 / (1 + |a|)^2, falls with the square of a; the slope of tanh falls exponentially.

    Source: Bergstra et al. 2009; Glorot & Bengio 2010.
    """
    return torch.nn.Softsign()


def mish() -> "torch.nn.Module":
    """a tanh(softplus(a)): a smooth ReLU, close to silu.

    Here softplus(a) = log(1 + exp(a)). The minimum is -0.31, near a = -1.19.

    Source: Misra 2020.
    https://arxiv.org/abs/1908.08681
    """
    return torch.nn.Mish()


mish.initializer = "he_normal"


def identity() -> "torch.nn.Module":
    """a itself: a net of any depth is then one linear map.

    Source: MIT 6.S191, lecture 1: why a net needs a nonlinearity.
    """
    return torch.nn.Identity()


def maxout(*, pieces: Pieces) -> "torch.nn.Module":
    """The largest of several linear functions: each unit learns a convex function.

        h = max(w_1 x + b_1, ..., w_k x + b_k), with the layer's inputs x and k pieces

    A layer has `pieces` times as many weights as other layers of its width.

    Source: Goodfellow et al. 2013.
    https://arxiv.org/abs/1302.4389
    """
    from dlfound.nn.modules import Maxout  # imports torch

    return Maxout(pieces)


TABLE = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "softplus": softplus,
    "softsign": softsign,
    "mish": mish,
    "identity": identity,
    "maxout": maxout,
}

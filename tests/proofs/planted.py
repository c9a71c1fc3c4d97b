"""Faults to plant: registered options with one fault each, and two that are sound."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dlfound
from dlfound.nn.modules import BatchNorm
from dlfound.objective.loss import CrossEntropy
from proofs.planted_data import DATA

# Activations and a normalisation.


def wrong_backward(backward: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], nn.Module]:
    """Build a tanh whose backward pass is the given function of (gradient, output)."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a: Tensor) -> Tensor:
            h = torch.tanh(a)
            ctx.save_for_backward(h)
            return h

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            return backward(gradient, *ctx.saved_tensors)

    return module(Function.apply)


def module(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    """Build a module that applies a function."""

    class Applied(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            return function(a)

    return Applied


class Offset(nn.Module):
    """A ReLU with a bias of two dimensions, which a penalty takes for a weight matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.full((1, 1), 0.1))

    def forward(self, a: Tensor) -> Tensor:
        return torch.relu(a + self.offset)


class DetachedStatistics(nn.Module):
    """A batch normalisation without the gradient through its statistics."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, a: Tensor) -> Tensor:
        return self.gain * (a - a.mean(0).detach()) / (a.std(0).detach() + 1e-5)


ACTIVATIONS = {
    "double_backward": wrong_backward(lambda g, h: 2 * g * (1 - h * h)),
    "slope_of_sigmoid": wrong_backward(lambda g, h: g * h * (1 - h)),
    "negative_backward": wrong_backward(lambda g, h: -g * (1 - h * h)),
    "wrong_for_few": wrong_backward(lambda g, h: g * (1 - h * h) * (1 + (h > 0.9))),
    "detached": module(lambda a: torch.tanh(a.detach())),
    "half_detached": module(lambda a: torch.relu(a) * torch.sigmoid(a).detach()),
    "dead": module(lambda a: torch.relu(a - 10)),
    "constant_output": module(lambda a: 0 * a + 0.5),
    "mixes_rows": module(lambda a: torch.relu(a - a.mean(0))),
    "softmax_over_rows": module(lambda a: torch.softmax(a, 0)),
    "noisy": module(lambda a: torch.relu(a + 0.1 * torch.randn(a.shape))),
    "offset": Offset,
    "own_relu": module(lambda a: torch.relu(a)),
}


# Initializers, losses, a penalty, optimizers.


def pairs(weight: Tensor, generator: torch.Generator) -> None:
    """He's initialisation in which every second unit equals the one before it, on both sides."""
    weight.normal_(0, (2 / weight.shape[1]) ** 0.5, generator=generator)
    weight[1::2] = weight[: len(weight) - len(weight) % 2 : 2]
    weight[:, 1::2] = weight[:, : weight.shape[1] - weight.shape[1] % 2 : 2]


def global_generator(weight: Tensor, generator: torch.Generator) -> None:
    """Draw from the global generator."""
    weight.normal_(0, (2 / weight.shape[1]) ** 0.5)


class SoftmaxTwice(CrossEntropy):
    """A cross-entropy that is given probabilities in place of logits."""

    def __init__(self, counts=()):
        super().__init__(counts, label_smoothing=0.0, class_weight="none")

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        return super().__call__(torch.softmax(outputs, 1), encoded)


class WrongSign(SoftmaxTwice):
    """The log-likelihood, which training then lowers."""

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        return torch.log_softmax(outputs, 1).gather(1, encoded[:, None]).mean()


class Summed(SoftmaxTwice):
    """The sum over rows in place of the mean."""

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        return F.cross_entropy(outputs, encoded, reduction="sum")


class Detached(SoftmaxTwice):
    """A loss without a gradient."""

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        return F.cross_entropy(outputs.detach(), encoded)


class PartlyDetached(SoftmaxTwice):
    """A loss without the gradient of its normalisation."""

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        right = outputs.gather(1, encoded[:, None])[:, 0]
        return (outputs.logsumexp(1).detach() - right).mean()


def partly_detached_penalty(weights) -> Tensor:
    """An L2 penalty with one of its two factors detached."""
    return 0.01 * sum((w * w.detach()).sum() for w in weights)


class Frozen:
    """SGD that never changes the first tensor."""

    slots = ()

    def __init__(self, *, lr: float = 0.1):
        self.lr = lr

    whole = True

    def rule(self, w, g, slots, t, layout):
        step = self.lr * g
        step[: layout.sizes[0]] = 0
        return w - step, ()


class Uphill:
    """SGD that goes up the gradient."""

    slots = ()

    def __init__(self, *, lr: float = 0.1):
        self.lr = lr

    def rule(self, w, g, slots, t):
        return w + self.lr * g, ()


OPTIONS = {
    "activation": ACTIVATIONS,
    "initializer": {"pairs": pairs, "global_generator": global_generator},
    "batchnorm": {
        "detached_statistics": DetachedStatistics,
        "registered": lambda width: BatchNorm(width, 0.1, 1e-5, exact=False),
    },
    "loss": {
        "softmax_twice": SoftmaxTwice,
        "wrong_sign": WrongSign,
        "summed": Summed,
        "detached": Detached,
        "partly_detached": PartlyDetached,
    },
    "regularizer": {"partly_detached": partly_detached_penalty},
    "optim": {"frozen": Frozen, "uphill": Uphill},
    "data": DATA,
}


def register() -> None:
    """Register all of them as options."""
    for group, table in OPTIONS.items():
        for name, option in table.items():
            dlfound.register(group, name, option)

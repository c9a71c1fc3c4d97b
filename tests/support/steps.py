"""Nets, batches and steps for the tests of the step."""

import torch

from dlfound.nn import activation, batchnorm, dropout, initializer
from dlfound.nn.modules import MLP, build_mlp
from dlfound.objective import loss, regularization
from dlfound.optim.optimizers import TABLE
from dlfound.streams import stream
from dlfound.training.step import Step

ROWS = 7
INPUTS = 4
OUTPUTS = {"cross_entropy": 3, "binary_cross_entropy": 1, "mse": 2}
PLAIN = {"label_smoothing": 0.0, "class_weight": "none"}
STRENGTH = 0.03
OPTIMIZERS = {
    "sgd": {"lr": 0.1},
    "momentum": {"lr": 0.05, "momentum": 0.9},
    "adam": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8},
}


def tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=stream(seed, "test"), dtype=torch.float64).to(dtype)


def make_loss(name: str):
    return loss.TABLE[name](**({} if name == "mse" else PLAIN))


def make_penalty(name: str):
    return (
        regularization.no_penalty
        if name == "none"
        else lambda weights: regularization.REGULARIZERS[name](weights, strength=STRENGTH)
    )


def normalise(width):
    return batchnorm.batch(width, momentum=0.1, eps=1e-5, statistics="exact")


def make_net(outputs: int, *, norm=False, drop=False, g="tanh", hidden=(5, 4)) -> MLP:
    """A net in float64, with biases, gains and shifts away from zero and one."""
    net = build_mlp(
        INPUTS, outputs, list(hidden), activation=activation.TABLE[g],
        initialize=lambda w, generator: initializer.normal(w, generator, std=0.7),
        norm=normalise if norm else batchnorm.none,
        noise=dropout.standard(input=0.2, hidden=0.5) if drop else None, generator=stream(1, "test"),
    ).double()  # fmt: skip
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            if parameter.ndim == 1:
                parameter += tensor(len(parameter), seed=i) / 3
    return net.train()


def make_step(net, of="cross_entropy", penalty="none", limit=None, optim="sgd", **settings) -> Step:
    limited = None if limit is None else lambda w: regularization.max_norm(w, max_norm=limit)
    option = TABLE[optim](**(OPTIMIZERS[optim] | settings))
    return Step(net, make_loss(of), make_penalty(penalty), limited, option)


def make_batch(of: str, dtype: torch.dtype = torch.float64, rows: int = ROWS):
    """Inputs and encoded targets."""
    x = tensor(rows, INPUTS, seed=3, dtype=dtype)
    columns = OUTPUTS[of]
    if of == "mse":
        return x, tensor(rows, columns, seed=4, dtype=dtype)
    classes = torch.randint(0, max(2, columns), (rows,), generator=stream(5, "test"))
    return x, classes if of == "cross_entropy" else classes[:, None].to(dtype)

"""Nets, steps and rows for the tests of looks at the layers."""

from functools import partial

import torch
from torch import nn

from dlfound.nn import activation, batchnorm, dropout, initializer
from dlfound.nn.modules import Network, build_mlp
from dlfound.nn.preprocessing import empty
from dlfound.objective import loss, regularization
from dlfound.optim.optimizers import TABLE
from dlfound.streams import stream
from dlfound.training.device import DeviceData
from dlfound.training.step import Step

INPUTS = 4
STRENGTH = 0.03
LOSSES = {
    "cross_entropy": loss.TABLE["cross_entropy"]((), label_smoothing=0.0, class_weight="none"),
    "binary_cross_entropy": loss.TABLE["binary_cross_entropy"]((), label_smoothing=0.0, class_weight="none"),
    "mse": loss.TABLE["mse"](),
}
OUTPUTS = {"cross_entropy": 3, "binary_cross_entropy": 1, "mse": 2}
PLAIN_LOSSES = {
    "cross_entropy": nn.functional.cross_entropy,
    "binary_cross_entropy": nn.functional.binary_cross_entropy_with_logits,
    "mse": nn.functional.mse_loss,
}
OPTIMIZERS = {
    "sgd": {"lr": 0.1},
    "momentum": {"lr": 0.05, "momentum": 0.9},
    "adam": {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8},
    "lbfgs": {"lr": 1.0, "history": 5, "line_search": "armijo"},
}


def make_part(rows: int, of: str = "cross_entropy", dtype=torch.float64) -> DeviceData:
    x = torch.randn(rows, INPUTS, generator=stream(1, "x"), dtype=torch.float64).to(dtype)
    columns = OUTPUTS[of]
    if of == "mse":
        y = torch.randn(rows, columns, generator=stream(2, "y"), dtype=torch.float64).to(dtype)
        return DeviceData(x, y, y)
    c = torch.randint(0, max(2, columns), (rows,), generator=stream(2, "y"))
    return DeviceData(x, c if of == "cross_entropy" else c[:, None].to(dtype), c)


def normalise(width):
    return batchnorm.batch(width, momentum=0.1, eps=1e-5, statistics="exact")


def option(g):
    """An activation by its name, or the given factory."""
    return partial(activation.TABLE[g], **({"alpha": 1.0} if g == "elu" else {})) if isinstance(g, str) else g


def make(
    g="tanh", *, of="cross_entropy", hidden=(6, 5), norm=False, drop=False, penalty=False, std=0.8,
    optim="sgd", dtype=torch.float64,
) -> tuple[Network, Step]:  # fmt: skip
    """A net and a step, with biases, gains, shifts and moving averages away from their initial values."""
    body = build_mlp(
        INPUTS, OUTPUTS[of], list(hidden), activation=option(g),
        initialize=lambda w, generator: initializer.normal(w, generator, std=std),
        norm=normalise if norm else batchnorm.none,
        noise=dropout.standard(input=0.2, hidden=0.5) if drop else None, generator=stream(0, "test"),
    ).to(dtype)  # fmt: skip
    with torch.no_grad():
        for i, t in enumerate([*body.parameters(), *body.buffers()]):
            if t.ndim == 1:
                t += torch.rand(t.shape, generator=stream(i, "shift"), dtype=torch.float64).to(dtype) / 3
    omega = (
        (lambda weights: regularization.l2(weights, strength=STRENGTH))
        if penalty
        else regularization.no_penalty
    )
    step = Step(body, LOSSES[of], omega, None, TABLE[optim](**OPTIMIZERS[optim]))
    target = empty(OUTPUTS[of], image=True) if of == "mse" else None
    return Network(empty(INPUTS, image=True), body, target), step


def by_torch(
    body, x: torch.Tensor, y: torch.Tensor, of: str, penalty: bool = False
) -> tuple[float, list[dict]]:
    """The loss and the tensors of each layer by torch.nn.Linear, BatchNorm1d and `backward`."""
    h, layers = x, []
    for layer in [*body.hidden, None]:
        own = body.output if layer is None else layer.linear
        linear = nn.Linear(own.in_features, own.out_features, own.bias is not None, dtype=x.dtype)
        linear.load_state_dict(own.state_dict())
        a = linear(h)
        if layer is not None and layer.norm is not None:
            normalised = nn.BatchNorm1d(a.shape[1], eps=1e-5, dtype=x.dtype).train()
            normalised.load_state_dict(
                {"weight": layer.norm.gain.detach(), "bias": layer.norm.shift.detach()}, strict=False
            )
            a = normalised(a)
        a.retain_grad()
        h = a if layer is None else layer.activation(a)
        layers.append({"linear": linear, "a": a, "h": h})
    value = PLAIN_LOSSES[of](h, y)
    omega = STRENGTH * sum((layer["linear"].weight ** 2).sum() for layer in layers) if penalty else 0.0
    (value + omega).backward()
    return value.item(), layers

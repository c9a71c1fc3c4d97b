"""A look into a net, layer by layer: activations, gradients and updates on a fixed sample of rows."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlfound.nn.modules import BatchNorm, Layer, Maxout
from dlfound.nn.network import Network
from dlfound.training.device_data import Part
from dlfound.training.metrics import EVALUATION_ROWS
from dlfound.training.step import Step

SAMPLE_ROWS = 256  # enough for shares to a few per cent; a look costs about as much as one step of training
FLAT = 0.05  # of the steepest slope: below it a unit passes next to nothing back
FAR = 20.0  # pre-activations beyond which no net should be


@dataclass(frozen=True)
class LayerState:
    """One layer at one moment. Shares are of the sampled rows, between 0 and 1.

    Attributes:
        name: layer1, layer2, ..., output.
        weights, gradient: (units, inputs): W and the objective's gradient by it.
        activations: (rows, units); of the output layer, its outputs.
        saturated: share of activations on a flat end of the activation; None where it has none.
        zero: share of activations that are exactly zero: the layer's sparsity.
        dead: share of units that are zero for every row.
        backprop: root mean square of the objective's gradient by the pre-activations, times the rows.
        grad_norm: 2-norm of `gradient`.
        update_ratio: 2-norm of the last step's change of W over that of W; None before the first step, and of no W.
        copies: True where all units have the same incoming and outgoing weights.
    """

    name: str
    weights: Tensor
    gradient: Tensor
    activations: Tensor
    saturated: float | None
    zero: float
    dead: float
    backprop: float
    grad_norm: float
    update_ratio: float | None
    copies: bool


class Probe:
    """Looks at a net through the first rows of the training part; draws no random numbers and changes nothing.

    Dropout is off and batch normalisation takes the sample's own statistics, as it does in training.
    """

    def __init__(self, network: Network, step: Step, part: Part):
        self.step, self.network, self.body = step, network, network.body
        self.x, self.y = network.ready(part.inputs[:SAMPLE_ROWS]), part.encoded[:SAMPLE_ROWS]
        self.layers: list[Layer] = list(self.body.hidden)
        self.names, self.linear = list(self.body.layers()), list(self.body.layers().values())
        self.ends = [
            flat_ends(layer.activation, layer.linear.out_features, self.x.device) for layer in self.layers
        ]

    def look(self, before: Tensor | None = None) -> tuple[float, list[LayerState]]:
        """The mean loss on the sample, and each layer's state; `before`: the parameters before the last step."""
        reads = [_Read() for _ in self.names]
        hooks = [
            layer.activation.register_forward_hook(r) for layer, r in zip(self.layers, reads, strict=False)
        ]
        hooks.append(self.body.output.register_forward_hook(reads[-1]))
        try:
            with self._looking():
                found = self.step.loss_grad(self.step.params, self.step.buffers, self.x, self.y, ())
        finally:
            for hook in hooks:
                hook.remove()
        return float(found.loss), self._states(reads, found.grads, before)

    @torch.no_grad()
    def loss(self, part: Part) -> float:
        """The mean loss on all rows of a part, under the same conditions."""
        count = -(
            -len(part.inputs) // EVALUATION_ROWS
        )  # pieces of nearly the same size: one row has no statistics
        kept, total = self.step.buffers.clone(), 0.0
        with self._looking():
            for x, y in zip(part.inputs.tensor_split(count), part.encoded.tensor_split(count), strict=True):
                total += float(self.step.loss(self.body(self.network.ready(x)), y)) * len(x)
        self.step.buffers.copy_(kept)
        return total / len(part.inputs)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Evaluation mode, but for batch statistics; afterwards each module is in the mode that it was in."""
        modes = {module: module.training for module in self.body.modules()}
        for module in modes:
            module.training = isinstance(module, BatchNorm)
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    @torch.no_grad()
    def _states(self, reads: list["_Read"], grads: Tensor, before: Tensor | None) -> list[LayerState]:
        gradient = self._matrices(grads)
        weights = self._matrices(self.step.params)
        old = weights if before is None else self._matrices(before)
        numbers = torch.stack([
            _numbers(read, ends, g, w, v)
            for read, ends, g, w, v in zip(reads, [*self.ends, None], gradient, weights, old, strict=True)
        ]).tolist()  # one transfer from the device for all of them  # fmt: skip
        states = []
        for i, (saturated, zero, dead, backprop, norm, ratio) in enumerate(numbers):
            bounded = i < len(self.ends) and self.ends[i] is not None
            known = before is not None and math.isfinite(ratio)
            states.append(LayerState(
                self.names[i], weights[i], gradient[i], reads[i].h, saturated if bounded else None, zero, dead,
                backprop, norm, ratio if known else None, self._copies(i, weights),
            ))  # fmt: skip
        return states

    def _matrices(self, vector: Tensor) -> list[Tensor]:
        """The weight matrix of each layer, as views of a vector of parameters."""
        views = self.step.parameter_layout.views(vector)
        owners = [owner for owner, _ in self.step.parameter_layout.slots]
        return [
            next(v for v, own in zip(views, owners, strict=True) if own is layer._parameters and v.dim() == 2)
            for layer in self.linear
        ]

    def _copies(self, i: int, weights: list[Tensor]) -> bool:
        """True where nothing tells the units of hidden layer i apart: they get the same gradient, for ever."""
        if i == len(self.layers) or len(weights[i]) < 2:
            return False
        outgoing = weights[i + 1].T
        return bool((weights[i] == weights[i][:1]).all() and (outgoing == outgoing[:1]).all())


class _Read:
    """A forward hook: keeps a module's first input, its output, and the objective's gradient by that input."""

    def __init__(self) -> None:
        self.a = self.h = self.gradient = torch.empty(0)

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], h: Tensor) -> None:
        a = h if isinstance(module, nn.Linear) else args[0]  # the output layer has no activation
        self.a, self.h = a.detach(), h.detach()
        self.gradient = torch.zeros_like(self.a)
        a.register_hook(self._keep)

    def _keep(self, gradient: Tensor) -> None:
        self.gradient = gradient


def _numbers(
    read: _Read, ends: tuple[float, float] | None, gradient: Tensor, new: Tensor, old: Tensor
) -> Tensor:
    """The six numbers of a layer, in the order of LayerState: saturated ... update_ratio."""
    norm = torch.linalg.vector_norm
    return torch.stack([
        _flat_share(read.a, ends), (read.h == 0).float().mean(), (read.h == 0).all(0).float().mean(),
        read.gradient.square().mean().sqrt() * len(read.a), norm(gradient), norm(new - old) / norm(old),
    ])  # fmt: skip


def _flat_share(a: Tensor, ends: tuple[float, float] | None) -> Tensor:
    if ends is None:
        return a.new_zeros(())
    return ((a < ends[0]) | (a > ends[1])).float().mean()


def flat_ends(activation: nn.Module, width: int, device: torch.device) -> tuple[float, float] | None:
    """Below the first and above the second pre-activation the activation hardly changes; None where it always does.

    An end is flat where the slope falls below a twentieth of the steepest and goes on falling; where the activation
    is exactly zero (ReLU) it counts as zero, not as saturated. What works on several pre-activations at once, or has
    a state of its own, has no such ends.
    """
    if isinstance(activation, Maxout) or any(True for _ in (*activation.parameters(), *activation.buffers())):
        return None
    grid = torch.linspace(-FAR, FAR, 401, device=device)
    slope, h = _slopes(activation.eval(), grid[:, None].expand(-1, width))
    if slope is None or slope.max() < 1e-6:
        return None
    flat = (slope <= FLAT * slope.max()) & (h != 0)
    low, high = _run(flat, slope, grid), _run(flat.flip(0), slope.flip(0), -grid.flip(0))
    if low is high is None:
        return None
    return -math.inf if low is None else low, math.inf if high is None else -high


def _slopes(g: Callable[[Tensor], Tensor], a: Tensor) -> tuple[Tensor | None, Tensor]:
    """|g'| and g at each row of the grid, of the first unit; no slope where g does not work unit by unit."""
    a = a.clone().requires_grad_()
    h = g(a)
    if h.shape != a.shape or not h.requires_grad:
        return None, h
    (slope,) = torch.autograd.grad(h.sum(), a)
    return slope[:, 0].abs(), h[:, 0].detach()


def _run(flat: Tensor, slope: Tensor, grid: Tensor) -> float | None:
    """The end of the flat stretch at the head of the grid, whose slope must still be falling outwards."""
    count = int(flat.long().cumprod(0).sum())
    if count == 0 or slope[0] > 0.75 * slope[count - 1] > 0:
        return None
    return float(grid[count - 1])

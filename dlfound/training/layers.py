"""A look into a net, layer by layer: the activations, gradients and updates on a fixed sample of rows."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlfound.nn.modules import BatchNorm, Layer, Maxout, Network
from dlfound.training.device import DeviceData
from dlfound.training.metrics import EVALUATION_ROWS
from dlfound.training.step import Step

SAMPLE_ROWS = 256  # gives shares to a few per cent; a look costs about as much as one step of training
FLAT_SLOPE = 0.05  # share of the steepest slope, below which a unit passes almost no gradient back
LARGEST_PRE_ACTIVATION = 20.0  # the end of the grid on which slopes are measured


@dataclass(frozen=True)
class LayerState:
    """One layer at one moment. Shares are taken over the sampled rows and lie between 0 and 1.

    Attributes: name: layer1, layer2, ..., output. weights: W, (units, inputs). gradient: the gradient of the
        objective by W, (units, inputs). activations: (rows, units); for the output layer, its outputs.
        saturated: the share of activations on a flat end of the activation function; None if it has no flat
        end. zero: the share of activations that are exactly zero: the sparsity of the layer. dead: the share
        of units that are zero for every row. backprop: the root mean square of the objective's gradient by
        the pre-activations, times the rows. grad_norm: the 2-norm of `gradient`. update_ratio: the 2-norm of
        the last step's change of W over the 2-norm of W; None before the first step, and if W is zero.
        copies: True if all units have the same incoming and outgoing weights.
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


class LayerProbe:
    """Looks at a net on the first training rows. It draws no random numbers and changes nothing.

    Dropout is off. Batch normalisation uses the statistics of the sample, as in training.
    """

    def __init__(self, network: Network, step: Step, part: DeviceData):
        self.step = step
        self.network = network
        self.body = network.body
        self.x = network.ready(part.inputs[:SAMPLE_ROWS])
        self.y = part.encoded[:SAMPLE_ROWS]
        self.hidden: list[Layer] = list(self.body.hidden)
        self.names = list(self.body.layers())
        self.linear = list(self.body.layers().values())
        self.ends = [
            flat_ends(layer.activation, layer.linear.out_features, self.x.device) for layer in self.hidden
        ]

    def look(self, before: Tensor | None = None) -> tuple[float, list[LayerState]]:
        """The mean loss on the sample, and the state of each layer.

        Args:
            before: the parameters before the last step, as one vector; None before the first step.
        """
        modules = [*(layer.activation for layer in self.hidden), self.body.output]
        records = [_Record() for _ in modules]
        hooks = [m.register_forward_hook(record) for m, record in zip(modules, records, strict=True)]
        try:
            with self._looking():
                gradient = self.step.loss_grad(self.step.params, self.step.buffers, self.x, self.y, ())
        finally:
            for hook in hooks:
                hook.remove()
        return float(gradient.loss), self._states(records, gradient.grads, before)

    @torch.no_grad()
    def loss(self, part: DeviceData) -> float:
        """The mean loss on all rows of a part, under the same conditions."""
        buffers = self.step.buffers.clone()
        total = 0.0
        # The pieces have almost the same size, since a single row has no statistics.
        count = math.ceil(len(part.inputs) / EVALUATION_ROWS)
        with self._looking():
            for x, y in zip(part.inputs.tensor_split(count), part.encoded.tensor_split(count), strict=True):
                total += float(self.step.loss(self.body(self.network.ready(x)), y)) * len(x)
        self.step.buffers.copy_(buffers)
        return total / len(part.inputs)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Set evaluation mode except for batch statistics, and restore each module's mode afterwards."""
        modes = {module: module.training for module in self.body.modules()}
        for module in modes:
            module.training = isinstance(module, BatchNorm)
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    @torch.no_grad()
    def _states(self, records: list["_Record"], grads: Tensor, before: Tensor | None) -> list[LayerState]:
        gradient = self._matrices(grads)
        weights = self._matrices(self.step.params)
        old = weights if before is None else self._matrices(before)
        numbers = torch.stack([
            _numbers(*layer)
            for layer in zip(records, [*self.ends, None], gradient, weights, old, strict=True)
        ]).tolist()  # one transfer from the device for all numbers  # fmt: skip
        states = []
        for i, (saturated, zero, dead, backprop, norm, ratio) in enumerate(numbers):
            bounded = i < len(self.ends) and self.ends[i] is not None
            has_ratio = before is not None and math.isfinite(ratio)
            states.append(LayerState(
                self.names[i], weights[i], gradient[i], records[i].h, saturated if bounded else None, zero,
                dead, backprop, norm, ratio if has_ratio else None, self._copies(i, weights),
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
        """True if all units of hidden layer i are equal: they will always get the same gradient."""
        if i == len(self.hidden) or len(weights[i]) < 2:
            return False
        outgoing = weights[i + 1].T
        return bool((weights[i] == weights[i][:1]).all() and (outgoing == outgoing[:1]).all())


class _Record:
    """A forward hook that keeps a module's input, its output, and the objective's gradient by the input."""

    def __init__(self) -> None:
        self.a = torch.empty(0)
        self.h = torch.empty(0)
        self.gradient = torch.empty(0)

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], h: Tensor) -> None:
        a = h if isinstance(module, nn.Linear) else args[0]  # the output layer has no activation
        self.a = a.detach()
        self.h = h.detach()
        self.gradient = torch.zeros_like(self.a)
        a.register_hook(self._keep)

    def _keep(self, gradient: Tensor) -> None:
        self.gradient = gradient


def _numbers(
    record: _Record, ends: tuple[float, float] | None, gradient: Tensor, new: Tensor, old: Tensor
) -> Tensor:
    """The six numbers of a layer, in the order of LayerState: saturated ... update_ratio."""
    norm = torch.linalg.vector_norm
    zero = record.h == 0
    numbers = [
        _flat_share(record.a, ends),
        zero.float().mean(),
        zero.all(0).float().mean(),
        record.gradient.square().mean().sqrt() * len(record.a),
        norm(gradient),
        norm(new - old) / norm(old),
    ]
    return torch.stack(numbers)


def _flat_share(a: Tensor, ends: tuple[float, float] | None) -> Tensor:
    """The share of pre-activations beyond the flat ends; 0 without flat ends."""
    if ends is None:
        return a.new_zeros(())
    return ((a < ends[0]) | (a > ends[1])).float().mean()


def flat_ends(activation: nn.Module, width: int, device: torch.device) -> tuple[float, float] | None:
    """The pre-activations below and above which the activation hardly changes; None if it has no flat end.

    An end is flat where the slope is below a twentieth of the steepest slope and decreases further. Where the
    activation is exactly zero (ReLU), it counts as zero, not as saturated. An activation has no flat ends if
    it combines several pre-activations, or has parameters or buffers.
    """
    if isinstance(activation, Maxout) or any(True for _ in (*activation.parameters(), *activation.buffers())):
        return None
    grid = torch.linspace(-LARGEST_PRE_ACTIVATION, LARGEST_PRE_ACTIVATION, 401, device=device)
    slope, h = _slopes(activation.eval(), grid[:, None].expand(-1, width))
    if slope is None or slope.max() < 1e-6:
        return None
    flat = (slope <= FLAT_SLOPE * slope.max()) & (h != 0)
    low = _flat_end(flat, slope, grid)
    high = _flat_end(flat.flip(0), slope.flip(0), -grid.flip(0))
    if low is None and high is None:
        return None
    return -math.inf if low is None else low, math.inf if high is None else -high


def _slopes(g: Callable[[Tensor], Tensor], a: Tensor) -> tuple[Tensor | None, Tensor]:
    """|g'| and g of the first unit at each row of the grid; no slope if g is not applied to each unit."""
    a = a.clone().requires_grad_()
    h = g(a)
    if h.shape != a.shape or not h.requires_grad:
        return None, h
    (slope,) = torch.autograd.grad(h.sum(), a)
    return slope[:, 0].abs(), h[:, 0].detach()


def _flat_end(flat: Tensor, slope: Tensor, grid: Tensor) -> float | None:
    """Where the flat stretch at the start of the grid ends; its slope must decrease outwards."""
    count = int(flat.long().cumprod(0).sum())
    if count == 0 or slope[0] > 0.75 * slope[count - 1] > 0:
        return None
    return float(grid[count - 1])

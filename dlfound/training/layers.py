"""A look into a net, layer by layer: the activations, gradients and updates on a fixed sample of rows."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlfound.nn.modules import BatchNorm, Maxout, Network
from dlfound.training.device import DeviceData
from dlfound.training.metrics import EVALUATION_ROWS, finite
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
        owners = [id(owner) for owner, _ in step.parameter_layout.slots]
        layers = self.body.layers().items()  # the weight matrix is the first parameter of each
        self.places = {name: owners.index(id(linear._parameters)) for name, linear in layers}
        self.ends = [flat_ends(layer.activation, layer.linear.out_features) for layer in self.body.hidden]

    def look(self, before: Tensor | None = None) -> tuple[float, list[LayerState]]:
        """The mean loss on the sample, and the state of each layer.

        Args:
            before: the parameters before the last step, as one vector; None before the first step.
        """
        modules = [*(layer.activation for layer in self.body.hidden), self.body.output]
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
        old = self._matrices(self.step.params * math.nan if before is None else before)
        rows = map(_numbers, records, [*self.ends, None], gradient, weights, old)
        numbers = torch.stack([*rows]).tolist()  # one transfer from the device for all numbers
        return [
            LayerState(
                name, weights[i], gradient[i], records[i].h, finite(saturated), *shares, finite(ratio),
                self._copies(i, weights),
            )
            for i, (name, (saturated, *shares, ratio)) in enumerate(zip(self.places, numbers, strict=True))
        ]  # fmt: skip

    def _matrices(self, vector: Tensor) -> list[Tensor]:
        """The weight matrix of each layer, as views of a vector of parameters."""
        views = self.step.parameter_layout.views(vector)
        return [views[place] for place in self.places.values()]

    def _copies(self, i: int, weights: list[Tensor]) -> bool:
        """True if all units of hidden layer i are equal: they will always get the same gradient."""
        if i == len(self.body.hidden) or len(weights[i]) < 2:
            return False
        outgoing = weights[i + 1].T
        return bool((weights[i] == weights[i][:1]).all() and (outgoing == outgoing[:1]).all())


class _Record:
    """A forward hook that keeps a module's input `a`, its output `h`, and the objective's gradient by `a`."""

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
    """The six numbers of a layer, in the order of LayerState: saturated ... update_ratio; NaN for None."""
    norm = torch.linalg.vector_norm
    a = record.a
    zero = record.h == 0
    return torch.stack([
        a.new_full((), math.nan) if ends is None else ((a < ends[0]) | (a > ends[1])).float().mean(),
        zero.float().mean(),
        zero.all(0).float().mean(),
        record.gradient.square().mean().sqrt() * len(a),
        norm(gradient),
        norm(new - old) / norm(old),
    ])  # fmt: skip


def flat_ends(activation: nn.Module, width: int) -> tuple[float, float] | None:
    """The pre-activations below and above which the activation hardly changes; None if it has no flat end.

    An end is flat where the slope is below a twentieth of the steepest slope and decreases further. Where the
    activation is exactly zero (ReLU), it counts as zero, not as saturated. An activation has no flat ends if
    it combines several pre-activations, or has parameters or buffers.
    """
    if isinstance(activation, Maxout) or [*activation.parameters(), *activation.buffers()]:
        return None
    grid = torch.linspace(-LARGEST_PRE_ACTIVATION, LARGEST_PRE_ACTIVATION, 401)
    a = grid[:, None].repeat(1, width).requires_grad_()
    h = activation.eval()(a)
    if h.shape != a.shape or not h.requires_grad:  # it is not applied to each unit
        return None
    (slopes,) = torch.autograd.grad(h.sum(), a)
    slope = slopes[:, 0].abs()
    if slope.max() < 1e-6:
        return None
    flat = (slope <= FLAT_SLOPE * slope.max()) & (h[:, 0] != 0)
    low = _flat_end(flat, slope, grid)
    high = -_flat_end(flat.flip(0), slope.flip(0), -grid.flip(0))
    return None if math.isinf(low) and math.isinf(high) else (low, high)


def _flat_end(flat: Tensor, slope: Tensor, grid: Tensor) -> float:
    """Where the flat stretch at the start of the grid ends; its slope must decrease outwards. Else -inf."""
    count = int(flat.long().cumprod(0).sum())
    if count == 0 or slope[0] > 0.75 * slope[count - 1] > 0:
        return -math.inf
    return float(grid[count - 1])

"""The loop: epochs of steps, as a generator. Whoever trains writes a `for` over it, and decides between epochs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlfound.errors import Code, Error
from dlfound.nn.modules import BatchNorm
from dlfound.nn.network import Network
from dlfound.streams import stream, stream_seed
from dlfound.training.metrics import all_finite, evaluate, measure
from dlfound.training.resident import Part
from dlfound.training.step import Step


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows, and the validation after it.

    Attributes:
        number: 1, 2, ...
        lr: the learning rate of its last step.
        train: loss and metrics of the batches as they were trained (dropout on), over all rows.
        val: loss and metrics on the validation rows, in evaluation mode.
        train_seconds, val_seconds: wall-clock time.
    """

    number: int
    lr: float
    train: dict[str, float | None]
    val: dict[str, float | None]
    train_seconds: float
    val_seconds: float


class Diverged(Error):
    """The loss or a gradient is not finite any more; the net is as it was before that step."""

    def __init__(self, what: str, lr: float, fix: str = ""):
        super().__init__(what, fix or f"try a smaller rate, optim.lr={lr / 10:.3g}, or batchnorm=batch", Code.NUMERIC)


def fit(
    network: Network, step: Step, loss, decay, train: Part, val: Part, *, epochs: int, batch_size: int, seed: int
) -> Iterator[Epoch]:
    """Train, epoch by epoch; between two of them the caller may log, tell the decay, or stop.

    Args:
        decay: one of `optim.lr_decay`: the rate of each step.

    Raises:
        Diverged: a loss or gradient was not finite; `step` holds the state before it.
    """
    for number in range(1, epochs + 1):
        started = time.perf_counter()
        found = _pass(network, step, loss, decay, train, batch_size, seed, number)
        trained = time.perf_counter()
        validated = evaluate(network, loss, val)
        if not all_finite([validated["loss"]]):
            raise Diverged(f"the validation loss is not finite after epoch {number} (lr {step.lr:g})", step.lr)
        yield Epoch(number, step.lr, found, validated, trained - started, time.perf_counter() - trained)


def _pass(network: Network, step: Step, loss, decay, train: Part, batch_size: int, seed: int, number: int) -> dict:
    """One pass over the training rows in a fresh order; every row counts once."""
    network.train()
    rows, device = len(train.inputs), train.inputs.device
    order = torch.randperm(rows, generator=stream(seed, "shuffle", number)).to(device)
    batches = _batches(order, batch_size, merge_single=has_batch_statistics(network))
    generator, first = torch.Generator(device), (number - 1) * len(batches)
    losses, outputs = [], []
    for i, batch in enumerate(batches):
        generator.manual_seed(stream_seed(seed, "dropout", first + i))
        noise = network.body.noise(len(batch), generator)
        step.set_lr(decay.rate(step.base_lr, number - 1 + i / len(batches), 1 / len(batches)))
        value, out = step(network.ready(train.inputs[batch]), train.encoded[batch], noise)
        losses.append(value)
        outputs.append(out)
    _check_finite(torch.stack(losses), first, number, step)
    return measure(network, loss, torch.cat(outputs), train.encoded[order], train.targets[order])


def _batches(order: Tensor, batch_size: int, merge_single: bool) -> list[Tensor]:
    """Cut an order of rows; the last batch may be short, but a single row joins the one before where that matters."""
    batches = list(order.split(batch_size))
    if merge_single and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def has_batch_statistics(network: Network) -> bool:
    """True where a row's output in training depends on the other rows of its batch."""
    return any(isinstance(module, BatchNorm) for module in network.modules())


def _check_finite(losses: Tensor, first: int, number: int, step: Step) -> None:
    if step.skip.item():
        at = int(losses.isfinite().logical_not().nonzero()[0])
        place = f"step {first + at + 1} (epoch {number}, lr {step.lr:g})"
        if first + at == 0:
            what = "the loss or its gradient is not finite at the very first step, before any update"
            raise Diverged(what, step.lr, "look at the data, the initializer, the loss and the regularizer")
        raise Diverged(f"the loss or its gradient is not finite at {place}", step.lr)


class Best:
    """The weights of the best validation so far: strictly better than all before."""

    def __init__(self) -> None:
        self.value, self.epoch = float("inf"), 0
        self._vectors: tuple[Tensor, Tensor] | None = None

    def begin(self, step: Step) -> None:
        """Keep the initial weights: to go back to where not one validation succeeds."""
        self._vectors = step.params.clone(), step.buffers.clone()

    def see(self, value: float, epoch: int, step: Step) -> None:
        """Keep the step's weights if `value` (lower is better; NaN is never) beats all before."""
        if value < self.value:
            self.value, self.epoch = value, epoch
            self._vectors = step.params.clone(), step.buffers.clone()

    def restore(self, step: Step) -> None:
        """Go back to the best weights; the net stays as it is where there was no validation yet."""
        if self._vectors is not None:
            step.params.copy_(self._vectors[0])
            step.buffers.copy_(self._vectors[1])

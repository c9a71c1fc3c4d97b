"""The loop over epochs and steps, as a generator: the caller writes a `for`, and decides between epochs."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dlfound.config.setting_types import Count, NonNegative, Whole
from dlfound.errors import Code, Error
from dlfound.nn.modules import BatchNorm, Network
from dlfound.objective.tasks import Metrics
from dlfound.streams import stream, stream_seed
from dlfound.training.device import DeviceData
from dlfound.training.metrics import evaluate, finite, measure
from dlfound.training.step import Step


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows, and the validation after it.

    Attributes:
        number: 1, 2, ...
        lr: the learning rate of its last step.
        train: loss and cheap metrics over all rows, from the batches in training mode (dropout on).
        val: loss and metrics on the validation rows, in evaluation mode.
        grad_norm: the 2-norm of the objective's gradient, averaged over its steps; None if one is not finite.
        before: the parameters before its last step, as one vector.
        train_seconds, val_seconds: wall-clock time.
    """

    number: int
    lr: float
    train: Metrics
    val: Metrics
    grad_norm: float | None
    before: Tensor
    train_seconds: float
    val_seconds: float


@dataclass
class EpochProgress:
    """The position of a training inside an epoch, and the results of the batches that are done.

    Attributes:
        epoch: the epoch in training: 1, 2, ...
        batches: how many of its batches are done.
        seconds: training time spent in the epoch.
        losses, norms: the loss and the gradient's norm of each of these batches, (batches,).
        outputs: the net's outputs on their rows, in the order of training, (rows, outputs).
    """

    epoch: Count = 1
    batches: Whole = 0
    seconds: NonNegative = 0.0
    losses: Tensor = field(default_factory=lambda: torch.empty(0))
    norms: Tensor = field(default_factory=lambda: torch.empty(0))
    outputs: Tensor = field(default_factory=lambda: torch.empty(0))


class Diverged(Error):
    """The loss or a gradient is not finite (code 5); the net is as it was before that step."""


def fit(
    network: Network,
    step: Step,
    loss,
    decay,
    train: DeviceData,
    val: DeviceData,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    progress: EpochProgress | None = None,
    pause: Callable[[], bool] = lambda: False,
) -> Iterator[Epoch | EpochProgress]:
    """Train epoch by epoch. Between two epochs the caller may log, decay the learning rate, or stop.

    Args:
        loss: one of `objective.loss`.
        decay: one of `optim.schedules.DECAYS`, for the learning rate of each step.
        progress: where to continue; None starts with the first epoch.
        pause: called after each step except an epoch's last; if it returns True, the progress is yielded.

    Yields: Each finished epoch; and at each pause the progress inside the epoch, while `step` holds the
        vectors of that moment.

    Raises:
        Diverged: a loss or gradient is not finite (code 5); `step` holds the state before that step.
    """
    progress = progress or EpochProgress()
    while progress.epoch <= epochs:
        batches = _batches(network, train, batch_size, seed, progress.epoch)
        done, before = yield from _pass(network, step, decay, train, batches, seed, progress, pause)
        rows = torch.cat(batches)
        training = measure(network, loss, done.outputs, train.encoded[rows], train.targets[rows], brief=True)
        started = time.perf_counter()
        validation = evaluate(network, loss, val)
        if validation["loss"] is None:
            message = f"the validation loss is not finite after epoch {done.epoch} (lr {step.lr:g})"
            raise Diverged(message, _advice(network, step, decay), Code.NUMERIC)
        norm = finite(done.norms.mean())
        seconds = (done.seconds, time.perf_counter() - started)
        yield Epoch(done.epoch, step.lr, training, validation, norm, before, *seconds)
        progress = EpochProgress(done.epoch + 1)


def _pass(
    network: Network, step: Step, decay, train: DeviceData, batches: list[Tensor], seed: int,
    progress: EpochProgress, pause: Callable[[], bool],
):  # fmt: skip
    """Do the rest of one pass over the batches; yield the progress at each pause.

    Returns:
        The progress at the end, and the parameters before the last step.
    """
    network.train()
    started = time.perf_counter() - progress.seconds
    epoch = progress.epoch
    generator = torch.Generator(train.inputs.device)
    first = (epoch - 1) * len(batches)  # the number of this pass's first step
    losses = list(progress.losses)
    norms = list(progress.norms)
    outputs = [progress.outputs] if progress.batches > 0 else []

    def rows(i: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        generator.manual_seed(stream_seed(seed, "dropout", first + i))
        noise = network.body.noise(len(batches[i]), generator)
        return network.ready(train.inputs[batches[i]]), train.encoded[batches[i]], noise

    def done() -> EpochProgress:
        """The progress, unless a step since the last call was skipped."""
        if step.skip.item():
            batch = int(torch.stack(losses).isfinite().logical_not().nonzero()[0])
            raise _divergence(network, step, decay, epoch, first + batch, rows(batch))
        results = (torch.stack(losses), torch.stack(norms), torch.cat(outputs))
        return EpochProgress(epoch, len(losses), time.perf_counter() - started, *results)

    for i in range(progress.batches, len(batches)):
        step.set_lr(decay.rate(step.base_lr, epoch - 1 + i / len(batches), 1 / len(batches)))
        if i + 1 == len(batches):
            before = step.params.clone()
        value, out, norm = step(*rows(i))
        losses.append(value)
        outputs.append(out)
        norms.append(norm)
        if i + 1 < len(batches) and pause():
            progress = done()
            yield progress
            started = time.perf_counter() - progress.seconds
            network.train()
    return done(), before


def _batches(network: Network, train: DeviceData, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """The row numbers of an epoch's batches: each row once. The last batch may be short.

    A last batch of a single row, which has no statistics, joins the batch before it.
    """
    order = torch.randperm(len(train.inputs), generator=stream(seed, "shuffle", epoch))
    batches = list(order.to(train.inputs.device).split(batch_size))
    if has_batch_statistics(network) and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def has_batch_statistics(network: Network) -> bool:
    """True if a row's outputs in training depend on the other rows of its batch."""
    return any(isinstance(module, BatchNorm) for module in network.modules())


def _divergence(network: Network, step: Step, decay, epoch: int, number: int, batch: tuple) -> Diverged:
    """The error for the first step, 0, 1, ..., that is not finite, with its inputs, targets and noise."""
    culprit = _culprit(step, *batch)
    if number == 0:
        message = f"{culprit} at the very first step, before any update"
        fix = "check the data, the initializer, the loss and the regularizer"
    else:
        message = f"{culprit} at step {number + 1} (epoch {epoch}, lr {step.lr:g})"
        fix = _advice(network, step, decay)
    return Diverged(message, fix, Code.NUMERIC)


def _advice(network: Network, step: Step, decay) -> str:
    """What to try if a step was too large."""
    key = "optim.lr"
    rate = min(step.lr / 10, 0.1)
    if step.lr > step.base_lr and hasattr(decay, "max_lr"):  # this decay raises the rate above optim.lr
        key = "lr_decay.max_lr"
        rate = rate if rate > step.base_lr else (step.base_lr * step.lr) ** 0.5
    perceptron = len(network.body.layers()) == 1
    norm = "" if perceptron or has_batch_statistics(network) else ", or batchnorm=batch"
    return f"try a smaller learning rate, {key}={rate:.3g}{norm}"


def _culprit(step: Step, x: Tensor, y: Tensor, noise: Sequence[Tensor]) -> str:
    """The first value that is not finite, in the order of computation."""
    infinite: list[str] = []  # the layers whose outputs are not finite

    def look(name: str) -> Callable:
        return lambda module, args, out: None if out.isfinite().all() else infinite.append(name)

    layers = step.model.layers()
    hooks = [linear.register_forward_hook(look(name)) for name, linear in layers.items()]
    gradient = step.loss_grad(step.params, step.buffers, x, y, noise)
    for hook in hooks:
        hook.remove()
    if infinite:
        return f"{'the net' if infinite[0] == 'output' else infinite[0]}'s output is not finite"
    if not gradient.loss.isfinite():
        return "the loss is not finite"
    layout = step.parameter_layout
    grads = zip(layout.slots, layout.views(gradient.grads), strict=True)
    bad = {id(owner) for (owner, _), grad in grads if not grad.isfinite().all()}
    names = [name for name, linear in layers.items() if id(linear._parameters) in bad]
    if not names:
        return "the gradient is not finite"
    return f"the gradient of {'the output layer' if names[-1] == 'output' else names[-1]} is not finite"


@dataclass
class Best:
    """The weights at the best validation so far, or the initial weights before any validation.

    Attributes:
        params, buffers: the vectors of `step` at that validation.
        epoch: the epoch of that validation; 0 for the initial weights.
        value: the value of the monitor there (lower is better); None for the initial weights.
    """

    params: Tensor
    buffers: Tensor
    epoch: Whole = 0
    value: float | None = None

    @classmethod
    def initial(cls, step: Step) -> "Best":
        """The initial weights."""
        return cls(step.params.clone(), step.buffers.clone())

    def update(self, value: float, epoch: int, step: Step) -> None:
        """Keep the step's weights if `value` is strictly better than all before; NaN is never better."""
        if value < (math.inf if self.value is None else self.value):
            self.value = value
            self.epoch = epoch
            self.params = step.params.clone()
            self.buffers = step.buffers.clone()

    def restore(self, step: Step) -> None:
        """Copy the best weights back into the step's vectors."""
        step.params.copy_(self.params)
        step.buffers.copy_(self.buffers)

"""The loop: epochs of steps, as a generator. Whoever trains writes a `for` over it, and decides between epochs."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from dlfound.errors import Code, Error
from dlfound.nn.modules import BatchNorm
from dlfound.nn.network import Network
from dlfound.streams import stream, stream_seed
from dlfound.training.device_data import Part
from dlfound.training.metrics import evaluate, finite, measure
from dlfound.training.step import Step


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows, and the validation after it.

    Attributes:
        number: 1, 2, ...
        lr: the learning rate of its last step.
        train: loss and the cheap metrics of the batches as they were trained (dropout on), over all rows.
        val: loss and metrics on the validation rows, in evaluation mode.
        grad_norm: the 2-norm of the objective's gradient, the mean over its steps; None where one was not finite.
        before: the parameters before its last step, as a vector.
        train_seconds, val_seconds: wall-clock time.
    """

    number: int
    lr: float
    train: dict[str, float | None]
    val: dict[str, float | None]
    grad_norm: float | None
    before: Tensor
    train_seconds: float
    val_seconds: float


@dataclass
class Place:
    """Where a training stands: so many batches into an epoch, and what came of them.

    Attributes:
        epoch: the one that is being trained: 1, 2, ...
        batches: of it that are done.
        losses, norms, outputs: of each of these batches: loss and gradient's norm (scalars), (rows, outputs).
        seconds: of training spent in the epoch.
    """

    epoch: int = 1
    batches: int = 0
    losses: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0


class Diverged(Error):
    """The loss or a gradient is not finite any more; the net is as it was before that step."""

    def __init__(self, what: str, fix: str):
        super().__init__(what, fix, Code.NUMERIC)


def never() -> bool:
    """No pause."""
    return False


def fit(
    network: Network,
    step: Step,
    loss,
    decay,
    train: Part,
    val: Part,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    place: Place | None = None,
    pause: Callable[[], bool] = never,
) -> Iterator[Epoch | Place]:
    """Train, epoch by epoch; between two of them the caller may log, tell the decay, or stop.

    Args:
        decay: one of `optim.lr_decay`: the rate of each step.
        place: where to go on; the start where there is none.
        pause: asked after each step but an epoch's last: where it is true, the place inside the epoch comes out.

    Yields:
        Each epoch once it is over; and each pause, with the vectors of `step` as they are then.

    Raises:
        Diverged: a loss or gradient was not finite; `step` holds the state before it.
    """
    place = place or Place()
    while place.epoch <= epochs:
        before, order = yield from _pass(network, step, loss, decay, train, batch_size, seed, place, pause)
        outputs, encoded, targets = torch.cat(place.outputs), train.encoded[order], train.targets[order]
        measured = measure(network, loss, outputs, encoded, targets, brief=True)
        norm, started = finite(torch.stack(place.norms).mean()), time.perf_counter()
        validated = evaluate(network, loss, val)
        if validated["loss"] is None:
            what = f"the validation loss is not finite after epoch {place.epoch} (lr {step.lr:g})"
            raise Diverged(what, _advice(network, step, decay))
        seconds = place.seconds, time.perf_counter() - started
        done, place = place.epoch, Place(place.epoch + 1)
        yield Epoch(done, step.lr, measured, validated, norm, before, *seconds)


def _pass(
    network: Network, step: Step, loss, decay, train: Part, batch_size: int, seed: int, place: Place, pause
):
    """The rest of one pass over the training rows, every row once; returns `Epoch.before` and the rows' order."""
    network.train()
    started, rest = time.perf_counter() - place.seconds, place.batches
    order = torch.randperm(len(train.inputs), generator=stream(seed, "shuffle", place.epoch)).to(
        train.inputs.device
    )
    batches = _batches(order, batch_size, merge_single=has_batch_statistics(network))
    advice = partial(_advice, network, step, decay)
    generator, first = torch.Generator(train.inputs.device), (place.epoch - 1) * len(batches)

    def rows(i: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        generator.manual_seed(stream_seed(seed, "dropout", first + i))
        noise = network.body.noise(len(batches[i]), generator)
        return network.ready(train.inputs[batches[i]]), train.encoded[batches[i]], noise

    for i in range(rest, len(batches)):
        step.set_lr(decay.rate(step.base_lr, place.epoch - 1 + i / len(batches), 1 / len(batches)))
        if i + 1 == len(batches):
            before = step.params.clone()
        value, out, norm = step(*rows(i))
        place.batches = i + 1
        place.losses.append(value)
        place.outputs.append(out)
        place.norms.append(norm)
        if i + 1 < len(batches) and pause():
            _check_finite(place, first, step, rows, advice)
            place.seconds = time.perf_counter() - started
            yield place
            started, _ = time.perf_counter() - place.seconds, network.train()
    _check_finite(place, first, step, rows, advice)
    place.seconds = time.perf_counter() - started
    return before, order


def _batches(order: Tensor, batch_size: int, merge_single: bool) -> list[Tensor]:
    """Cut an order of rows; the last batch may be short, but a single row joins the one before where that matters."""
    batches = list(order.split(batch_size))
    if merge_single and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def has_batch_statistics(network: Network) -> bool:
    """True where a row's output in training depends on the other rows of its batch."""
    return any(isinstance(module, BatchNorm) for module in network.modules())


def _check_finite(
    place: Place, first: int, step: Step, again: Callable[[int], tuple], advice: Callable[[], str]
) -> None:
    """Raise Diverged where a step was not made; `again`: number of a batch -> its rows, targets and noise."""
    if not step.skip.item():
        return
    at = int(torch.stack(place.losses).isfinite().logical_not().nonzero()[0])
    culprit = _culprit(step, *again(at))
    if first + at == 0:
        what = f"{culprit} at the very first step, before any update"
        raise Diverged(what, "look at the data, the initializer, the loss and the regularizer")
    raise Diverged(f"{culprit} at step {first + at + 1} (epoch {place.epoch}, lr {step.lr:g})", advice())


def _advice(network: Network, step: Step, decay) -> str:
    """What to try against a step that was too large."""
    key, rate = "optim.lr", min(step.lr / 10, 0.1)
    if step.lr > step.base_lr and hasattr(
        decay, "max_lr"
    ):  # the only one that takes the rate above where it begins
        key, rate = "lr_decay.max_lr", rate if rate > step.base_lr else (step.base_lr * step.lr) ** 0.5
    normed = (
        has_batch_statistics(network) or len(network.body.layers()) == 1
    )  # or there is no hidden layer to norm
    return f"try a smaller rate, {key}={rate:.3g}{'' if normed else ', or batchnorm=batch'}"


def _culprit(step: Step, x: Tensor, y: Tensor, noise: Sequence[Tensor]) -> str:
    """What is the first to be not finite, in the order in which it is computed."""
    seen: list[str] = []

    def look(name: str) -> Callable:
        return lambda module, args, out: None if out.isfinite().all() else seen.append(name)

    layers = step.model.layers()
    hooks = [linear.register_forward_hook(look(name)) for name, linear in layers.items()]
    found = step.loss_grad(step.params, step.buffers, x, y, noise)
    for hook in hooks:
        hook.remove()
    if seen:
        return f"{'the net' if seen[0] == 'output' else seen[0]}'s output is not finite"
    if not found.loss.isfinite():
        return "the loss is not finite"
    owners = [owner for owner, _ in step.parameter_layout.slots]
    grads = step.parameter_layout.views(found.grads)
    bad = [owner for owner, g in zip(owners, grads, strict=True) if not g.isfinite().all()]
    names = [name for name, linear in layers.items() if any(owner is linear._parameters for owner in bad)]
    return f"the gradient of {names[-1]} is not finite" if names else "the gradient is not finite"


class Best:
    """The weights of the best validation so far, strictly better than all before; the initial ones until then.

    Attributes:
        value: of the monitor; lower is better.
        epoch: whose validation it was; 0 before the first.
        params, buffers: the vectors of `step` at that time.
    """

    def __init__(self, step: Step) -> None:
        self.value, self.epoch = float("inf"), 0
        self.params, self.buffers = step.params.clone(), step.buffers.clone()

    def see(self, value: float, epoch: int, step: Step) -> None:
        """Keep the step's weights if `value` (NaN is never better) beats all before."""
        if self.judge(value, epoch):
            self.params, self.buffers = step.params.clone(), step.buffers.clone()

    def judge(self, value: float, epoch: int) -> bool:
        """True where `value` beats all before; it is the one to beat from now on."""
        if not value < self.value:
            return False
        self.value, self.epoch = value, epoch
        return True

    def restore(self, step: Step) -> None:
        """Go back to the best weights."""
        step.params.copy_(self.params)
        step.buffers.copy_(self.buffers)

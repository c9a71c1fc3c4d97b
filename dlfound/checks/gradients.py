"""Is the gradient the objective's? Central differences through the whole net, and through each of its parts alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlfound.checks.context import Subject
from dlfound.checks.result import FAIL, WARN, Checked, Finding, sound
from dlfound.checks.thresholds import CHECK_ROWS, EPSILON, GRADIENT, JITTER
from dlfound.config.config import Config
from dlfound.streams import stream
from dlfound.training.assemble import Assembly

Differentiable = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A vector -> a scalar and its gradient."""

PROJECTIONS = 8  # random directions over all parameters
ENTRIES = (
    4  # of each tensor, one of them where the gradient is largest; beside one direction within the tensor
)
MOST_TENSORS = 60  # of which so much is asked; of further ones, a random direction over all tells
ROUNDING = 1e-14  # of a value, by the operations that led to it


@dataclass
class Comparison:
    """What came of comparing a gradient with central differences.

    Attributes:
        points: directions that were compared; kinks: those of them at which there is no derivative.
        errors: the largest relative difference of each place that was asked for, in the order asked.
    """

    points: int = 0
    kinks: int = 0
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def largest(self) -> float:
        """Of all relative differences."""
        return max(self.errors.values(), default=0.0)

    @property
    def wrong(self) -> list[str]:
        """The places where the gradient is wrong."""
        return [place for place, error in self.errors.items() if error > GRADIENT]

    def add(self, place: str, function: Differentiable, at: Tensor, direction: Tensor) -> None:
        """Compare in one more direction."""
        error = relative_error(function, at, direction)
        self.points, self.kinks = self.points + 1, self.kinks + (error is None)
        self.errors[place] = max(self.errors.get(place, 0.0), error or 0.0)


def relative_error(function: Differentiable, at: Tensor, direction: Tensor) -> float | None:
    """How far the slope by the gradient is from that by central differences; None at a kink.

    Where they differ, a step ten times as long and one a tenth as long must differ too: a long one suffers from
    curvature, a short one from rounding. Where a kink lies within a step, the gradients at its ends differ, and the
    central difference lies between their slopes: such a step says nothing. A wrong gradient has no such excuse.
    """
    value, gradient = function(at)
    slope, found = float(gradient @ direction), []
    for epsilon in (EPSILON, 10 * EPSILON, EPSILON / 10):
        (high, above), (low, below) = (function(at + sign * epsilon * direction) for sign in (1, -1))
        central, rounding = float(high - low) / (2 * epsilon), ROUNDING * (1 + abs(float(value))) / epsilon
        error = abs(central - slope) / (max(abs(central), abs(slope)) + rounding / GRADIENT)
        if error <= GRADIENT:
            return error
        sides = sorted((float(above @ direction), float(below @ direction)))
        slack = GRADIENT * max(map(abs, sides)) + rounding
        if not (sides[1] - sides[0] > slack and sides[0] - slack <= central <= sides[1] + slack):
            found.append(error)
    return min(found, default=None)


def check(subject: Subject) -> Checked:
    """The configured net, loss, penalty, normalisation and noise, in double precision."""
    generator = stream(subject.seed, "check gradients")
    a = subject.fresh(dtype=torch.float64)
    a.step.params += JITTER * _drawn(a.step.params, generator)
    batch = _batch(a, subject, generator)
    function, at = objective(a, batch), a.step.params.clone()
    if function(at)[0] != function(at)[0]:
        meaning = "the loss of the same rows under the same weights differs from time to time: nothing can be compared"
        return _told([Finding("noise", WARN, None, meaning, advice="see the check of determinism")], {})
    whole, parts = Comparison(), Comparison()
    for place, direction in directions(a, at, function(at)[1], generator):
        whole.add(place, function, at, direction)
    for place, part, given in _parts(a, subject.config, batch, generator):
        for direction in [
            *(_unit(_drawn(given, generator)) for _ in range(3)),
            *_entries(part(given)[1], 3, generator),
        ]:
            parts.add(place, part, given, direction)
    points, kinks = whole.points + parts.points, whole.kinks + parts.kinks
    meaning = f"is the largest error relative to central differences, at {points - kinks} points; {kinks} lie at kinks"
    findings = _judge(subject, whole, parts) + _penalised(a)
    numbers = {"points": points, "kinks": kinks, "errors": {**whole.errors, **parts.errors}}
    return _told(findings or [sound(max(whole.largest, parts.largest), meaning)], numbers)


def _told(findings: list[Finding], numbers: dict) -> Checked:
    return Checked("gradients", findings, numbers)


def _judge(subject: Subject, whole: Comparison, parts: Comparison) -> list[Finding]:
    """A finding for each part that is wrong; for the parameters where no part alone is."""
    findings = []
    for place in parts.wrong:
        group = place.partition("=")[0]
        meaning = f"the backward pass of {place} is wrong: relative error against central differences"
        advice = f"mend its backward, or leave it out: {group}={_plain(group)}"
        findings.append(
            Finding("wrong", FAIL, parts.errors[place], meaning, f"{group}={_plain(group)}", advice)
        )
    if not findings and whole.wrong:
        meaning = f"the gradient of {', '.join(whole.wrong[:3])} is wrong: relative error against central differences"
        own = [
            f"{g}={subject.config.name(g)}" for g in ("activation", "batchnorm", "loss") if subject.is_own(g)
        ]
        advice = f"look at {' and '.join(own)}" if own else "this is a fault of dlfound"
        findings.append(Finding("wrong", FAIL, whole.largest, meaning, advice=advice))
    if whole.points and whole.kinks == whole.points:
        findings.append(
            Finding("kinks", WARN, None, "every point lies at a kink: no gradient could be compared")
        )
    return findings


def _plain(group: str) -> str:
    """The option of a group that is known to be right."""
    return {"activation": "relu", "batchnorm": "none", "loss": "auto", "regularizer": "none"}[group]


# The whole net.


class _Batch(NamedTuple):
    """Some rows, their targets, and one draw of the noise."""

    x: Tensor
    y: Tensor
    noise: list[Tensor]


def _batch(a: Assembly, subject: Subject, generator: torch.Generator) -> _Batch:
    part = subject.sample(a, CHECK_ROWS, "gradients")
    x = a.network.ready(part.inputs).double()
    y = part.encoded.double() if part.encoded.is_floating_point() else part.encoded
    return _Batch(x, y, [n.to(x) for n in a.network.body.noise(len(x), generator)])


def objective(a: Assembly, batch: _Batch) -> Differentiable:
    """Parameters -> the objective on the batch, in training mode."""
    a.network.train()

    def function(params: Tensor) -> tuple[Tensor, Tensor]:
        found = a.step.loss_grad(params, a.step.buffers, *batch)
        return found.objective, found.grads

    return function


def directions(
    a: Assembly, at: Tensor, gradient: Tensor, generator: torch.Generator
) -> Iterator[tuple[str, Tensor]]:
    """Random projections over all parameters; then within each tensor, and single entries of it."""
    for _ in range(PROJECTIONS):
        yield "all parameters", _unit(_drawn(at, generator))
    layout, names = a.step.parameter_layout, parameter_names(a)
    for i, name in list(enumerate(names))[:MOST_TENSORS]:
        inside = torch.zeros_like(at)
        layout.views(inside)[i].copy_(_drawn(layout.views(at)[i], generator))
        yield name, _unit(inside)
        for entry in _entries(layout.views(gradient)[i].flatten(), ENTRIES, generator):
            single = torch.zeros_like(at)
            layout.views(single)[i].copy_(entry.view(layout.shapes[i]))
            yield name, single


def parameter_names(a: Assembly) -> list[str]:
    """What the step's tensors are called, in its order: layer1.weight, layer1.bias, ...; others as torch names them."""
    owners = {id(linear._parameters): name for name, linear in a.network.body.layers().items()}
    modules = {id(m._parameters): name for name, m in a.step.model.named_modules()}
    return [f"{owners.get(id(own), modules[id(own)])}.{name}" for own, name in a.step.parameter_layout.slots]


def _entries(gradient: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Unit vectors: where the gradient is largest, then by lot."""
    lot = torch.randint(len(gradient), (count - 1,), generator=generator)
    for entry in dict.fromkeys([int(gradient.abs().argmax()), *lot.tolist()]):
        yield nn.functional.one_hot(torch.tensor(entry), len(gradient)).to(gradient)


def _drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.device)


def _unit(direction: Tensor) -> Tensor:
    return direction / torch.linalg.vector_norm(direction)


# Its parts.


def _parts(
    a: Assembly, config: Config, batch: _Batch, generator: torch.Generator
) -> Iterator[tuple[str, Differentiable, Tensor]]:
    """The modules of a hidden layer, the loss and the penalty, each at what it is given: "group=option", ..."""
    given: dict[nn.Module, Tensor] = {}
    modules = _modules(a)
    hooks = [m.register_forward_pre_hook(_keep(given)) for m in modules]
    with torch.no_grad():
        outputs = a.network.body(batch.x, batch.noise)
    for hook in hooks:
        hook.remove()
    for module, group in modules.items():
        yield (
            f"{group}={config.name(group)}",
            _module(module, given[module], generator),
            given[module].flatten(),
        )
    loss = _scalar(lambda out: a.step.loss(out.view(outputs.shape), batch.y))
    yield f"loss={config.name('loss')}", loss, outputs.flatten()
    if config.name("regularizer") != "none":
        views = a.step.parameter_layout.views
        penalty = _scalar(lambda p: a.step.penalty([views(p)[i] for i in a.step.weights]))
        yield f"regularizer={config.name('regularizer')}", penalty, a.step.params.clone()


def _keep(given: dict[nn.Module, Tensor]) -> Callable:
    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        given[module] = args[0].clone()

    return hook


def _modules(a: Assembly) -> dict[nn.Module, str]:
    """The first of its kind only: all layers have the same."""
    first = list(a.network.body.hidden)[:1]
    found = {layer.norm: "batchnorm" for layer in first if layer.norm is not None}
    return found | {layer.activation: "activation" for layer in first}


def _module(module: nn.Module, a: Tensor, generator: torch.Generator) -> Differentiable:
    """What a module puts out, weighted at random so that it is one number."""
    with torch.no_grad():
        weights = _drawn(module(a), generator)
    return _scalar(lambda flat: (module(flat.view(a.shape)) * weights).sum())


def _scalar(function: Callable[[Tensor], Tensor]) -> Differentiable:
    """With its gradient by autograd; zero where it is cut off."""

    def differentiable(at: Tensor) -> tuple[Tensor, Tensor]:
        at = at.detach().requires_grad_()
        value = function(at)
        if not value.requires_grad:
            return value, torch.zeros_like(at)
        (gradient,) = torch.autograd.grad(value, at, materialize_grads=True)
        return value.detach(), gradient

    return differentiable


def _penalised(a: Assembly) -> list[Finding]:
    """The penalty must reach weights only: not what a normalisation or activation learns beside them."""
    step, leaves = (
        a.step,
        [view.clone().requires_grad_() for view in a.step.parameter_layout.views(a.step.params)],
    )
    value = step.penalty([leaves[i] for i in step.weights])
    if not isinstance(value, Tensor) or not value.requires_grad:
        return []
    gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    beside = {id(m._parameters) for layer in a.network.body.hidden for m in _besides(layer)}
    slots = zip(parameter_names(a), step.parameter_layout.slots, gradients, strict=True)
    names = [name for name, (owner, _), gradient in slots if id(owner) in beside and gradient.any()]
    if not names:
        return []
    meaning = f"the penalty shrinks {', '.join(names[:3])}: biases and the like are not to be penalised"
    advice = "let it have one dimension: what has more counts as a matrix of weights"
    return [Finding("penalised", FAIL, float(len(names)), meaning, "regularizer=none", advice)]


def _besides(layer: nn.Module) -> Iterator[nn.Module]:
    """The modules of a hidden layer but for its weights."""
    for part in (layer.norm, layer.activation):
        if part is not None:
            yield from part.modules()

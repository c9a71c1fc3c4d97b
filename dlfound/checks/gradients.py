"""Check the gradient of the whole net, and of each of its parts alone, against central differences."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlfound.checks.context import CheckContext, hidden_modules, parameter_names
from dlfound.checks.result import FAIL, WARN, CheckResult, Finding, sound
from dlfound.config.config import Config
from dlfound.streams import stream
from dlfound.training.assemble import Assembly

Differentiable = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A function of a vector that returns a scalar and its gradient."""

EPSILON = 1e-6  # of the central difference (lecture, minute 43)
TOLERANCE = 1e-4  # relative error: correct gradients stay below 1e-6, a wrong factor is far above
ROWS = 12  # enough for batch statistics; few, so that few units stand at a kink
JITTER = 1e-2  # deviation of the noise on each parameter: at zero weights many gradients would be zero
PROJECTIONS = 8  # random directions over all parameters
ENTRIES = 4  # single entries of each tensor, besides a random direction within it
MOST_TENSORS = 60  # that are tested one by one; the projections cover the others
ROUNDING = 1e-14  # rounding error of the objective, relative to its value
USUAL = f"below {TOLERANCE:g}"
PLAIN = {"activation": "relu", "batchnorm": "none", "loss": "auto", "regularizer": "none"}
"""The option of each group that is known to be right."""


@dataclass
class Comparison:
    """Relative errors of a gradient against central differences.

    Attributes:
        points: the number of directions tested.
        kinks: the number of them that cross a kink, where no derivative exists.
        errors: the largest relative error of each place, in the order tested.
    """

    points: int = 0
    kinks: int = 0
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def largest(self) -> float:
        """The largest relative error."""
        return max(self.errors.values(), default=0.0)

    @property
    def wrong(self) -> list[str]:
        """The places where the gradient is wrong."""
        return [place for place, error in self.errors.items() if error > TOLERANCE]

    def add(self, place: str, function: Differentiable, at: Tensor, direction: Tensor) -> None:
        """Test one more direction."""
        error = relative_error(function, at, direction)
        self.points += 1
        self.kinks += error is None
        self.errors[place] = max(self.errors.get(place, 0.0), error or 0.0)


def relative_error(function: Differentiable, at: Tensor, direction: Tensor) -> float | None:
    """Return the relative error of the slope by the gradient against central differences; None at a kink.

    If they differ, steps ten times as long and a tenth as long must differ too: a long step suffers from
    curvature, a short one from rounding. If a step crosses a kink, the gradients at its two ends differ and
    the central difference lies between their slopes. Such a step proves nothing; a wrong gradient shows in
    other steps.
    """
    value, gradient = function(at)
    slope = float(gradient @ direction)
    errors = []
    for epsilon in (EPSILON, 10 * EPSILON, EPSILON / 10):
        high, above = function(at + epsilon * direction)
        low, below = function(at - epsilon * direction)
        central = float(high - low) / (2 * epsilon)
        rounding = ROUNDING * (1 + abs(float(value))) / epsilon
        error = abs(central - slope) / (max(abs(central), abs(slope)) + rounding / TOLERANCE)
        if error <= TOLERANCE:
            return error
        sides = sorted((float(above @ direction), float(below @ direction)))
        slack = TOLERANCE * max(map(abs, sides)) + rounding
        crosses_kink = sides[1] - sides[0] > slack and sides[0] - slack <= central <= sides[1] + slack
        if not crosses_kink:
            errors.append(error)
    return min(errors, default=None)


def check(context: CheckContext) -> CheckResult:
    """Test the configured net, loss, penalty, normalisation and noise in double precision."""
    generator = stream(context.seed, "check gradients")
    a = context.fresh(dtype=torch.float64)
    a.step.params += JITTER * _normal(a.step.params, generator)
    batch = _batch(a, context, generator)
    function = objective(a, batch)
    at = a.step.params.clone()
    value, gradient = function(at)
    if function(at)[0] != value:
        meaning = "the loss of the same rows and weights changes between two evaluations"
        finding = Finding("noise", WARN, None, "", meaning, advice="see the determinism check")
        return CheckResult("gradients", [finding])
    whole = Comparison()
    for place, direction in directions(a, at, gradient, generator):
        whole.add(place, function, at, direction)
    parts = Comparison()
    for place, part, given in _parts(a, context.config, batch, generator):
        inside = [_unit(_normal(given, generator)) for _ in range(3)]
        for direction in [*inside, *_entries(part(given)[1], 3, generator)]:
            parts.add(place, part, given, direction)
    findings = _judge(context, whole, parts) + _penalised(a)
    kinks = whole.kinks + parts.kinks
    points = whole.points + parts.points
    meaning = f"largest relative error of the gradient in {points - kinks} directions"
    if kinks:
        meaning += f" ({kinks} others cross a kink)"
    largest = max(whole.largest, parts.largest)
    numbers = {"points": points, "kinks": kinks, "errors": {**whole.errors, **parts.errors}}
    return CheckResult("gradients", findings or [sound(largest, USUAL, meaning)], numbers)


def _judge(context: CheckContext, whole: Comparison, parts: Comparison) -> list[Finding]:
    """Blame each wrong part; blame the parameters only if every part alone is right."""
    findings = []
    for place in parts.wrong:
        group = place.partition("=")[0]
        meaning = f"relative error of the gradient: the backward pass of {place} is wrong"
        override = f"{group}={PLAIN[group]}"
        advice = "to keep it, correct its backward pass"
        findings.append(Finding("wrong", FAIL, parts.errors[place], USUAL, meaning, override, advice))
    if not findings and whole.wrong:
        meaning = f"relative error of the gradient of {', '.join(whole.wrong[:3])}"
        groups = [group for group in ("activation", "batchnorm", "loss") if context.is_registered(group)]
        suspects = " and ".join(f"{group}={context.config.name(group)}" for group in groups)
        advice = f"check the code of {suspects}" if groups else "report this as a bug of dlfound"
        findings.append(Finding("wrong", FAIL, whole.largest, USUAL, meaning, advice=advice))
    if whole.points and whole.kinks == whole.points:
        meaning = "every direction crosses a kink, so no gradient could be tested"
        findings.append(Finding("kinks", WARN, None, "", meaning, advice="check again with another run.seed"))
    return findings


# The whole net.


class _Batch(NamedTuple):
    """Some rows, their targets, and one draw of the noise."""

    x: Tensor
    y: Tensor
    noise: list[Tensor]


def _batch(a: Assembly, context: CheckContext, generator: torch.Generator) -> _Batch:
    part = context.sample(a, ROWS, "gradients")
    x = a.network.ready(part.inputs).double()
    y = part.encoded.double() if part.encoded.is_floating_point() else part.encoded
    return _Batch(x, y, [n.to(x) for n in a.network.body.noise(len(x), generator)])


def objective(a: Assembly, batch: _Batch) -> Differentiable:
    """Return the objective on the batch in training mode, as a function of the parameters."""
    a.network.train()

    def function(params: Tensor) -> tuple[Tensor, Tensor]:
        evaluated = a.step.loss_grad(params, a.step.buffers, *batch)
        return evaluated.objective, evaluated.grads

    return function


def directions(
    a: Assembly, at: Tensor, gradient: Tensor, generator: torch.Generator
) -> Iterator[tuple[str, Tensor]]:
    """Yield (place, direction): over all parameters, within each tensor, and along single entries."""
    for _ in range(PROJECTIONS):
        yield "all parameters", _unit(_normal(at, generator))
    layout = a.step.parameter_layout
    for i, name in enumerate(parameter_names(a)[:MOST_TENSORS]):
        inside = torch.zeros_like(at)
        layout.views(inside)[i].copy_(_normal(layout.views(at)[i], generator))
        yield name, _unit(inside)
        for entry in _entries(layout.views(gradient)[i].flatten(), ENTRIES, generator):
            single = torch.zeros_like(at)
            layout.views(single)[i].copy_(entry.view(layout.shapes[i]))
            yield name, single


def _entries(gradient: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield unit vectors: the entry with the largest gradient, then random ones."""
    drawn = torch.randint(len(gradient), (count - 1,), generator=generator)
    for entry in dict.fromkeys([int(gradient.abs().argmax()), *drawn.tolist()]):
        yield nn.functional.one_hot(torch.tensor(entry), len(gradient)).to(gradient)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.device)


def _unit(direction: Tensor) -> Tensor:
    return direction / torch.linalg.vector_norm(direction)


# Its parts.


def _parts(
    a: Assembly, config: Config, batch: _Batch, generator: torch.Generator
) -> Iterator[tuple[str, Differentiable, Tensor]]:
    """Yield (group=option, function, input) for the modules of a hidden layer, the loss and the penalty."""
    first: dict[str, nn.Module] = {}
    for module, group in hidden_modules(a.network).items():
        first.setdefault(group, module)  # all layers have modules of the same kind
    received: dict[nn.Module, Tensor] = {}
    hooks = [module.register_forward_pre_hook(_record_input(received)) for module in first.values()]
    with torch.no_grad():
        outputs = a.network.body(batch.x, batch.noise)
    for hook in hooks:
        hook.remove()
    for group, module in first.items():
        given = received[module]
        yield f"{group}={config.name(group)}", _module(module, given, generator), given.flatten()
    loss = _scalar(lambda out: a.step.loss(out.view(outputs.shape), batch.y))
    yield f"loss={config.name('loss')}", loss, outputs.flatten()
    if config.name("regularizer") != "none":
        views = a.step.parameter_layout.views
        penalty = _scalar(lambda p: a.step.penalty([views(p)[i] for i in a.step.weights]))
        yield f"regularizer={config.name('regularizer')}", penalty, a.step.params.clone()


def _record_input(received: dict[nn.Module, Tensor]) -> Callable:
    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        received[module] = args[0].clone()

    return hook


def _module(module: nn.Module, a: Tensor, generator: torch.Generator) -> Differentiable:
    """Reduce a module's output to one number by random weights."""
    with torch.no_grad():
        weights = _normal(module(a), generator)
    return _scalar(lambda flat: (module(flat.view(a.shape)) * weights).sum())


def _scalar(function: Callable[[Tensor], Tensor]) -> Differentiable:
    """Add the gradient by autograd; it is zero if the function is detached from its input."""

    def differentiable(at: Tensor) -> tuple[Tensor, Tensor]:
        at = at.detach().requires_grad_()
        value = function(at)
        if not value.requires_grad:
            return value, torch.zeros_like(at)
        (gradient,) = torch.autograd.grad(value, at, materialize_grads=True)
        return value.detach(), gradient

    return differentiable


def _penalised(a: Assembly) -> list[Finding]:
    """Find penalised parameters of normalisations and activations: the penalty may act on weights only."""
    layout = a.step.parameter_layout
    leaves = [view.clone().requires_grad_() for view in layout.views(a.step.params)]
    penalty = a.step.penalty([leaves[i] for i in a.step.weights])
    if not isinstance(penalty, Tensor) or not penalty.requires_grad:
        return []
    gradients = torch.autograd.grad(penalty, leaves, materialize_grads=True)
    others = {id(m._parameters) for module in hidden_modules(a.network) for m in module.modules()}
    slots = zip(parameter_names(a), layout.slots, gradients, strict=True)
    names = [name for name, (owner, _), gradient in slots if id(owner) in others and gradient.any()]
    if not names:
        return []
    meaning = f"parameters that are not weights but are penalised: {', '.join(names[:3])}"
    advice = "to keep the penalty, give these parameters one dimension: dlfound treats a matrix as weights"
    return [Finding("penalised", FAIL, float(len(names)), "0", meaning, "regularizer=none", advice)]

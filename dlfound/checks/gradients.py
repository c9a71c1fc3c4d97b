"""Check the gradient of the whole net, and of each of its parts alone, against central differences."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from dlfound.checks import FAIL, WARN, CheckResult, Finding, count_named, enumerated, sound
from dlfound.checks.context import CheckContext, hidden_modules, parameter_names, plain_override
from dlfound.streams import stream
from dlfound.training.assemble import Assembly

Differentiable = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A function of a vector that returns a scalar and its gradient."""
Errors = dict[str, list[float | None]]
"""The relative error in each tested direction of each place; None if the direction crosses a kink."""

EPSILON = 1e-6  # of the central difference (lecture, minute 43)
TOLERANCE = 1e-4  # relative error: correct gradients stay below 1e-6, a wrong factor is far above
ROWS = 12  # enough for batch statistics; few, so that few units stand at a kink
JITTER = 1e-2  # deviation of the noise on each parameter: at zero weights many gradients would be zero
PROJECTIONS = 8  # random directions over all parameters
ENTRIES = 4  # single entries of each tensor, besides a random direction within it
MOST_TENSORS = 60  # that are tested one by one; the projections cover the others
ROUNDING = 1e-14  # rounding error of the objective, relative to its value
USUAL = f"below {TOLERANCE:g}"


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


def check_gradients(context: CheckContext) -> CheckResult:
    """Test the configured net, loss, penalty, normalisation and noise in double precision."""
    generator = stream(context.seed, "check gradients")
    a = context.fresh(dtype=torch.float64)
    a.network.train()
    a.step.params += JITTER * _normal(a.step.params, generator)
    rows = context.sample(a, ROWS, "gradients")
    x = a.network.ready(rows.inputs).double()
    y = rows.encoded.double() if rows.encoded.is_floating_point() else rows.encoded
    noise = [n.to(x) for n in a.network.body.noise(len(x), generator)]

    def objective(params: Tensor) -> tuple[Tensor, Tensor]:
        evaluated = a.step.loss_grad(params, a.step.buffers, x, y, noise)
        return evaluated.objective, evaluated.grads

    at = a.step.params.clone()
    value, gradient = objective(at)
    if objective(at)[0] != value:
        meaning = "the loss of the same rows and weights changes between two evaluations"
        return CheckResult([Finding("noise", WARN, None, "", meaning, "", "see the determinism check")])
    whole: Errors = defaultdict(list)
    for place, direction in _directions(a, gradient, generator):
        whole[place].append(relative_error(objective, at, direction))
    parts: Errors = defaultdict(list)
    for place, part, given in _parts(context, a, x, y, noise, generator):
        inside = [_unit(_normal(given, generator)) for _ in range(3)]
        for direction in [*inside, *_axes(part(given)[1], torch.arange(len(given)), 3, generator)]:
            parts[place].append(relative_error(part, given, direction))
    errors = {place: _largest(tested) for place, tested in (whole | parts).items()}
    tested = [*chain(*whole.values(), *parts.values())]
    kinks = tested.count(None)
    meaning = f"largest relative error of the gradient in {len(tested) - kinks} directions"
    if kinks:
        meaning += f" ({kinks} others cross a kink)"
    findings = _judge(context, whole, parts) + _penalised(a)
    findings = findings or [sound(_largest(tested), USUAL, meaning)]
    return CheckResult(findings, {"points": len(tested), "kinks": kinks, "errors": errors})


def _largest(errors: Sequence[float | None]) -> float:
    return max((error for error in errors if error is not None), default=0.0)


def _judge(context: CheckContext, whole: Errors, parts: Errors) -> list[Finding]:
    """Blame each wrong part; blame the parameters only if every part alone is right."""
    findings = []
    for place, errors in parts.items():
        if _largest(errors) > TOLERANCE:
            meaning = f"relative error of the gradient: the backward pass of {place} is wrong"
            override = plain_override(place.partition("=")[0])
            advice = "to keep it, correct its backward pass"
            findings.append(Finding("wrong", FAIL, _largest(errors), USUAL, meaning, override, advice))
    wrong = [place for place, errors in whole.items() if _largest(errors) > TOLERANCE]
    if wrong and not findings:
        meaning = f"relative error of the gradient of {enumerated(wrong)}"
        groups = filter(context.is_registered, ("activation", "batchnorm", "loss"))
        suspects = " and ".join(map(context.named, groups))
        advice = f"check the code of {suspects}" if suspects else "report this as a bug of dlfound"
        error = max(map(_largest, whole.values()))
        findings.append(Finding("wrong", FAIL, error, USUAL, meaning, "", advice))
    if all(error is None for error in chain(*whole.values())):
        meaning = "every direction crosses a kink, so no gradient could be tested"
        findings.append(Finding("kinks", WARN, None, "", meaning, "", "check again with another run.seed"))
    return findings


# The whole net.


def _directions(a: Assembly, gradient: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Yield (place, direction): over all parameters, within each tensor, and along single entries."""
    for _ in range(PROJECTIONS):
        yield "all parameters", _unit(_normal(gradient, generator))
    tensors = torch.arange(len(gradient)).split(a.step.parameter_layout.sizes)
    for name, places in list(zip(parameter_names(a), tensors, strict=True))[:MOST_TENSORS]:
        inside = torch.zeros_like(gradient)
        inside[places] = _normal(gradient[places], generator)
        yield name, _unit(inside)
        for direction in _axes(gradient, places, ENTRIES, generator):
            yield name, direction


def _axes(gradient: Tensor, places: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield unit vectors along some of the places: that of the largest gradient, then random ones."""
    drawn = places[torch.randint(len(places), (count - 1,), generator=generator)]
    largest = places[int(gradient[places].abs().argmax())]
    for place in dict.fromkeys([int(largest), *drawn.tolist()]):
        yield nn.functional.one_hot(torch.tensor(place), len(gradient)).to(gradient)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.device)


def _unit(direction: Tensor) -> Tensor:
    return direction / torch.linalg.vector_norm(direction)


# Its parts.


def _parts(
    context: CheckContext, a: Assembly, x: Tensor, y: Tensor, noise: list[Tensor], generator: torch.Generator
) -> Iterator[tuple[str, Differentiable, Tensor]]:
    """Yield (group=option, function, input) for the modules of a hidden layer, the loss and the penalty."""
    body = a.network.body
    with torch.no_grad():
        outputs = body(x, noise)
        given = x if body.embeddings is None else body.embeddings(x)
    for layer in body.hidden[:1]:  # all layers have modules of the same kind
        given = layer.linear(given).detach()
        for group, module in (("batchnorm", layer.norm), ("activation", layer.activation)):
            if module is not None:
                yield context.named(group), _module(module, given, generator), given.flatten()
                given = module(given.clone()).detach()
    loss = _scalar(lambda out: a.step.loss(out.view(outputs.shape), y))
    yield context.named("loss"), loss, outputs.flatten()
    if context.config.name("regularizer") != "none":
        views = a.step.parameter_layout.views
        penalty = _scalar(lambda p: a.step.penalty([views(p)[i] for i in a.step.weights]))
        yield context.named("regularizer"), penalty, a.step.params.clone()


def _module(module: nn.Module, a: Tensor, generator: torch.Generator) -> Differentiable:
    """Reduce a module's output to one number by random weights."""
    with torch.no_grad():
        weights = _normal(module(a.clone()), generator)  # a module may change its input in place
    return _scalar(lambda flat: (module(flat.view(a.shape).clone()) * weights).sum())


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
    advice = "to keep the penalty, give these parameters one dimension: dlfound treats a matrix as weights"
    meaning = "parameters that are not weights but are penalised"
    return count_named("penalised", FAIL, meaning, names, "regularizer=none", advice)

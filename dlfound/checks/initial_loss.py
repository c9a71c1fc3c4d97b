"""Check the loss before the first step against constant predictions, and the loss function itself."""

import math
import statistics
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from dlfound.checks import FAIL, WARN, CheckResult, Finding, sound
from dlfound.checks.context import CheckContext, sample_loss
from dlfound.training.assemble import Assembly
from dlfound.training.device import DeviceData

NETS = 9  # fresh nets, of which the median counts: a single net with one output says little
FAULTY_RATIO = 10.0  # times the loss of a constant prediction: a fault, not luck
HIGH = 5.0  # times; He's initialisation with a linear output starts at up to 3 for regression
USUAL = f"{1 / FAULTY_RATIO:g} to {HIGH:g}"
FLAT_SLOPE = 1e-3  # slope at a confident wrong prediction, relative to that at an undecided one
SQUASHED = 0.4  # share of the loss that right predictions leave; softmax applied twice leaves 0.45 to 1
DESCENT = 30  # gradient steps towards the best constant prediction, from a good guess
CONFIDENT = 20.0  # logit of a confident prediction: softmax gives the other classes 1e-9
STRENGTHS = (1.0, 2.0, 5.0, 10.0, CONFIDENT, 50.0)  # label smoothing has its minimum at a moderate one

Outputs = Callable[[float], Tensor]
"""The size of the logits -> outputs for all rows."""


def check_initial_loss(context: CheckContext) -> CheckResult:
    """Compare the median loss of fresh nets with the best constant prediction, and test the loss function."""
    a = context.fresh()
    part = context.sample(a)
    seeds = [(context.seed + k) % 2**32 for k in range(NETS)]
    configs = [context.config.having("run", seed=seed) for seed in seeds]
    initial = statistics.median([sample_loss(context.fresh(config), part) for config in configs])
    constant, zero = constant_losses(a, part)
    findings = _check_function(a, part, context.named("loss"))
    findings = findings or [_judge(context, initial, constant, zero)]
    return CheckResult(findings, {"initial": initial, "constant": constant, "zero": zero})


def constant_losses(a: Assembly, part: DeviceData) -> tuple[float, float]:
    """Return the loss of the best constant prediction and that of outputs of zero."""
    zero = torch.zeros(a.network.body.output.out_features, device=part.encoded.device)
    guesses = [zero, *(guess for guess in _guesses(a, part) if guess.shape == zero.shape)]
    best = min(guesses, key=lambda outputs: _constant_loss(a, part, outputs))
    return _descend(a, part, best), float(_constant_loss(a, part, zero))


def _guesses(a: Assembly, part: DeviceData) -> list[Tensor]:
    """Return constant outputs that suit the usual losses: means, medians, or logits of the class shares."""
    if a.network.target is not None:
        return [part.encoded.mean(0), part.encoded.median(0).values]
    if part.targets.dim() == 2:
        return [torch.logit(part.targets.float().mean(0), 1e-9)]
    shares = torch.bincount(part.targets, minlength=2).float() / len(part.targets)
    likeliest = F.one_hot(shares.argmax(), len(shares)).float()
    return [shares.clamp(min=1e-9).log(), likeliest, torch.logit(shares[1:2], 1e-9)]


def _constant_loss(a: Assembly, part: DeviceData, outputs: Tensor) -> Tensor:
    """Return the loss of the same outputs for every row."""
    return a.loss(outputs.expand(len(part.encoded), -1), part.encoded)


def _descend(a: Assembly, part: DeviceData, outputs: Tensor) -> float:
    """Return the loss of constant outputs after gradient descent: class weights, say, move the minimum."""
    step = 1.0
    lowest = float(_constant_loss(a, part, outputs))
    for _ in range(DESCENT):
        slope = _gradient(a, part, outputs.expand(len(part.encoded), -1)).sum(0)
        loss = float(_constant_loss(a, part, outputs - step * slope))
        if loss < lowest:
            outputs = outputs - step * slope
            lowest = loss
            step *= 2
        else:
            step /= 4
    return lowest


def _judge(context: CheckContext, initial: float, constant: float, zero: float) -> Finding:
    override = context.weights_override()
    if not math.isfinite(initial):
        meaning = "the loss before the first step is not finite"
        return Finding("high", FAIL, None, USUAL, meaning, override)
    ratio = initial / constant if constant > 0 else None
    meaning = f"loss before the first step ({initial:.3g}) "
    meaning += f"over that of the best constant output ({constant:.3g})"
    if ratio is None or zero <= 0:
        return sound(ratio, USUAL, meaning)
    if initial > FAULTY_RATIO * max(constant, zero):
        meaning += ": the initial weights are too large"
        return Finding("high", FAIL, ratio, USUAL, meaning, override)
    if initial < min(constant, zero) / FAULTY_RATIO:
        meaning += ": an untrained net cannot be that good"
        advice = "look for the target among the inputs, and check the loss function"
        return Finding("low", FAIL, ratio, USUAL, meaning, "", advice)
    if ratio > HIGH:
        meaning += ": the first steps only correct the initial weights"
        return Finding("high", WARN, ratio, USUAL, meaning, override)
    return sound(ratio, USUAL, meaning)


# The loss function.


def _check_function(a: Assembly, part: DeviceData, name: str) -> list[Finding]:
    """Test the order of right and wrong predictions, the slope at wrong ones, and the mean over rows."""
    predictions = _predictions(a, part)
    if predictions is None:
        return []
    right, wrong = predictions

    def loss(outputs: Tensor) -> float:
        return float(a.loss(outputs, part.encoded))

    low = loss(right(CONFIDENT))
    high = loss(wrong(CONFIDENT))
    if not high > low:
        meaning = f"loss of wrong predictions; right ones have {low:.3g}, so {name} has the wrong sign"
        advice = f"to keep {name}, change its sign"
        return [Finding("sign", FAIL, high, f"above {low:.3g}", meaning, "loss=auto", advice)]
    left = min(loss(right(strength)) for strength in STRENGTHS) / loss(torch.zeros_like(right(1)))
    confident = _gradient(a, part, wrong(CONFIDENT)).norm()
    if left > SQUASHED and confident < FLAT_SLOPE * _gradient(a, part, wrong(0.5)).norm():
        meaning = f"share of {name} that right predictions leave: softmax or sigmoid is applied twice"
        advice = f"to keep {name}, apply softmax or sigmoid only once"
        return [Finding("squashed", FAIL, left, f"at most {SQUASHED:g}", meaning, "loss=auto", advice)]
    once = loss(wrong(1))
    twice = float(a.loss(torch.cat([wrong(1)] * 2), torch.cat([part.encoded] * 2)))
    if abs(twice - once) > 1e-3 * abs(once):
        meaning = f"{name} of all rows given twice over that of the rows given once: not a mean over rows"
        advice = f"to keep {name}, return the mean over rows"
        return [Finding("summed", WARN, twice / once, "1", meaning, "loss=auto", advice)]
    return []


def _predictions(a: Assembly, part: DeviceData) -> tuple[Outputs, Outputs] | None:
    """Return right and wrong outputs; None unless the net gives class scores, log-odds or numbers.

    Wrong numbers are off by the given size; right ones do not depend on it.
    """
    width = a.network.body.output.out_features
    if a.network.target is not None:
        fits = part.encoded.shape[1:] == (width,)
        return (lambda size: part.encoded, lambda size: part.encoded + size) if fits else None
    classes = max(int(max(p.targets.max() for p in a.parts.values())) + 1, 2)
    if part.targets.dim() == 1 and width > 1:
        true, false = (F.one_hot((part.targets + k) % classes, classes).float() for k in (0, 1))
    else:
        true = 2 * part.targets.float().view(len(part.targets), -1) - 1
        false = -true
    fits = true.shape[1] == width and (width > 1 or classes == 2)
    return (lambda size: size * true, lambda size: size * false) if fits else None


def _gradient(a: Assembly, part: DeviceData, outputs: Tensor) -> Tensor:
    """Return the gradient of the loss by the outputs, (rows, outputs)."""
    outputs = outputs.detach().clone().requires_grad_()
    return torch.autograd.grad(a.loss(outputs, part.encoded), outputs)[0]

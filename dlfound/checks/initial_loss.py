"""The loss before the first step: what an answer without knowledge costs, and whether the loss is one at all."""

import math
import statistics
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dlfound.checks.context import Subject, sample_loss
from dlfound.checks.result import FAIL, WARN, Checked, Finding, sound
from dlfound.checks.thresholds import DRAWS, FAR, FLAT, HIGH, SQUASHED
from dlfound.config.config import Config
from dlfound.training.assemble import Assembly
from dlfound.training.device_data import Part

DESCENT = 30  # steps towards the best constant answer, from a good guess
SURE = 20.0  # a sure answer: softmax gives the other classes 1e-9
STRENGTHS = (1.0, 2.0, 5.0, 10.0, SURE, 50.0)  # with label smoothing the best right answer is not the surest


def check(subject: Subject) -> Checked:
    """The median of fresh nets against the class prior, or the target's variance; and a look at the loss itself."""
    a = subject.fresh()
    part = subject.sample(a)
    losses = [sample_loss(subject.fresh(c), part) for c in _other_draws(subject)]
    initial = statistics.median([sample_loss(a, part), *losses])
    prior, blank = constant_losses(a, part)
    found = _of_the_loss(a, part, f"loss={subject.config.name('loss')}") or _judge(
        subject, initial, prior, blank
    )
    numbers = {"initial": initial, "constant": prior, "zero": blank}
    meaning = f"times what the best constant answer costs ({prior:.3g}): the loss before the first step ({initial:.3g})"
    return Checked("initial_loss", found or [sound(_ratio(initial, prior), meaning)], numbers)


def _other_draws(subject: Subject) -> list[Config]:
    return [subject.config.having("run", seed=(subject.seed + k) % 2**32) for k in range(1, DRAWS)]


def _ratio(initial: float, prior: float) -> float | None:
    return initial / prior if prior > 0 else None


def constant_losses(a: Assembly, part: Part) -> tuple[float, float]:
    """What the best constant answer costs, and what outputs of zero cost."""
    width, where = a.network.body.output.out_features, part.encoded.device
    zero, starts = torch.zeros(width, device=where), []
    if a.network.target is not None:
        starts = [part.encoded.mean(0), part.encoded.median(0).values]
    elif part.targets.dim() == 2:
        starts = [torch.logit(part.targets.float().mean(0), 1e-9)]
    else:
        share = torch.bincount(part.targets, minlength=2).float() / len(part.targets)
        if width == len(share):
            starts = [share.clamp(min=1e-9).log(), F.one_hot(share.argmax(), width).float()]
        elif width == 1:
            starts = [torch.logit(share[1:2], 1e-9)]
    starts = [start for start in (zero, *starts) if start.shape == zero.shape]
    best = min(starts, key=lambda answer: _cost(a, part, answer))
    return _descended(a, part, best), float(_cost(a, part, zero))


def _cost(a: Assembly, part: Part, answer: Tensor) -> Tensor:
    """The same outputs for every row."""
    return a.loss(answer.expand(len(part.encoded), -1), part.encoded)


def _descended(a: Assembly, part: Part, answer: Tensor) -> float:
    """What a constant answer costs after some steps downhill: class weights and the like move the best one."""
    step, cost = 1.0, float(_cost(a, part, answer))
    for _ in range(DESCENT):
        answer = answer.detach().requires_grad_()
        (slope,) = torch.autograd.grad(_cost(a, part, answer), answer)
        tried = answer.detach() - step * slope
        new = float(_cost(a, part, tried))
        if new < cost:
            answer, cost, step = tried, new, 2 * step
        else:
            step /= 4
    return cost


def _judge(subject: Subject, initial: float, prior: float, blank: float) -> list[Finding]:
    if not math.isfinite(initial):
        change = subject.usual_initializer() or "batchnorm=batch"
        return [Finding("high", FAIL, None, "the loss before the first step is not finite", change)]
    ratio = _ratio(initial, prior)
    if ratio is None or blank <= 0:
        return []
    meaning = f"times what the best constant answer costs ({prior:.3g}): the loss before the first step ({initial:.3g})"
    change = subject.usual_initializer() or "batchnorm=batch"
    if initial > FAR * max(prior, blank):
        return [Finding("high", FAIL, ratio, f"{meaning}; the first weights are too large", change)]
    if initial < min(prior, blank) / FAR:
        advice = "look for the target among the inputs, and at the loss"
        return [
            Finding(
                "low",
                FAIL,
                ratio,
                f"{meaning}; a net that has learned nothing cannot know so much",
                "",
                advice,
            )
        ]
    if ratio > HIGH:
        return [Finding("high", WARN, ratio, f"{meaning}; the first steps go into unlearning it", change)]
    return []


# The loss itself.


def _of_the_loss(a: Assembly, part: Part, name: str) -> list[Finding]:
    """Right answers must cost less than wrong ones, wrong ones must have a slope, and rows must be averaged."""
    answers = _Answers.of(a, part)
    if answers is None:
        return []

    def cost(outputs: Tensor) -> float:
        return float(a.loss(outputs, part.encoded))

    right, wrong = cost(answers.right(SURE)), cost(answers.wrong(SURE))
    if not wrong > right:
        meaning = (
            f"is what wrong answers cost under {name}, and right ones cost {right:.3g}: its sign is wrong"
        )
        return [
            Finding("sign", FAIL, wrong, meaning, "loss=auto", f"turn the sign in {name}, or leave it out")
        ]
    left = min(cost(answers.right(strength)) for strength in STRENGTHS) / cost(answers.blank)
    if left > SQUASHED and _slope(a, part, answers.wrong(SURE)) < FLAT * _slope(a, part, answers.wrong(0.5)):
        meaning = (
            f"of what no answer costs is left under {name} where all are right, and wrong ones have no slope"
        )
        advice = "the loss applies softmax or sigmoid itself: do not apply it twice"
        return [Finding("squashed", FAIL, left, meaning, "loss=auto", advice)]
    once = cost(answers.wrong(1))
    twice = float(a.loss(torch.cat([answers.wrong(1)] * 2), torch.cat([part.encoded] * 2)))
    if abs(twice - once) > 1e-3 * abs(once):
        meaning = f"times as much cost the same rows given twice under {name}: it is no mean over rows"
        return [
            Finding(
                "summed", WARN, twice / once, meaning, "loss=auto", f"let {name} return the mean over rows"
            )
        ]
    return []


class _Answers(NamedTuple):
    """Outputs that state the right answer, and a wrong one; and whether the answers are numbers."""

    true: Tensor
    false: Tensor
    numbers: bool

    @classmethod
    def of(cls, a: Assembly, part: Part) -> "_Answers | None":
        """None where outputs mean something else than one score a class, log-odds, or one number a column."""
        width = a.network.body.output.out_features
        if a.network.target is not None:
            fits = part.encoded.shape[1:] == (width,)
            return cls(part.encoded, part.encoded + 1, True) if fits else None
        if part.targets.dim() == 2:
            signs = 2 * part.targets.float() - 1
            return cls(signs, -signs, False) if signs.shape[1] == width else None
        classes = max(int(max(p.targets.max() for p in a.parts.values())) + 1, 2)
        if width == 1 and classes == 2:
            signs = 2 * part.targets.float().unsqueeze(1) - 1
            return cls(signs, -signs, False)
        if width != classes:
            return None
        true, false = (F.one_hot((part.targets + k) % classes, classes).float() for k in (0, 1))
        return cls(true, false, False)

    @property
    def blank(self) -> Tensor:
        """No answer."""
        return torch.zeros_like(self.true)

    def right(self, strength: float) -> Tensor:
        """So sure of the class; a number is right or it is not."""
        return self.true if self.numbers else strength * self.true

    def wrong(self, strength: float) -> Tensor:
        """So sure of another class, or so far off."""
        return self.true + strength * (self.false - self.true) if self.numbers else strength * self.false


def _slope(a: Assembly, part: Part, outputs: Tensor) -> float:
    outputs = outputs.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(a.loss(outputs, part.encoded), outputs)
    return float(torch.linalg.vector_norm(gradient))

"""Can the net learn a few examples by heart, and if not, why? And is it the inputs that it learns from?"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlfound.checks import gradients
from dlfound.checks.context import Subject
from dlfound.checks.learning_rate import rate_override, rates_to_try
from dlfound.checks.result import FAIL, WARN, Checked, Finding, sound
from dlfound.checks.thresholds import BETTER, DEAF, FEW, FEW_STEPS, FITTED, MOVED
from dlfound.config.config import Config
from dlfound.objective import loss as losses
from dlfound.training.assemble import Assembly
from dlfound.training.device_data import Part
from dlfound.training.metrics import regression_metrics

SEARCHES = 10  # an optimizer that searches along its steps needs so many times fewer of them
TOGETHER = 25  # steps between two looks at how far it is
MORE = 6  # times the steps at most, where it gets on
GETTING_ON = 0.9  # times the loss after half of the steps: a rate that is far too small comes nowhere near
NEARLY = 0.9  # score from which any fall counts as getting on
ROUGH = 10.0  # largest over median deviation of a column: below it normalising again is not worth a try
WIDTHS = [256, 256]  # of a net that is large enough for a few examples: the default


@dataclass(frozen=True)
class Learned:
    """How far a net came with a few examples.

    Attributes:
        score: accuracy, or R2.
        perfect: it made no error, or R2 is high enough.
        steps: that were taken.
        first, last: the loss at the first step and at the last one.
    """

    score: float
    perfect: bool
    steps: int
    first: float
    last: float


def learn(a: Assembly, part: Part, steps: int, most: int) -> Learned:
    """Train on all rows at once until they are known by heart: so many steps, and up to `most` while it gets on."""
    a.network.train()
    x, losses = a.network.ready(part.inputs), []
    for taken in range(1, most + 1):
        loss, outputs, _ = a.step(x, part.encoded, ())
        if taken == 1 or taken % TOGETHER == 0 or taken == steps:
            losses.append(float(loss))
            score, perfect = _score(a, outputs, part)
            gets_on = losses[-1] < (1.0 if score > NEARLY else GETTING_ON) * losses[len(losses) // 2]
            if perfect or bool(a.step.skip) or (taken >= steps and not gets_on):
                break
    return Learned(score, perfect, taken, losses[0], losses[-1])


def _score(a: Assembly, outputs: Tensor, part: Part) -> tuple[float, bool]:
    if not outputs.isfinite().all():
        return 0.0, False
    if a.network.target is None:
        right = a.loss.classes(outputs) == part.targets
        return float(right.double().mean()), bool(right.all())
    r2 = regression_metrics(a.network.target.inverse(outputs), part.targets)["r2"]
    return (1.0, True) if r2 is None else (r2, r2 >= FITTED)  # what does not vary is known


def attempt(
    subject: Subject, config: Config, make: str = "", steps: int = 0, constant: bool = False
) -> Learned:
    """A fresh net of `config` on the few examples, dropout and penalty off.

    Args:
        make: "even" normalises each column on these rows.
        constant: the inputs' mean in place of each.
        steps: how many at most; by the net's size where none is given.
    """
    a = subject.fresh(config.choose("dropout", "none").choose("regularizer", "none"))
    part = subject.few(a)
    x = a.network.ready(part.inputs)
    if make == "even":
        x = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-12)
    if constant:
        x = x.mean(0, keepdim=True).expand_as(x).contiguous()
    usual = subject.steps(FEW_STEPS // SEARCHES if subject.searches else FEW_STEPS, FEW)
    most = steps or MORE * usual
    return learn(a, part._replace(inputs=x), -(-most // MORE), most)


def _by_heart(subject: Subject) -> Learned:
    """What both checks begin with."""
    if "learned" not in subject.kept:
        subject.kept["learned"] = attempt(subject, subject.config)
    return subject.kept["learned"]


# Overfitting.


def check(subject: Subject) -> Checked:
    """Overfit a few; where that fails, each suspect is tried until one change lets it pass."""
    done = _by_heart(subject)
    rows = len(subject.few(subject.base).inputs)
    what = "accuracy" if subject.base.network.target is None else "R2"
    meaning = f"is the {what} on {rows} training examples after {done.steps} steps, dropout and penalty off"
    numbers = {"score": done.score, "steps": done.steps, "rows": rows, "loss": done.last}
    found = sound(done.score, meaning) if done.perfect else _why(subject, done.score, meaning)
    return Checked("overfit", [found], numbers)


def _why(subject: Subject, score: float, meaning: str) -> Finding:
    if any(found.sign == "wrong" for found in gradients.check(subject).findings):
        return Finding(
            "gradient", FAIL, score, f"{meaning}: the gradient is wrong", advice="see the check of gradients"
        )
    for suspect in _suspects(subject):
        if attempt(subject, suspect.config, suspect.make).perfect:
            if suspect.sign == "rate":
                subject.kept["able"] = suspect.config
            change = suspect.change or "with each column normalised"
            told = f"{meaning}: {suspect.why} ({change} learns them)"
            return Finding(suspect.sign, FAIL, score, told, suspect.change, suspect.advice)
    advice = "no single change helped: look at the data, and at the options that are your own"
    return Finding("unknown", FAIL, score, f"{meaning}: it cannot learn them by heart", advice=advice)


@dataclass(frozen=True)
class _Suspect:
    """One change of the configuration, or of the inputs, and what it means where it helps."""

    sign: str
    change: str
    why: str
    config: Config
    make: str = ""
    advice: str = ""


def _suspects(subject: Subject) -> Iterator[_Suspect]:
    """A person's own options first; then in the lecture's order (minute 44); then what else may hold a net back."""
    c = subject.config
    plain = {
        "activation": "relu", "batchnorm": "none", "loss": losses.recipe(subject.dataset.task),
        "initializer": subject.fitting, "constraint": "none", "optim": "adam",
    }  # fmt: skip
    choices = {
        group: _Suspect(
            group, f"{group}={word}", f"{group}={c.name(group)} is to blame", c.choose(group, word)
        )
        for group, word in plain.items()
        if c.name(group) != word
    }
    yield from (choice for group, choice in choices.items() if subject.is_own(group))
    yield from (choices[group] for group in ("initializer", "constraint") if group in choices)
    if _is_uneven(subject):
        advice = "bring all columns to one scale before they are handed over"
        yield _Suspect("inputs", "", "the inputs are not normalised", c, "even", advice)
    for lr in rates_to_try(subject):
        why = f"the learning rate is too {'small' if lr > c['optim']['lr'] else 'large'}"
        yield _Suspect("rate", rate_override(subject, lr), why, c.having("optim", lr=lr))
    larger = c.choose("model", "mlp").having("model", hidden=WIDTHS)
    change = f"model=mlp model.hidden={WIDTHS}".replace(" [", "[").replace(", ", ",")
    yield _Suspect("net", change, "the net is too small", larger)
    rest = ("activation", "batchnorm", "loss", "optim")
    yield from (choices[group] for group in rest if group in choices and not subject.is_own(group))


def _is_uneven(subject: Subject) -> bool:
    """True where normalising each column of the few examples would change much."""
    spread = subject.base.network.ready(subject.few(subject.base).inputs).std(0, correction=0)
    varying = spread[spread > 0]
    return len(varying) > 1 and bool(varying.max() > ROUGH * varying.median())


# Do inputs matter?


def check_inputs(subject: Subject) -> Checked:
    """Real inputs must beat constant ones, with the same net, examples and number of steps.

    Where they were learned at another rate only, that one is taken: a wrong rate is not the inputs' fault.
    """
    config = subject.kept.get("able", subject.config)
    real = attempt(subject, config) if "able" in subject.kept else _by_heart(subject)
    constant = attempt(subject, config, steps=real.steps, constant=True)
    if len(subject.few(subject.base).inputs) < 2:
        return Checked("inputs", [_all_alike(len(subject.dataset.parts["train"]))])
    if real.perfect and constant.perfect:
        return Checked("inputs", [sound(None, "all examples have the same target: nothing can be compared")])
    gain = (constant.last - real.last) / max(abs(constant.last), 1e-12)
    numbers = {"real": real.last, "constant": constant.last, "steps": real.steps}
    meaning = (
        f"of the loss with constant inputs ({constant.last:.3g} after {real.steps} steps) is gone with the real ones "
        f"({real.last:.3g})"
    )
    if gain >= 1 - BETTER or real.score - constant.score >= 1 - BETTER:
        return Checked("inputs", [sound(gain, meaning)], numbers)
    moved = max(abs(run.first - run.last) / max(abs(run.first), 1e-12) for run in (real, constant))
    if moved < MOVED:
        what = f"{meaning}; next to nothing was learned from either"
        return Checked(
            "inputs", [Finding("still", WARN, gain, what, advice="see the check of overfitting")], numbers
        )
    if _hears(subject):
        what, advice = (
            f"{meaning}: the net makes nothing of them",
            "see the check of overfitting: is it large enough?",
        )
    else:
        what = f"{meaning}: the inputs do not matter"
        advice = "look for a layer that puts out the same for every row, and at the inputs"
    return Checked("inputs", [Finding("ignored", FAIL, gain, what, "", advice)], numbers)


@torch.no_grad()
def _hears(subject: Subject) -> bool:
    """True where the fresh net's outputs are not the same for every row."""
    network = subject.fresh().network.eval()
    outputs = network.body(network.ready(subject.few(subject.base).inputs))
    return bool((outputs - outputs[:1]).abs().max() > DEAF * outputs.abs().max())


def _all_alike(rows: int) -> Finding:
    if rows < 2:
        return sound(None, "there is one row to train on: nothing can be compared")
    meaning = "training rows have the same inputs: nothing can be learned from them"
    return Finding("ignored", FAIL, float(rows), meaning, advice="look at the inputs")

"""Learning rates: where training crawls, learns and diverges, by short trainings; and what steps do to the weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dlfound.checks.context import Subject, sample_loss, train_steps
from dlfound.checks.gradients import parameter_names
from dlfound.checks.initial_loss import constant_losses
from dlfound.checks.result import FAIL, WARN, Checked, Finding, sound
from dlfound.checks.thresholds import (
    EDGE,
    FADED,
    LARGE,
    LOST,
    PATIENCE,
    PER_DECADE,
    RANGE_STEPS,
    RATES,
    REACHED,
    SMALL,
    STIR,
    UPDATE_STEPS,
)  # fmt: skip
from dlfound.training.assemble import Assembly
from dlfound.training.device_data import Part
from dlfound.training.layers import LayerState, Probe
from dlfound.training.loop import Diverged

SEARCHES = 6  # an optimizer that searches along its steps takes so many times fewer of them


@dataclass(frozen=True)
class Tried:
    """A short training at one rate: the loss it ended with, infinite where it diverged."""

    lr: float
    loss: float


@dataclass(frozen=True)
class Range:
    """A range test.

    Attributes:
        tried: by rising rate.
        initial: the loss before each training; constant: that of the best constant answer.
        steps: of each training; planned: of the whole run.
    """

    tried: list[Tried]
    initial: float
    constant: float
    steps: int
    planned: int

    @property
    def best(self) -> Tried:
        """The rate at which the loss fell most."""
        return min(self.tried, key=lambda t: t.loss)

    @property
    def fall(self) -> float:
        """By how much, of the initial loss."""
        return (self.initial - self.best.loss) / max(abs(self.initial), 1e-12)

    def crawls(self, tried: Tried) -> bool:
        """Below the best rate, and far behind it even after all steps of the run, at the pace of the test."""
        patience = min(max(self.planned / self.steps, PATIENCE[0]), PATIENCE[1])
        fall = (self.initial - tried.loss) * patience
        return tried.lr < self.best.lr and fall < REACHED * (self.initial - self.best.loss)

    def diverges(self, tried: Tried) -> bool:
        """Above the best rate, and little of what that one has learned: a constant answer is nothing learned."""
        top = min(self.initial, self.constant)
        top = top if top - self.best.loss > STIR * abs(top) else self.initial
        return tried.lr > self.best.lr and top - tried.loss < LOST * (top - self.best.loss)

    @property
    def learning(self) -> list[float]:
        """The rates around the best one that neither crawl nor diverge."""
        at = self.tried.index(self.best)
        low, high = at, at
        while low > 0 and not self.crawls(self.tried[low - 1]):
            low -= 1
        while high + 1 < len(self.tried) and not self.diverges(self.tried[high + 1]):
            high += 1
        return [t.lr for t in self.tried[low : high + 1]]


def check(subject: Subject) -> Checked:
    """Short trainings from the same weights on the same batches, each at a rate of its own."""
    found, lr = range_of(subject), _peak(subject)
    tried = [{"lr": t.lr, "loss": t.loss if math.isfinite(t.loss) else None} for t in found.tried]
    numbers = {
        "configured": lr, "learns": [found.learning[0], found.learning[-1]], "best": found.best.lr,
        "initial_loss": found.initial, "constant_loss": found.constant, "steps": found.steps, "tried": tried,
    }  # fmt: skip
    return Checked(
        "learning_rate", [_judge(subject, found, lr) if found.fall > STIR else _nowhere(found)], numbers
    )


def range_of(subject: Subject) -> Range:
    """The range test of the configuration, which is made once."""
    if "range" not in subject.kept:
        subject.kept["range"] = range_test(subject, _peak(subject))
    return subject.kept["range"]


def rates_to_try(subject: Subject) -> list[float]:
    """Rates at which training should go well, where they are another story than the configured one."""
    found, lr = range_of(subject), subject.config["optim"]["lr"]
    rates = [suggested(found), float(f"{found.best.lr:.1g}")] if found.fall > STIR else []
    return [rate for rate in rates if not 1 / EDGE <= rate / lr <= EDGE]


def _peak(subject: Subject) -> float:
    """The largest rate of the run: one decay leads above the base rate."""
    return subject.config["lr_decay"].get("max_lr", subject.config["optim"]["lr"])


def rate_override(subject: Subject, lr: float) -> str:
    """The words that make `lr` the largest rate of the run."""
    if "max_lr" not in subject.config["lr_decay"]:
        return f"optim.lr={lr:g}"
    base = subject.config["optim"]["lr"]
    return f"lr_decay.max_lr={lr:g}" if lr > base else f"optim.lr={lr / 10:g} lr_decay.max_lr={lr:g}"


def _nowhere(found: Range) -> Finding:
    meaning = f"of the loss ({found.initial:.3g}) is gone after {found.steps} steps, at the best of all rates"
    if found.fall > 0:
        what = f"{meaning}: too little to tell them apart"
        return Finding(
            "flat", WARN, found.fall, what, advice="see the checks of the initial state and of overfitting"
        )
    advice = "see the checks of gradients and overfitting; do the steps go downhill?"
    return Finding("nowhere", FAIL, found.fall, f"{meaning}: no rate learns", advice=advice)


def _judge(subject: Subject, found: Range, lr: float) -> Finding:
    """Where the configured rate lies."""
    at = {t.lr: t for t in found.tried}
    low, high, best = found.learning[0], found.learning[-1], found.best.lr
    span = f"{low:.2g} to {high:.2g} learn, {best:.2g} most in {found.steps} steps"
    change = rate_override(subject, suggested(found))
    if lr < best and found.crawls(at[lr]):
        return Finding(
            "crawls", FAIL, lr, f"is the learning rate, and it is too small: rates of {span}", change
        )
    if lr > best and found.diverges(at[lr]):
        return Finding(
            "diverges", FAIL, lr, f"is the learning rate, and it is too large: rates of {span}", change
        )
    if lr > best and found.diverges(at[lr * EDGE]):
        meaning = f"is the learning rate, and {EDGE:g} times as much diverges: rates of {span}"
        return Finding("high_edge", WARN, lr, meaning, change)
    if lr < best and found.crawls(at[lr / EDGE]):
        meaning = f"is the learning rate, and {1 / EDGE:g} times as much crawls: rates of {span}"
        return Finding("low_edge", WARN, lr, meaning, change)
    return sound(lr, f"is the learning rate: rates of {span}")


def suggested(found: Range) -> float:
    """Half a power of ten below the best of a short training: a long one needs smaller steps; but within the range."""
    lr = max(found.best.lr / math.sqrt(10), found.learning[0])
    return float(f"{lr:.1g}")


def range_test(subject: Subject, lr: float) -> Range:
    """Try rates evenly over all powers of ten, and the given one with its neighbours."""
    exponents = range(RATES[0] * PER_DECADE, RATES[1] * PER_DECADE + 1)
    rates = sorted({*(10 ** (e / PER_DECADE) for e in exponents), lr, lr / EDGE, lr * EDGE})
    a = subject.fresh()
    size = a.batch_size
    most = RANGE_STEPS // SEARCHES if subject.searches else RANGE_STEPS
    steps = max(subject.steps(most, size * len(rates)), 2)
    train, sample = subject.sample(a, steps * size, "range"), subject.sample(a)
    tried = [Tried(rate, _loss_after(subject, rate, train, sample, steps)) for rate in rates]
    planned = math.ceil(len(a.parts["train"].inputs) / size) * subject.config["train"]["epochs"]
    return Range(tried, sample_loss(a, sample), constant_losses(a, sample)[0], steps, planned)


def _loss_after(subject: Subject, lr: float, train: Part, sample: Part, steps: int) -> float:
    """The larger one of the losses before and after the last step: what is torn to and fro has learned nothing."""
    a = subject.fresh(subject.config.having("optim", lr=lr))
    try:
        losses = [sample_loss(a, sample) for _ in train_steps(a, train, subject.seed, steps)]
    except Diverged:
        return math.inf
    return max(losses) if all(map(math.isfinite, losses)) else math.inf


# Updates.


def check_updates(subject: Subject) -> Checked:
    """Some steps of the configured training; then a look at the last one."""
    a = subject.fresh()
    probe = Probe(a.network, a.step, subject.sample(a))
    steps = max(subject.steps(UPDATE_STEPS, a.batch_size), 2)
    train, seen = subject.sample(a, steps * a.batch_size, "updates"), [a.step.params.clone()]
    try:
        seen += [a.step.params.clone() for _ in train_steps(a, train, subject.seed, steps)]
    except Diverged as diverged:
        meaning = f"within {steps} steps of the configured training {diverged.problems[0].what}"
        return Checked(
            "updates", [Finding("diverged", WARN, None, meaning, f"optim.lr={a.step.base_lr / 10:.1g}")]
        )
    _, layers = probe.look(seen[-2])
    ratios = {layer.name: layer.update_ratio for layer in layers}
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    numbers = {
        "update_ratio": ratios,
        "grad_norm": {layer.name: layer.grad_norm for layer in layers},
        "steps": steps,
    }
    findings = (_frozen(a, probe, seen[0]) or _sizes(known, a.step.base_lr)) + _gradients(subject, layers)
    meaning = f"is the largest update over weight of a layer after {steps} steps; about 0.001 is usual"
    return Checked("updates", findings or [sound(max(known.values()), meaning)], numbers)


def _frozen(a: Assembly, probe: Probe, start: Tensor) -> list[Finding]:
    """Tensors that have a gradient, and that no step has moved."""
    a.network.eval()
    found = a.step.loss_grad(a.step.params, a.step.buffers, probe.x, probe.y, ())
    views = a.step.parameter_layout.views
    tensors = zip(parameter_names(a), views(start), views(a.step.params), views(found.grads), strict=True)
    names = [name for name, old, new, grad in tensors if torch.equal(old, new) and grad.any()]
    if not names:
        return []
    meaning = f"of {len(a.step.parameter_layout.slots)} tensors have a gradient and do not move: {', '.join(names[:4])}"
    return [
        Finding(
            "frozen", WARN, float(len(names)), meaning, "optim=adam", "look for what keeps them as they are"
        )
    ]


def _sizes(ratios: dict[str, float], lr: float) -> list[Finding]:
    if not ratios:
        meaning = "all weights are zero, and no step moves them"
        return [Finding("still", WARN, None, meaning, "initializer=auto")]
    large, small = max(ratios, key=ratios.__getitem__), min(ratios, key=ratios.__getitem__)
    if ratios[large] > LARGE:
        meaning = f"is how much of its size a step changes {large} by: the steps are too large"
        return [Finding("large", WARN, ratios[large], meaning, f"optim.lr={lr / 10:.3g}")]
    if ratios[large] < SMALL:
        meaning = f"is how much of its size a step changes {large} by, and other layers by less: the steps are too small"
        return [Finding("small", WARN, ratios[large], meaning, f"optim.lr={lr * 100:.3g}")]
    if ratios[small] < SMALL * ratios[large]:
        meaning = f"is how much of its size a step changes {small} by, where {large} gets {ratios[large]:.1g}"
        return [Finding("uneven", WARN, ratios[small], meaning, "batchnorm=batch")]
    return []


def _gradients(subject: Subject, layers: list[LayerState]) -> list[Finding]:
    """Vanishing or exploding, from the last hidden layer down to the first."""
    hidden = layers[:-1]
    if len(hidden) < 2 or not hidden[-1].backprop:
        return []
    share = hidden[0].backprop / hidden[-1].backprop
    if FADED <= share <= 1 / FADED or not math.isfinite(share):
        return []
    way = "vanishes" if share < 1 else "explodes"
    meaning = f"times the gradient of {hidden[-1].name} arrives at {hidden[0].name}: it {way} on its way down"
    return [Finding(way, WARN, share, meaning, subject.usual_initializer() or "batchnorm=batch")]

"""Check the learning rate: short trainings show where training is too slow, learns and diverges."""

import math
from dataclasses import dataclass
from itertools import takewhile

from dlfound.checks import FAIL, WARN, CheckResult, Finding, sound
from dlfound.checks.context import CheckContext, sample_loss, train_steps
from dlfound.checks.initial_loss import constant_losses
from dlfound.training.device import DeviceData
from dlfound.training.loop import Diverged

DECADES = (-7, 2)  # the exponents of the lowest and the highest rate
PER_DECADE = 2
STEPS = 40  # at each rate
SEARCHES = 6  # times fewer steps for an optimizer that searches along each step
LONGEST_DESCENT = (20, 50)  # times the steps of the test, by the run's length: more is too slow
REACHED = 0.5  # of the largest fall of the loss: what a rate must reach by then
LOST = 0.6  # of what the best rate learns: a larger rate that learns less diverges
EDGE = 2.0  # a rate is at the edge if this factor leads out of the range
NOTICEABLE = 0.02  # fall of the loss, relative to its initial value: below it, no rate learns


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        losses: rate -> the last loss of a short training, infinite if it diverged; in the order of the rates.
        best: the rate at which the loss fell most.
        slow: the largest loss at which a lower rate can still catch up with the best one in the whole run.
        lost: the largest loss at which a higher rate does not count as divergent: it learns nearly as much.
        initial: the loss before each training.
        constant: the loss of the best constant prediction.
        steps: of each training.
    """

    losses: dict[float, float]
    best: float
    slow: float
    lost: float
    initial: float
    constant: float
    steps: int

    @property
    def fall(self) -> float:
        """The fall of the loss at the best rate, relative to the initial loss."""
        return (self.initial - self.losses[self.best]) / max(abs(self.initial), 1e-12)

    def is_slow(self, lr: float) -> bool:
        """True for a rate that is too low."""
        return lr < self.best and self.losses[lr] > self.slow

    def diverges(self, lr: float) -> bool:
        """True for a rate that is too high."""
        return lr > self.best and self.losses[lr] > self.lost

    @property
    def learning(self) -> tuple[float, float]:
        """The lowest and the highest of the rates around the best one that are not too low or too high."""
        up = [lr for lr in self.losses if lr >= self.best]
        down = [lr for lr in reversed(self.losses) if lr <= self.best]
        *_, low = takewhile(lambda lr: not self.is_slow(lr), down)
        *_, high = takewhile(lambda lr: not self.diverges(lr), up)
        return low, high

    @property
    def suggestion(self) -> float:
        """Half a decade below the best rate, as a long training needs smaller steps; but inside the range."""
        return float(f"{max(self.best / math.sqrt(10), self.learning[0]):.1g}")


def check_learning_rate(context: CheckContext) -> CheckResult:
    """Locate the configured rate in the range test."""
    test = context.once(range_test)
    lr = _highest_rate(context)
    numbers = {
        "configured": lr,
        "learns": test.learning,
        "best": test.best,
        "initial_loss": test.initial,
        "constant_loss": test.constant,
        "steps": test.steps,
        "tried": [{"lr": rate, "loss": loss} for rate, loss in test.losses.items()],
    }
    finding = _judge(context, test, lr) if test.fall > NOTICEABLE else _no_rate_learns(test)
    return CheckResult([finding], numbers)


def other_rates(context: CheckContext) -> list[float]:
    """Return the rates at which training should go well, if they are far from the configured one."""
    test = context.once(range_test)
    lr = context.config["optim"]["lr"]
    rates = [test.suggestion, float(f"{test.best:.1g}")] if test.fall > NOTICEABLE else []
    return [rate for rate in rates if not 1 / EDGE <= rate / lr <= EDGE]


def _highest_rate(context: CheckContext) -> float:
    """Return the highest rate of the run: one decay starts below it."""
    return context.config["lr_decay"].get("max_lr", context.config["optim"]["lr"])


def rate_override(context: CheckContext, lr: float) -> str:
    """Return the override that makes `lr` the highest rate of the run."""
    if "max_lr" not in context.config["lr_decay"]:
        return f"optim.lr={lr:g}"
    if lr > context.config["optim"]["lr"]:
        return f"lr_decay.max_lr={lr:g}"
    return f"optim.lr={lr / 10:g} lr_decay.max_lr={lr:g}"


def _no_rate_learns(test: RangeTest) -> Finding:
    usual = f"above {NOTICEABLE:g}"
    meaning = f"fall of the loss ({test.initial:.3g}) within {test.steps} steps at the best of all rates"
    if test.fall > 0:
        advice = "see the initial_state and overfit checks"
        return Finding("flat", WARN, test.fall, usual, f"{meaning}: too little to compare rates", "", advice)
    advice = "see the gradients and overfit checks, and make sure that the optimizer steps downhill"
    return Finding("nowhere", FAIL, test.fall, usual, f"{meaning}: no rate learns", "", advice)


def _judge(context: CheckContext, test: RangeTest, lr: float) -> Finding:
    """Tell where the configured rate lies."""
    low, high = test.learning
    usual = f"{low:.2g} to {high:.2g}"
    note = f"the loss falls most at {test.best:.2g} ({test.steps} steps)"
    override = rate_override(context, test.suggestion)
    if test.is_slow(lr):
        return Finding("crawls", FAIL, lr, usual, f"the learning rate is too small; {note}", override)
    if test.diverges(lr):
        return Finding("diverges", FAIL, lr, usual, f"the learning rate is too large; {note}", override)
    if lr > test.best and test.diverges(lr * EDGE):
        meaning = f"the learning rate is close to divergence: {EDGE:g} times as much diverges; {note}"
        return Finding("high_edge", WARN, lr, usual, meaning, override)
    if lr < test.best and test.is_slow(lr / EDGE):
        meaning = f"the learning rate is barely large enough: {1 / EDGE:g} times as much is too slow; {note}"
        return Finding("low_edge", WARN, lr, usual, meaning, override)
    return sound(lr, usual, f"the learning rate is in the range that learns; {note}")


def range_test(context: CheckContext) -> RangeTest:
    """Try rates spread evenly over all decades, and the configured one with its neighbours.

    All trainings start from the same weights and use the same batches.
    """
    lr = _highest_rate(context)
    exponents = range(DECADES[0] * PER_DECADE, DECADES[1] * PER_DECADE + 1)
    rates = sorted({*(10 ** (e / PER_DECADE) for e in exponents), lr, lr / EDGE, lr * EDGE})
    a = context.fresh()
    size = a.batch_size
    steps = max(context.steps(STEPS, size * len(rates), SEARCHES), 2)
    train = context.sample(a, steps * size, "range")
    sample = context.sample(a)
    losses = {rate: _last_loss(context, rate, train, sample, steps) for rate in rates}
    initial = sample_loss(a, sample)
    constant = constant_losses(a, sample)[0]
    best = min(losses, key=losses.__getitem__)
    lowest = losses[best]
    planned = math.ceil(len(a.parts["train"].inputs) / size) * context.config["train"]["epochs"]
    longest = min(max(planned / steps, LONGEST_DESCENT[0]), LONGEST_DESCENT[1])
    slow = initial - REACHED * (initial - lowest) / longest
    top = min(initial, constant)  # constant outputs learn nothing
    if top - lowest <= NOTICEABLE * abs(top):
        top = initial
    lost = top - LOST * (top - lowest)
    return RangeTest(losses, best, slow, lost, initial, constant, steps)


def _last_loss(context: CheckContext, lr: float, train: DeviceData, sample: DeviceData, steps: int) -> float:
    """Return the larger of the losses before and after the last step: a loss that jumps back did not fall."""
    a = context.fresh(context.config.having("optim", lr=lr))
    try:
        losses = [sample_loss(a, sample) for _ in train_steps(a, train, context.seed, steps)]
    except Diverged:
        return math.inf
    return max(losses) if all(map(math.isfinite, losses)) else math.inf

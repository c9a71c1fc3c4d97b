"""Check the learning rate: short trainings show where training is too slow, learns and diverges."""

import math
from dataclasses import dataclass

from dlfound.checks.context import CheckContext, sample_loss, train_steps
from dlfound.checks.initial_loss import constant_losses
from dlfound.checks.result import FAIL, WARN, CheckResult, Finding, sound
from dlfound.training.device import DeviceData
from dlfound.training.loop import Diverged

DECADES = (-7, 2)  # the exponents of the lowest and the highest rate
PER_DECADE = 2
STEPS = 40  # at each rate
SEARCHES = 6  # times fewer steps for an optimizer that searches along each step
PATIENCE = (20, 50)  # times the steps of the test, by the run's length: a rate that needs more is too slow
REACHED = 0.5  # of the largest fall of the loss: what a rate must reach by then
LOST = 0.6  # of what the best rate learns: a larger rate that learns less diverges
EDGE = 2.0  # a rate is at the edge if this factor leads out of the range
NOTICEABLE = 0.02  # fall of the loss, relative to its initial value: below it, no rate learns


@dataclass(frozen=True)
class Trial:
    """A short training at one rate; `loss` is its last loss, infinite if it diverged."""

    lr: float
    loss: float


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        trials: in the order of their rates.
        initial: the loss before each training.
        constant: the loss of the best constant prediction.
        steps: of each training.
        planned: steps of the whole run.
    """

    trials: list[Trial]
    initial: float
    constant: float
    steps: int
    planned: int

    @property
    def best(self) -> Trial:
        """The trial in which the loss fell most."""
        return min(self.trials, key=lambda trial: trial.loss)

    @property
    def fall(self) -> float:
        """The fall of the loss in the best trial, relative to the initial loss."""
        return (self.initial - self.best.loss) / max(abs(self.initial), 1e-12)

    @property
    def learns(self) -> bool:
        """True if some rate lowers the loss noticeably."""
        return self.fall > NOTICEABLE

    def is_slow(self, trial: Trial) -> bool:
        """True for a lower rate that, at the test's pace, stays far behind the best one in the whole run."""
        patience = min(max(self.planned / self.steps, PATIENCE[0]), PATIENCE[1])
        fall = (self.initial - trial.loss) * patience
        return trial.lr < self.best.lr and fall < REACHED * (self.initial - self.best.loss)

    def diverges(self, trial: Trial) -> bool:
        """True for a higher rate that learns much less than the best one; constant outputs learn nothing."""
        top = min(self.initial, self.constant)
        if top - self.best.loss <= NOTICEABLE * abs(top):
            top = self.initial
        return trial.lr > self.best.lr and top - trial.loss < LOST * (top - self.best.loss)

    @property
    def learning(self) -> list[float]:
        """The rates around the best one that are neither too slow nor divergent."""
        low = high = self.trials.index(self.best)
        while low > 0 and not self.is_slow(self.trials[low - 1]):
            low -= 1
        while high + 1 < len(self.trials) and not self.diverges(self.trials[high + 1]):
            high += 1
        return [trial.lr for trial in self.trials[low : high + 1]]

    @property
    def suggestion(self) -> float:
        """Half a decade below the best rate, as a long training needs smaller steps; but inside the range."""
        lr = max(self.best.lr / math.sqrt(10), self.learning[0])
        return float(f"{lr:.1g}")


def check(context: CheckContext) -> CheckResult:
    """Locate the configured rate in the range test."""
    test = cached_range_test(context)
    lr = _highest_rate(context)
    numbers = {
        "configured": lr,
        "learns": [test.learning[0], test.learning[-1]],
        "best": test.best.lr,
        "initial_loss": test.initial,
        "constant_loss": test.constant,
        "steps": test.steps,
        "tried": [{"lr": t.lr, "loss": t.loss if math.isfinite(t.loss) else None} for t in test.trials],
    }
    finding = _judge(context, test, lr) if test.learns else _no_rate_learns(test)
    return CheckResult("learning_rate", [finding], numbers)


def cached_range_test(context: CheckContext) -> RangeTest:
    """Return the range test of the configuration; it runs once."""
    if "range_test" not in context.cache:
        context.cache["range_test"] = _range_test(context, _highest_rate(context))
    return context.cache["range_test"]


def other_rates(context: CheckContext) -> list[float]:
    """Return the rates at which training should go well, if they are far from the configured one."""
    test = cached_range_test(context)
    lr = context.config["optim"]["lr"]
    rates = [test.suggestion, float(f"{test.best.lr:.1g}")] if test.learns else []
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
        meaning += ": too little to compare rates"
        advice = "see the initial_state and overfit checks"
        return Finding("flat", WARN, test.fall, usual, meaning, advice=advice)
    advice = "see the gradients and overfit checks, and make sure that the optimizer steps downhill"
    return Finding("nowhere", FAIL, test.fall, usual, f"{meaning}: no rate learns", advice=advice)


def _judge(context: CheckContext, test: RangeTest, lr: float) -> Finding:
    """Tell where the configured rate lies."""
    trials = {trial.lr: trial for trial in test.trials}
    best = test.best.lr
    usual = f"{test.learning[0]:.2g} to {test.learning[-1]:.2g}"
    note = f"the loss falls most at {best:.2g} ({test.steps} steps)"
    override = rate_override(context, test.suggestion)
    if lr < best and test.is_slow(trials[lr]):
        return Finding("crawls", FAIL, lr, usual, f"the learning rate is too small; {note}", override)
    if lr > best and test.diverges(trials[lr]):
        return Finding("diverges", FAIL, lr, usual, f"the learning rate is too large; {note}", override)
    if lr > best and test.diverges(trials[lr * EDGE]):
        meaning = f"the learning rate is close to divergence: {EDGE:g} times as much diverges; {note}"
        return Finding("high_edge", WARN, lr, usual, meaning, override)
    if lr < best and test.is_slow(trials[lr / EDGE]):
        meaning = f"the learning rate is barely large enough: {1 / EDGE:g} times as much is too slow; {note}"
        return Finding("low_edge", WARN, lr, usual, meaning, override)
    return sound(lr, usual, f"the learning rate is in the range that learns; {note}")


def _range_test(context: CheckContext, lr: float) -> RangeTest:
    """Try rates spread evenly over all decades, and the given one with its neighbours.

    All trainings start from the same weights and use the same batches.
    """
    exponents = range(DECADES[0] * PER_DECADE, DECADES[1] * PER_DECADE + 1)
    rates = sorted({*(10 ** (e / PER_DECADE) for e in exponents), lr, lr / EDGE, lr * EDGE})
    a = context.fresh()
    size = a.batch_size
    most = STEPS // SEARCHES if context.searches else STEPS
    steps = max(context.steps(most, size * len(rates)), 2)
    train = context.sample(a, steps * size, "range")
    sample = context.sample(a)
    trials = [Trial(rate, _last_loss(context, rate, train, sample, steps)) for rate in rates]
    planned = math.ceil(len(a.parts["train"].inputs) / size) * context.config["train"]["epochs"]
    return RangeTest(trials, sample_loss(a, sample), constant_losses(a, sample)[0], steps, planned)


def _last_loss(context: CheckContext, lr: float, train: DeviceData, sample: DeviceData, steps: int) -> float:
    """Return the larger of the losses before and after the last step: a loss that jumps back did not fall."""
    a = context.fresh(context.config.having("optim", lr=lr))
    try:
        losses = [sample_loss(a, sample) for _ in train_steps(a, train, context.seed, steps)]
    except Diverged:
        return math.inf
    return max(losses) if all(map(math.isfinite, losses)) else math.inf

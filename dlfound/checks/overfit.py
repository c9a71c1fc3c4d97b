"""Check that the net can learn a few training examples by heart, and that it uses the inputs to do so."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlfound.checks import FAIL, WARN, CheckResult, Finding, sound
from dlfound.checks.context import CheckContext, take
from dlfound.checks.gradients import check_gradients
from dlfound.checks.learning_rate import other_rates, rate_override
from dlfound.config.config import Config
from dlfound.training.assemble import Assembly
from dlfound.training.device import DeviceData
from dlfound.training.metrics import finite, regression_metrics

FEW = 50  # examples that a net must be able to learn by heart (lecture, minute 43)
CANDIDATES = 4096  # training rows from which they are chosen
STEPS = 2000  # full batches of these examples
SEARCHES = 10  # times fewer steps for an optimizer that searches along each step
MORE = 6  # times the steps at most, while the loss falls
LOOK = 25  # steps between two looks at the score
FALLS = 0.9  # times the loss after half of the steps: a rate that is far too small does not reach this
NEARLY = 0.9  # score above which any fall of the loss counts
FITTED = 0.99  # R2 of a regression that counts as learned
ROUGH = 10.0  # largest over median deviation of a column: below it, normalising again changes little
WIDTHS = [256, 256]  # of a net that is large enough: the default
LARGE_NET = "model=mlp model.hidden=[256,256]"  # the same as an override
GAIN = 0.1  # share of the loss with constant inputs that real inputs must remove
DEAF = 1e-6  # difference of outputs between rows, relative to the largest output: rounding
MOVED = 0.01  # change of the loss, relative to the initial one: below it, nothing was learned

Suspect = tuple[str, str, str, Config]
"""The sign of a fault, the override that corrects it (none for "inputs"), its name, the corrected config."""


@dataclass(frozen=True)
class Fit:
    """How well a net learned a few examples.

    Attributes:
        score: accuracy, or R2.
        perfect: True if no error is left, or R2 is high enough.
        steps: the number of steps taken.
        first: the loss at the first step.
        last: the loss at the last step.
    """

    score: float
    perfect: bool
    steps: int
    first: float
    last: float


def learn(a: Assembly, part: DeviceData, steps: int, most: int) -> Fit:
    """Train on all rows at once until the fit is perfect: `steps` steps, or `most` while the loss falls."""
    a.network.train()
    x = a.network.ready(part.inputs)
    fitted = 1.0 if a.network.target is None else FITTED
    history = []
    for taken in range(1, most + 1):
        loss, outputs, _ = a.step(x, part.encoded, ())
        if taken == 1 or taken % LOOK == 0 or taken == steps:
            history.append(float(loss))
            score = _score(a, outputs, part)
            goal = 1.0 if score > NEARLY else FALLS
            falls = history[-1] < goal * history[len(history) // 2]
            if score >= fitted or bool(a.step.skip) or (taken >= steps and not falls):
                break
    return Fit(score, score >= fitted, taken, history[0], history[-1])


def _score(a: Assembly, outputs: Tensor, part: DeviceData) -> float:
    if not outputs.isfinite().all():
        return 0.0
    if a.network.target is None:
        return float((a.loss.classes(outputs) == part.targets).double().mean())
    r2 = finite(regression_metrics(a.network.target.inverse(outputs), part.targets)["r2"])
    return 1.0 if r2 is None else r2  # constant targets are learned


def few_rows(context: CheckContext) -> Tensor:
    """Choose training rows of all classes alike; rows with equal inputs could contradict each other."""
    part = context.base.parts["train"]
    rows = context.permutation("few")[:CANDIDATES]
    first: dict[bytes, int] = {}  # the place of the first row of each set of equal ones
    for place, row in enumerate(part.inputs[rows].cpu().numpy()):
        first.setdefault(row.tobytes(), place)
    rows = rows[list(first.values())]
    if context.dataset.classes:
        members = torch.nn.functional.one_hot(part.targets[rows])
        rank = (members.cumsum(0) * members).sum(1)  # of each row within its class
        rows = rows[rank.argsort(stable=True)]
    return rows[:FEW]


def attempt(
    context: CheckContext, config: Config, normalise: bool = False, steps: int = 0, constant: bool = False
) -> Fit:
    """Train a fresh net on the few examples, without dropout and penalty.

    Args:
        normalise: normalise each column on these rows.
        steps: the number of steps at most; by default it depends on the size of the net.
        constant: replace each row by the mean of the inputs.
    """
    a = context.fresh(config.choose("dropout", "none").choose("regularizer", "none"))
    part = take(a.parts["train"], context.once(few_rows))
    x = a.network.ready(part.inputs)
    if normalise:
        x = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-12)
    if constant:
        x = x.mean(0, keepdim=True).expand_as(x).contiguous()
    most = steps or MORE * context.steps(STEPS, FEW, SEARCHES)
    return learn(a, part._replace(inputs=x), -(-most // MORE), most)


def configured_fit(context: CheckContext) -> Fit:
    """Train with the checked configuration; both checks begin with this."""
    return attempt(context, context.config)


# Learning by heart.


def check_overfit(context: CheckContext) -> CheckResult:
    """Overfit a few examples; if that fails, find the one change that makes it succeed."""
    fit = context.once(configured_fit)
    rows = len(context.once(few_rows))
    is_regression = context.base.network.target is not None
    usual = f"at least {FITTED:g}" if is_regression else "1"
    score = "R2" if is_regression else "accuracy"
    meaning = f"{score} on {rows} training examples after {fit.steps} steps without dropout and penalty"
    numbers = {"score": fit.score, "steps": fit.steps, "rows": rows, "loss": fit.last}
    if fit.perfect:
        return CheckResult([sound(fit.score, usual, meaning)], numbers)
    sign, override, reason, advice = _diagnose(context)
    finding = Finding(sign, FAIL, fit.score, usual, f"{meaning}: {reason}", override, advice)
    return CheckResult([finding], numbers)


def _diagnose(context: CheckContext) -> tuple[str, str, str, str]:
    """Return the sign, the override, the reason and the advice of the finding."""
    if any(finding.sign == "wrong" for finding in context.once(check_gradients).findings):
        return "gradient", "", "the gradient is wrong", "see the gradients check"
    for sign, override, reason, config in _suspects(context):
        if attempt(context, config, normalise=sign == "inputs").perfect:
            if sign == "rate":
                context.learnable = config
            change = override or "each column normalised"
            advice = "" if override else "bring all columns to one scale"
            return sign, override, f"{reason}; the net learns them with {change}", advice
    advice = "no single change helped: look at the data and at your registered options"
    return "unknown", "", "the net cannot learn them", advice


def _suspects(context: CheckContext) -> Iterator[Suspect]:
    """Yield registered options, the lecture's suspects (minute 44) in its order, and then all others."""
    config = context.config
    options = _option_suspects(context)
    yield from (suspect for group, suspect in options.items() if context.is_registered(group))
    yield from (options[group] for group in ("initializer", "constraint") if group in options)
    if _is_uneven(context):
        yield "inputs", "", "the inputs are not normalised", config
    for lr in other_rates(context):
        size = "small" if lr > config["optim"]["lr"] else "large"
        reason = f"the learning rate is too {size}"
        yield "rate", rate_override(context, lr), reason, config.having("optim", lr=lr)
    larger = config.choose("model", "mlp").having("model", hidden=WIDTHS)
    yield "net", LARGE_NET, "the net is too small", larger
    rest = [group for group in ("activation", "batchnorm", "loss", "optim") if group in options]
    yield from (options[group] for group in rest if not context.is_registered(group))


def _option_suspects(context: CheckContext) -> dict[str, Suspect]:
    """Return a suspect for each group whose option is not the plainest one."""
    suspects = {}
    for group in ("activation", "batchnorm", "loss", "initializer", "constraint", "optim"):
        config = context.plain(group)
        if config.name(group) != context.config.name(group):
            reason = f"{context.named(group)} prevents it"
            suspects[group] = (group, f"{group}={config.name(group)}", reason, config)
    return suspects


def _is_uneven(context: CheckContext) -> bool:
    """True if normalising each column of the few examples would change much."""
    spread = _few_inputs(context).std(0, correction=0)
    varying = spread[spread > 0]
    return len(varying) > 1 and bool(varying.max() > ROUGH * varying.median())


def _few_inputs(context: CheckContext) -> Tensor:
    return context.base.network.ready(context.base.parts["train"].inputs[context.once(few_rows)])


# The inputs.


def check_inputs(context: CheckContext) -> CheckResult:
    """Compare real inputs with constant ones for the same net, examples and number of steps.

    If the net learned the examples at another rate only, that rate is used: the inputs are not to blame.
    """
    rows = len(context.dataset.parts["train"])
    if rows < 2:
        return CheckResult([sound(None, "", "there is only one training row, so nothing can be compared")])
    if len(context.once(few_rows)) < 2:
        meaning = "all training rows have the same inputs, so the net cannot learn from them"
        return CheckResult([Finding("ignored", FAIL, float(rows), "", meaning, "", "check the inputs")])
    config = context.learnable
    real = context.once(configured_fit) if config is context.config else attempt(context, config)
    constant = attempt(context, config, steps=real.steps, constant=True)
    if real.perfect and constant.perfect:
        meaning = "all examples have the same target, so nothing can be compared"
        return CheckResult([sound(None, "", meaning)])
    numbers = {"real": real.last, "constant": constant.last, "steps": real.steps}
    return CheckResult([_compare(context, real, constant)], numbers)


def _compare(context: CheckContext, real: Fit, constant: Fit) -> Finding:
    gain = (constant.last - real.last) / max(abs(constant.last), 1e-12)
    usual = f"at least {GAIN:g}"
    both = f"{real.last:.3g}; with constant inputs {constant.last:.3g}"
    meaning = f"share of the loss that real inputs remove ({both})"
    if gain >= GAIN or real.score - constant.score >= GAIN:
        return sound(gain, usual, meaning)
    moved = max(abs(fit.first - fit.last) / max(abs(fit.first), 1e-12) for fit in (real, constant))
    if moved < MOVED:
        meaning += "; the net learned next to nothing from either"
        return Finding("still", WARN, gain, usual, meaning, "", "see the overfit check")
    if _outputs_differ(context):
        meaning += "; the net does not use them"
        advice = "see the overfit check: the net may be too small"
    else:
        meaning += "; the outputs do not depend on them"
        advice = "look for a layer whose output is the same for every row, and check the inputs"
    return Finding("ignored", FAIL, gain, usual, meaning, "", advice)


@torch.no_grad()
def _outputs_differ(context: CheckContext) -> bool:
    """True if the outputs of the fresh net differ between rows."""
    network = context.fresh().network.eval()
    outputs = network.body(_few_inputs(context))
    return bool((outputs - outputs[:1]).abs().max() > DEAF * outputs.abs().max())

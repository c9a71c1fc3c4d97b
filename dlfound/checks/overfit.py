"""Check that the net can learn a few training examples by heart, and that it uses the inputs to do so."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlfound.checks import gradients
from dlfound.checks.context import CheckContext, take
from dlfound.checks.learning_rate import other_rates, rate_override
from dlfound.checks.result import FAIL, WARN, CheckResult, Finding, sound
from dlfound.config.config import Config
from dlfound.objective import loss as losses
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
GAIN = 0.1  # share of the loss with constant inputs that real inputs must remove
DEAF = 1e-6  # difference of outputs between rows, relative to the largest output: rounding
MOVED = 0.01  # change of the loss, relative to the initial one: below it, nothing was learned


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
    history = []
    for taken in range(1, most + 1):
        loss, outputs, _ = a.step(x, part.encoded, ())
        if taken == 1 or taken % LOOK == 0 or taken == steps:
            history.append(float(loss))
            score, perfect = _score(a, outputs, part)
            goal = 1.0 if score > NEARLY else FALLS
            falls = history[-1] < goal * history[len(history) // 2]
            if perfect or bool(a.step.skip) or (taken >= steps and not falls):
                break
    return Fit(score, perfect, taken, history[0], history[-1])


def _score(a: Assembly, outputs: Tensor, part: DeviceData) -> tuple[float, bool]:
    if not outputs.isfinite().all():
        return 0.0, False
    if a.network.target is None:
        right = a.loss.classes(outputs) == part.targets
        return float(right.double().mean()), bool(right.all())
    r2 = finite(regression_metrics(a.network.target.inverse(outputs), part.targets)["r2"])
    return (1.0, True) if r2 is None else (r2, r2 >= FITTED)  # constant targets are learned


def few_examples(context: CheckContext, a: Assembly) -> DeviceData:
    """Choose examples of all classes alike, no two with equal inputs, which may contradict each other."""
    part = a.parts["train"]
    rows = context.permutation("few")[:CANDIDATES]
    rows = rows[_first_of_each(part.inputs[rows])]
    if context.dataset.classes:
        members = torch.nn.functional.one_hot(part.targets[rows])
        rank = (members.cumsum(0) * members).sum(1)  # of each row within its class
        rows = rows[rank.argsort(stable=True)]
    return take(part, rows[:FEW])


def _first_of_each(rows: Tensor) -> Tensor:
    """Return the index of the first of each set of equal rows, in order."""
    _, group = torch.unique(rows, dim=0, return_inverse=True)
    places = torch.arange(len(group), device=group.device)
    first = places.new_full((int(group.max()) + 1,), len(group))
    return first.scatter_reduce(0, group, places, "amin").sort().values


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
    part = few_examples(context, a)
    x = a.network.ready(part.inputs)
    if normalise:
        x = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-12)
    if constant:
        x = x.mean(0, keepdim=True).expand_as(x).contiguous()
    usual = context.steps(STEPS // SEARCHES if context.searches else STEPS, FEW)
    most = steps or MORE * usual
    return learn(a, part._replace(inputs=x), -(-most // MORE), most)


def _configured_fit(context: CheckContext) -> Fit:
    """Train with the checked configuration; both checks begin with this, and it runs once."""
    if "fit" not in context.cache:
        context.cache["fit"] = attempt(context, context.config)
    return context.cache["fit"]


# Learning by heart.


def check(context: CheckContext) -> CheckResult:
    """Overfit a few examples; if that fails, find the one change that makes it succeed."""
    fit = _configured_fit(context)
    rows = len(few_examples(context, context.base).inputs)
    is_regression = context.base.network.target is not None
    usual = f"at least {FITTED:g}" if is_regression else "1"
    score = "R2" if is_regression else "accuracy"
    meaning = f"{score} on {rows} training examples after {fit.steps} steps without dropout and penalty"
    finding = sound(fit.score, usual, meaning)
    if not fit.perfect:
        finding = _diagnose(context, fit.score, usual, meaning)
    numbers = {"score": fit.score, "steps": fit.steps, "rows": rows, "loss": fit.last}
    return CheckResult("overfit", [finding], numbers)


def _diagnose(context: CheckContext, score: float, usual: str, meaning: str) -> Finding:
    if any(finding.sign == "wrong" for finding in gradients.check(context).findings):
        advice = "see the gradients check"
        return Finding("gradient", FAIL, score, usual, f"{meaning}: the gradient is wrong", advice=advice)
    for suspect in _suspects(context):
        if attempt(context, suspect.config, suspect.normalise).perfect:
            if suspect.sign == "rate":
                context.cache["able"] = suspect.config
            change = suspect.override or "each column normalised"
            meaning += f": {suspect.reason}; the net learns them with {change}"
            return Finding(suspect.sign, FAIL, score, usual, meaning, suspect.override, suspect.advice)
    advice = "no single change helped: look at the data and at your registered options"
    return Finding("unknown", FAIL, score, usual, f"{meaning}: the net cannot learn them", advice=advice)


@dataclass(frozen=True)
class _Suspect:
    """A change of the configuration or of the inputs, and the fault that it reveals if it helps."""

    sign: str
    override: str
    reason: str
    config: Config
    normalise: bool = False
    advice: str = ""


def _suspects(context: CheckContext) -> Iterator[_Suspect]:
    """Yield registered options, the lecture's suspects (minute 44) in its order, and then all others."""
    config = context.config
    options = _option_suspects(context)
    yield from (suspect for group, suspect in options.items() if context.is_registered(group))
    yield from (options[group] for group in ("initializer", "constraint") if group in options)
    if _is_uneven(context):
        advice = "bring all columns to one scale"
        yield _Suspect("inputs", "", "the inputs are not normalised", config, True, advice)
    for lr in other_rates(context):
        size = "small" if lr > config["optim"]["lr"] else "large"
        reason = f"the learning rate is too {size}"
        yield _Suspect("rate", rate_override(context, lr), reason, config.having("optim", lr=lr))
    larger = config.choose("model", "mlp").having("model", hidden=WIDTHS)
    widths = ",".join(map(str, WIDTHS))
    yield _Suspect("net", f"model=mlp model.hidden=[{widths}]", "the net is too small", larger)
    rest = [group for group in ("activation", "batchnorm", "loss", "optim") if group in options]
    yield from (options[group] for group in rest if not context.is_registered(group))


def _option_suspects(context: CheckContext) -> dict[str, _Suspect]:
    """Return a suspect for each group whose option is not the plainest one."""
    plain = {
        "activation": "relu",
        "batchnorm": "none",
        "loss": losses.AUTO[context.dataset.task],
        "initializer": context.fitting_initializer,
        "constraint": "none",
        "optim": "adam",
    }
    config = context.config
    return {
        group: _Suspect(
            group, f"{group}={name}", f"{group}={config.name(group)} prevents it", config.choose(group, name)
        )
        for group, name in plain.items()
        if config.name(group) != name
    }


def _is_uneven(context: CheckContext) -> bool:
    """True if normalising each column of the few examples would change much."""
    inputs = context.base.network.ready(few_examples(context, context.base).inputs)
    spread = inputs.std(0, correction=0)
    varying = spread[spread > 0]
    return len(varying) > 1 and bool(varying.max() > ROUGH * varying.median())


# The inputs.


def check_inputs(context: CheckContext) -> CheckResult:
    """Compare real inputs with constant ones for the same net, examples and number of steps.

    If the net learned the examples at another rate only, that rate is used: the inputs are not to blame.
    """
    config = context.cache.get("able", context.config)
    real = attempt(context, config) if "able" in context.cache else _configured_fit(context)
    constant = attempt(context, config, steps=real.steps, constant=True)
    rows = len(context.dataset.parts["train"])
    if len(few_examples(context, context.base).inputs) < 2:
        return CheckResult("inputs", [_all_equal(rows)])
    if real.perfect and constant.perfect:
        meaning = "all examples have the same target, so nothing can be compared"
        return CheckResult("inputs", [sound(None, "", meaning)])
    numbers = {"real": real.last, "constant": constant.last, "steps": real.steps}
    return CheckResult("inputs", [_compare(context, real, constant)], numbers)


def _all_equal(rows: int) -> Finding:
    if rows < 2:
        return sound(None, "", "there is only one training row, so nothing can be compared")
    meaning = "all training rows have the same inputs, so the net cannot learn from them"
    return Finding("ignored", FAIL, float(rows), "", meaning, advice="check the inputs")


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
        return Finding("still", WARN, gain, usual, meaning, advice="see the overfit check")
    if _outputs_differ(context):
        meaning += "; the net does not use them"
        advice = "see the overfit check: the net may be too small"
    else:
        meaning += "; the outputs do not depend on them"
        advice = "look for a layer whose output is the same for every row, and check the inputs"
    return Finding("ignored", FAIL, gain, usual, meaning, advice=advice)


@torch.no_grad()
def _outputs_differ(context: CheckContext) -> bool:
    """True if the outputs of the fresh net differ between rows."""
    network = context.fresh().network.eval()
    outputs = network.body(network.ready(few_examples(context, context.base).inputs))
    return bool((outputs - outputs[:1]).abs().max() > DEAF * outputs.abs().max())

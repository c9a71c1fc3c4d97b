"""Check what the first steps of the training do to the weights of each layer."""

import math

import torch
from torch import Tensor

from dlfound.checks import WARN, CheckResult, Finding, count_named, sound
from dlfound.checks.context import CheckContext, parameter_names, train_steps
from dlfound.training.assemble import Assembly
from dlfound.training.layers import LayerProbe, LayerState
from dlfound.training.loop import Diverged
from dlfound.training.symptoms import FADED

STEPS = 30  # before the updates are measured: optimizers with moments begin with larger steps
LARGE = 0.3  # update over weight: the usual 0.001 renews weights in 1000 steps, this in three
SMALL = 1e-6  # update over weight: changing a weight by its own size takes a million steps
USUAL = f"{SMALL:g} to {LARGE:g}"


def check_updates(context: CheckContext) -> CheckResult:
    """Take some steps of the configured training, and compare the last update with the weights."""
    a = context.fresh()
    probe = LayerProbe(a.network, a.step, context.sample(a))
    steps = max(context.steps(STEPS, a.batch_size), 2)
    train = context.sample(a, steps * a.batch_size, "updates")
    start = a.step.params.clone()
    try:
        before, _ = [a.step.params.clone() for _ in train_steps(a, train, context.seed, steps)]
    except Diverged as diverged:
        meaning = f"the training diverged within {steps} steps: {diverged.problems[0].what}"
        override = f"optim.lr={a.step.base_lr / 10:.1g}"
        return CheckResult([Finding("diverged", WARN, None, "", meaning, override)])
    _, layers = probe.look(before)
    ratios = {layer.name: layer.update_ratio for layer in layers}
    grad_norms = {layer.name: layer.grad_norm for layer in layers}
    finite_ratios = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    findings = _frozen(a, probe, start) or _sizes(finite_ratios, a.step.base_lr)
    findings += _gradients(context, layers)
    if not findings:
        meaning = f"largest update over weight of a layer after {steps} steps (0.001 is typical)"
        findings = [sound(max(finite_ratios.values()), USUAL, meaning)]
    return CheckResult(findings, {"update_ratio": ratios, "grad_norm": grad_norms, "steps": steps})


def _frozen(a: Assembly, probe: LayerProbe, start: Tensor) -> list[Finding]:
    """Find tensors that have a gradient but that no step has changed."""
    a.network.eval()
    grads = a.step.loss_grad(a.step.params, a.step.buffers, probe.x, probe.y, ()).grads
    views = a.step.parameter_layout.views
    tensors = zip(parameter_names(a), views(start), views(a.step.params), views(grads), strict=True)
    names = [name for name, old, new, grad in tensors if torch.equal(old, new) and grad.any()]
    meaning = "parameter tensors that have a gradient but never change"
    return count_named("frozen", WARN, meaning, names, "optim=adam", "find out what keeps them constant")


def _sizes(ratios: dict[str, float], lr: float) -> list[Finding]:
    """Find steps that are too large or too small for the weights.

    Args:
        ratios: update over weight of each layer that has weights other than zero.
    """
    if not ratios:
        return [Finding("still", WARN, None, "", "all weights are zero and stay zero", "initializer=auto")]
    large = max(ratios, key=ratios.__getitem__)
    small = min(ratios, key=ratios.__getitem__)
    if ratios[large] > LARGE:
        meaning = f"update over weight in {large}: the steps are too large"
        return [Finding("large", WARN, ratios[large], USUAL, meaning, f"optim.lr={lr / 10:.3g}")]
    if ratios[large] < SMALL:
        meaning = f"update over weight in {large}, the layer that changes most: the steps are too small"
        return [Finding("small", WARN, ratios[large], USUAL, meaning, f"optim.lr={lr * 100:.3g}")]
    if ratios[small] < SMALL * ratios[large]:
        usual = f"above {SMALL * ratios[large]:.1g}"
        meaning = f"update over weight in {small}, which hardly changes; {large} has {ratios[large]:.1g}"
        return [Finding("uneven", WARN, ratios[small], usual, meaning, "batchnorm=batch")]
    return []


def _gradients(context: CheckContext, layers: list[LayerState]) -> list[Finding]:
    """Find gradients that vanish or explode from the last hidden layer down to the first."""
    hidden = layers[:-1]
    if len(hidden) < 2 or not hidden[-1].backprop:
        return []
    ratio = hidden[0].backprop / hidden[-1].backprop
    if FADED <= ratio <= 1 / FADED or not math.isfinite(ratio):
        return []
    verb = "vanishes" if ratio < 1 else "explodes"
    usual = f"{FADED:g} to {1 / FADED:g}"
    meaning = f"gradient in {hidden[0].name} over that in {hidden[-1].name}: it {verb} on its way down"
    return [Finding(verb, WARN, ratio, usual, meaning, context.weights_override())]

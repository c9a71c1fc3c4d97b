"""Check that the output of each row depends on that row alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlfound.checks.context import CheckContext, hidden_modules
from dlfound.checks.result import FAIL, CheckResult, Finding, sound
from dlfound.nn.modules import Network
from dlfound.streams import stream

ROWS = 16
CHANGED = 8  # rows that are changed, one at a time
MIXED = 1e-9  # effect relative to the outputs, in double precision: rounding stays below 1e-12


def module_outputs(network: Network, x: Tensor, noise: list[Tensor]) -> list[tuple[str, Tensor]]:
    """Return (group, output) of each normalisation and activation in the order of the forward pass.

    The last entry is the output of the net; its group is empty.
    """
    outputs: list[tuple[str, Tensor]] = []

    def record(group: str) -> Callable:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            outputs.append((group, output))

        return hook

    modules = hidden_modules(network).items()
    hooks = [module.register_forward_hook(record(group)) for module, group in modules]
    try:
        with torch.no_grad():
            outputs.append(("", network.body(x, noise)))
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def module_name(context: CheckContext, group: str) -> str:
    """Name the module of a group for a message."""
    return f"{group}={context.config.name(group)}" if group else "the net"


def replacement(group: str) -> str:
    """Return the override that removes a module; empty if there is none."""
    return {"activation": "activation=relu", "batchnorm": "batchnorm=none"}.get(group, "")


def check(context: CheckContext) -> CheckResult:
    """Change one row and compare the others, in evaluation and in training, without batch statistics."""
    a = context.fresh(dtype=torch.float64)
    x = a.network.ready(context.sample(a, ROWS, "rows").inputs).double()
    a.network.eval()
    effect, group = _effect(a.network, x, [])
    mode = "evaluation"
    if effect <= MIXED:
        a.network.train()
        for layer in a.network.body.hidden:
            if layer.norm is not None:
                layer.norm.eval()
        noise = [n.to(x) for n in a.network.body.noise(len(x), stream(context.seed, "check noise"))]
        in_training, group = _effect(a.network, x, noise)
        effect = max(effect, in_training)
        mode = "training"
    return CheckResult("rows", [_judge(context, effect, group, mode)])


def _judge(context: CheckContext, effect: float, group: str, mode: str) -> Finding:
    usual = f"below {MIXED:g}"
    meaning = "largest effect of one row on the output of another, relative to the outputs"
    if effect <= MIXED:
        return sound(effect, usual, meaning)
    meaning += f": {module_name(context, group)} mixes rows in {mode} mode"
    advice = "to keep it, let the output of a row depend on that row only"
    if not group:
        advice = "check your registered options"
    return Finding("mixed", FAIL, effect, usual, meaning, replacement(group), advice)


def _effect(network: Network, x: Tensor, noise: list[Tensor]) -> tuple[float, str]:
    """Return the largest relative effect on another row, and the group of the module that causes it."""
    before = module_outputs(network, x, noise)
    again = module_outputs(network, x, noise)
    if any(not torch.equal(one, two) for (_, one), (_, two) in zip(before, again, strict=True)):
        return 0.0, ""  # the net is not deterministic, which is another check
    largest = 0.0
    for row in range(min(CHANGED, len(x))):
        after = module_outputs(network, _with_changed_row(network, x, row), noise)
        for (group, old), (_, new) in zip(before, after, strict=True):
            change = (old - new).abs()
            change[row] = 0
            effect = float(change.max()) / max(float(old.abs().max()), 1e-300)
            largest = max(largest, effect)
            if effect > MIXED:
                return effect, group
    return largest, ""


def _with_changed_row(network: Network, x: Tensor, row: int) -> Tensor:
    """Replace a row by the next one, with other numbers; its categories stay valid."""
    changed = x.clone()
    numbers = x.shape[1] - network.body.embedded_columns
    changed[row] = x[(row + 1) % len(x)]
    changed[row, :numbers] = 2 * changed[row, :numbers] + 1
    return changed

"""Check that the output of each row depends on that row alone."""

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from dlfound.checks import FAIL, CheckResult, Finding, sound
from dlfound.checks.context import CheckContext, hidden_modules, plain_override
from dlfound.nn.modules import Network
from dlfound.streams import stream

ROWS = 16
CHANGED = 8  # rows that are changed, one at a time
MIXED = 1e-9  # effect relative to the outputs, in double precision: rounding stays below 1e-12


def module_outputs(network: Network, x: Tensor, noise: list[Tensor]) -> list[tuple[str, Tensor]]:
    """Return (group, output) of each normalisation and activation in the order of the forward pass.

    The last entry is the output of the net; its group is empty.
    """
    groups = {network.body: "", **hidden_modules(network)}
    outputs: list[tuple[str, Tensor]] = []

    def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append((groups[module], output))

    with torch.no_grad(), ExitStack() as hooks:
        for module in groups:
            hooks.enter_context(module.register_forward_hook(record))
        network.body(x, noise)
    return outputs


def first_difference(one: list[tuple[str, Tensor]], two: list[tuple[str, Tensor]]) -> str | None:
    """Return the group of the first module with different outputs in two passes; None if all are equal."""
    pairs = zip(one, two, strict=True)
    return next((group for (group, old), (_, new) in pairs if not torch.equal(old, new)), None)


def check_rows(context: CheckContext) -> CheckResult:
    """Change one row and compare the others, in evaluation and in training, without batch statistics."""
    a = context.fresh(dtype=torch.float64)
    x = a.network.ready(context.sample(a, ROWS, "rows").inputs).double()
    noise = [n.to(x) for n in a.network.body.noise(len(x), stream(context.seed, "check noise"))]
    largest = 0.0
    for mode in ("evaluation", "training"):
        a.network.train(mode == "training")
        for norm in [layer.norm for layer in a.network.body.hidden if layer.norm is not None]:
            norm.eval()
        effect, group = _effect(a.network, x, noise)
        largest = max(largest, effect)
        if effect > MIXED:
            break
    usual = f"below {MIXED:g}"
    meaning = "largest effect of one row on the output of another, relative to the outputs"
    if effect <= MIXED:
        return CheckResult([sound(largest, usual, meaning)])
    meaning += f": {context.named(group)} mixes rows in {mode} mode"
    advice = "to keep it, let the output of a row depend on that row only"
    if not group:
        advice = "check your registered options"
    return CheckResult([Finding("mixed", FAIL, effect, usual, meaning, plain_override(group), advice)])


def _effect(network: Network, x: Tensor, noise: list[Tensor]) -> tuple[float, str]:
    """Return the largest relative effect on another row, and the group of the module that causes it."""
    before = module_outputs(network, x, noise)
    if first_difference(before, module_outputs(network, x, noise)) is not None:
        return 0.0, ""  # the net is not deterministic, which is another check
    largest = 0.0
    numbers = x.shape[1] - network.body.embedded_columns
    for row in range(min(CHANGED, len(x))):
        changed = x.clone()
        changed[row] = x[(row + 1) % len(x)]  # its categories must stay valid
        changed[row, :numbers] = 2 * changed[row, :numbers] + 1
        after = module_outputs(network, changed, noise)
        for (group, old), (_, new) in zip(before, after, strict=True):
            change = (old - new).abs()
            change[row] = 0
            effect = float(change.max()) / max(float(old.abs().max()), 1e-300)
            largest = max(largest, effect)
            if effect > MIXED:
                return effect, group
    return largest, ""

"""Does each row stand for itself, and is all that is computed the same every time? Where not: which module is it?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlfound.checks.context import Subject, train_steps
from dlfound.checks.result import FAIL, Checked, Finding, sound
from dlfound.checks.thresholds import MIXED, TWIN_STEPS
from dlfound.config.config import Config
from dlfound.nn.network import Network
from dlfound.streams import stream
from dlfound.training.assemble import Assembly
from dlfound.training.loop import Diverged

ROWS = 16
OTHERS = 8  # rows that are changed, one after the other


def parts_of(network: Network) -> dict[nn.Module, str]:
    """The modules of a net from the input up, and the group that each of them comes from."""
    found: dict[nn.Module, str] = {}
    for layer in network.body.hidden:
        found |= {
            m: group
            for m, group in ((layer.norm, "batchnorm"), (layer.activation, "activation"))
            if m is not None
        }
    return found


def outputs_of_parts(network: Network, x: Tensor, noise: list[Tensor]) -> list[tuple[str, Tensor]]:
    """What each module puts out, in the order of the forward pass, and the net at last: (group, output)."""
    seen: list[tuple[str, Tensor]] = []

    def keep(group: str) -> Callable:
        return lambda module, args, out: seen.append((group, out))

    hooks = [module.register_forward_hook(keep(group)) for module, group in parts_of(network).items()]
    try:
        with torch.no_grad():
            seen.append(("", network.body(x, noise)))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _named(config: Config, group: str) -> str:
    return f"{group}={config.name(group)}" if group else "the net"


def _advice(group: str) -> tuple[str, str]:
    """The override that leaves a module out, and what else may be done."""
    word = {"activation": "relu", "batchnorm": "none"}.get(group, "")
    return (
        (f"{group}={word}", f"mend {group}, or leave it out")
        if word
        else ("", "look at the options that are your own")
    )


# Rows.


def check_rows(subject: Subject) -> Checked:
    """Change one row, and look at the others: in evaluation mode, then in training mode but for batch statistics."""
    a = subject.fresh(dtype=torch.float64)
    part = subject.sample(a, ROWS, "rows")
    x = a.network.ready(part.inputs).double()
    a.network.eval()
    found, largest = _mixing(subject, a, x, [], "in evaluation mode")
    if found is None:
        a.network.train()
        for layer in a.network.body.hidden:
            if layer.norm is not None:
                layer.norm.eval()
        noise = [n.to(x) for n in a.network.body.noise(len(x), stream(subject.seed, "check noise"))]
        found, second = _mixing(subject, a, x, noise, "in training mode")
        largest = max(largest, second)
    meaning = (
        "is how much a row's output depends on another row, in evaluation mode and without batch statistics"
    )
    return Checked("rows", [found or sound(largest, meaning)])


def _mixing(
    subject: Subject, a: Assembly, x: Tensor, noise: list[Tensor], mode: str
) -> tuple[Finding | None, float]:
    """The first module that lets one row change another one; and the largest change, relative to the outputs."""
    before, again = (outputs_of_parts(a.network, x, noise) for _ in range(2))
    if any(not torch.equal(one, two) for (_, one), (_, two) in zip(before, again, strict=True)):
        return None, 0.0  # not the same twice: that is another fault
    largest = 0.0
    for row in range(min(OTHERS, len(x))):
        other, numbers = x.clone(), x.shape[1] - a.network.body.places
        other[row] = x[(row + 1) % len(x)]
        other[row, :numbers] = 2 * other[row, :numbers] + 1
        for (group, one), (_, two) in zip(before, outputs_of_parts(a.network, other, noise), strict=True):
            change, size = (one - two).abs(), float(one.abs().max())
            change[row] = 0
            share = float(change.max()) / max(size, 1e-300)
            largest = max(largest, share)
            if share > MIXED:
                meaning = (
                    f"of the outputs is what {_named(subject.config, group)} changes in other rows {mode}"
                )
                override, advice = _advice(group)
                return Finding(
                    "mixed", FAIL, share, f"{meaning}, when one row is changed", override, advice
                ), share
    return None, largest


# Determinism.


def check_twins(subject: Subject) -> Checked:
    """Two short runs, from the drawing of the weights on, must give the same bytes."""
    one, two = subject.fresh(), subject.fresh()
    if not torch.equal(one.step.params, two.step.params):
        own = f"initializer={subject.config.name('initializer')}"
        return _differ(
            own, "initializer=auto", f"{own} or a module draws its numbers from elsewhere", one, two
        )
    if (found := _other_data(subject)) is not None:
        return found
    for a in (one, two):
        try:
            for _ in train_steps(
                a, subject.sample(a, TWIN_STEPS * a.batch_size, "twins"), subject.seed, TWIN_STEPS
            ):
                pass
        except Diverged:  # both must do so in the same way
            continue
    same = torch.equal(_bytes(one.step.params), _bytes(two.step.params))
    if same and torch.equal(_bytes(one.step.buffers), _bytes(two.step.buffers)):
        meaning = f"of {subject.weights:,} parameters differ between two runs of {TWIN_STEPS} steps"
        return Checked("determinism", [sound(0.0, meaning)])
    group = _unsteady(subject)
    override, advice = _advice(group)
    return _differ(
        _named(subject.config, group), override, f"{advice}; draw from a generator with a seed", one, two
    )


def _differ(what: str, override: str, advice: str, one: Assembly, two: Assembly) -> Checked:
    count = int((one.step.params != two.step.params).sum())
    meaning = (
        f"of {len(one.step.params):,} parameters differ between two runs of the same command: look at {what}"
    )
    return Checked("determinism", [Finding("differs", FAIL, float(count), meaning, override, advice)])


def _other_data(subject: Subject) -> Checked | None:
    """A source of a person's own must give the same rows again."""
    name = subject.config.name("data")
    if (
        not subject.is_own("data")
        or subject.config.build("data")().fingerprint() == subject.dataset.fingerprint()
    ):
        return None
    meaning = f"data={name} gives other rows when it is asked again: no run on it can be repeated"
    return Checked("determinism", [Finding("data", FAIL, None, meaning, "", "draw from data.seed alone")])


def _bytes(vector: Tensor) -> Tensor:
    return vector.view(torch.int32)  # NaN equals itself


def _unsteady(subject: Subject) -> str:
    """The group of the first module that does not put out the same twice; empty where it is none."""
    a = subject.fresh()
    x = a.network.ready(subject.sample(a, ROWS, "rows").inputs)
    a.network.train()
    noise = a.network.body.noise(len(x), torch.Generator(x.device).manual_seed(subject.seed))
    one, two = (outputs_of_parts(a.network, x, noise) for _ in range(2))
    return next(
        (g for (g, before), (_, after) in zip(one, two, strict=True) if not torch.equal(before, after)), ""
    )

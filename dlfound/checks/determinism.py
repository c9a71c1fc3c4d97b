"""Check that two runs of the same configuration give the same bytes."""

import torch
from torch import Tensor

from dlfound.checks.context import CheckContext, train_steps
from dlfound.checks.result import FAIL, CheckResult, Finding, sound
from dlfound.checks.row_independence import ROWS, module_name, module_outputs, replacement
from dlfound.training.assemble import Assembly
from dlfound.training.loop import Diverged

STEPS = 10  # of each run


def check(context: CheckContext) -> CheckResult:
    """Build and train twice; if the parameters differ, name the module that is not deterministic."""
    one = context.fresh()
    two = context.fresh()
    if not torch.equal(one.step.params, two.step.params):
        name = f"initializer={context.config.name('initializer')}"
        return _differ(f"{name} or a module with parameters", "initializer=auto", one, two)
    if _data_differ(context):
        name = f"data={context.config.name('data')}"
        meaning = f"{name} returns other rows when it is loaded again, so no run can be repeated"
        advice = "derive all random numbers from data.seed"
        return CheckResult("determinism", [Finding("data", FAIL, None, "", meaning, "", advice)])
    for a in (one, two):
        _train(context, a)
    same = torch.equal(_bits(one.step.params), _bits(two.step.params))
    if same and torch.equal(_bits(one.step.buffers), _bits(two.step.buffers)):
        meaning = f"parameters (of {context.parameter_count:,}) that differ between two runs of {STEPS} steps"
        return CheckResult("determinism", [sound(0.0, "0", meaning)])
    group = _random_group(context)
    return _differ(module_name(context, group), replacement(group), one, two)


def _train(context: CheckContext, a: Assembly) -> None:
    rows = context.sample(a, STEPS * a.batch_size, "twins")
    try:
        for _ in train_steps(a, rows, context.seed, STEPS):
            pass
    except Diverged:  # then both runs must diverge alike
        return


def _differ(suspect: str, override: str, one: Assembly, two: Assembly) -> CheckResult:
    count = int((one.step.params != two.step.params).sum())
    total = len(one.step.params)
    meaning = f"parameters (of {total:,}) that differ between two equal runs: {suspect} is not deterministic"
    advice = "to keep it, draw its random numbers from a seeded generator"
    finding = Finding("differs", FAIL, float(count), "0", meaning, override, advice)
    return CheckResult("determinism", [finding])


def _data_differ(context: CheckContext) -> bool:
    """True if a registered source returns other rows when called again."""
    if not context.is_registered("data"):
        return False
    return context.config.build("data")().fingerprint() != context.dataset.fingerprint()


def _bits(vector: Tensor) -> Tensor:
    """View floats as integers, so that NaN equals itself."""
    return vector.view(torch.int32)


def _random_group(context: CheckContext) -> str:
    """Return the group of the first module whose output changes between two calls; empty if none does."""
    a = context.fresh()
    x = a.network.ready(context.sample(a, ROWS, "rows").inputs)
    a.network.train()
    noise = a.network.body.noise(len(x), torch.Generator(x.device).manual_seed(context.seed))
    first = module_outputs(a.network, x, noise)
    second = module_outputs(a.network, x, noise)
    pairs = zip(first, second, strict=True)
    return next((group for (group, one), (_, two) in pairs if not torch.equal(one, two)), "")

"""Check that two runs of the same configuration give the same bytes."""

from contextlib import suppress

import torch
from torch import Tensor

from dlfound.checks import FAIL, CheckResult, Finding, sound
from dlfound.checks.context import CheckContext, plain_override, train_steps
from dlfound.checks.row_independence import ROWS, first_difference, module_outputs
from dlfound.training.assemble import Assembly
from dlfound.training.loop import Diverged

STEPS = 10  # of each run


def check_determinism(context: CheckContext) -> CheckResult:
    """Build and train twice; if the parameters differ, name the module that is not deterministic."""
    one = context.fresh()
    two = context.fresh()
    if not torch.equal(one.step.params, two.step.params):
        return _differ(f"{context.named('initializer')} or a module with parameters", "initializer", one, two)
    if _data_differ(context):
        data = context.named("data")
        meaning = f"{data} returns other rows when it is loaded again, so no run can be repeated"
        advice = "derive all random numbers from data.seed"
        return CheckResult([Finding("data", FAIL, None, "", meaning, "", advice)])
    if torch.equal(_train(context, one), _train(context, two)):
        meaning = f"parameters (of {len(one.step.params):,}) that differ between two runs of {STEPS} steps"
        return CheckResult([sound(0.0, "0", meaning)])
    group = _random_group(context)
    return _differ(context.named(group), group, one, two)


def _train(context: CheckContext, a: Assembly) -> Tensor:
    """Return parameters and buffers after some steps, as integers, so that NaN equals itself."""
    rows = context.sample(a, STEPS * a.batch_size, "twins")
    with suppress(Diverged):  # then both runs must diverge alike
        for _ in train_steps(a, rows, context.seed, STEPS):
            pass
    return torch.cat([a.step.params, a.step.buffers]).view(torch.int32)


def _differ(suspect: str, group: str, one: Assembly, two: Assembly) -> CheckResult:
    count = int((one.step.params != two.step.params).sum())
    total = len(one.step.params)
    meaning = f"parameters (of {total:,}) that differ between two equal runs: {suspect} is not deterministic"
    advice = "to keep it, draw its random numbers from a seeded generator"
    return CheckResult([Finding("differs", FAIL, float(count), "0", meaning, plain_override(group), advice)])


def _data_differ(context: CheckContext) -> bool:
    """True if a registered source returns other rows when called again."""
    if not context.is_registered("data"):
        return False
    return context.config.build("data")().fingerprint() != context.dataset.fingerprint()


def _random_group(context: CheckContext) -> str:
    """Return the group of the first module whose output changes between two calls; empty if none does."""
    a = context.fresh()
    x = a.network.ready(context.sample(a, ROWS, "rows").inputs)
    a.network.train()
    noise = a.network.body.noise(len(x), torch.Generator(x.device).manual_seed(context.seed))
    passes = [module_outputs(a.network, x, noise) for _ in range(2)]
    return first_difference(*passes) or ""

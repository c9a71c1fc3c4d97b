"""All checks of `dlfound check` by their names, in the order in which they are made."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dlfound.checks import data, determinism, gradients, initial_loss, initial_state, learning_rate, overfit
from dlfound.checks.context import Subject
from dlfound.checks.result import FAIL, Checked, Finding

CUT_OFF = "does not require grad"  # what torch says where nothing leads from the loss to the parameters


class Check(NamedTuple):
    """What a check asks, and the function that answers."""

    about: str
    run: Callable[[Subject], Checked]


def run_checks(subject: Subject, names: Sequence[str]) -> Iterator[tuple[Checked, float]]:
    """Each check's findings, and how many seconds it took."""
    for name in names:
        began = time.perf_counter()
        try:
            done = CHECKS[name].run(subject)
        except RuntimeError as error:
            if CUT_OFF not in str(error):
                raise
            done = Checked(name, [_cut_off(subject)])
        yield done, time.perf_counter() - began


def _cut_off(subject: Subject) -> Finding:
    loss = f"loss={subject.config.name('loss')}"
    meaning = f"no gradient comes from {loss}: it does not depend on the outputs, or is cut off from them"
    return Finding("cut_off", FAIL, None, meaning, "loss=auto", f"mend {loss}, or leave it out")


CHECKS: dict[str, Check] = {
    "data": Check("what can be seen of the data without a net", data.check),
    "gradients": Check("is the gradient that of the objective, by central differences?", gradients.check),
    "initial_loss": Check(
        "does the loss begin where an answer without knowledge puts it?", initial_loss.check
    ),
    "initial_state": Check(
        "units that are saturated, dead or equal before the first step", initial_state.check
    ),
    "overfit": Check("can the net learn 50 examples by heart, and if not, why?", overfit.check),
    "inputs": Check("do real inputs beat constant ones?", overfit.check_inputs),
    "rows": Check("does each row's output depend on that row alone?", determinism.check_rows),
    "learning_rate": Check("where training crawls, learns and diverges", learning_rate.check),
    "updates": Check("how large steps are beside the weights, layer by layer", learning_rate.check_updates),
    "determinism": Check("do two short runs give the same bytes?", determinism.check_twins),
}


def as_json(done: Checked, seconds: float) -> dict[str, Any]:
    """What a program reads of a check."""
    return {
        "name": done.name,
        "verdict": done.verdict,
        "findings": [_finite(vars(finding)) for finding in done.findings],
        "numbers": _finite(done.numbers),
        "seconds": round(seconds, 3),
    }


def _finite(value: Any) -> Any:
    """The same with None for each number that is none, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Trainings that diverge, and the weights of the best validation."""

import math
import re

import numpy as np
import pytest
import torch
from support.loops import CE, MSE, make, part, train

from dlfound.errors import Code
from dlfound.optim.schedules import DECAYS
from dlfound.training.loop import Best, Diverged, fit
from dlfound.training.metrics import evaluate
from dlfound.training.step import Step

# ---- divergence


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_divergence_keeps_the_state_before_the_bad_step(epoch, norm, drop):
    """A row becomes infinite: the error names the step that met it, and the state is that before the step."""
    network, step = make(norm=norm, drop=drop, hidden=(6, 6))
    rows = part(9)
    start = [v.numpy().tobytes() for v in (step.params, step.buffers, step.t, *step.slots)]

    def poison(done: int) -> None:
        if done == epoch - 1:
            rows.inputs[5, 1:] = math.inf

    poison(0)
    with pytest.raises(Diverged) as caught:
        train(network, step, CE, rows, epochs=4, between=lambda e: poison(e.number))
    steps = 2 if norm else 3  # 4 + 5 rows, or 4 + 4 + 1
    bad = next(i for i, batch in enumerate(step.seen) if 5 in batch and i >= (epoch - 1) * steps)
    assert len(step.seen) == epoch * steps
    assert f"step {bad + 1} (epoch {epoch}" in str(caught.value)
    assert caught.value.code == Code.NUMERIC
    now = [v.numpy().tobytes() for v in (step.params, step.buffers, step.t, *step.slots)]
    assert now == (step.after[bad - 1] if bad else start)
    assert step.t.item() == bad
    assert all(p.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("optim", "settings"), [("sgd", {}), ("momentum", {"momentum": 0.9})])
def test_a_rate_that_is_too_large_diverges(optim, settings):
    """The error names the first bad step and the rate, and suggests a smaller rate."""
    network, step = make(MSE, hidden=(), optim=optim, lr=1e4, **settings)
    with pytest.raises(Diverged) as caught:
        train(network, step, MSE, part(10, MSE), epochs=50)
    bad = next(i for i, value in enumerate(step.values) if not math.isfinite(value))
    assert int(re.search(r"step (\d+)", str(caught.value))[1]) == bad + 1
    assert "10000" in str(caught.value)
    assert caught.value.problems[0].fix.endswith("optim.lr=0.1")
    assert step.t.item() == bad


def test_a_validation_that_is_not_finite_diverges():
    """The epoch is not yielded, so no decision depends on NaN."""
    network, step = make(MSE, hidden=())
    held_out = part(5, MSE, seed=9)
    held_out.encoded[2, 0] = math.inf
    with pytest.raises(Diverged, match="validation loss is not finite after epoch 1"):
        next(
            fit(
                network, step, MSE, DECAYS["none"](3), part(10, MSE), held_out, epochs=3, batch_size=4, seed=0
            )
        )


# ---- the best weights


def states(best_of: list[float]) -> tuple[Best, Step, list[list[bytes]]]:
    """A step whose vectors change before each validation, and the bits at each validation."""
    _, step = make(norm=True)
    best = Best.initial(step)
    bits = []
    for number, value in enumerate(best_of, 1):
        step.params.fill_(number)
        step.buffers.fill_(-number)
        bits.append([step.params.numpy().tobytes(), step.buffers.numpy().tobytes()])
        best.update(value, number, step)
    step.params.fill_(99)
    step.buffers.fill_(99)
    return best, step, bits


CASES = {
    "the lowest": ([3, 1, 2], 2),
    "the first of equals": ([3, 1, 1, 1], 2),
    "better by the smallest step": ([3, 1, 1 - 2**-52, 1], 3),
    "NaN is never the best, at the start": ([math.nan, 5, 6], 2),
    "NaN is never the best, in between": ([5, math.nan, 4, math.nan], 3),
    "minus infinity is lower than all": ([5, -math.inf, 4], 2),
    "the last": ([3, 2, 1], 3),
    "below zero": ([-0.5, -0.75, -0.6], 2),
}


@pytest.mark.parametrize("case", CASES)
def test_the_best_is_strictly_better_than_all_before(case):
    """Value, epoch and weights of the best validation; `restore` restores parameters and averages."""
    values, number = CASES[case]
    best, step, bits = states(values)
    assert (best.epoch, best.value) == (number, values[number - 1])
    best.restore(step)
    assert [step.params.numpy().tobytes(), step.buffers.numpy().tobytes()] == bits[number - 1]
    assert all((p == number).all() for p in step.model.parameters())  # the net's own tensors too
    best.restore(step)
    assert (step.params == number).all()


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, math.nan]])
def test_without_a_validation_the_initial_weights_are_the_best(values):
    """`Best.initial` keeps the weights of the net at that time."""
    _, first = make(norm=True)
    best, step, _ = states(values)
    best.restore(step)
    assert best.epoch == 0
    assert torch.equal(step.params, first.params) and torch.equal(step.buffers, first.buffers)


class Tripling:
    """A growing rate that soon harms the net."""

    def rate(self, lr: float, epoch: float, share: float) -> float:
        return lr * 3 ** int(epoch)


def test_the_best_weights_of_a_run_are_restored():
    """After epochs with a harmful rate, the restored net validates as at its best epoch."""
    network, step = make(norm=True, lr=0.02)
    best = Best.initial(step)
    losses = []

    def between(epoch):
        best.update(epoch.val["loss"], epoch.number, step)
        losses.append(epoch.val["loss"])

    train(network, step, CE, part(30), epochs=8, decay=Tripling(), between=between)
    best.restore(step)
    assert best.epoch == int(np.argmin(losses)) + 1 < 8
    assert evaluate(network, CE, part(5, CE, seed=9))["loss"] == min(losses)

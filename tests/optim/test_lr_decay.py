"""Decay on plateau: on sequences of validations written by hand, and against torch's scheduler."""

import math

import numpy as np
import pytest
import torch

from dlfound.optim.schedules import DECAYS
from dlfound.training.metrics import watch

NAN = math.nan


def plateau(*, patience: int = 2, factor=0.5, min_delta=0.0, min_lr=0.0, warmup=0.0):
    return DECAYS["plateau"](
        1000, factor=factor, patience=patience, min_delta=min_delta, min_lr=min_lr, warmup=warmup
    )


def rates(values: list[float], lr: float = 1.0, **settings) -> list[float]:
    """The learning rate of the epoch after each validation."""
    decay = plateau(**settings)
    after = []
    for epoch, value in enumerate(values, 1):
        decay.after(value)
        after.append(decay.rate(lr, epoch, 1.0))
    return after


CASES = {
    "always better": ([5, 4, 3, 2, 1], {}, [1, 1, 1, 1, 1]),
    "at the second in a row, and then the count is reset": (
        [5, 6, 6, 6, 6, 6],
        {},
        [1, 1, 0.5, 0.5, 0.25, 0.25],
    ),
    "a tie is no improvement": ([5, 5, 5, 5, 5], {}, [1, 1, 0.5, 0.5, 0.25]),
    "an improvement resets the count": ([5, 6, 4, 6, 3, 6, 6], {}, [1, 1, 1, 1, 1, 1, 0.5]),
    "equal to the best is not better": ([5, 6, 5, 6, 5], {}, [1, 1, 0.5, 0.5, 0.25]),
    "better than the last but not than the best": ([5, 9, 8, 7, 6], {}, [1, 1, 0.5, 0.5, 0.25]),
    "the best is kept through a decay": (
        [5, 6, 6, 5.5, 5.5, 4, 6, 6],
        {},
        [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125],
    ),
    "patience of one": ([5, 5, 4, 5, 5], {"patience": 1}, [1, 0.5, 0.5, 0.25, 0.125]),
    "patience of three": ([5] * 8, {"patience": 3}, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
    "NaN never improves": ([5, NAN, NAN, NAN, 4, NAN, 3], {}, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5]),
    "NaN from the start": ([NAN, NAN, NAN, NAN, 9, 9, 8], {}, [1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]),
    "infinity does not improve either": ([math.inf, math.inf, 9, 8], {}, [1, 0.5, 0.5, 0.5]),
    "below zero": ([-1, -2, -1, -2, -3], {}, [1, 1, 1, 0.5, 0.5]),
    "min_delta: too small a gain": ([5, 4.9, 4.8, 4.7, 4.6], {"min_delta": 0.5}, [1, 1, 0.5, 0.5, 0.25]),
    "min_delta: a gain of exactly that size is too small": ([5, 4.5, 4.5], {"min_delta": 0.5}, [1, 1, 0.5]),
    "min_delta: small gains add up against the best": (
        [5, 4.7, 4.4, 4.1, 3.9],
        {"min_delta": 0.5},
        [1, 1, 1, 1, 1],
    ),
    "min_delta is absolute": ([500, 499.4, 498.8, 498.2], {"min_delta": 0.5}, [1, 1, 1, 1]),
    "factor of a tenth": ([5] * 5, {"factor": 0.1}, [1, 1, 0.1, 0.1, 0.01]),
    "min_lr is reached and kept": ([5] * 9, {"min_lr": 0.3}, [1, 1, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3]),
    "min_lr is reached exactly by halving": ([5] * 7, {"min_lr": 0.25}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]),
    "a rate below min_lr stays": ([5] * 7, {"lr": 0.1, "min_lr": 0.3}, [0.1] * 7),
    "a rate at min_lr stays": ([5] * 7, {"lr": 0.3, "min_lr": 0.3}, [0.3] * 7),
}


def test_plateau_by_hand():
    """The rate after each validation, in each of the cases above."""
    for case, (values, settings, expected) in CASES.items():
        assert rates(values, **settings) == pytest.approx(expected, rel=1e-12), case


def test_a_metric_of_which_more_is_better():
    """Accuracy, as `watch` presents it; an undefined value is never better."""
    seen = [
        watch("accuracy")({"loss": 1.0, "accuracy": a}) for a in (0.5, 0.6, 0.6, 0.55, 0.7, None, 0.7, 0.8)
    ]
    assert rates(seen) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_a_metric_of_which_less_is_better():
    """The loss, as `watch` presents it by name or as `auto`."""
    for monitor in ("loss", "auto"):
        seen = [watch(monitor)({"loss": v, "accuracy": 0.1}) for v in (0.5, 0.6, 0.6, 0.4, None, 0.4)]
        assert rates(seen) == [1, 1, 0.5, 0.5, 0.5, 0.25]


def test_the_first_epoch_has_the_configured_rate():
    """The rate is not cut before a validation, and asking for it changes nothing."""
    decay = plateau(patience=1)
    assert [decay.rate(lr, 0.3, 0.1) for lr in (0.1, 0.1, 7.0)] == [0.1, 0.1, 7.0]
    decay.after(5)
    decay.after(5)
    assert [decay.rate(lr, 2 + k / 9, 1 / 9) for lr in (0.1, 7.0) for k in range(9)] == [0.05] * 9 + [3.5] * 9


def test_a_warm_up_grows_to_the_rate():
    """Two epochs of four steps add eighths; the plateau counts the validations in the warm-up too."""
    decay = plateau(patience=2, warmup=2.0)
    rates_of_epochs = []
    for epoch in range(4):
        rates_of_epochs.append([decay.rate(1.0, epoch + k / 4, 1 / 4) for k in range(4)])
        decay.after(5.0)
    assert rates_of_epochs == [[1 / 8, 2 / 8, 3 / 8, 4 / 8], [5 / 8, 6 / 8, 7 / 8, 1], [1] * 4, [0.5] * 4]


def test_plateau_agrees_with_the_scheduler_of_torch():
    """On random walks with ties and NaN: ReduceLROnPlateau in absolute mode waits one validation more."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = (np.cumsum(rng.integers(-3, 4, 200)) / 4 - 0.05 * np.arange(200)).round(1)
        values[rng.random(200) < 0.05] = NAN
        patience = int(rng.integers(1, 6))
        min_delta = float(rng.choice([0, 0.25, 1]))
        min_lr = float(rng.choice([0, 1e-3, 0.3]))
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, "min", 0.5, patience - 1, min_delta, "abs", min_lr=min_lr, eps=0
        )
        expected = []
        for value in values:
            scheduler.step(float(value))
            expected.append(optimizer.param_groups[0]["lr"])
        settings = {"patience": patience, "min_delta": min_delta, "min_lr": min_lr}
        assert rates(list(map(float, values)), **settings) == expected, seed


def test_none_leaves_the_rate():
    """It ignores the validations and the position in the run."""
    decay = DECAYS["none"](10)
    for epoch, value in enumerate((1.0, 2.0, NAN, 2.0, 2.0)):
        assert decay.rate(0.3, epoch + 0.5, 0.1) == 0.3
        decay.after(value)

"""Early stopping on sequences of validations, written by hand and random."""

import math

import numpy as np

from dlfound.optim.schedules import STOPPING
from dlfound.training.metrics import watch

NAN = math.nan


def stop(values: list[float], look_ahead: int = 3, min_delta: float = 0.0) -> int | None:
    """The number (1, 2, ...) of the validation at which training stops."""
    stopping = STOPPING["lookahead"](look_ahead=look_ahead, min_delta=min_delta)
    return next((number for number, value in enumerate(values, 1) if stopping.after(value)), None)


CASES = {
    "always better": ([5, 4, 3, 2, 1], {}, None),
    "stops at the third in a row": ([5, 6, 7, 8, 9], {}, 4),
    "does not stop at the second": ([5, 6, 7], {}, None),
    "a tie is no improvement": ([5, 5, 5, 5], {}, 4),
    "an improvement resets the count": ([5, 6, 6, 4, 6, 6, 6, 1], {}, 7),
    "better than the last but not than the best": ([5, 9, 8, 7, 4], {}, 4),
    "look_ahead of one": ([5, 4, 4], {"look_ahead": 1}, 3),
    "look_ahead of one stops at the first NaN": ([NAN, 1], {"look_ahead": 1}, 1),
    "NaN never improves": ([5, NAN, NAN, NAN], {}, 4),
    "NaN does not become the best": ([5, NAN, 4, NAN, 3, NAN, 2], {}, None),
    "NaN from the start": ([NAN, NAN, NAN, NAN], {}, 3),
    "a number after NaN improves": ([NAN, NAN, 7, 7, 7, 7], {}, 6),
    "infinity does not improve": ([math.inf, math.inf, math.inf], {}, 3),
    "below zero": ([-1, -2, -2, -1, -1.5, -9], {}, 5),
    "min_delta: too small a gain": ([5, 4.9, 4.8, 4.7], {"min_delta": 0.5}, 4),
    "min_delta: a gain of exactly that size is too small": ([5, 4.5, 4.5, 4.5], {"min_delta": 0.5}, 4),
    "min_delta: small gains add up against the best": (
        [5, 4.7, 4.4, 4.2, 3.8, 3.8, 3.8, 3.8],
        {"min_delta": 0.5},
        8,
    ),
    "min_delta is absolute": ([500, 499, 498, 497, 496], {"min_delta": 0.5}, None),
}


def test_lookahead_by_hand():
    """The validation at which it stops, in each of the cases above."""
    for case, (values, settings, expected) in CASES.items():
        assert stop(values, **settings) == expected, case


def test_a_metric_of_which_more_is_better():
    """Accuracy, as `watch` presents it."""
    seen = [watch("accuracy")({"loss": 1.0, "accuracy": a}) for a in (0.5, 0.6, 0.7, 0.7, None, 0.6, 0.9)]
    assert stop(seen) == 6


def test_the_loss_and_the_metrics_of_numbers():
    """Lower is better for the loss, rmse and mae; higher for r2."""
    for monitor, sign in (("auto", 1), ("loss", 1), ("rmse", 1), ("mae", 1), ("r2", -1)):
        seen = [watch(monitor)({"loss": v, "rmse": v, "mae": v, "r2": v}) for v in (3.0, 2.0, 1.0, 0.0)]
        assert stop(seen) == (None if sign == 1 else 4)


def test_it_stops_look_ahead_after_the_best():
    """For random values, it stops at the first validation that is `look_ahead` after the best so far."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = rng.integers(0, 40, 60).astype(float)
        look_ahead = int(rng.integers(1, 8))
        behind = [i - int(np.argmin(values[: i + 1])) for i in range(60)]
        expected = next((i + 1 for i, b in enumerate(behind) if b >= look_ahead), None)
        assert stop(list(values), look_ahead) == expected, seed


def test_none_never_stops():
    """It ignores the validations."""
    stopping = STOPPING["none"]()
    assert not any(stopping.after(value) for value in (1.0, 2.0, NAN, 3.0) * 100)

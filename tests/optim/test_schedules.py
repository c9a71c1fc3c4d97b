"""Decays that depend on the epoch alone, with and without a warm-up, against tables computed by hand."""

import math

import pytest

from dlfound.cli import main
from dlfound.optim.schedules import DECAYS
from dlfound.options.configure import configure

HALF = 0.5
ROOT = math.sqrt(2) / 2

# decay -> (settings, epochs, epoch -> the rate of a step that begins there), for a configured rate of 1
WRITTEN = {
    "none": ({}, 10, {0: 1, 3.7: 1, 9: 1}),
    "step": ({"step_size": 3, "gamma": 0.1}, 10, {0: 1, 2.99: 1, 3: 0.1, 5.5: 0.1, 6: 0.01, 9: 0.001}),
    "exponential": ({"gamma": 0.25}, 10, {0: 1, 0.5: HALF, 1: 0.25, 2: 0.0625, 3: 0.015625}),
    "inverse_time": ({"half_life": 4.0}, 10, {0: 1, 4: HALF, 8: 1 / 3, 2: 2 / 3, 12: 0.25}),
    "linear": ({"final_lr": 0.2}, 8, {0: 1, 2: 0.8, 4: 0.6, 6: 0.4, 8: 0.2}),
    "cosine": ({"final_lr": 0.0}, 8, {0: 1, 2: (1 + ROOT) / 2, 4: HALF, 6: (1 - ROOT) / 2, 8: 0}),
}
WARM = {  # the same after a warm-up of two epochs
    "step": ({"step_size": 3, "gamma": 0.1}, 12, {2: 1, 4.99: 1, 5: 0.1, 8: 0.01}),
    "exponential": ({"gamma": 0.25}, 12, {2: 1, 2.5: HALF, 3: 0.25}),
    "inverse_time": ({"half_life": 4.0}, 12, {2: 1, 6: HALF, 10: 1 / 3}),
    "linear": ({"final_lr": 0.2}, 10, {2: 1, 4: 0.8, 6: 0.6, 10: 0.2}),
    "cosine": ({"final_lr": 0.0}, 10, {2: 1, 4: (1 + ROOT) / 2, 6: HALF, 10: 0}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_schedules_by_hand(name):
    settings, epochs, table = WRITTEN[name]
    decay = DECAYS[name](epochs, **settings, **({} if name == "none" else {"warmup": 0.0}))
    for epoch, rate in table.items():
        assert decay.rate(1.0, epoch, 0.01) == pytest.approx(rate, abs=1e-12), epoch
        assert decay.rate(0.3, epoch, 0.01) == pytest.approx(_scaled(name, 0.3, rate, settings), abs=1e-12), (
            epoch
        )


def _scaled(name, lr, rate, settings):
    """The expected rate for another lr; only the part that ends at final_lr is not proportional."""
    final = settings.get("final_lr", 0.0)
    return lr * rate if final == 0 else final + (lr - final) * (rate - final) / (1 - final)


@pytest.mark.parametrize("name", WARM)
def test_a_warm_up_comes_first(name):
    settings, epochs, table = WARM[name]
    decay = DECAYS[name](epochs, **settings, warmup=2.0)
    # With four steps per epoch, each step of the warm-up adds an eighth of the rate.
    for i in range(8):
        assert decay.rate(1.0, i / 4, 1 / 4) == pytest.approx((i + 1) / 8)
    for epoch, rate in table.items():
        assert decay.rate(1.0, epoch, 1 / 4) == pytest.approx(rate, abs=1e-12), epoch


def test_plateau_has_a_warm_up_too():
    decay = DECAYS["plateau"](20, factor=0.5, patience=1, min_delta=0.0, min_lr=0.0, warmup=2.0)
    assert [decay.rate(1.0, i / 2, 1 / 2) for i in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    decay.after(1.0)
    decay.after(1.0)
    assert decay.rate(1.0, 3, 1 / 2) == 0.5


def test_one_cycle():
    """From 0.1 up to 1 in four epochs, then down along half a cosine to 0.02 in eight."""
    decay = DECAYS["one_cycle"](12, max_lr=1.0, final_lr=0.02, warmup=4.0)
    table = {0: 0.1, 1: 0.325, 2: 0.55, 4: 1, 6: 0.02 + 0.98 * (1 + ROOT) / 2, 8: 0.51, 12: 0.02}
    for epoch, rate in table.items():
        assert decay.rate(0.1, epoch, 0.1) == pytest.approx(rate), epoch


def test_any_length_marks_the_decays_whose_rates_do_not_depend_on_the_number_of_epochs():
    for name, option in DECAYS.items():
        build = configure([f"lr_decay={name}"]).build("lr_decay")
        short, long = (
            [build(epochs).rate(0.001, epoch, 0.1) for epoch in (0, 13, 19)] for epochs in (20, 40)
        )
        assert getattr(option, "any_length", False) == (short == long), name


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["lr_decay=cosine", "lr_decay.warmup=200"], "lr_decay.warmup"),
        (["lr_decay=plateau", "train.epochs=30", "lr_decay.warmup=31"], "lr_decay.warmup"),
        (["lr_decay=one_cycle", "optim.lr=0.5"], "lr_decay.max_lr"),
    ],
)
def test_impossible_schedules_are_refused(words, key, capsys):
    assert main(["train", "--cfg", *words]) == 2
    assert key in capsys.readouterr().err


def test_the_rate_reaches_the_steps_and_the_metrics():
    import dlfound
    from dlfound.runs.folder import RunFolder

    words = [
        "lr_decay=step",
        "lr_decay.step_size=2",
        "lr_decay.gamma=0.5",
        "train.epochs=6",
        "early_stopping=none",
    ]
    run = dlfound.train([*words, "data=xor", "model.hidden=[4]", "optim=sgd", "logger=none"])
    rates = [line["lr"] for line in RunFolder(run.path).read_lines("metrics.jsonl")]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])

"""Samplers draw evenly and reproducibly; a grid has every combination once; the ends of a dimension."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dlfound.errors import Error
from dlfound.options.configure import catalog
from dlfound.options.search_methods import TABLE
from dlfound.sweeps.samplers import between, beyond, count_trials, draw_without_storage, list_combinations
from dlfound.sweeps.space import read_space

METHOD = TABLE["random"](
    trials=256, seconds="none", repeats=1, folds=0, startup=10, pruner="none", min_epochs=1, reduction=3,
    workers=1, storage="journal", seed=0, max_failures=3,
)  # fmt: skip
SPACE = (
    "optim=adam,sgd", "optim.lr=tag(log,interval(1e-4,1))", "dropout.hidden=interval(0.1,0.5)",
    "dropout=standard", "train.batch_size=int(interval(3,6))", "train.epochs=range(5,30,5)",
)  # fmt: skip


def space(*overrides):
    return read_space(overrides or SPACE, catalog())[0]


def dimension(override):
    (only,) = space(override).dimensions
    return only


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_draws_are_spread_as_requested(name):
    drawn = list(draw_without_storage(name, METHOD, space(), 256))
    rates = [math.log(float(v["optim.lr"]) / 1e-4) / math.log(1e4) for v in drawn]
    shares = [(float(v["dropout.hidden"]) - 0.1) / 0.4 for v in drawn]
    assert all(0 <= x <= 1 for x in rates + shares)
    assert stats.kstest(rates, "uniform").pvalue > 0.01 and stats.kstest(shares, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(rates, shares)[0, 1]) < 0.2
    for key, texts in (
        ("optim", ("adam", "sgd")),
        ("train.batch_size", "3456"),
        ("train.epochs", ("5", "10", "15", "20", "25")),
    ):
        counts = Counter(v[key] for v in drawn)
        assert set(counts) == set(texts) and stats.chisquare(list(counts.values())).pvalue > 0.01


def test_sobol_is_more_even_than_random():
    largest_gap = {}
    for name in ("random", "sobol"):
        drawn = draw_without_storage(name, METHOD, space(), 64)
        largest_gap[name] = np.diff(sorted(math.log(float(v["optim.lr"])) for v in drawn)).max()
    assert largest_gap["sobol"] < largest_gap["random"]


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_the_seed_determines_the_draws(name):
    draws = [list(draw_without_storage(name, replace(METHOD, seed=seed), space(), 8)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_grid_leaves_out_settings_that_an_option_lacks():
    combinations = list_combinations(
        space("lr_decay=cosine,plateau", "lr_decay.patience=1,2", "optim=adam,sgd")
    )
    assert len(combinations) == 6 and len({tuple(sorted(v.items())) for v in combinations}) == 6
    assert {"lr_decay.patience" in v for v in combinations if v["lr_decay"] == "cosine"} == {False}


@pytest.mark.parametrize(("trials", "count"), [("all", 20), (7, 7), (100, 20)])
def test_the_number_of_trials_of_a_grid(trials, count):
    method = replace(METHOD, trials=trials)
    assert count_trials(method, "grid", space("optim=adam,sgd", "model.hidden=range(1,11)")) == count


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.lr=interval(0.1,1)"], "a grid needs a list of values for optim.lr"),
        (["model.hidden=range(1,9999)", "train.epochs=range(1,9999)"], "the grid has .* combinations, more"),
    ],
)
def test_grids_that_are_infinite_or_too_large_are_refused(overrides, message):
    with pytest.raises(Error, match=message) as caught:
        count_trials(METHOD, "grid", space(*overrides))
    assert caught.value.code == 2


def test_integers_get_equal_shares_of_an_interval():
    integers = dimension("train.batch_size=int(interval(3,6))")
    assert [between(integers, share) for share in (0, 0.24, 0.26, 0.51, 0.76, 0.999)] == [3, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(
    ("override", "text", "side", "value"),
    [
        ("optim.lr=tag(log,interval(1e-3,1e-1))", "0.00102", -1, 0.0005),
        ("optim.lr=tag(log,interval(1e-3,1e-1))", "0.0981", 1, 0.2),
        ("optim.lr=tag(log,interval(1e-3,1e-1))", "0.05", 0, None),
        ("optim.lr=interval(0.1,1.1)", "0.11", -1, 0.0),
        ("train.epochs=range(5,30,5)", "25", 1, 27),
        ("train.epochs=range(5,30,5)", "20", 0, None),
        ("train.epochs=5,10,20", "5", -1, 3),
        ("train.epochs=5,10", "5", 0, None),
        ("optim.lr=0.1,0.2,0.4", "0.4", 1, 0.43),
        ("optim=adam,sgd,rmsprop", "adam", 0, None),
        ("train.batch_size=1,2,full", "1", 0, None),
    ],
)
def test_a_value_at_an_end_of_a_dimension_has_one_beyond(override, text, side, value):
    outside = beyond(dimension(override), text)
    assert type(outside) is type(value)
    if side:
        assert outside == pytest.approx(value, abs=1e-12) and (outside > float(text)) == (side > 0)

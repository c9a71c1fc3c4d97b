"""What is drawn: evenly, within the ends, the same again, and every combination of a grid once."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dlfound.errors import Error
from dlfound.options.configure import catalog
from dlfound.options.search_methods import TABLE
from dlfound.sweeps.samplers import between, combinations, count_trials, first_draws, make_pruner
from dlfound.sweeps.space import read_space

METHOD = TABLE["random"](
    trials=256, seconds="none", repeats=1, folds=0, startup=10, pruner="none", min_epochs=1, reduction=3, workers=1,
    storage="journal", seed=0, max_failures=3,
)  # fmt: skip
WORDS = (
    "optim=adam,sgd", "optim.lr=tag(log,interval(1e-4,1))", "dropout.hidden=interval(0.1,0.5)", "dropout=standard",
    "train.batch_size=int(interval(3,6))", "train.epochs=range(5,30,5)",
)  # fmt: skip


def space(*words):
    return read_space(words or WORDS, catalog())[0]


@pytest.mark.parametrize("word", ["random", "sobol"])
def test_draws_are_spread_as_asked(word):
    drawn = list(first_draws(word, METHOD, space(), 256))
    rates = [math.log(float(v["optim.lr"]) / 1e-4) / math.log(1e4) for v in drawn]
    shares = [(float(v["dropout.hidden"]) - 0.1) / 0.4 for v in drawn]
    assert all(0 <= x <= 1 for x in rates + shares)
    assert stats.kstest(rates, "uniform").pvalue > 0.01 and stats.kstest(shares, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(rates, shares)[0, 1]) < 0.2
    for key, words in (
        ("optim", ("adam", "sgd")),
        ("train.batch_size", "3456"),
        ("train.epochs", ("5", "10", "15", "20", "25")),
    ):
        counts = Counter(v[key] for v in drawn)
        assert set(counts) == set(words) and stats.chisquare(list(counts.values())).pvalue > 0.01


def test_sobol_is_more_even_than_random():
    spread = {}
    for word in ("random", "sobol"):
        rates = sorted(math.log(float(v["optim.lr"])) for v in first_draws(word, METHOD, space(), 64))
        spread[word] = np.diff(rates).max()
    assert spread["sobol"] < spread["random"]


@pytest.mark.parametrize("word", ["random", "sobol"])
def test_the_seed_decides(word):
    draws = [list(first_draws(word, replace(METHOD, seed=seed), space(), 8)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_grid_leaves_out_what_an_option_lacks():
    found = combinations(space("lr_decay=cosine,plateau", "lr_decay.patience=1,2", "optim=adam,sgd"))
    assert len(found) == 6 and len({tuple(sorted(v.items())) for v in found}) == 6
    assert {"lr_decay.patience" in v for v in found if v["lr_decay"] == "cosine"} == {False}


@pytest.mark.parametrize(("trials", "count"), [("all", 20), (7, 7), (100, 20)])
def test_how_many_trials_a_grid_has(trials, count):
    method = replace(METHOD, trials=trials)
    assert count_trials(method, "grid", space("optim=adam,sgd", "model.hidden=range(1,11)")) == count


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optim.lr=interval(0.1,1)"], "a grid needs a list"),
        (["model.hidden=range(1,9999)", "train.epochs=range(1,9999)"], "this grid has"),
    ],
)
def test_grids_that_cannot_be(words, told):
    with pytest.raises(Error, match=told) as caught:
        count_trials(METHOD, "grid", space(*words))
    assert caught.value.code == 2


def test_shares_of_whole_numbers_are_equal():
    (d,) = space("train.batch_size=int(interval(3,6))").dimensions
    assert [between(d, share) for share in (0, 0.24, 0.26, 0.51, 0.76, 0.999)] == [3, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(
    ("word", "more"),
    [("median", {"startup": 1}), ("asha", {"reduction": 2}), ("hyperband", {"reduction": 2}), ("none", {})],
)
def test_pruners_end_what_promises_little(word, more):
    """The last of ten curves lies far above the others; hyperband may let it run in a bracket of its own."""
    import optuna

    study = optuna.create_study(
        study_name="sweep", pruner=make_pruner(replace(METHOD, pruner=word, min_epochs=2, **more), 16)
    )
    ended = []
    for number in range(10):
        trial, level = study.ask(), 9.0 if number == 9 else 1.0 + number / 100
        for epoch in range(1, 17):
            trial.report(level, epoch)
            if trial.should_prune():
                ended.append((number, epoch))
                break
        study.tell(trial, level)
    assert bool(ended) == (word != "none") and (word not in ("median", "asha") or 9 in dict(ended))
    assert all(epoch >= 2 for _, epoch in ended)

"""What a worker makes of a trial: pruners end unpromising runs, results are averaged over runs."""

import math

import optuna
import pytest

from dlfound.options.search_methods import TABLE
from dlfound.sweeps.folder import mean_and_spread
from dlfound.sweeps.samplers import make_pruner


@pytest.mark.parametrize(
    ("name", "settings"),
    [("median", {"startup": 1}), ("asha", {"reduction": 2}), ("hyperband", {"reduction": 2}), ("none", {})],
)
def test_pruners_end_unpromising_runs(name, settings):
    """The last of ten curves lies far above the others; hyperband may give it a bracket of its own."""
    common = {
        "trials": 10, "seconds": "none", "repeats": 1, "folds": 0, "startup": 10, "min_epochs": 2,
        "reduction": 3, "workers": 1, "storage": "journal", "seed": 0, "max_failures": 3,
    }  # fmt: skip
    method = TABLE["random"](**{**common, "pruner": name, **settings})
    study = optuna.create_study(study_name="sweep", pruner=make_pruner(method, 16))
    pruned = {}
    for number in range(10):
        trial = study.ask()
        level = 9.0 if number == 9 else 1.0 + number / 100
        for epoch in range(1, 17):
            trial.report(level, epoch)
            if trial.should_prune():
                pruned[number] = epoch
                break
        study.tell(trial, level)
    assert bool(pruned) == (name != "none") and (name not in ("median", "asha") or 9 in pruned)
    assert all(epoch >= 2 for epoch in pruned.values())


def test_mean_and_spread_over_runs():
    means, spread = mean_and_spread([{"loss": 1.0, "r2": None}, {"loss": 2.0, "r2": 0.5}, {"loss": 6.0}])
    assert means == {"loss": 3.0, "r2": None} and spread == {"loss": math.sqrt(7), "r2": None}
    assert mean_and_spread([{"loss": 1.0}]) == ({"loss": 1.0}, {}) and mean_and_spread([]) == ({}, {})

"""Rules on settings of several groups: each is reported, and its fix works."""

import pytest

from dlfound.data.sources import TABLE, task_of
from dlfound.errors import Error
from dlfound.options.configure import catalog, configure
from dlfound.options.rules import RULES

FROM_A_FILE = ["data=table", "data.path=x.csv", "data.target=y"]

ERRORS = [  # overrides, part of the message, what the fix says to write
    (["early_stopping.look_ahead=5", "lr_decay.patience=5"], "would stop before the first decay",
     ["early_stopping.look_ahead=15", "lr_decay=none"]),
    (["train.batch_size=1", "batchnorm=batch"], "one row has no variance",
     ["train.batch_size=2", "batchnorm=none", "batchnorm=layer"]),
    (["loss=cross_entropy", "data=sine"], "is for binary and multiclass tasks, but this task is regression",
     ["loss=mse", "loss=auto"]),
    (["train.monitor=accuracy", "data=sine"],
     "train.monitor must be auto, loss, rmse, mae or r2 for a regression task",
     ["train.monitor=auto"]),
    (["train.monitor=acuracy"], "got 'acuracy'", ["train.monitor=accuracy"]),
    (["train.monitor=val_loss"], "got 'val_loss'", ["train.monitor=loss"]),
    (["loss=hinge", "train.monitor=log_loss"], "needs probabilities", ["train.monitor=loss", "loss=auto"]),
    (["train.fold=3"], "needs a cross-validation", ["train.folds=5"]),
    (["train.folds=5", "train.fold=7"], "must be below train.folds=5", ["train.fold=4"]),
    ([*FROM_A_FILE, "data.split_by=group"], "needs data.group", ["data.group=COLUMN"]),
    ([*FROM_A_FILE, "data.split_by=order", "data.group=g"],
     "does not keep the rows of data.group='g' together",
     ["data.split_by=group"]),
    (["optim=lbfgs", "constraint=max_norm"], "does not work with constraint=max_norm", ["constraint=none"]),
    (["optim=lbfgs", "train.batch_size=3"], "needs the full batch", ["train.batch_size=full"]),
    (["lr_decay.warmup=300"], "must be shorter than train.epochs (200)", ["lr_decay.warmup=0"]),
    (["lr_decay=one_cycle", "lr_decay.max_lr=0.001"], "must be above optim.lr (0.001)",
     ["lr_decay.max_lr=0.01"]),
    (["initializer=uniform", "initializer.low=3"], "must be below initializer.high",
     ["initializer.low=-0.05"]),
]  # fmt: skip

WARNINGS = [
    (
        ["train.epochs=4", "early_stopping=none"],
        "lr_decay.patience=3 can never act in 4 epochs",
        "lr_decay=none",
    ),
    (["train.epochs=8"], "early_stopping.look_ahead=10 can never act in 8 epochs", "early_stopping=none"),
    (["lr_decay=step", "lr_decay.step_size=200"], "lr_decay.step_size=200 can never act", "lr_decay=none"),
    (["optim.lr=1e-7"], "keeps optim.lr (1e-07) from being reduced", "lr_decay.min_lr=0"),
    (["model=perceptron", "batchnorm=batch"], "does nothing in a perceptron", "batchnorm=none"),
]


def test_a_broken_rule_is_an_error_and_its_fix_works():
    for overrides, expected, remedies in ERRORS:
        with pytest.raises(Error) as caught:
            configure(overrides)
        (problem,) = caught.value.problems
        assert caught.value.code == 2 and expected in problem.what, problem
        for remedy in remedies:
            assert remedy in problem.fix, problem
            configure(with_remedy(overrides, remedy))


def with_remedy(overrides, remedy):
    """The overrides with a remedy: it replaces those of the same key and of the option that it replaces."""
    key = remedy.partition("=")[0]
    return [text for text in overrides if not text.startswith((f"{key}=", f"{key}."))] + [remedy]


def test_a_setting_that_does_nothing_is_a_warning_and_its_fix_works():
    for overrides, expected, remedy in WARNINGS:
        (warning,) = configure(overrides).warnings
        assert expected in warning and remedy in warning
        assert configure(with_remedy(overrides, remedy)).warnings == []


def test_every_rule_has_a_case_here():
    """The monitor has three cases, the fold and the group two each."""
    assert len(RULES) == len(ERRORS) - 4 + len(WARNINGS)


def test_the_task_that_a_source_names_is_the_task_of_its_data():
    for name, source in TABLE.items():
        if name in ("mnist", "fashion_mnist", "cifar10"):  # not on this machine
            assert task_of({"name": name}) == "multiclass"
        elif not hasattr(source, "task"):
            assert task_of({"name": name}) is None and name in ("table", "arrays", "image_folder")
        for settings in variants(name) if name not in ("table", "arrays", "image_folder") else ():
            config = configure([f"data={name}", *settings])
            expected = task_of(config["data"])
            assert expected is not None
            if name not in ("mnist", "fashion_mnist", "cifar10"):
                assert config.build("data")().task == expected
    assert task_of({}) is None and task_of({"name": ["x"]}) is None and task_of({"name": "spirals"}) is None


def variants(name):
    """Settings with which a source has another task."""
    return [[], *{"spirals": [["data.classes=2"]], "passfail": [["data.target=grade"]]}.get(name, [])]


def test_no_rule_names_a_setting_that_does_not_exist():
    keys = {*catalog().groups, *(f"{group}.name" for group in catalog().groups), *catalog().everything()}
    assert {key for rule in RULES for key in rule.keys} <= keys

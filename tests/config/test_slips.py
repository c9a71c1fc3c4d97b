"""Slips in keys and options are found; words that mean something else, or nothing here, are no slips."""

from importlib.resources import files
from pathlib import Path

import pytest

from dlfound.config.compose import compose
from dlfound.config.suggest import Suggestions, folded
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Error
from dlfound.options.configure import catalog, full_catalog
from dlfound.options.rules import RULES

KNOWN = catalog()


def fixes(*overrides):
    """The fixes that composing the overrides suggests."""
    with pytest.raises(Error) as caught:
        compose(overrides, KNOWN, RULES)
    return [problem.fix for problem in caught.value.problems]


def test_a_key_that_dlfound_lacks_is_answered_with_the_reason():
    reasons = {
        "clip grad_clip max_grad_norm clip_norm optim.clip clip.norm": "dlfound does not clip gradients",
        "amp fp16 precision train.precision": "dlfound has no mixed precision",
        "ema swa ema.decay": "dlfound does not average the weights",
        "shuffle data.shuffle": "dlfound shuffles the training rows every epoch",
        "bias model.bias": "every layer has a bias",
        "bias_initializer": "every bias starts at zero",
        "output_activation model.output_activation": "the loss applies softmax or sigmoid",
        "T_max lr_decay.T_max decay_steps": "a schedule runs over train.epochs",
        "max_time max_hours train.max_steps": "dlfound limits training by epochs",
        "output_dim num_classes": "dlfound reads the numbers of inputs and outputs from the data",
        "search search.workers search.seed space.lr n_trials": "search is for sweeps; use dlfound sweep",
    }
    for keys, reason in reasons.items():
        for key in keys.split():
            (fix,) = fixes(f"{key}=1")
            assert fix.startswith(reason) and len(fix) < 100, key
    absent = read_yaml(Path(str(files("dlfound.config") / "aliases.yaml")))["absent"]
    for aliases in map(str.split, absent.values()):
        assert {folded(alias) for alias in aliases}.isdisjoint(Suggestions(KNOWN).names)
        assert set(aliases).isdisjoint(KNOWN.everything())
    for key in ("search.wrokers", "n_trials", "trials"):  # a sweep has them
        assert Suggestions(full_catalog()).key(key, 3).startswith("search.")


def test_an_extra_or_another_word_in_a_key_is_no_slip():
    keys = [
        "no_early_stopping", "no_early_stoping", "max_learning_rate", "min_learning_rate", "max_batch_size",
        "batch_shape", "weight_norm", "kernel_bias_initializer", "use_dropout", "hidden_dropout",
        "dropout.no_input", "optim.max_lr_rate", "world_size", "temperature", "etx", "mits",
    ]  # fmt: skip
    for key in keys:
        (fix,) = fixes(f"{key}=1")
        assert fix.startswith(("a key begins with", "choose from", "dropout=none has no settings")), key
    for group, words in {
        "data": "iris boston my_digits",
        "constraint": "nonneg",
        "optim": "ftrl lamb",
    }.items():
        for word in words.split():
            (fix,) = fixes(f"{group}={word}")
            assert fix == f"see dlfound options {group}", word


def test_slips_in_keys_without_a_group_are_found():
    slips = {
        "optin=sgd": "optim=sgd", "optm=sgd": "optim=sgd", "los=mse": "loss=mse", "epocs=3": "train.epochs=3",
        "learing_rat=0.1": "optim.lr=0.1", "hiden_layers=[3]": "model.hidden=[3]", "lrr=0.1": "optim.lr=0.1",
        "wegiht_decay=0.1": "optim=adamw optim.weight_decay=0.1", "bathc_size=3": "train.batch_size=3",
        "optimizr=sgd": "optim=sgd", "pateince=3": "early_stopping.look_ahead=3",
        "tran.epochs=3": "train.epochs=3", "logger=tensor": "logger=tensorboard",
    }  # fmt: skip
    for typed, expected in slips.items():
        assert fixes(typed) == [f"did you mean {expected}?"], typed


def test_an_unknown_option_after_another_tools_name_of_the_group_shows_the_options():
    cases = {"optimizer=ftrl": "optim", "opt=lamb": "optim", "loss_fn=dice": "loss", "dataset=iris": "data"}
    for typed, group in cases.items():
        with pytest.raises(Error) as caught:
            compose([typed], KNOWN, RULES)
        (problem,) = caught.value.problems
        key, _, word = typed.partition("=")
        head = f"unknown key {key!r}, and no {group} named {word!r}; choose from: "
        assert problem.what == head + ", ".join(KNOWN.words(group))
        assert problem.fix == f"see dlfound options {group}"

"""No setting does nothing: each setting of each option is changed, and the run must change."""

import json
from functools import cache
from pathlib import Path

import pytest

import dlfound
from dlfound.options.configure import catalog

BASE = [
    "data=circles", "data.rows=120", "model.hidden=[8]", "train.epochs=8", "train.batch_size=16",
    "early_stopping=none",
    "lr_decay=none", "logger=none", "run.threads=1",
]  # fmt: skip
NOISY = ["optim.lr=0.3"]  # so that validation does not improve each time
PATIENT = ["train.epochs=16", *NOISY]

FULL = ["train.batch_size=full"]
TABLE = [f"data.path={Path(__file__).parent / 'knobs.csv'}", "data.target=label"]

# "group=option setting", or "node setting" -> (overrides with which it matters, its other value).
TURNS: dict[str, tuple[list[str], str]] = {
    "model=mlp hidden": ([], "[9]"),
    "activation=leaky_relu slope": ([], "0.3"),
    "activation=elu alpha": ([], "2"),
    "activation=maxout pieces": ([], "3"),
    "initializer=glorot_uniform gain": ([], "2"),
    "initializer=glorot_normal gain": ([], "2"),
    "initializer=he_uniform gain": ([], "2"),
    "initializer=lecun_normal gain": ([], "2"),
    "initializer=uniform low": ([], "-0.5"),
    "initializer=uniform high": ([], "0.5"),
    "initializer=orthogonal gain": ([], "2"),
    "initializer=sparse nonzero": ([], "1"),
    "initializer=sparse std": ([], "1"),
    "initializer=constant value": ([], "0.3"),
    "initializer=he_normal gain": ([], "2"),
    "initializer=normal std": ([], "0.5"),
    "batchnorm=batch momentum": ([], "0.5"),
    "batchnorm=batch eps": ([], "0.1"),
    "batchnorm=batch statistics": ([], "running"),
    "batchnorm=layer eps": ([], "0.1"),
    "dropout=gaussian input": ([], "0.2"),
    "dropout=gaussian hidden": ([], "0.2"),
    "dropout=standard input": ([], "0.2"),
    "dropout=standard hidden": ([], "0.2"),
    "regularizer=l2 strength": ([], "0.1"),
    "regularizer=l1 strength": ([], "0.1"),
    "regularizer=l1_l2 l1": ([], "0.1"),
    "regularizer=l1_l2 l2": ([], "0.1"),
    "loss=cross_entropy label_smoothing": ([], "0.2"),
    "loss=cross_entropy class_weight": ([], "[1,3]"),
    "loss=binary_cross_entropy label_smoothing": ([], "0.2"),
    "loss=binary_cross_entropy class_weight": ([], "balanced"),
    "loss=huber delta": (["data=sine"], "0.1"),
    "constraint=max_norm max_norm": ([], "0.5"),
    "optim=sgd lr": ([], "0.2"),
    "optim=momentum lr": ([], "0.2"),
    "optim=momentum momentum": ([], "0.5"),
    "optim=adam lr": ([], "0.2"),
    "optim=adam betas": ([], "[0.5,0.9]"),
    "optim=adam eps": ([], "0.1"),
    "optim=nesterov lr": ([], "0.2"),
    "optim=nesterov momentum": ([], "0.5"),
    "optim=adagrad lr": ([], "0.2"),
    "optim=adagrad eps": ([], "0.1"),
    "optim=adadelta lr": ([], "0.2"),
    "optim=adadelta rho": ([], "0.5"),
    "optim=adadelta eps": ([], "0.1"),
    "optim=rmsprop lr": ([], "0.2"),
    "optim=rmsprop rho": ([], "0.5"),
    "optim=rmsprop eps": ([], "0.1"),
    "optim=adamw lr": ([], "0.2"),
    "optim=adamw betas": ([], "[0.5,0.9]"),
    "optim=adamw eps": ([], "0.1"),
    "optim=adamw weight_decay": ([], "0.5"),
    "optim=nadam lr": ([], "0.2"),
    "optim=nadam betas": ([], "[0.5,0.9]"),
    "optim=nadam eps": ([], "0.1"),
    "optim=nadam momentum_decay": ([], "0.5"),
    "optim=radam lr": ([], "0.2"),
    "optim=radam betas": ([], "[0.5,0.9]"),
    "optim=radam eps": ([], "0.1"),
    "optim=lbfgs lr": (FULL, "0.2"),
    "optim=lbfgs history": (FULL, "2"),
    "optim=lbfgs line_search": ([*FULL, "optim.lr=3"], "none"),
    "optim=muon lr": ([], "0.2"),
    "optim=muon momentum": ([], "0.5"),
    "optim=muon weight_decay": ([], "0.5"),
    "optim=muon vector_lr": ([], "0.2"),
    "optim=muon betas": ([], "[0.5,0.9]"),
    "optim=muon eps": ([], "0.1"),
    "lr_decay=plateau warmup": ([], "2"),
    "lr_decay=step step_size": (["lr_decay.step_size=2"], "3"),
    "lr_decay=step gamma": (["lr_decay.step_size=2"], "0.5"),
    "lr_decay=step warmup": ([], "2"),
    "lr_decay=exponential gamma": ([], "0.5"),
    "lr_decay=exponential warmup": ([], "2"),
    "lr_decay=inverse_time half_life": ([], "2"),
    "lr_decay=inverse_time warmup": ([], "2"),
    "lr_decay=linear final_lr": ([], "0.01"),
    "lr_decay=linear warmup": ([], "2"),
    "lr_decay=cosine final_lr": ([], "0.01"),
    "lr_decay=cosine warmup": ([], "2"),
    "lr_decay=one_cycle max_lr": (["lr_decay.warmup=3"], "0.1"),
    "lr_decay=one_cycle final_lr": (["lr_decay.warmup=3"], "0.005"),
    "lr_decay=one_cycle warmup": (["lr_decay.warmup=3"], "2"),
    "lr_decay=plateau factor": (PATIENT, "0.1"),
    "lr_decay=plateau patience": (PATIENT, "1"),
    "lr_decay=plateau min_delta": (PATIENT, "10"),
    "lr_decay=plateau min_lr": ([*PATIENT, "lr_decay.patience=1"], "0.2"),
    "early_stopping=lookahead look_ahead": (["train.epochs=40", *NOISY], "2"),
    "early_stopping=lookahead min_delta": (["train.epochs=40"], "10"),
    "data=digits seed": ([], "1"),
    "data=digits split": ([], "[0.6,0.2,0.2]"),
    "data=xor rows": ([], "200"),
    "data=xor noise": ([], "0.5"),
    "data=spirals rows": ([], "200"),
    "data=spirals classes": ([], "4"),
    "data=spirals turns": ([], "2"),
    "data=spirals noise": ([], "0.1"),
    "data=circles rows": ([], "200"),
    "data=circles factor": ([], "0.2"),
    "data=circles noise": ([], "0.3"),
    "data=moons rows": ([], "200"),
    "data=moons noise": ([], "0.5"),
    "data=passfail rows": ([], "200"),
    "data=passfail target": ([], "grade"),
    "data=passfail noise": ([], "50"),
    "data=sine rows": ([], "200"),
    "data=sine periods": ([], "3"),
    "data=sine noise": ([], "0.3"),
    "data=parity rows": ([], "200"),
    "data=parity bits": ([], "4"),
    "data=parity noise": ([], "0.3"),
    "data=table target": (TABLE, "k"),
    "data=table split_by": (TABLE, "order"),
    "data=table group": (TABLE, "g"),
    "data=table task": (TABLE, "regression"),
    "data=table weight": (TABLE, "w"),
    "data=table categorical": (TABLE, "k"),
    "data=table drop": (TABLE, "x"),
    "data=table missing": (TABLE, "drop"),
    "data=table scale": (TABLE, "standard"),
    "data=table one_hot": (TABLE, "20"),
    "data=table embedding": (TABLE, "4"),
    "data=table rare": (TABLE, "5"),
    "data=table na": (TABLE, "[elm]"),
    "data=table seed": (TABLE, "1"),
    "data=table split": (TABLE, "[0.6,0.2,0.2]"),
    "train folds": ([], "4"),
    "train fold": (["train.folds=4"], "1"),
    "train epochs": ([], "9"),
    "train batch_size": ([], "32"),
    "train monitor": (["train.epochs=20"], "accuracy"),
    "run name": ([], "other"),
    "run dir": ([], "elsewhere"),
    "run seed": ([], "1"),
    "run threads": ([], "2"),
}
TOYS = ("xor", "spirals", "circles", "moons", "passfail", "sine", "parity")
TURNS |= {f"data={toy} seed": ([], "1") for toy in TOYS}
TURNS |= {f"data={toy} split": ([], "[0.6,0.2,0.2]") for toy in TOYS}

ELSEWHERE = {
    "run device": "test_a_device_that_is_absent",
    "train allow_changed": "test_a_file_that_changed_is_told",
    "train checkpoint": "test_checkpoints_come_as_often_as_asked",
    **{
        f"data={name} {setting}": "tests/data/test_images.py"
        for name, settings in {
            **dict.fromkeys(("mnist", "fashion_mnist", "cifar10"), ("root", "seed", "split")),
            "image_folder": ("path", "size", "seed", "split"),
        }.items()
        for setting in settings
    },
    **{
        f"data=table {setting}": "tests/data/test_table.py"
        for setting in (
            "path", "val_path", "test_path", "numeric", "header", "sep", "decimal", "encoding", "max_bytes",
            "max_columns",
        )
    },
    "data=arrays path": "test_array_files", "data=arrays target_path": "test_array_files",
    "data=arrays task": "test_python.py", "data=arrays seed": "test_arrays",
    "data=arrays split": "test_arrays",
}  # fmt: skip


def all_settings() -> list[str]:
    all_options = catalog()
    of_groups = [
        f"{g}={w} {s}"
        for g in all_options.groups
        for w in all_options.words(g)
        for s in all_options.option(g, w).settings
    ]
    return of_groups + [f"{node} {s}" for node, option in all_options.plain.items() for s in option.settings]


def test_every_setting_is_changed_here():
    assert sorted(all_settings()) == sorted([*TURNS, *ELSEWHERE])


@cache
def outcome(overrides: tuple[str, ...]) -> tuple:
    """What a run writes, without times and without what repeats the command."""
    run = dlfound.train(list(overrides))
    report = {k: v for k, v in run.report.items() if k not in ("seconds", "samples_per_second", "command")}
    files = {
        p.name: p.read_bytes() for p in run.path.iterdir() if p.name in ("metrics.jsonl", "model.safetensors")
    }
    place = run.path.parent if run.path.is_relative_to("outputs") else run.path
    return place, files, json.dumps(report)


@pytest.mark.parametrize("turn", TURNS)
def test_changing_a_setting_changes_the_run(turn):
    option, _, setting = turn.rpartition(" ")
    context, value = TURNS[turn]
    group = option.partition("=")[0]
    base = [*BASE, *context]
    if "=" in option:
        base = [option, *without(base, f"{group}=", "data.rows=" if group == "data" else f"{group}=")]
    assert outcome(tuple(base)) != outcome((*base, f"{group}.{setting}={value}"))


def without(words: list[str], *heads: str) -> list[str]:
    return [w for w in words if not w.startswith(heads)]


@pytest.mark.parametrize("group", [g for g in catalog().groups if g not in ("data", "loss", "logger")])
def test_another_option_changes_the_run(group):
    """All options of a group, with their defaults, lead to different runs."""
    epochs = 40 if group in ("constraint", "early_stopping", "lr_decay") else 3
    base = [*without(BASE, f"{group}=", f"{group}."), f"train.epochs={epochs}", *without(NOISY, f"{group}.")]
    if group == "optim":
        base = [*without(base, "train.batch_size="), *FULL]  # lbfgs takes no other
    words = [w for w in catalog().words(group) if (group, w) != ("initializer", "auto")]  # stands for another
    needs = {"one_cycle": ("lr_decay.max_lr=1",)}  # above the rate of NOISY
    files = [outcome((f"{group}={word}", *base, *needs.get(word, ())))[1] for word in words]
    assert len({(f["metrics.jsonl"], f["model.safetensors"]) for f in files}) == len(words) > 1


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_losses_train(loss):
    line = [
        "data=circles",
        "data.rows=400",
        f"loss={loss}",
        "optim.lr=0.01",
        "train.epochs=30",
        "logger=none",
    ]
    assert dlfound.train(line).report["test"]["accuracy"] > 0.9


def test_arrays_seed_and_split_change_the_run():
    import numpy as np

    rng = np.random.default_rng(0)
    data = rng.standard_normal((60, 2)), rng.integers(0, 2, 60)
    quick = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "logger=none"]
    prints = {
        dlfound.train([*quick, *words], data=data).report["data"]["fingerprint"]
        for words in ([], ["data.seed=1"], ["data.split=[0.6,0.2,0.2]"])
    }
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("setting", "steps"), [("1", [49, 56]), ("3", [42, 56]), ("1000", [56]), ("100000s", [56])]
)
def test_checkpoints_come_as_often_as_asked(setting, steps):
    """In 8 epochs of 7 steps; a run keeps the last two checkpoints, the last one from its end."""
    run = dlfound.train([*BASE, "data.rows=150", f"train.checkpoint={setting}"])
    assert run.report["epochs_run"] == 8
    assert [int(p.name.split("-")[1]) for p in sorted((run.path / "checkpoints").iterdir())] == steps


def test_a_device_that_is_absent():
    import torch

    if torch.cuda.is_available():
        assert dlfound.train([*BASE, "run.device=cpu"]).report["device"] == "cpu"
    else:
        with pytest.raises(dlfound.Error) as caught:
            dlfound.train([*BASE, "run.device=cuda"])
        assert caught.value.code == 6
        assert not Path("outputs").exists()

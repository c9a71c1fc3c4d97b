"""What dlfound suggests for a wrong word: it is right, and works when it is pasted into a shell."""

import re
import shlex
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from dlfound.cli import VERBS, main
from dlfound.config.compose import compose
from dlfound.config.suggest import Suggestions, override_text, similar_word
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Error
from dlfound.options.configure import catalog, sweep_catalog
from dlfound.options.rules import RULES

ALIASES = read_yaml(Path(str(files("dlfound.config") / "aliases.yaml")))


@cache
def known():
    return catalog()


def fixes(*overrides):
    """The fixes that composing the overrides suggests."""
    with pytest.raises(Error) as caught:
        compose(overrides, known(), RULES)
    return [problem.fix for problem in caught.value.problems]


def suggestion(fix):
    """The overrides in a fix."""
    return re.fullmatch(r"did you mean (.+)\?", fix)[1]


def paste(overrides, *others):
    """Compose overrides as a shell would split them; their rules must hold."""
    return compose([*others, *shlex.split(overrides)], known(), RULES)


# ---- other tools' words


CASES = {
    "activation=swish": "activation=silu",
    "activation=hardswish": "activation=silu",
    "activation=LeakyReLU": "activation=leaky_relu",
    "activation=logistic": "activation=sigmoid",
    "activation=none": "activation=identity",
    "loss=crossentropy": "loss=cross_entropy",
    "loss=categorical_crossentropy": "loss=cross_entropy",
    "loss=nll": "loss=cross_entropy",
    "loss=bce data=moons": "loss=binary_cross_entropy",
    "loss=mean_squared_error data=sine": "loss=mse",
    "loss=MSELoss data=sine": "loss=mse",
    "loss=l1_loss data=sine": "loss=mae",
    "initializer=kaiming": "initializer=he_normal",
    "initializer=kaiming_normal_": "initializer=he_normal",
    "initializer=kaiming_uniform": "initializer=he_uniform",
    "initializer=xavier": "initializer=glorot_uniform",
    "initializer=xavier_normal": "initializer=glorot_normal",
    "initializer=lecun": "initializer=lecun_normal",
    "initializer=he": "initializer=he_normal",
    "lr=0.1": "optim.lr=0.1",
    "learning_rate=0.01": "optim.lr=0.01",
    "optim.learning_rate=0.01": "optim.lr=0.01",
    "optimizer.lr=0.01": "optim.lr=0.01",
    "train.lr=0.01": "optim.lr=0.01",
    "epochs=10": "train.epochs=10",
    "max_epochs=10": "train.epochs=10",
    "num_epochs=10": "train.epochs=10",
    "batch_size=32": "train.batch_size=32",
    "bs=32": "train.batch_size=32",
    "patience=5": "early_stopping.look_ahead=5",
    "early_stopping.patience=15": "early_stopping.look_ahead=15",
    "patience=15 early_stopping=none": "early_stopping=lookahead early_stopping.look_ahead=15",
    "weight_decay=0.01": "optim=adamw optim.weight_decay=0.01",
    "weight_decay=0.01 optim=muon": "optim.weight_decay=0.01",
    "wd=0.01": "optim=adamw optim.weight_decay=0.01",
    "alpha=0.0001": "regularizer=l2 regularizer.strength=0.0001",
    "l2=0.001": "regularizer=l2 regularizer.strength=0.001",
    "momentum=0.8 optim=sgd": "optim=momentum optim.momentum=0.8",
    "momentum=0.8 optim=nesterov": "optim.momentum=0.8",
    "dropout=0.5": "dropout=standard dropout.hidden=0.5",
    "p=0.3": "dropout=standard dropout.hidden=0.3",
    "dropout.p=0.3": "dropout=standard dropout.hidden=0.3",
    "model.dropout=0.3": "dropout=standard dropout.hidden=0.3",
    "early_stopping=false": "early_stopping=none",
    "early_stopping=off": "early_stopping=none",
    "early_stopping=no": "early_stopping=none",
    "early_stopping=null": "early_stopping=none",
    "early_stopping=true": "early_stopping=lookahead",
    "early_stopping=10": "early_stopping.look_ahead=10",
    "scheduler=cosine": "lr_decay=cosine",
    "lr_scheduler=StepLR": "lr_decay=step",
    "lr_decay=ReduceLROnPlateau": "lr_decay=plateau",
    "lr_decay=false": "lr_decay=none",
    "optimizer=Adam": "optim=adam",
    "opt=RMSprop": "optim=rmsprop",
    "solver=lbfgs": "optim=lbfgs",
    "optim=adamW": "optim=adamw",
    "batch_norm=true": "batchnorm=batch",
    "batch_norm=false": "batchnorm=none",
    "bn=true": "batchnorm=batch",
    "layernorm=true": "batchnorm=layer",
    "layernorm=false": "batchnorm=none",
    "norm=layer": "batchnorm=layer",
    "hidden=64": "model.hidden=64",
    "hidden_layer_sizes=(100,)": "model.hidden=[100]",
    "hidden_layer_sizes=(100, 50)": "model.hidden=[100,50]",
    "layers=[64,64]": "model.hidden=[64,64]",
    "layers=3": "model.hidden=[256,256,256]",
    "units=128": "model.hidden=128",
    "seed=3": "run.seed=3",
    "random_state=42": "run.seed=42",
    "device=gpu": "run.device=cuda",
    "device=cuda:1": "run.device=cuda:1",
    "run.device=gpu": "run.device=cuda",
    "gpu=true": "run.device=cuda",
    "cuda=false": "run.device=cpu",
    "n_jobs=-1": "run.threads=auto",
    "n_jobs=4": "run.threads=4",
    "train.monitor=val_loss": "train.monitor=loss",
    "train.monitor=roc_auc": "train.monitor=auroc",
    "metric=acc": "train.monitor=accuracy",
    "csv=a.csv": "data=table data.path=a.csv data.target=TARGET",
    "data=my/titanic.csv": "data=table data.path=my/titanic.csv data.target=TARGET",
    "output_dir=/tmp/x": "run.dir=/tmp/x",
    "run_name=mine": "run.name=mine",
    "input_dropout=0.2": "dropout=standard dropout.input=0.2",
    "na_values=NA": "data=table data.na=NA data.path=PATH data.target=TARGET",
    "test=a.csv": "data=table data.test_path=a.csv data.path=PATH data.target=TARGET",
    "no_cuda=true": "run.device=cpu",
    "no_cuda=false": "run.device=auto",
    "min_delta=0.1": "early_stopping.min_delta=0.1",
}


def test_the_words_of_other_tools_lead_to_ours():
    for typed, expected in CASES.items():
        wrong, *others = [typed] if "(" in typed else typed.split()
        (fix, *more) = fixes(wrong, *others)
        assert (suggestion(fix), more) == (expected, []), typed
        paste(expected, *others)
    (fix,) = fixes("output_dir='my runs'")
    assert suggestion(fix) == "'run.dir=\"my runs\"'" and paste(suggestion(fix))["run"]["dir"] == "my runs"


TASKS = {"mse": "data=sine", "mae": "data=sine", "huber": "data=sine", "binary_cross_entropy": "data=moons"}
TASKS |= {"rmse": "data=sine", "r2": "data=sine"}


def test_every_alias_of_a_word_leads_to_an_override_that_works_when_pasted():
    seen = 0
    for key, words in ALIASES["words"].items():
        for ours, aliases in words.items():
            for alias in aliases.split():
                if key == "verb":
                    assert similar_word(key, alias, [*VERBS, ours]) == ours
                    continue
                seen += 1
                if key == "search":
                    override = Suggestions(sweep_catalog()).option("search", alias)
                    compose([override], sweep_catalog())
                else:
                    (fix,) = fixes(f"{key}={alias}", *filter(None, [TASKS.get(ours)]))
                    override = suggestion(fix)
                    paste(override, *filter(None, [TASKS.get(ours)]))
                assert override.startswith(f"{key}={ours}"), (key, alias)
    assert seen > 150


def test_every_alias_of_a_key_leads_to_an_override_that_works_when_pasted():
    seen = 0
    for template, aliases in ALIASES["names"].items():
        key = template.split()[-1].partition("=")[0]
        for alias in str(aliases).split():
            if key.startswith("search"):
                value = "tpe" if key == "search" else 7
                assert Suggestions(sweep_catalog()).key(alias, value) == f"{key}={value}"
                continue
            seen += 1
            override = Suggestions(known()).key(alias, typed_value(key))
            assert key in override
            paste(override)
    assert seen > 120


def typed_value(key):
    """A value that a person might give; one that does not fit is replaced by the default."""
    if key in known().groups:
        return known().words(key)[-1] if key not in ("data", "loss") else known().defaults[key]
    return "accuracy" if key == "train.monitor" else 0.9


def test_dlfound_does_not_accept_the_words_of_other_tools():
    for key, words in ALIASES["words"].items():
        if key in known().groups:
            aliases = {alias for words_ in words.values() for alias in words_.split()}
            assert aliases.isdisjoint(known().words(key)), key
    for aliases in ALIASES["names"].values():
        assert set(str(aliases).split()).isdisjoint(known().everything())


# ---- flags and verbs


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("train --epochs 10 optim=sgd", ["a setting has no dashes: write train.epochs=10"]),
        ("train --lr=0.1 --batch-size 32", ["write optim.lr=0.1", "write train.batch_size=32"]),
        ("train --optimizer adam --gpu", ["write optim=adam", "write run.device=cuda"]),
        ("train --train.epochs 3", ["write train.epochs=3"]),
        ("train --dropout 0.5", ["write dropout=standard"]),
        ("train --early-stopping", ["write early_stopping=lookahead"]),
        ("sweep --trials 5", ["write search.trials=5"]), ("check --seed 5", ["write run.seed=5"]),
        ("train --trials 5", ["search is for sweeps; use dlfound sweep"]),
        ("train --optimizer ftrl", ["write optim=..."]), ("train --amp", ["dlfound has no mixed precision"]),
        ("train --no-cuda", ["write run.device=cpu"]), ("train --no-json", ["see dlfound train --help"]),
        ("eval latest --config-path x", ["see dlfound eval --help"]),
        ("eval latest --lr 3", ["see dlfound eval --help"]),
        ("train --cgf", ["did you mean --cfg?"]), ("train --config-path x", ["did you mean --config-dir?"]),
        ("train --experimental-rerun x", ["see dlfound train --help"]),
        ("fit optim=adam", ["did you mean train?"]), ("tune", ["did you mean sweep?"]),
        ("zebra", ["see dlfound --help"]),
    ],
)  # fmt: skip
def test_a_flag_or_verb_of_another_tool(command, expected, capsys):
    assert main(command.split()) == 2
    fixes = capsys.readouterr().err.splitlines()[1::2]
    assert len(fixes) == len(expected) and all(part in fix for part, fix in zip(expected, fixes, strict=True))


# ---- overrides to paste


NAMES = [
    "a", "my col", "x, (y)", "é", 'a "q" b', "it's", "null", "TRUE", "nan", "01", "1.0", "0", "7", "a\\",
    "[x]",
    'a\\"b',
    "1e5", "$HOME `x`", "-1", "a=b", "a.b", "a-b", "${a}", "x:1", "{y}", "50 %", "a;b", "*", "~", "\\\\",
    'b\\\\"',
    "/tmp/x", "a/b:c",
]  # fmt: skip


def test_any_name_survives_the_shell_and_hydras_grammar():
    parser = OverridesParser.create()
    for name in NAMES:
        for names in (name, [name], ["first", name, "last one"]):
            (word,) = shlex.split(override_text("data.drop", names))
            value = parser.parse_override(word).value()
            expected = [str(v) for v in value] if isinstance(value, list) else str(value)
            assert expected == names, word
            values = value if isinstance(value, list) else [value]
            assert all(isinstance(v, str) or str(v).isdecimal() for v in values)


def test_plain_names_need_no_quotes():
    assert override_text("data.drop", ["a", "b_2"]) == "data.drop=[a,b_2]"
    assert override_text("data.target", "y") == "data.target=y"
    assert "\x1b" not in override_text("data.drop", ["a\x1b[31m"])

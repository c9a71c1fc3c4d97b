"""A configuration shown by --cfg, saved as config.yaml and reopened."""

import re
from dataclasses import replace
from functools import cache

import pytest
import yaml

from dlfound.cli import main
from dlfound.config.catalog import conf_folder
from dlfound.config.compose import compose
from dlfound.config.config import FORMAT, reopen
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Error
from dlfound.options.configure import catalog, configure
from dlfound.runs.resume import differences


@cache
def all_options():
    return catalog()


@cache
def default():
    return compose([], all_options())


def with_run(**settings):
    """The default configuration with other settings of `run`."""
    return replace(default(), tree=default().tree | {"run": default()["run"] | settings})


# ---- shown


def test_cfg_prints_yaml_with_the_origin_of_each_value(tmp_path, capsys):
    (tmp_path / "dropout").mkdir()
    (tmp_path / "dropout" / "mine.yaml").write_text("name: standard\ninput: 0.1\n")
    line = [
        "optim.lr=0.5",
        "activation=tanh",
        "dropout=mine",
        "train={epochs: 3}",
        "experiment=sine_approximation",
    ]
    assert main(["train", "--cfg", "--config-dir", str(tmp_path), *line]) == 0
    out, err = capsys.readouterr()
    config = configure(line, [tmp_path])
    assert err == "" and yaml.safe_load(out) == config.tree
    origins = {}
    node = ""
    for row in out.splitlines():
        if head := re.fullmatch(r"(\w+):", row):
            node = head[1]
            continue
        key, origin = re.fullmatch(r"  (\w+): .*?  +# (.+)", row).groups()
        origins[f"{node}.{key}"] = origin
    assert set(origins) == {f"{n}.{k}" for n, settings in config.tree.items() for k in settings}
    expected = {
        "optim.lr": "optim.lr=0.5",
        "optim.name": "conf/optim/adam.yaml",
        "optim.eps": "conf/optim/adam.yaml",
        "activation.name": "activation=tanh",
        "dropout.name": "dropout=mine",
        "dropout.input": str(tmp_path / "dropout" / "mine.yaml"),
        "dropout.hidden": "conf/dropout/standard.yaml",
        "train.epochs": "train={epochs: 3}",
        "train.batch_size": "conf/config.yaml",
        "data.name": "conf/experiment/sine_approximation.yaml",
        "data.rows": "conf/data/sine.yaml",
        "data.seed": "conf/config.yaml",
        "model.hidden": "conf/experiment/sine_approximation.yaml",
        "run.name": "conf/config.yaml",
    }
    assert {key: origins[key] for key in expected} == expected


def test_cfg_is_yaml_for_any_text_in_a_value(capsys):
    texts = ("a\nb", "a\x1b[31mb", "a # b", "a: b", "größe", "1e5", "no", "\u2028x", "'", "a\tb")
    for text in texts:
        shown = with_run(dir=text).shown()
        assert yaml.safe_load(shown)["run"]["dir"] == text
        assert all(c.isprintable() or c == "\n" for c in shown)
    assert main(["train", "--cfg", "run.dir='a\n\x1b[31m'"]) == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(out)["run"]["dir"] == "a\n\x1b[31m" and "\x1b" not in out


def test_a_configuration_without_origins_can_be_shown(tmp_path):
    config = reopen(saved(tmp_path), all_options())
    assert yaml.safe_load(config.shown()) == config.tree and "#" not in config.shown()


# ---- saved and reopened


def saved(tmp_path, change=lambda text: text, config=None):
    file = tmp_path / "config.yaml"
    text = change((config or default()).saved())
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_any_name_survives_saving(tmp_path):
    names = [
        "1e5",
        "012",
        "no",
        "null",
        "tRUE",
        "12:30",
        "a: b",
        "größe 日本",
        "x'y",
        '"',
        " a",
        "nan",
        "-",
        "~",
    ]
    for name in names:
        assert reopen(saved(tmp_path, config=with_run(name=name)), all_options())["run"]["name"] == name
    config = compose(["run.name='1e5'"], all_options())
    assert reopen(saved(tmp_path, config=config), all_options())["run"]["name"] == "1e5"


DAMAGED = [
    (lambda t: t.replace(f"format: {FORMAT}", f"format: {FORMAT + 1}"), 4, "is newer than this dlfound"),
    (lambda t: t.replace(f"format: {FORMAT}", "format: 0"), 4, "config format 0 is not"),
    (lambda t: t.replace(f"format: {FORMAT}", "format: x"), 4, "config format x is not"),
    (lambda t: t.replace(f"format: {FORMAT}\n", ""), 4, "config format None is not"),
    (lambda t: t + "hydra: {run: {dir: x}}\n", 7, ": hydra: not allowed"),
    (lambda t: t + "defaults: [x]\n", 7, ": defaults: not allowed"),
    (lambda t: t + "_target_: os.system\n", 7, ": _target_: not allowed"),
    (lambda t: t.replace("optim:\n", "optim:\n  _target_: os.system\n"), 7, ": optim._target_: not allowed"),
    (lambda t: t.replace("optim:\n", "optim:\n  deep: [{_partial_: true}]\n"), 7, "_partial_: not allowed"),
    (lambda t: t.replace("name: adam", "name: ${oc.env:HOME}"), 7, ": optim.name: not allowed"),
    (lambda t: t.replace("lr: 0.001", "lr: ${data.seed}"), 7, ": optim.lr: not allowed"),
    (lambda t: t.replace("lr: 0.001", "lr: ['${data.seed}']"), 7, ": optim.lr: not allowed"),
    (lambda t: t + "more: {}\n", 4, "unknown key 'more'"),
    (lambda t: t.replace("lr: 0.001", "lrr: 0.001"), 4, "unknown key 'optim.lrr'"),
    (lambda t: t.replace("lr: 0.001", "lrr: 0.001"), 4, "optim.lr is required"),
    (lambda t: t.replace("lr: 0.001", "lr: x"), 4, "optim.lr must be a finite number > 0, got 'x'"),
    (lambda t: t.replace("name: adam", "name: adm"), 4, "no optim named 'adm'"),
    (lambda t: t.replace("name: adam", "name: [adam]"), 4, "no optim named ['adam']"),
    (lambda t: t.replace("optim:\n", "optim: 3\nold:\n"), 4, "optim must be a mapping"),
    (lambda t: t.replace("optim:\n", "xoptim:\n"), 4, "optim must be a mapping"),
    (lambda t: t + "\ttab: 1\n", 4, "tabs are not allowed"),
    (lambda t: t + "train: {}\n", 4, "duplicate key 'train'"),
    (lambda t: t + "a: &a 1\n", 4, "too complex"),
    (lambda t: b"\xff", 4, "is not UTF-8"),
    (lambda t: "[]", 4, "must be a mapping"),
]  # fmt: skip


def test_a_damaged_or_unsafe_configuration_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/canary")
    for change, code, expected in DAMAGED:
        file = saved(tmp_path, change)
        with pytest.raises(Error) as caught:
            reopen(file, all_options())
        assert caught.value.code == code
        messages = [problem.what for problem in caught.value.problems]
        assert any(expected in message for message in messages), f"{expected}\n{messages}"
        assert all(str(file) in message or "required" in message for message in messages), messages
        assert "canary" not in str(messages) and all(problem.fix for problem in caught.value.problems)


def test_a_newer_format_asks_for_an_upgrade_and_reports_nothing_else(tmp_path):  # C19
    file = saved(tmp_path, lambda text: f"format: {FORMAT + 2}\nunknown_to_us: {{a: 1}}\n")
    with pytest.raises(Error) as caught:
        reopen(file, all_options())
    (problem,) = caught.value.problems
    assert f"is newer than this dlfound ({FORMAT})" in problem.what and "upgrade" in problem.fix


def test_only_the_folder_and_name_of_the_same_run_may_differ():
    one = configure(["optim.lr=0.5"])
    assert differences(one, configure(["optim.lr=0.5", "run.name=other", "run.dir=/x"])) == []
    assert differences(one, configure(["optim.lr=0.4"])) == [("optim.lr", 0.5, 0.4)]
    assert differences(one, configure(["optim.lr=0.5", "run.seed=1"])) == [("run.seed", 0, 1)]


def test_choosing_another_option_takes_the_values_of_its_file():
    config = configure(["optim.lr=0.5"])
    other = config.choose("optim", "sgd")
    assert other["optim"] == read_yaml(conf_folder() / "optim" / "sgd.yaml")
    assert other["train"] == config["train"] and config["optim"]["lr"] == 0.5

"""The tables of options: `dlfound options`, one YAML for each entry, options of one's own from Python."""

import json
import re
from pathlib import Path

import pytest

import dlfound
from dlfound.cli import main
from dlfound.config import options
from dlfound.config.catalog import EXPERIMENT, conf_folder
from dlfound.config.check import MISSING
from dlfound.config.compose import reopen
from dlfound.config.yaml_files import read_yaml
from dlfound.options.configure import catalog, configure, full_catalog
from dlfound.options.groups import GROUPS, NODES, SWEEP_GROUPS

CONF = Path(__file__).parents[2] / "conf"
EVERY = GROUPS | SWEEP_GROUPS


@pytest.fixture(autouse=True)
def forget_what_is_registered():
    """Registering is for the whole process: forget it after each test."""
    before = {group: dict(table) for group, table in options._registered.items()}
    yield
    options._registered.clear()
    options._registered.update(before)


def told(capsys, *words, code=2):
    """What a failing command says: (what, fix) pairs."""
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    lines = err.splitlines()
    return list(zip(lines[::2], lines[1::2], strict=True))


def printed(capsys, *words):
    assert main(list(words)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def yamls(group):
    return {path.stem: path for path in (CONF / group).glob("*.yaml")}


# ---- one table, one folder


def test_the_installed_files_are_those_of_the_repository():
    assert conf_folder().resolve() == CONF.resolve()


@pytest.mark.parametrize("group", EVERY)
def test_every_entry_has_a_yaml_and_every_yaml_an_entry(group):
    files = yamls(group)
    assert set(files) == set(EVERY[group])
    assert full_catalog().words(group) == sorted(files) and len(files) >= 2
    for word, path in files.items():
        content = read_yaml(path)
        assert next(iter(content)) == "name" and content["name"] == word, path
        assert not path.read_text(encoding="utf-8").startswith("\ufeff")


def test_how_many_there_are():
    folders = {path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml"))}
    assert folders == {*EVERY, EXPERIMENT}
    assert {path.name for path in CONF.rglob("*") if path.is_file() and "__pycache__" not in path.parts} == {
        "__init__.py",
        "config.yaml",
        "sweep.yaml",
        *(f"{word}.yaml" for group in folders for word in yamls(group)),
    }
    assert sum(len(yamls(group)) for group in EVERY) == sum(len(table) for table in EVERY.values()) > 40
    assert len(yamls(EXPERIMENT)) >= 2


def test_the_root_chooses_one_option_of_each_group():
    root = read_yaml(CONF / "config.yaml")
    chosen = [entry for entry in root["defaults"] if entry != "_self_"]
    assert root["defaults"][0] == "_self_" and chosen[-1] == {EXPERIMENT: None}
    assert {next(iter(entry)): next(iter(entry.values())) for entry in chosen[:-1]} == catalog().defaults
    assert list(catalog().defaults) == list(GROUPS)
    assert set(root) - {"defaults"} <= {*GROUPS, *NODES}
    assert {node: set(root[node]) for node in NODES} == {
        node: set(catalog().plain[node].settings) for node in NODES
    }


def test_every_value_has_its_reason_beside_it():
    files = [path for path in sorted(CONF.rglob("*.yaml")) if path.parent.name != EXPERIMENT]
    bare, seen = set(), 0
    for path in files:
        node, covered = "", False
        for line in path.read_text(encoding="utf-8").splitlines():
            value = re.match(r"( *)(\w+):(?: +([^#]+?))?(?: +#(.*))?$", line)
            if value is None or value[2] in ("name", "defaults"):
                continue
            indent, key, text, reason = value.groups()
            node = "" if not indent and text else node if indent else f"{key}."
            if text is None:
                continue
            seen += 1
            covered = "below" in reason if reason else covered  # "as the three below"
            if not (reason or covered):
                bare.add((path.relative_to(CONF).with_suffix("").as_posix(), node + key))
    assert seen > 60
    assert bare == set()


@pytest.mark.parametrize("word", sorted(yamls(EXPERIMENT)))
def test_every_experiment_says_why_and_where_it_is_from(word):
    head = (CONF / EXPERIMENT / f"{word}.yaml").read_text(encoding="utf-8").split("defaults:")[0].splitlines()
    assert head[0] == "# @package _global_" and len(head[1]) > 20
    assert any(line.startswith("# Source: ") for line in head)
    assert f"# dlfound train experiment={word}" in head


# ---- dlfound options


def test_options_as_json(capsys):
    shown = json.loads(printed(capsys, "options", "--json"))
    assert list(shown) == [*EVERY, EXPERIMENT]
    known, count = full_catalog(), 0
    for group, words in shown.items():
        assert list(words) == sorted(yamls(group))
        for word, about in words.items():
            count += 1
            assert set(about) == {"summary", "source", "settings"}
            assert isinstance(about["source"], str)
            assert len(about["summary"]) > 10 and "\n" not in about["summary"], (
                f"{group}={word} has no summary"
            )
            assert all(set(setting) == {"type", "default"} for setting in about["settings"].values())
            assert all(
                isinstance(setting["type"], str) and setting["type"] for setting in about["settings"].values()
            )
            if group != EXPERIMENT:
                assert list(about["settings"]) == list(known.option(group, word).settings)
                values = known.common(group) | read_yaml(CONF / group / f"{word}.yaml")
                assert {n: s["default"] for n, s in about["settings"].items()} == {
                    n: values[n] for n in about["settings"]
                }
    assert count > 40
    assert shown["optim"]["adam"]["settings"]["lr"] == {"type": "a finite number > 0", "default": 0.001}
    assert "Kingma" in shown["optim"]["adam"]["source"]


def test_the_json_of_one_group_is_its_part(capsys):
    shown = json.loads(printed(capsys, "options", "--json"))
    for group in shown:
        assert json.loads(printed(capsys, "options", group, "--json")) == {group: shown[group]}


def test_the_overview_names_every_word_and_stars_the_defaults(capsys):
    rows = printed(capsys, "options").splitlines()
    found = {row.split()[0]: row.split()[1:] for row in rows if row and row[0].isalpha()}
    for group in [*GROUPS, EXPERIMENT]:
        default = catalog().defaults.get(group)
        assert found[group] == [f"{word}*" if word == default else word for word in sorted(yamls(group))]
    for node, option in catalog().plain.items():
        assert found[node] == list(option.settings)


@pytest.mark.parametrize("group", [*GROUPS, EXPERIMENT])
def test_a_group_in_detail(group, capsys):
    text = printed(capsys, "options", group)
    heads = re.findall(rf"^{group}=(\S+)(  \(default\))?$", text, re.MULTILINE)
    assert [word for word, _ in heads] == sorted(yamls(group))
    assert [word for word, default in heads if default] == [w for w in [catalog().defaults.get(group)] if w]
    described = json.loads(printed(capsys, "options", group, "--json"))[group]
    for about in described.values():
        assert about["summary"] in text and about["source"] in text
        for name, setting in about["settings"].items():
            assert f"    {group}.{name}={json.dumps(setting['default'])}  ({setting['type']})" in text


def test_what_must_be_given_is_shown_as_such(capsys):
    shown = json.loads(printed(capsys, "options", "--json"))
    for group, words in shown.items():
        for word, about in words.items():
            file = read_yaml(CONF / group / f"{word}.yaml")
            needed = [name for name, setting in about["settings"].items() if setting["default"] == MISSING]
            assert needed == [name for name, value in file.items() if value == MISSING]


def test_a_group_that_is_none(capsys):
    ((what, fix),) = told(capsys, "options", "optm")
    assert "unknown key 'optm'" in what and "did you mean optim?" in fix
    ((what, fix),) = told(capsys, "options", "optim", "data")
    assert "unexpected argument: data" in what and "dlfound options --help" in fix
    told(capsys, "options", "optim", " ")


def test_options_of_a_folder_are_listed_with_the_values_that_they_leave_out(capsys, tmp_path):
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("name: momentum\nlr: 0.5\n")
    shown = json.loads(printed(capsys, "options", "optim", "--json", "--config-dir", str(tmp_path)))["optim"]
    assert set(shown) == {*yamls("optim"), "mine"}
    assert shown["mine"]["summary"] == shown["momentum"]["summary"]
    assert {name: s["default"] for name, s in shown["mine"]["settings"].items()} == {
        "lr": 0.5,
        "momentum": 0.9,
    }
    (tmp_path / "optim" / "mine.yaml").write_text("name: momentun\n")
    ((what, fix),) = told(capsys, "options", "optim", "--config-dir", str(tmp_path))
    assert "optim/mine.yaml: name must be one of" in what and "did you mean name: momentum?" in fix


# ---- options of one's own, from Python


def square(*, power: float, shift=1, flat: bool = False):
    """A parabola for a test.

    Source: this file.
    """
    import torch

    made = torch.nn.Sequential()
    made.register_forward_hook(lambda module, inputs, output: output.abs().pow(power) + shift)
    return made


def test_a_registered_option_is_one_like_the_others(capsys, tmp_path):
    dlfound.register("activation", "square", square, power=2.0, shift=0, flat=False)
    config = configure(["activation=square", "activation.power=3"])
    assert config["activation"] == {"name": "square", "power": 3.0, "shift": 0, "flat": False}
    assert config.origins["activation.shift"] == "registered"
    assert config.build("activation").func is square
    shown = json.loads(printed(capsys, "options", "activation", "--json"))["activation"]["square"]
    assert shown["summary"] == "A parabola for a test." and shown["source"] == "this file."
    assert shown["settings"] == {
        "power": {"type": "a finite number", "default": 2.0},
        "shift": {"type": "a plain value", "default": 0},
        "flat": {"type": "true or false", "default": False},
    }
    assert "square" in printed(capsys, "options")
    (tmp_path / "activation").mkdir()
    (tmp_path / "activation" / "cube.yaml").write_text("name: square\npower: 3\n")
    assert configure(["activation=cube"], [tmp_path])["activation"]["power"] == 3.0


def test_a_registered_option_is_checked_like_the_others(capsys):
    dlfound.register("activation", "square", square, power=2.0, shift=0, flat=False)
    pairs = told(capsys, "train", "--cfg", "activation=square", "activation.powr=1", "activation.flat=3")
    assert "unknown key 'activation.powr'" in pairs[0][0] and "did you mean activation.power?" in pairs[0][1]
    assert "activation.flat must be true or false, got 3" in pairs[1][0]
    ((what, fix),) = told(capsys, "train", "--cfg", "activation=sqare")
    assert "choose from" in what and "did you mean activation=square?" in fix


def test_a_net_is_trained_with_a_registered_option(tmp_path):
    dlfound.register("activation", "square", square, power=2.0, shift=0, flat=False)
    line = [
        "data=xor",
        "data.rows=40",
        "model.hidden=[4]",
        "activation=square",
        "train.epochs=2",
        "lr_decay=none",
    ]
    run = dlfound.train([*line, "early_stopping=none", "logger=none", f"run.dir={tmp_path / 'run'}"])
    assert run.report["status"] == "done" and run.config.name("activation") == "square"
    # Without the registration, the run says what it lacks.
    options._registered.clear()
    with pytest.raises(dlfound.Error) as caught:
        reopen(tmp_path / "run" / "config.yaml", catalog())
    assert caught.value.code == 4
    (problem,) = caught.value.problems
    assert "no activation named 'square'" in problem.what and "--with FILE" in problem.fix


def test_registering_again_replaces():
    dlfound.register("activation", "square", square, power=2.0, shift=0, flat=False)
    dlfound.register("activation", "square", square, power=4.0, shift=0, flat=False)
    assert configure(["activation=square"])["activation"]["power"] == 4.0


def test_a_group_that_is_none_is_told_once_and_forgotten():
    dlfound.register("activatoin", "square", square, power=2.0, shift=0, flat=False)
    with pytest.raises(dlfound.Error, match="there is no group 'activatoin'") as caught:
        configure([])
    assert caught.value.code == 2 and caught.value.problems[0].fix == "did you mean activation?"
    assert configure([]).name("activation") == catalog().defaults["activation"]


def test_a_name_that_is_taken_is_told_once_and_forgotten():
    dlfound.register("activation", "relu", square, power=2.0, shift=0, flat=False)
    with pytest.raises(dlfound.Error, match="activation has a 'relu' of its own") as caught:
        configure([])
    assert caught.value.code == 2
    assert configure(["activation=relu"]).build("activation").func is GROUPS["activation"]["relu"]


@pytest.mark.parametrize(
    "name", ["", "a b", "1x", "a.b", "../x", "a/b", "x=y", "null", "True", "größe", "-x", "a\n", "a,b"]
)
def test_a_name_that_is_no_word(name):
    with pytest.raises(dlfound.Error, match="cannot name an option") as caught:
        dlfound.register("activation", name, square)
    assert caught.value.code == 2 and options._registered == {}


@pytest.mark.parametrize("name", ["x", "swish-1", "my_own", "A2"])
def test_a_name_that_is_a_word(name):
    dlfound.register("activation", name, square, power=2.0, shift=0, flat=False)
    assert configure([f"activation={name}"]).name("activation") == name


def test_a_setting_that_the_callable_does_not_take():
    with pytest.raises(dlfound.Error, match="square of activation takes no setting 'powr'") as caught:
        dlfound.register("activation", "square", square, powr=2.0)
    assert caught.value.code == 2 and options._registered == {}


GOOD = """
import dlfound

def cube(*, gain: float):
    \"\"\"The third power.\"\"\"

dlfound.register("activation", "cube", cube, gain=1.5)
"""


def test_a_file_that_registers(capsys, tmp_path):
    file = tmp_path / "my options.py"
    file.write_text(GOOD)
    words = printed(capsys, "options", "activation", "--json", "--with", str(file))
    assert json.loads(words)["activation"]["cube"]["summary"] == "The third power."
    shown = printed(capsys, "train", "--cfg", "activation=cube", "--with", str(file))
    assert re.search(r"gain: 1.5 +# registered\n", shown)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("1/0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError: "),
        ("import no_such_module_of_ours", "ModuleNotFoundError: "),
        ("raise SystemExit('stop')", "SystemExit: stop"),
        ("import dlfound\ndlfound.register('activation', 'a b', print)", "'a b' cannot name an option"),
        ("import dlfound\ndlfound.register('activatoin', 'x', lambda: 1)", "there is no group 'activatoin'"),
        ("import dlfound\ndlfound.register('optim', 'adam', lambda: 1)", "optim has a 'adam' of its own"),
    ],
)
def test_a_file_that_fails(content, what, capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(content)
    ((said, fix),) = told(capsys, "train", "--cfg", "--with", str(file))
    assert what in said and fix.startswith("  fix: ")
    assert "error[config]" in said


def test_a_file_that_is_missing_or_no_python(capsys, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for file, what in (
        ("none.py", "there is no such file"),
        (".", "there is no such file"),
        ("notes.txt", "is no Python file"),
    ):
        ((said, _),) = told(capsys, "train", "--cfg", "--with", str(tmp_path / file))
        assert f"--with {tmp_path / file}" in said and what in said

"""Options that a person registers from Python, in a program or in a file named with --with."""

import json
import re
from pathlib import Path

import pytest
from support.commands import printed, reported

import dlfound
from dlfound.config import catalog as catalog_module
from dlfound.config.config import reopen
from dlfound.options.configure import GROUPS, catalog, configure


@pytest.fixture(autouse=True)
def forget_what_is_registered():
    """A registration lasts for the whole process: forget it after each test."""
    before = {group: dict(table) for group, table in catalog_module._registered.items()}
    yield
    catalog_module._registered.clear()
    catalog_module._registered.update(before)


def square(*, power: float, shift=1, flat: bool = False):
    """A parabola for a test.

    Source: this file.
    """
    import torch

    made = torch.nn.Sequential()
    made.register_forward_hook(lambda module, inputs, output: output.abs().pow(power) + shift)
    return made


def test_a_registered_option_is_listed_like_the_others(capsys, tmp_path):
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
    pairs = reported(capsys, "train", "--cfg", "activation=square", "activation.powr=1", "activation.flat=3")
    assert (
        "unknown key 'activation.powr'" in pairs[0][0] and "did you mean activation.power=1?" in pairs[0][1]
    )
    assert "activation.flat must be true or false, got 3" in pairs[1][0]
    ((what, fix),) = reported(capsys, "train", "--cfg", "activation=sqare")
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
    # Without the registration, the run names what is missing.
    catalog_module._registered.clear()
    with pytest.raises(dlfound.Error) as caught:
        reopen(tmp_path / "run" / "config.yaml", catalog())
    assert caught.value.code == 4
    (problem,) = caught.value.problems
    assert "no activation named 'square'" in problem.what and "--with FILE" in problem.fix


def test_a_registered_source_takes_the_settings_that_all_sources_share(capsys):
    def source(*, rows: int, seed: int, split):
        """A source for a test."""

    dlfound.register("data", "mine", source, rows=30)
    config = configure(["data=mine"])
    assert config["data"] == {"name": "mine", "rows": 30, "seed": 0, "split": [0.7, 0.15, 0.15]}
    assert config.origins["data.seed"] == "conf/config.yaml" and config.origins["data.rows"] == "registered"
    settings = json.loads(printed(capsys, "options", "data", "--json"))["data"]["mine"]["settings"]
    assert settings["seed"]["default"] == 0 and settings["split"]["default"] == [0.7, 0.15, 0.15]


def test_a_second_registration_replaces_the_first():
    dlfound.register("activation", "square", square, power=2.0, shift=0, flat=False)
    dlfound.register("activation", "square", square, power=4.0, shift=0, flat=False)
    assert configure(["activation=square"])["activation"]["power"] == 4.0


def test_a_registration_in_an_unknown_group_is_reported_once_and_forgotten():
    dlfound.register("activatoin", "square", square, power=2.0, shift=0, flat=False)
    with pytest.raises(dlfound.Error, match="there is no group 'activatoin'") as caught:
        configure([])
    assert caught.value.code == 2 and caught.value.problems[0].fix == "did you mean activation?"
    assert configure([]).name("activation") == catalog().defaults["activation"]


def test_a_registration_under_a_built_in_name_is_reported_once_and_forgotten():
    dlfound.register("activation", "relu", square, power=2.0, shift=0, flat=False)
    with pytest.raises(dlfound.Error, match="activation already has a built-in option 'relu'") as caught:
        configure([])
    assert caught.value.code == 2
    assert configure(["activation=relu"]).build("activation").func is GROUPS["activation"]["relu"]


def test_a_name_that_cannot_name_an_option():
    names = ["", "a b", "1x", "a.b", "../x", "a/b", "x=y", "null", "True", "größe", "-x", "a\n", "a,b"]
    for name in names:
        with pytest.raises(dlfound.Error, match="cannot name an option") as caught:
            dlfound.register("activation", name, square)
        assert caught.value.code == 2 and catalog_module._registered == {}


def test_a_name_that_can_name_an_option():
    for name in ("x", "swish-1", "my_own", "A2"):
        dlfound.register("activation", name, square, power=2.0, shift=0, flat=False)
        assert configure([f"activation={name}"]).name("activation") == name


def test_a_default_that_yaml_cannot_hold():
    for value in (object(), float("nan"), Path("x"), {1, 2}):
        with pytest.raises(
            dlfound.Error, match="square: the default of 'shift' is not a plain value"
        ) as caught:
            dlfound.register("activation", "square", square, power=2.0, shift=value)
        assert caught.value.code == 2 and catalog_module._registered == {}
    dlfound.register("activation", "square", square, power=2.0, shift=(1, 2))
    assert configure(["activation=square"])["activation"]["shift"] == [1, 2]


def test_a_setting_that_the_callable_does_not_take():
    with pytest.raises(dlfound.Error, match="square of activation takes no setting 'powr'") as caught:
        dlfound.register("activation", "square", square, powr=2.0)
    assert caught.value.code == 2 and catalog_module._registered == {}


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


BROKEN_FILES = [
    ("1/0", "ZeroDivisionError: division by zero"),
    ("def broken(:", "SyntaxError: "),
    ("import no_such_module_of_ours", "ModuleNotFoundError: "),
    ("raise SystemExit('stop')", "SystemExit: stop"),
    ("import dlfound\ndlfound.register('activation', 'a b', print)", "'a b' cannot name an option"),
    ("import dlfound\ndlfound.register('activatoin', 'x', lambda: 1)", "there is no group 'activatoin'"),
    (
        "import dlfound\ndlfound.register('optim', 'adam', lambda: 1)",
        "optim already has a built-in option 'adam'",
    ),
]


def test_a_python_file_that_fails(capsys, tmp_path):
    file = tmp_path / "mine.py"
    for content, expected in BROKEN_FILES:
        file.write_text(content)
        ((message, fix),) = reported(capsys, "train", "--cfg", "--with", str(file))
        assert "error[config]" in message and expected in message and fix.startswith("  fix: ")


def test_a_file_that_is_missing_or_not_python(capsys, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for file, expected in (
        ("none.py", "no such file"),
        (".", "no such file"),
        ("notes.txt", "not a Python file"),
    ):
        ((message, _),) = reported(capsys, "train", "--cfg", "--with", str(tmp_path / file))
        assert f"--with {tmp_path / file}" in message and expected in message

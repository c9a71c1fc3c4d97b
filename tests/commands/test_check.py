"""`dlfound check`: the verb, its table, its JSON and its exit codes; before a training; and from Python."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dlfound
from dlfound.checks import run
from dlfound.cli import main
from dlfound.commands.check import NAMES
from dlfound.config import catalog as options

ONE_THREAD = "run.threads=1"
SMALL = ["data=xor", "data.rows=200", "model.hidden=[16]", "optim.lr=0.02", ONE_THREAD]
QUICK = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "logger=none"]


@pytest.fixture
def registry(monkeypatch):
    """Forget the registered options after a test."""
    monkeypatch.setattr(options, "_registered", {})


@pytest.fixture
def only_checks(monkeypatch):
    """Let every call run some checks only: `train --check` has no --only."""

    def choose(*names):
        monkeypatch.setattr(run, "CHECKS", {name: run.CHECKS[name] for name in names})

    return choose


class Constant(torch.nn.Module):
    """An activation whose output is the same for all inputs."""

    def forward(self, a):
        return 0 * a


def check(capsys, *words):
    """Run the verb; returns the exit code, standard output and standard error."""
    code = main(["check", *words])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def rows_of(out):
    """Return (verdict, check, number, usual, meaning) of each row of a table that is not wrapped."""
    lines = out.split("\n\n")[0].splitlines()
    return [re.split(r" {2,}", line, maxsplit=4) for line in lines[1:]]


def test_the_names_are_those_of_the_checks():
    assert tuple(run.CHECKS) == NAMES and len(NAMES) == 10


def test_a_sound_configuration_passes_all_checks(capsys):
    code, out, err = check(capsys, *SMALL)
    assert (code, err) == (0, "")
    assert re.match(r"verdict  check +number  usual +what it means\n", out)
    assert [row[:2] for row in rows_of(out)] == [["pass", name] for name in NAMES]
    assert re.search(r"\n\n10 pass in \d+\.\d s\n", out) and "fix" not in out
    assert out.endswith("check.json and learning_rate.png are in outputs/check/xor\n")
    content = json.loads(Path("outputs/check/xor/check.json").read_text(encoding="utf-8"))
    assert content["verdict"] == "pass" and [entry["name"] for entry in content["checks"]] == list(NAMES)
    with Image.open("outputs/check/xor/learning_rate.png") as picture:
        assert picture.size[0] > 600 and len(picture.convert("RGB").getcolors(1 << 20)) > 50


def test_a_fault_has_a_number_a_usual_range_and_an_override_that_corrects_it(capsys):
    words = [*SMALL, "optim=sgd", "--only=learning_rate", "--out=here"]
    code, out, err = check(capsys, *words, "optim.lr=1000")
    assert (code, err) == (5, "") and not Path("outputs").exists()
    (row,) = rows_of(out)
    assert row[:3] == ["fail", "learning_rate", "1,000"] and "too large" in row[4]
    low, high = map(float, row[3].split(" to "))
    assert 0 < low < high < 1000
    override = re.search(r"^fix learning_rate: add (optim\.lr=\S+)$", out, re.MULTILINE)
    assert override and re.search(r"^1 fail in ", out, re.MULTILINE)
    code, out, _ = check(capsys, *words, override[1])
    assert code == 0 and rows_of(out)[0][:2] == ["pass", "learning_rate"] and "fix" not in out


def test_json_is_printed_alone(capsys):
    words = ["initializer=zeros", "--json", "--only=initial_state", "--only=data"]
    code, out, err = check(capsys, *SMALL, *words)
    content = json.loads(out)
    assert (code, err) == (5, "") and content == json.loads(Path("outputs/check/xor/check.json").read_text())
    assert content["verdict"] == "fail"
    assert [entry["name"] for entry in content["checks"]] == ["data", "initial_state"]
    (finding,) = content["checks"][1]["findings"]
    assert finding["sign"] == "copies" and finding["verdict"] == "fail" and finding["number"] == 15
    assert finding["usual"] == "0" and finding["meaning"].startswith("15 of 16 units")
    assert finding["override"] == "initializer=auto" and "copies of each other" in finding["meaning"]
    assert not Path("outputs/check/xor/learning_rate.png").exists()


def test_json_has_null_for_nan_and_infinity(capsys):
    words = ["initializer=normal", "initializer.std=1e20", "--only=initial_loss", "--only=learning_rate"]
    code, out, _ = check(capsys, *SMALL, *words, "--json")
    assert code == 5 and "NaN" not in out and "Infinity" not in out and json.loads(out)["verdict"] == "fail"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["optim=sdg", "model.hiden=[3]"], 2, "did you mean optim=sgd"),
        (["--only=learning_rat"], 2, "learning_rat"),
        (["--only"], 2, "--only"),
        (["data=mnist", "data.root=nowhere/x", "--only=data"], 3, "nowhere"),
        (["run.device=cuda:99"], 6, "run.device"),
        (["loss=mse"], 2, "mse"),
        ([*SMALL, "--out=file/x", "--only=data"], 6, "file"),
    ],
)
def test_each_mistake_is_an_error_of_two_lines(capsys, monkeypatch, words, code, text):
    monkeypatch.setattr(
        "dlfound.data.images._download", lambda *_: (_ for _ in ()).throw(OSError("no network"))
    )
    Path("file").write_text("")
    exit_code, out, err = check(capsys, *words)
    assert exit_code == code and out == "" and text in err
    assert err.count("  fix: ") == err.count("dlfound: error[") == len(err.splitlines()) / 2


def test_the_table_fits_the_terminal(capsys, monkeypatch):
    words = [*SMALL, "initializer=zeros", "--only=initial_state", "--only=gradients", "--only=rows"]
    _, full, _ = check(capsys, *words)
    meanings = [row[4] for row in rows_of(full)]
    for columns, headers in (
        (80, "verdict check number usual"),
        (60, "verdict check number"),
        (45, "verdict check"),
    ):
        with monkeypatch.context() as terminal:
            terminal.setenv("COLUMNS", str(columns))
            terminal.setattr(sys.stdout, "isatty", lambda: True)
            _, out, _ = check(capsys, *words)
        lines = out.splitlines()
        assert max(len(line) for line in lines) <= columns
        assert lines[0].split() == [*headers.split(), "what", "it", "means"]
        indent = lines[0].index("what it means")
        wrapped = " ".join(line[indent:] for line in lines[1 : lines.index("")])
        assert wrapped == " ".join(meanings)
        assert "fix initial_state: add initializer=auto" in lines


# Before a training.


def test_a_training_after_the_checks_is_the_same_training(capsys):
    assert main(["train", *SMALL, *QUICK, "run.dir=plain"]) == 0
    assert main(["train", *SMALL, *QUICK, "run.dir=checked", "--check"]) == 0
    out, err = capsys.readouterr()
    assert "check" not in err and out.endswith("\nchecked\n")
    content = json.loads(Path("checked/check.json").read_text(encoding="utf-8"))
    assert content["verdict"] == "pass" and len(content["checks"]) == 10
    assert "check gradients: pass: " in Path("checked/log.txt").read_text(encoding="utf-8")
    assert Path("checked/learning_rate.png").is_file() and not Path("plain/check.json").exists()
    assert Path("plain/model.safetensors").read_bytes() == Path("checked/model.safetensors").read_bytes()


def test_nothing_is_trained_if_a_check_fails(capsys, only_checks):
    only_checks("initial_loss", "initial_state")
    assert main(["train", *SMALL, *QUICK, "initializer=zeros", "run.dir=run", "--check", "--json"]) == 5
    out, err = capsys.readouterr()
    assert out == "" and not Path("run").exists() and not Path("outputs").exists()
    assert "error[numeric]: check initial_state: fail: 15 of 16 units" in err and "(15; usual: 0)" in err
    assert "fix: add initializer=auto" in err


def test_a_warning_does_not_prevent_training(capsys, only_checks):
    only_checks("initial_loss")
    words = ["loss=binary_cross_entropy", "loss.class_weight=[1,60]", "run.dir=run", "--check"]
    assert main(["train", *SMALL, *QUICK, *words]) == 0
    _, err = capsys.readouterr()
    assert "check initial_loss: warn: " in err and "; fix: add " in err and Path("run/DONE").exists()
    assert "check initial_loss: warn: " in Path("run/log.txt").read_text(encoding="utf-8")


# From Python.


def test_check_from_python_prints_nothing_and_writes_only_where_asked(capfd):
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    report = dlfound.check([*SMALL, "dropout=standard", "run.threads=2"], only=["rows", "data", "updates"])
    assert (report.verdict, report.code) == ("pass", 0) and list(Path().iterdir()) == []
    assert capfd.readouterr() == ("", "") and torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert repr(report) == "CheckReport(data=pass, rows=pass, updates=pass)"
    dlfound.check(SMALL, only=["data"], out="there")
    assert [path.name for path in Path("there").iterdir()] == ["check.json"]


def test_check_takes_arrays_and_registered_options(registry):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 3))
    y = np.where(x[:, 0] + x[:, 1] > 0, "yes", "no")
    assert dlfound.check([ONE_THREAD, "model.hidden=[32]"], data=(x, y)).verdict == "pass"
    report = dlfound.check([ONE_THREAD], data=(np.column_stack([x, y == "yes"]), y), only=["data"])
    (finding,) = report.checks["data"].findings
    assert (finding.sign, finding.verdict, report.code) == ("copies", "fail", 5) and "3" in finding.meaning
    dlfound.register("activation", "constant_output", Constant)
    words = [ONE_THREAD, "activation=constant_output", "model.hidden=[8]"]
    report = dlfound.check(words, data=(x, y), only=["overfit", "inputs"])
    assert [(name, f.sign) for name, f in report.findings()] == [
        ("overfit", "activation"),
        ("inputs", "still"),
    ]
    assert report.checks["overfit"].findings[0].override == "activation=relu"


def test_an_unknown_check_is_an_error():
    with pytest.raises(dlfound.Error) as caught:
        dlfound.check(only=["rates"])
    assert caught.value.code == 2 and "learning_rate" in caught.value.problems[0].fix


def test_batches_of_one_row_can_be_checked():
    assert dlfound.check([*SMALL, "train.batch_size=1"]).verdict == "pass"


@pytest.mark.parametrize(("rows", "y"), [(3, [0, 1, 0]), (12, np.linspace(0, 1, 12) ** 2)])
def test_a_few_rows_can_be_checked(rows, y):
    x = np.arange(2.0 * rows).reshape(rows, 2) % 5
    assert len(dlfound.check([ONE_THREAD, "model.hidden=[4]"], data=(x, y)).checks) == 10

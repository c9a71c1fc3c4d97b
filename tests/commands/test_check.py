"""`dlfound check`: the verb, its JSON and its exit codes, before a training, and from Python."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dlfound
from dlfound.checks.table import CHECKS
from dlfound.cli import main
from dlfound.commands.check import NAMES
from dlfound.config import options

SMALL = ["data=xor", "data.rows=200", "model.hidden=[16]", "optim.lr=0.02", "run.threads=1"]
QUICK = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "logger=none"]


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(options, "_registered", {})


class Deaf(torch.nn.Module):
    def forward(self, a):
        return 0 * a


def said(capsys, *words):
    code = main(["check", *words])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_the_names_are_those_of_the_checks():
    assert tuple(CHECKS) == NAMES and len(NAMES) == 10


def test_a_sound_configuration_passes_everything(capsys):
    code, out, err = said(capsys, *SMALL)
    assert (code, err) == (0, "")
    assert [name for name in NAMES if f"pass  {name}: " not in out] == []
    assert re.search(r"^10 pass, \d+\.\d s$", out, re.MULTILINE)
    assert out.endswith("check.json and learning_rate.png in outputs/check/xor\n")
    content = json.loads(Path("outputs/check/xor/check.json").read_text(encoding="utf-8"))
    assert content["verdict"] == "pass" and [done["name"] for done in content["checks"]] == list(NAMES)
    with Image.open("outputs/check/xor/learning_rate.png") as picture:
        assert picture.size[0] > 600 and len(picture.convert("RGB").getcolors(1 << 20)) > 50


def test_a_fault_is_named_with_its_number_and_an_override_that_mends_it(capsys):
    code, out, err = said(capsys, *SMALL, "optim=sgd", "optim.lr=1000", "--only=learning_rate", "--out=here")
    assert (code, err) == (5, "") and "outputs" not in [path.name for path in Path().iterdir()]
    found = re.match(r"fail  learning_rate: 1,000 is the learning rate, and it is too large", out)
    override = re.search(r"^ +try (optim\.lr=\S+)$", out, re.MULTILINE)
    assert found and override
    code, out, _ = said(capsys, *SMALL, "optim=sgd", override[1], "--only=learning_rate", "--out=here")
    assert code == 0 and out.startswith("pass  learning_rate: ")


def test_json_is_all_that_is_printed(capsys):
    code, out, err = said(
        capsys, *SMALL, "initializer=zeros", "--json", "--only=initial_state", "--only=data"
    )
    content = json.loads(out)
    assert (code, err) == (5, "") and content == json.loads(Path("outputs/check/xor/check.json").read_text())
    assert content["verdict"] == "fail" and [done["name"] for done in content["checks"]] == [
        "data",
        "initial_state",
    ]
    (finding,) = content["checks"][1]["findings"]
    assert finding["sign"] == "copies" and finding["verdict"] == "fail" and finding["number"] == 15
    assert finding["override"] == "initializer=auto" and "copies of each other" in finding["meaning"]
    assert not Path("outputs/check/xor/learning_rate.png").exists()


def test_numbers_that_are_none_stay_json(capsys):
    words = [
        "initializer=normal",
        "initializer.std=1e20",
        "--only=initial_loss",
        "--only=learning_rate",
        "--json",
    ]
    code, out, _ = said(capsys, *SMALL, *words)
    assert code == 5 and "NaN" not in out and "Infinity" not in out and json.loads(out)["verdict"] == "fail"


@pytest.mark.parametrize(
    ("words", "code", "told"),
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
def test_mistakes_are_told_in_two_lines(capsys, monkeypatch, words, code, told):
    monkeypatch.setattr(
        "dlfound.data.images._download", lambda *_: (_ for _ in ()).throw(OSError("no network"))
    )
    Path("file").write_text("")
    got, out, err = said(capsys, *words)
    assert got == code and out == "" and told in err
    assert err.count("  fix: ") == err.count("dlfound: error[") == len(err.splitlines()) / 2


def test_lines_fit_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = said(
        capsys, *SMALL, "initializer=zeros", "--only=initial_state", "--only=gradients", "--only=rows"
    )
    assert max(len(line) for line in out.splitlines()) <= 60


# Before a training.


def test_a_training_that_is_checked_first_is_the_same_training(capsys):
    assert main(["train", *SMALL, *QUICK, "run.dir=plain"]) == 0
    assert main(["train", *SMALL, *QUICK, "run.dir=checked", "--check"]) == 0
    out, err = capsys.readouterr()
    assert "check" not in err and out.endswith("\nchecked\n")
    content = json.loads(Path("checked/check.json").read_text(encoding="utf-8"))
    assert content["verdict"] == "pass" and len(content["checks"]) == 10
    assert "check pass  gradients: " in Path("checked/log.txt").read_text(encoding="utf-8")
    assert Path("checked/learning_rate.png").is_file() and not Path("plain/check.json").exists()
    assert Path("plain/model.safetensors").read_bytes() == Path("checked/model.safetensors").read_bytes()


def test_nothing_is_trained_where_a_check_fails(capsys):
    assert main(["train", *SMALL, *QUICK, "initializer=zeros", "run.dir=run", "--check", "--json"]) == 5
    out, err = capsys.readouterr()
    assert out == "" and not Path("run").exists() and not Path("outputs").exists()
    assert (
        "error[numeric]: check fail  initial_state: 15 of 16 units" in err
        and "fix: try initializer=auto" in err
    )


def test_a_warning_does_not_keep_from_training(capsys):
    words = [
        *SMALL,
        *QUICK,
        "loss.class_weight=[1,60]",
        "loss=binary_cross_entropy",
        "run.dir=run",
        "--check",
    ]
    assert main(["train", *words]) == 0
    _, err = capsys.readouterr()
    assert "check warn  initial_loss: " in err and "; try " in err and Path("run/DONE").exists()


# From Python.


def test_check_from_python_is_silent_and_writes_nothing_unless_asked(capfd):
    before, state = torch.get_num_threads(), torch.get_rng_state()
    verdicts = dlfound.check([*SMALL, "dropout=standard", "run.threads=2"], only=["rows", "data", "updates"])
    assert (verdicts.verdict, verdicts.code) == ("pass", 0) and list(Path().iterdir()) == []
    assert capfd.readouterr() == ("", "") and torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state) and repr(verdicts).startswith("Verdicts(data=pass, ")
    dlfound.check(SMALL, only=["data"], out="there")
    assert [path.name for path in Path("there").iterdir()] == ["check.json"]


def test_check_takes_arrays_and_options_of_ones_own(registry):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 3))
    y = np.where(x[:, 0] * x[:, 1] > 0, "yes", "no")
    assert dlfound.check(["model.hidden=[32]"], data=(x, y)).verdict == "pass"
    copied = dlfound.check(data=(np.column_stack([x, y == "yes"]), y), only=["data"])
    (finding,) = copied.checks["data"].findings
    assert (finding.sign, finding.verdict, copied.code) == ("copies", "fail", 5) and "3" in finding.meaning
    dlfound.register("activation", "deaf", Deaf)
    deaf = dlfound.check(["activation=deaf"], data=(x, y), only=["overfit", "inputs"])
    assert [(name, f.sign) for name, f in deaf.findings()] == [("overfit", "activation"), ("inputs", "still")]
    assert deaf.checks["overfit"].findings[0].override == "activation=relu"


def test_a_wrong_name_is_told():
    with pytest.raises(dlfound.Error) as caught:
        dlfound.check(only=["rates"])
    assert caught.value.code == 2 and "learning_rate" in caught.value.problems[0].fix


def test_batches_of_one_row_can_be_checked():
    assert dlfound.check([*SMALL, "train.batch_size=1"]).verdict == "pass"


@pytest.mark.parametrize(("rows", "y"), [(3, [0, 1, 0]), (12, np.linspace(0, 1, 12) ** 2)])
def test_few_rows_break_nothing(rows, y):
    x = np.arange(2.0 * rows).reshape(rows, 2) % 5
    assert len(dlfound.check(["model.hidden=[4]"], data=(x, y)).checks) == 10

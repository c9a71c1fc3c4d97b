"""Disk, memory and clock that fail a run, seen from the command. (Each call as a point to fail: tests/proofs.)"""

import errno
import json
import os
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path

import pytest
from support import run_files

import dlfound
from dlfound.cli import main
from dlfound.runs.checkpoints import Checkpoints
from dlfound.runs.folder import RunFolder

WORDS = [
    "data=moons", "data.rows=80", "model.hidden=[64,64]", "train.epochs=4", "train.checkpoint=1", "lr_decay=none",
    "early_stopping=none", "run.threads=1",
]  # fmt: skip
QUIET = [*WORDS, "logger=none"]


def contents(path: str) -> dict:
    """What no fault may change."""
    return run_files.contents(path, "warnings")


@pytest.fixture
def whole():
    """What a run ends with that nothing struck; the run itself is in `mine`, as if killed after its third epoch."""
    found = contents(dlfound.train([*QUIET, "run.dir=mine"]).path)
    run_files.take_end("mine", checkpoints=1)
    return found


def test_a_disk_without_room_for_a_checkpoint(whole, capsys):
    """The shell allows no file of 64 kB, which is what the disk says once it is full."""
    command = f"ulimit -f 32; {sys.executable} -m dlfound train {' '.join(QUIET)} run.dir=full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    what, fix = done.stderr.splitlines()[-2:]
    assert done.returncode == 6 and what.startswith(
        "dlfound: error[resources]: cannot write a checkpoint of 0."
    )
    assert what.endswith("MB to full/checkpoints: File too large; there is no checkpoint yet")
    assert fix == "  fix: free some space, then resume with resume=RUN"
    assert list(Path("full").rglob(".tmp-*")) == [] == list(Path("full/checkpoints").iterdir())
    assert main(["train", "resume=full"]) == 0 and contents("full") == whole


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.jsonl"])
def test_a_disk_without_room_for_a_line(whole, name, monkeypatch, capsys):
    append = RunFolder.append

    def refuse(self, file, line):
        append(RunFolder(Path("/dev/full/")) if file == name else self, "" if file == name else file, line)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", refuse)
        assert main(["train", "resume=mine"]) == 6
    what, fix = capsys.readouterr().err.splitlines()[-2:]
    assert "error[resources]: cannot write to" in what and "No space left on device" in what
    assert fix.startswith("  fix: free some space, then resume with resume=RUN")
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole


def test_a_disk_without_room_for_the_log(whole, monkeypatch, capsys):
    append = RunFolder.append

    def refuse(self, file, line):
        append(
            RunFolder(Path("/dev/full/")) if file == "log.txt" else self,
            "" if file == "log.txt" else file,
            line,
        )

    monkeypatch.setattr(RunFolder, "append", refuse)
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole
    assert capsys.readouterr().err.count("the run continues without log.txt") == 1
    (told,) = [text for text in run_files.report_of("mine")["warnings"] if "without log.txt" in text]
    assert "No space left on device" in told


def test_curves_that_cannot_be_written(capsys):
    found = contents(dlfound.train([*WORDS, "run.dir=mine"]).path)
    for path in (Path("mine/DONE"), *Path("mine/checkpoints").iterdir(), *Path("mine/tensorboard").iterdir()):
        path.unlink()
    Path("mine/tensorboard").rmdir()
    Path("mine/tensorboard").write_text("in the way")
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == found
    assert capsys.readouterr().err.count("cannot write curves") == 1
    assert Path("mine/tensorboard").read_text() == "in the way"


def test_a_place_that_is_not_ours_is_told_before_data_are_read(monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert main(["train", "data=mnist", "data.root=nowhere", "run.dir=mine"]) == 6
    err = capsys.readouterr().err
    assert "error[resources]: cannot write to mine: permission denied" in err and "another run.dir" in err
    assert not Path("mine").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(
            ["model.hidden=[64,65]"],
            "model.hidden was [64, 65], now [64, 64]",
            id="another net",
        ),
        pytest.param(["optim.lr=0.01"], "config.yaml: optim.lr was 0.01, now 0.001", id="another rate"),
        pytest.param(["data.noise=0.3"], "the data have changed since step", id="other data"),
    ],
)
def test_a_checkpoint_of_another_run(whole, words, told, capsys):
    dlfound.train([*QUIET, *words, "run.dir=other"])
    for path in Path("mine/checkpoints").iterdir():
        path.unlink()
    for path in Path("other/checkpoints").iterdir():
        os.rename(path, Path("mine/checkpoints", path.name))
    for name in ("metrics.jsonl", "timing.jsonl", "log.txt"):
        os.rename(Path("other", name), Path("mine", name))
    before = {
        path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file() and path.name != ".lock"
    }
    assert main(["train", "resume=mine"]) == (3 if "have changed" in told else 4)
    assert told in capsys.readouterr().err
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_clock_that_jumps(whole, monkeypatch):
    ages, now = cycle((2**31, 0)), time.time()
    for path in Path("mine").rglob("*"):
        os.utime(path, (next(ages), next(ages)))
    monkeypatch.setattr(time, "time", lambda: now + next(ages) / 60)
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole
    seconds = json.loads(Path("mine/report.json").read_text())["seconds"]
    assert all(0 <= value < 60 for value in seconds.values())
    assert main(["runs", "mine"]) == 0


LITTLE = """
import resource, sys, torch
from dlfound.cli import main
from dlfound.runs import train  # imports everything
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 200 * 2**20,) * 2)
sys.exit(main(sys.argv[1:]))
"""


def test_too_little_memory(capsys):
    words = ["train", *QUIET, "model.hidden=[9000,9000]", "run.dir=mine"]
    done = subprocess.run([sys.executable, "-c", LITTLE, *words], capture_output=True, text=True)
    what, fix = done.stderr.splitlines()[-2:]
    wanted = f"cannot allocate another {4 * 9000 * 9000} bytes"  # for the weights between the hidden layers
    assert done.returncode == 6 and what == f"dlfound: error[resources]: not enough memory: {wanted}"
    assert "train.batch_size" in fix
    assert "Traceback" not in done.stderr and not Path("mine").exists()


def test_a_disk_that_refuses_anything_else_is_told_by_the_file(whole, monkeypatch, capsys):
    truncate = os.truncate

    def refuse(path, size):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with Path("mine/log.txt").open("a") as file:
        file.write("more\n")
    monkeypatch.setattr(os, "truncate", refuse)
    assert main(["train", "resume=mine"]) == 6
    err = capsys.readouterr().err
    assert "cannot continue in mine: mine/" in err and "Input/output error" in err and "check the disk" in err
    monkeypatch.setattr(os, "truncate", truncate)
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            OSError(errno.EIO, os.strerror(errno.EIO), "mine/metrics.jsonl"),
            6,
            "error: cannot continue in mine: mine/me",
        ),
        (ZeroDivisionError("a fault"), 1, "ZeroDivisionError: a fault"),
    ],
)
def test_what_ended_a_run_stands_in_its_log_until_it_goes_on(whole, error, code, told, monkeypatch, capsys):
    def fail(*unused):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_json", fail)
        assert main(["train", "resume=mine"]) == code
    said = Path("mine/log.txt").read_text()
    assert told in said.splitlines()[-1] and ("Traceback" in said) == (code == 1)
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole
    assert told not in Path("mine/log.txt").read_text()
    capsys.readouterr()


def test_only_two_checkpoints_are_kept():
    dlfound.train([*QUIET, "train.epochs=12", "run.dir=mine"])
    assert len(list(Path("mine/checkpoints").iterdir())) == 2
    assert Checkpoints(Path("mine")).newest()[0].state["progress"]["epoch"] == 13

"""A disk, a memory or a clock that fails a run, seen from the command.

tests/proofs makes every call fail that can fail.
"""

import errno
import os
import time
from itertools import cycle
from pathlib import Path

import pytest
from support import run_files
from support.run_files import all_files, remove_end, report_of
from support.trained import WIDE

import dlfound
from dlfound.cli import main
from dlfound.runs.checkpoints import Checkpoints
from dlfound.runs.folder import RunFolder


def contents(path: Path | str) -> dict:
    """Return what no fault may change."""
    return run_files.contents(path, "warnings")


@pytest.fixture
def whole(trained):
    """What an undisturbed run ends with; a copy of it is in `mine`, as if killed after its third epoch."""
    remove_end(trained.copy("wide"), checkpoints=1)
    return contents(trained.path("wide"))


def append_to_a_full_disk(name):
    """Return `RunFolder.append`, but for a file of this name the disk has no room."""
    append = RunFolder.append

    def refuse(self, file, line):
        if file == name:
            append(RunFolder(Path("/dev/full/")), "", "")
        append(self, file, line)

    return refuse


SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, 2**15))"


def test_a_disk_without_room_for_a_checkpoint(whole, forked):
    """The kernel refuses files of more than 32 KiB, which is what a full disk does too."""
    done = forked("train", *WIDE, "run.dir=full", before=SMALL_FILES)
    message, fix = done.stderr.splitlines()[-2:]
    assert done.returncode == 6
    assert message.startswith("dlfound: error[resources]: cannot write a checkpoint of 0.")
    assert message.endswith("MB to full/checkpoints: File too large; there is no checkpoint yet")
    assert fix == "  fix: free some space, then resume with resume=RUN"
    assert list(Path("full").rglob(".tmp-*")) == [] == list(Path("full/checkpoints").iterdir())
    assert main(["train", "resume=full"]) == 0 and contents("full") == whole


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.jsonl"])
def test_a_disk_without_room_for_a_line_ends_the_run(whole, name, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", append_to_a_full_disk(name))
        assert main(["train", "resume=mine"]) == 6
    message, fix = capsys.readouterr().err.splitlines()[-2:]
    assert "error[resources]: cannot write to" in message and "No space left on device" in message
    assert fix.startswith("  fix: free some space, then resume with resume=RUN")
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole


def test_a_disk_without_room_for_the_log_is_a_warning(whole, monkeypatch, capsys):
    monkeypatch.setattr(RunFolder, "append", append_to_a_full_disk("log.txt"))
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole
    assert capsys.readouterr().err.count("the run continues without log.txt") == 1
    (warning,) = [text for text in report_of("mine")["warnings"] if "without log.txt" in text]
    assert "No space left on device" in warning


def test_curves_that_cannot_be_written_are_a_warning(trained, capsys):
    folder = trained.copy("digits")
    for path in (folder / "DONE", *(folder / "checkpoints").iterdir(), *(folder / "tensorboard").iterdir()):
        path.unlink()
    (folder / "tensorboard").rmdir()
    (folder / "tensorboard").write_text("in the way")
    assert main(["train", "resume=mine"]) == 0
    assert contents("mine") == contents(trained.path("digits"))
    assert capsys.readouterr().err.count("cannot write curves") == 1
    assert (folder / "tensorboard").read_text() == "in the way"


def test_a_missing_permission_is_an_error_before_the_data_are_read(monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert main(["train", "data=mnist", "data.root=nowhere", "run.dir=mine"]) == 6
    err = capsys.readouterr().err
    assert "error[resources]: cannot write to mine: permission denied" in err and "another run.dir" in err
    assert not Path("mine").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["model.hidden=[64,65]"], "model.hidden was [64, 65], now [64, 64]", id="another net"),
        pytest.param(["optim.lr=0.01"], "config.yaml: optim.lr was 0.01, now 0.001", id="another rate"),
        pytest.param(["data.noise=0.3"], "the data have changed since step", id="other data"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(whole, words, message, capsys):
    dlfound.train([*WIDE, *words, "run.dir=other"])
    for path in Path("mine/checkpoints").iterdir():
        path.unlink()
    for path in Path("other/checkpoints").iterdir():
        os.rename(path, Path("mine/checkpoints", path.name))
    for name in ("metrics.jsonl", "timing.jsonl", "log.txt"):
        os.rename(Path("other", name), Path("mine", name))
    before = all_files("mine")
    assert main(["train", "resume=mine"]) == (3 if "have changed" in message else 4)
    assert message in capsys.readouterr().err
    assert all_files("mine") == before


def test_a_clock_that_jumps_does_no_harm(whole, monkeypatch):
    ages = cycle((2**31, 0))
    now = time.time()
    for path in Path("mine").rglob("*"):
        os.utime(path, (next(ages), next(ages)))
    monkeypatch.setattr(time, "time", lambda: now + next(ages) / 60)
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole
    assert all(0 <= value < 60 for value in report_of("mine")["seconds"].values())
    assert main(["runs", "mine"]) == 0


LITTLE_MEMORY = """
import resource
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 200 * 2**20,) * 2)
"""


def test_too_little_memory_is_an_error_with_the_size(forked):
    done = forked("train", *WIDE, "model.hidden=[9000,9000]", "run.dir=mine", before=LITTLE_MEMORY)
    message, fix = done.stderr.splitlines()[-2:]
    request = f"cannot allocate another {4 * 9000 * 9000} bytes"  # for the weights between the hidden layers
    assert done.returncode == 6
    assert message == f"dlfound: error[resources]: not enough memory: {request}"
    assert "train.batch_size" in fix
    assert "Traceback" not in done.stderr and not Path("mine").exists()


def test_any_other_failure_of_the_disk_names_the_file(whole, monkeypatch, capsys):
    def refuse(path, size):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with Path("mine/log.txt").open("a") as file:
        file.write("more\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "truncate", refuse)
        assert main(["train", "resume=mine"]) == 6
    err = capsys.readouterr().err
    assert "cannot continue in mine: mine/" in err and "Input/output error" in err and "check the disk" in err
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        pytest.param(
            OSError(errno.EIO, os.strerror(errno.EIO), "mine/metrics.jsonl"),
            6,
            "error: cannot continue in mine: mine/me",
            id="a disk error",
        ),
        pytest.param(ZeroDivisionError("a fault"), 1, "ZeroDivisionError: a fault", id="a bug"),
    ],
)
def test_the_log_contains_the_error_until_the_run_is_resumed(whole, error, code, line, monkeypatch):
    def fail(*unused):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_json", fail)
        assert main(["train", "resume=mine"]) == code
    log = Path("mine/log.txt").read_text()
    assert line in log.splitlines()[-1] and ("Traceback" in log) == (code == 1)
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole
    assert line not in Path("mine/log.txt").read_text()


def test_only_two_checkpoints_are_kept(trained):
    folder = trained.path("wide")  # it has written four
    assert len(list((folder / "checkpoints").iterdir())) == 2
    assert Checkpoints(folder).newest()[0].state["progress"]["epoch"] == 5

"""Resuming where something has changed: the machine, the folder, the data's place, the terminal, epochs."""

import errno
import fcntl
import os
import pty
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import run_files
from support.run_files import lines_of, remove_end, report_of
from support.stopping import StopsAfter
from support.trained import SIX

import dlfound
from dlfound.cli import main
from dlfound.errors import Stopped
from dlfound.runs import train as training
from dlfound.runs.checkpoints import Checkpoints

DLFOUND = [sys.executable, "-m", "dlfound"]


def contents(path: Path | str) -> dict:
    """Return what must have the same bytes wherever a run is resumed."""
    return run_files.contents(path, "exact", "warnings")


@pytest.fixture
def whole(trained):
    """What an undisturbed run ends with; a copy of it is in `mine`, as if killed in its fifth epoch."""
    remove_end(trained.copy("six"), checkpoints=1)
    return contents(trained.path("six"))


# Another machine.


def change_machine(run: str, **versions: str) -> None:
    """Replace the checkpoints by one in which another device or other versions computed the run."""
    checkpoints = Checkpoints(Path(run))
    checkpoint, _ = checkpoints.newest()
    for path in checkpoints.path.iterdir():
        path.unlink()
    checkpoint.state["machine"]["versions"] |= versions
    checkpoints.save(checkpoint.step, checkpoint.tensors, checkpoint.state)


def machine(run: str) -> dict[str, str]:
    """Return the device and the versions in the newest checkpoint."""
    return Checkpoints(Path(run)).newest()[0].state["machine"]["versions"]


def test_another_device_is_reported_and_the_run_is_no_longer_exact(whole, capsys):
    here = machine("mine")["device"]
    change_machine("mine", device="cuda (NVIDIA X\x1b[31m)")
    assert main(["train", "resume=mine"]) == 0
    change = f"device {here} instead of cuda (NVIDIA X\\x1b[31m)"
    note = f"resuming with {change}: the results will not be bit-identical"
    assert note in capsys.readouterr().err and note in Path("mine/log.txt").read_text()
    assert report_of("mine")["exact"] is False and contents("mine") == whole
    assert main(["train", "resume=mine", "train.epochs=8"]) == 0  # from a checkpoint of this machine
    assert "bit-identical" not in capsys.readouterr().err
    assert report_of("mine")["exact"] is False


def test_other_versions_are_reported(whole, capsys):
    change_machine("mine", torch="1.0", numpy="2.x")
    assert main(["train", "resume=mine"]) == 0
    err = capsys.readouterr().err
    assert "instead of 1.0" in err and "instead of 2.x" in err and "python" not in err
    assert report_of("mine")["exact"] is False and contents("mine") == whole


def test_the_same_machine_is_exact(whole, capsys):
    assert main(["train", "resume=mine"]) == 0
    assert "bit-identical" not in capsys.readouterr().err
    assert report_of("mine")["exact"] is True and contents("mine") == whole


def test_a_cpu_with_another_instruction_set_is_another_device(whole):
    """The variable is read when torch is imported, so this needs a process of its own."""
    env = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    command = [*DLFOUND, "train", "resume=mine"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert "resuming with device cpu (DEFAULT) instead of cpu (" in done.stderr
    assert report_of("mine")["exact"] is False


# Another place.


@pytest.mark.parametrize("move", [os.rename, shutil.copytree, os.symlink], ids=["moved", "copied", "linked"])
def test_a_run_is_resumed_in_its_new_place(whole, move):
    move("mine", Path("elsewhere").absolute())
    assert main(["train", "resume=elsewhere"]) == 0
    assert contents("elsewhere") == whole
    if move is shutil.copytree:  # the original is a run of its own
        assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole


def test_a_run_is_resumed_from_another_folder(whole, monkeypatch):
    Path("deep").mkdir()
    monkeypatch.chdir("deep")
    assert main(["train", "resume=../mine"]) == 0 and contents("../mine") == whole


def test_the_folder_may_have_any_name(whole, capsys):
    names = ["with blank", "quo'te", 'double"quote', "a=b", "größe-数", "x" * 200, "-dash", "$HOME"]
    for name in names:
        shutil.copytree("mine", name)
        assert main(["train", f"resume={name}"]) == 0 and contents(name) == whole
        assert main(["train", f"resume={name}", "logger=tensorboard"]) == 4
        assert name in capsys.readouterr().err


def test_the_name_of_the_folder_may_not_be_text(trained, capsys):
    name = os.fsdecode(b"\xff\x1b[31m")
    shown = r"\udcff\x1b[31m"
    (trained.copy("digits", name) / "DONE").unlink()
    assert main(["train", f"resume={name}"]) == 0
    assert contents(name) == contents(trained.path("digits"))
    out, err = capsys.readouterr()
    assert shown in out and "cannot write curves" in err  # TensorBoard refuses such a name
    assert main(["train", *SIX, f"run.dir='{name}'"]) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_a_file_system_without_locks_is_a_warning(whole, monkeypatch, capsys):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    name = os.fsdecode(b"\xff")
    os.rename("mine", name)
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert main(["train", f"resume={name}"]) == 0 and contents(name) == whole
    warning = r"cannot lock \udcff on this file system: make sure that only one process trains there"
    assert warning in report_of(name)["warnings"]
    assert f"warning: {warning}" in capsys.readouterr().err


def test_the_command_that_a_stopped_run_prints_can_be_pasted(monkeypatch, forked):
    with monkeypatch.context() as patch, pytest.raises(Stopped) as stopped:
        patch.setattr(training, "Stop", lambda: StopsAfter(0))
        dlfound.train([*SIX, "run.dir='my $HOME'"])
    command = str(stopped.value).partition("dlfound ")[2]
    pasted = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True)
    assert pasted.stdout.splitlines() == shlex.split(command) == ["train", "resume=my $HOME"]
    done = forked(*pasted.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert report_of("my $HOME")["epochs_run"] == 6


# Another place of the data.


@pytest.fixture
def table():
    """The overrides of a run on a table, and what it ends with; the run itself lacks its last epochs."""
    rows = [f"{i % 7},{i * i % 11},{'no' if i % 3 else 'yes'}" for i in range(90)]
    Path("rows.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    words = [*SIX[2:], "data=table", "data.target=y", "run.dir=of_table"]
    whole = contents(dlfound.train([*words, "data.path=rows.csv"]).path)
    remove_end("of_table", checkpoints=1)
    return words, whole


def test_a_moved_table_is_found_with_data_path(table, monkeypatch, capsys):
    words, whole = table
    before = Path("of_table/config.yaml").read_text()
    Path("deep").mkdir()
    os.rename("rows.csv", "deep/moved.csv")
    assert main(["train", "resume=of_table"]) == 3
    monkeypatch.chdir("deep")
    assert main(["train", "resume=../of_table", "data.path=moved.csv"]) == 0
    assert contents("../of_table") == whole
    assert Path("../of_table/config.yaml").read_text() == before.replace("path: rows.csv", "path: moved.csv")
    capsys.readouterr()
    again = [*words[:-1], "run.dir=../of_table", "data.path=rows.csv"]
    assert main(["train", *again]) == 4  # a finished run reads no data, so any other path is refused
    assert "data.path was moved.csv, now rows.csv" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["resume=of_table", "the command"])
def test_a_table_with_other_rows_is_refused(table, way, capsys):
    text = Path("rows.csv").read_text()
    Path("other.csv").write_text(text.replace("6,", "5,"))
    again = [way] if way == "resume=of_table" else table[0]
    assert main(["train", *again, "data.path=other.csv"]) == 3
    assert "the data have changed since step" in capsys.readouterr().err
    assert "path: rows.csv" in Path("of_table/config.yaml").read_text()
    assert main(["train", "resume=of_table", "data.target=a"]) == 4
    assert main(["train", "resume=of_table"]) == 0 and contents("of_table") == table[1]


# Another terminal.


def test_a_process_without_any_stream(whole):
    """A shell closes the streams before Python starts, so this needs a process of its own."""
    command = f"{shlex.join(DLFOUND)} train resume=mine <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command]).returncode == 0
    assert contents("mine") == whole


@pytest.mark.parametrize("closed", [1, 2], ids=["output", "messages"])
def test_a_closed_stream_loses_only_its_own_text(whole, forked, closed):
    """Python sets the stream to None if the shell has closed it."""
    name = {1: "stdout", 2: "stderr"}[closed]
    done = forked("train", "resume=mine", before=f"import os, sys; os.close({closed}); sys.{name} = None")
    assert done.returncode == 0 and contents("mine") == whole
    assert ("best epoch" in done.stdout) == (closed != 1) and "Traceback" not in done.stderr
    assert ("resuming" in done.stderr) == (closed != 2)


def test_a_locale_without_accents(whole):
    """Python reads the locale when it starts, so this needs a process of its own."""
    os.rename("mine", "größe")
    env = os.environ | {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([*DLFOUND, "train", "resume=größe"], capture_output=True, env=env)
    assert done.returncode == 0 and b"Traceback" not in done.stderr and done.stdout.isascii()
    assert contents("größe") == whole


def test_a_dumb_terminal_gets_no_control_sequences(forked):
    reader, terminal = pty.openpty()
    child = forked.start("train", *SIX, "run.dir=mine", terminal=terminal, env={"TERM": "dumb"})
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(reader, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(reader)
    assert child.wait().returncode == 0 and b"best epoch" in shown and b"\x1b" not in shown


# Lost lines.


@pytest.mark.parametrize(
    ("lost", "names"),
    [
        pytest.param({"log.txt": None}, "log.txt", id="no log"),
        pytest.param({"timing.jsonl": None}, "timing.jsonl", id="no times"),
        pytest.param({"timing.jsonl": 50, "log.txt": 3}, "timing.jsonl and log.txt", id="both cut"),
        pytest.param({"timing.jsonl": 0, "log.txt": 0}, "timing.jsonl and log.txt", id="both empty"),
    ],
)
def test_lost_lines_of_log_and_times_are_a_warning(whole, lost, names, capsys):
    for name, size in lost.items():
        path = Path("mine", name)
        path.unlink() if size is None else path.write_bytes(path.read_bytes()[:size])
    assert main(["train", "resume=mine"]) == 0
    assert capsys.readouterr().err.count("lost lines") == 1
    warning = f"{names} lost lines from before the last checkpoint"
    assert report_of("mine")["warnings"].count(warning) == 1
    assert contents("mine") == whole
    assert all(line["epoch"] in range(1, 7) for line in lines_of("mine", "timing.jsonl"))
    before = Path("mine/report.json").read_bytes()
    assert main(["train", "resume=mine"]) == 0 and Path("mine/report.json").read_bytes() == before


@pytest.mark.parametrize("content", [None, b"{half"])
def test_a_lost_schema_is_written_again(whole, content):
    path = Path("mine/schema.json")
    path.unlink() if content is None else path.write_bytes(content)
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole


def test_a_run_without_its_metrics_is_refused(whole, capsys):
    Path("mine/metrics.jsonl").unlink()
    assert main(["train", "resume=mine"]) == 4
    err = capsys.readouterr().err
    assert "metrics.jsonl has changed since the checkpoint of step" in err and "restore the file" in err


# More epochs.


@pytest.mark.parametrize("way", ["resume=mine", "the command"])
def test_warnings_about_the_length_follow_the_new_length(way, capsys):
    """A setting that could never act in the short run may act in the longer one."""
    # optim.lr is given twice, which is a warning as well.
    patient = ["early_stopping=lookahead", "lr_decay=plateau", "optim.lr=0.0001", "optim.lr=0.0001"]
    words = [
        *(w for w in SIX if "=none" not in w and "epochs" not in w),
        *patient,
        "logger=none",
        "run.dir=mine",
    ]
    again = [way] if way == "resume=mine" else words
    dlfound.train([*words, "train.epochs=3"])
    assert sum("can never act in 3 epochs" in text for text in report_of("mine")["warnings"]) == 2
    capsys.readouterr()
    for epochs, acting, new in (6, 1, 1), (12, 0, 0), (13, 0, 0):
        assert main(["train", *again, f"train.epochs={epochs}"]) == 0
        assert capsys.readouterr().err.count("can never act") == new
        longer = dlfound.train([*words[:-1], f"train.epochs={epochs}"])
        warnings = longer.report["warnings"]
        assert report_of("mine")["warnings"] == warnings
        assert sum(f"can never act in {epochs} epochs" in text for text in warnings) == acting
        assert contents("mine") == contents(longer.path)

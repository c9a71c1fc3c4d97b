"""A run that goes on where something is another: the folder's place, its name, the device, the terminal, lost lines."""

import errno
import fcntl
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import run_files
from support.run_files import report_of

import dlfound
from dlfound.cli import main
from dlfound.runs.checkpoints import Checkpoints

WORDS = [
    "data=moons", "data.rows=80", "model.hidden=[8]", "dropout=standard", "dropout.hidden=0.2", "train.checkpoint=2",
    "train.batch_size=16", "lr_decay=none", "early_stopping=none", "run.threads=1",
]  # fmt: skip
SIX = [*WORDS, "train.epochs=6", "logger=none"]
DLFOUND = [sys.executable, "-m", "dlfound"]


def contents(path: Path | str) -> dict:
    """What must be the same bytes wherever a run goes on."""
    return run_files.contents(path, "exact", "warnings")


@pytest.fixture
def whole():
    """What a run ends with that nobody stopped; the run itself stands in `mine`, as if killed in its fifth epoch."""
    found = contents(dlfound.train([*SIX, "run.dir=mine"]).path)
    run_files.take_end("mine", checkpoints=1)
    return found


# Another machine.


def rewrite(run: str, **versions: str) -> None:
    """Replace the checkpoints by one in which another device or other versions computed the run."""
    checkpoints = Checkpoints(Path(run))
    kept, _ = checkpoints.newest()
    for path in checkpoints.path.iterdir():
        path.unlink()
    kept.state["machine"]["versions"] |= versions
    checkpoints.save(kept.step, kept.tensors, kept.state)


def machine(run: str) -> dict[str, str]:
    """The device and the versions that computed the run, as its checkpoint says."""
    return Checkpoints(Path(run)).newest()[0].state["machine"]["versions"]


def test_another_device_is_told_and_the_run_is_exact_no_more(whole, capsys):
    here = machine("mine")["device"]
    rewrite("mine", device="cuda (NVIDIA X\x1b[31m)")
    assert main(["train", "resume=mine"]) == 0
    told = f"resuming with device {here} instead of cuda (NVIDIA X\\x1b[31m): the results will not be bit-identical"
    assert told in capsys.readouterr().err and told in Path("mine/log.txt").read_text()
    assert report_of("mine")["exact"] is False and contents("mine") == whole
    assert main(["train", "resume=mine", "train.epochs=8"]) == 0  # from a checkpoint that this machine wrote
    assert "bit-identical" not in capsys.readouterr().err
    assert report_of("mine")["exact"] is False


def test_other_versions_are_told(whole, capsys):
    rewrite("mine", torch="1.0", numpy="2.x")
    assert main(["train", "resume=mine"]) == 0
    err = capsys.readouterr().err
    assert "instead of 1.0" in err and "instead of 2.x" in err and "python" not in err
    assert report_of("mine")["exact"] is False and contents("mine") == whole


def test_the_same_machine_is_exact(whole, capsys):
    assert main(["train", "resume=mine"]) == 0
    assert "bit-identical" not in capsys.readouterr().err
    assert report_of("mine")["exact"] is True and contents("mine") == whole


def test_a_cpu_that_computes_otherwise_is_another_device(whole):
    env = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run(
        [*DLFOUND, "train", "resume=mine"], capture_output=True, text=True, env=env, check=True
    )
    assert "resuming with device cpu (DEFAULT) instead of cpu (" in done.stderr
    assert report_of("mine")["exact"] is False


# Another place.


@pytest.mark.parametrize("how", ["moved", "copied", "linked"])
def test_a_folder_that_is_elsewhere_by_now(whole, how):
    {"moved": os.rename, "copied": shutil.copytree, "linked": os.symlink}[how](
        "mine", Path("elsewhere").absolute()
    )
    assert main(["train", "resume=elsewhere"]) == 0
    assert contents("elsewhere") == whole
    if how == "copied":  # and the first one is its own run still
        assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole


def test_from_another_folder(whole, monkeypatch):
    Path("deep").mkdir()
    monkeypatch.chdir("deep")
    assert main(["train", "resume=../mine"]) == 0 and contents("../mine") == whole


@pytest.mark.parametrize(
    "name", ["with blank", "quo'te", 'double"quote', "a=b", "größe-数", "x" * 200, "-dash", "$HOME"]
)
def test_a_folder_of_any_name(whole, name, capsys):
    os.rename("mine", name)
    assert main(["train", f"resume={name}"]) == 0 and contents(name) == whole
    assert main(["train", f"resume={name}", "logger=tensorboard"]) == 4
    assert name in capsys.readouterr().err


def test_a_name_that_is_no_text(capsys):
    name, shown = os.fsdecode(b"\xff\x1b[31m"), r"\udcff\x1b[31m"
    found = contents(dlfound.train([*WORDS, "train.epochs=6", "run.dir=mine"]).path)
    Path("mine/DONE").unlink()
    os.rename("mine", name)
    assert main(["train", f"resume={name}"]) == 0 and contents(name) == found
    out, err = capsys.readouterr()
    assert shown in out and "cannot write curves" in err  # TensorBoard takes no such name
    assert main(["train", *SIX, f"run.dir='{name}'"]) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_a_file_system_that_cannot_lock(whole, monkeypatch, capsys):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    name = os.fsdecode(b"\xff")
    os.rename("mine", name)
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert main(["train", f"resume={name}"]) == 0 and contents(name) == whole
    told = r"cannot lock \udcff on this file system: make sure that only one run writes there"
    assert told in report_of(name)["warnings"] and f"warning: {told}" in capsys.readouterr().err


def test_what_a_stopped_run_says_can_be_pasted(monkeypatch):
    from dlfound.runs import train as training

    class AtOnce(training.Stop):
        def __call__(self) -> bool:
            return True

    with monkeypatch.context() as patch, pytest.raises(dlfound.errors.Stopped) as stopped:
        patch.setattr(training, "Stop", AtOnce)
        dlfound.train([*SIX, "run.dir='my $HOME'"])
    words = str(stopped.value).partition("dlfound ")[2]
    done = subprocess.run(["bash", "-c", f"{' '.join(DLFOUND)} {words}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert report_of("my $HOME")["epochs_run"] == 6


@pytest.fixture
def table(monkeypatch):
    """Words of a run over a table, and what it ends with; the run stands in `of_table`, without its last epochs."""
    rows = [f"{i % 7},{i * i % 11},{'no' if i % 3 else 'yes'}" for i in range(90)]
    Path("rows.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    words = [*SIX[2:], "data=table", "data.target=y", "run.dir=of_table"]
    found = contents(dlfound.train([*words, "data.path=rows.csv"]).path)
    run_files.take_end("of_table", checkpoints=1)
    return words, found


def test_data_that_lie_elsewhere_by_now(table, monkeypatch, capsys):
    words, whole = table
    before = Path("of_table/config.yaml").read_text()
    Path("deep").mkdir()
    os.rename("rows.csv", "deep/moved.csv")
    assert main(["train", "resume=of_table"]) == 3
    monkeypatch.chdir("deep")
    assert (
        main(["train", "resume=../of_table", "data.path=moved.csv"]) == 0 and contents("../of_table") == whole
    )
    assert Path("../of_table/config.yaml").read_text() == before.replace("path: rows.csv", "path: moved.csv")
    capsys.readouterr()
    assert (
        main(["train", *words[:-1], "run.dir=../of_table", "data.path=rows.csv"]) == 4
    )  # it reads no data any more
    assert "data.path was moved.csv, now rows.csv" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["resume=of_table", "the command"])
def test_other_data_elsewhere_are_refused(table, way, capsys):
    text = Path("rows.csv").read_text()
    Path("other.csv").write_text(text.replace("6,", "5,"))
    again = [way] if way == "resume=of_table" else table[0]
    assert main(["train", *again, "data.path=other.csv"]) == 3
    assert "the data have changed since step" in capsys.readouterr().err
    assert "path: rows.csv" in Path("of_table/config.yaml").read_text()
    assert main(["train", "resume=of_table", "data.target=a"]) == 4
    assert main(["train", "resume=of_table"]) == 0 and contents("of_table") == table[1]


# Another terminal.


def test_no_stream_at_all(whole):
    command = f"{' '.join(DLFOUND)} train resume=mine <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command]).returncode == 0
    assert contents("mine") == whole


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_stream_that_is_closed(whole, closed):
    command = f"{' '.join(DLFOUND)} train resume=mine {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and contents("mine") == whole
    assert ("best epoch" in done.stdout) == (closed != ">&-") and "Traceback" not in done.stderr
    assert ("resuming" in done.stderr) == (closed != "2>&-")


def test_a_locale_that_knows_no_accents(whole):
    os.rename("mine", "größe")
    env = os.environ | {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([*DLFOUND, "train", "resume=größe"], capture_output=True, env=env)
    assert done.returncode == 0 and b"Traceback" not in done.stderr and done.stdout.isascii()
    assert contents("größe") == whole


def test_a_terminal_that_can_do_nothing():
    reader, end = pty.openpty()
    command, env = [*DLFOUND, "train", *SIX, "run.dir=mine"], os.environ | {"TERM": "dumb"}
    with subprocess.Popen(command, stdout=end, stderr=end, stdin=end, env=env) as process:
        os.close(end)
        said = b""
        try:
            while part := os.read(reader, 4096):
                said += part
        except OSError:  # how the end of a terminal shows
            pass
    os.close(reader)
    assert process.returncode == 0 and b"best epoch" in said and b"\x1b" not in said


# Lost lines.


@pytest.mark.parametrize(
    ("lost", "names"),
    [
        pytest.param({"log.txt": None}, "log.txt", id="no log"),
        pytest.param({"timing.jsonl": None}, "timing.jsonl", id="no times"),
        pytest.param({"timing.jsonl": 50, "log.txt": 3}, "timing.jsonl and log.txt", id="both torn"),
        pytest.param({"timing.jsonl": 0, "log.txt": 0}, "timing.jsonl and log.txt", id="both empty"),
    ],
)
def test_the_log_and_the_times_are_worth_no_run(whole, lost, names, capsys):
    for name, size in lost.items():
        text = Path("mine", name).read_bytes()
        Path("mine", name).unlink() if size is None else Path("mine", name).write_bytes(text[:size])
    assert main(["train", "resume=mine"]) == 0
    assert capsys.readouterr().err.count("lost lines") == 1
    assert report_of("mine")["warnings"].count(f"{names} lost lines from before the last checkpoint") == 1
    assert contents("mine") == whole
    for line in Path("mine/timing.jsonl").read_text().splitlines():
        assert json.loads(line)["epoch"] in range(1, 7)
    before = Path("mine/report.json").read_bytes()
    assert main(["train", "resume=mine"]) == 0 and Path("mine/report.json").read_bytes() == before


@pytest.mark.parametrize("left", [None, b"{half"])
def test_what_is_known_of_the_data_is_written_again(whole, left):
    Path("mine/schema.json").unlink() if left is None else Path("mine/schema.json").write_bytes(left)
    assert main(["train", "resume=mine"]) == 0 and contents("mine") == whole


def test_metrics_are_worth_a_run(whole, capsys):
    Path("mine/metrics.jsonl").unlink()
    assert main(["train", "resume=mine"]) == 4
    err = capsys.readouterr().err
    assert "metrics.jsonl has changed since the checkpoint of step" in err and "restore the file" in err


# Another length.

PATIENT = ["early_stopping=lookahead", "lr_decay=plateau", "optim.lr=0.0001"]


@pytest.mark.parametrize("way", ["resume=mine", "the command"])
def test_what_could_never_act_is_not_said_of_a_run_that_is_long_enough_by_now(way, capsys):
    words = [
        *WORDS,
        *PATIENT,
        "logger=none",
        "optim.lr=0.0001",
        "run.dir=mine",
    ]  # a setting given twice is told too
    again = [way] if way == "resume=mine" else words
    dlfound.train([*words, "train.epochs=3"])
    assert sum("can never act in 3 epochs" in text for text in report_of("mine")["warnings"]) == 2
    capsys.readouterr()
    for epochs, acting, new in (6, 1, 1), (12, 0, 0), (13, 0, 0):
        assert main(["train", *again, f"train.epochs={epochs}"]) == 0
        assert capsys.readouterr().err.count("can never act") == new
        longer = dlfound.train([*words[:-1], f"train.epochs={epochs}"])
        assert report_of("mine")["warnings"] == longer.report["warnings"]
        assert (
            sum(f"can never act in {epochs} epochs" in text for text in longer.report["warnings"]) == acting
        )
        assert contents("mine") == contents(longer.path)

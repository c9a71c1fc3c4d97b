"""Standard output and error that are gone, or full: what is said may be lost, the exit code and the run never."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DLFOUND = [sys.executable, "-m", "dlfound"]
ENDLESS = [
    "train", "data=moons", "data.rows=80", "model.hidden=[8]", "early_stopping=none", "lr_decay=none", "logger=none",
    "train.checkpoint=1", "run.dir=mine", "train.epochs=1000000",
]  # fmt: skip
SHORT = ["train", "data=moons", "train.epochs=2", "logger=none", "run.dir=mine"]
DIVERGES = [*SHORT, "optim=sgd", "optim.lr=1e9"]


def wait_for_training() -> None:
    for _ in range(600):
        if list(Path("mine/checkpoints").glob("step-*")):
            return
        time.sleep(0.1)
    raise AssertionError("no checkpoint came")


def under_a_terminal(words: list[str], heard: bool) -> int:
    """The exit code of a command whose terminal is closed once it trains; `heard`: it does not ignore SIGHUP."""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL if heard else signal.SIG_IGN)
        os.execv(sys.executable, [*DLFOUND, *words])
    try:
        wait_for_training()
        assert os.read(terminal, 100)  # its bar is drawn
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise


def test_a_terminal_that_closes_asks_a_training_to_end():
    assert under_a_terminal(ENDLESS, heard=True) == 143
    assert "stopped at step" in Path("mine/log.txt").read_text() and not Path("mine/DONE").exists()


def test_a_training_that_is_not_to_hear_of_it_goes_on_to_its_end():
    assert under_a_terminal([*ENDLESS[:-1], "train.epochs=300"], heard=False) == 0
    assert Path("mine/DONE").exists()
    assert len(Path("mine/metrics.jsonl").read_text().splitlines()) == 300


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_where_nobody_reads(number, code):
    process = subprocess.Popen([*DLFOUND, *ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_training()
    process.stdout.close()
    process.stderr.close()
    process.send_signal(number)
    assert process.wait(60) == code


@pytest.mark.parametrize(("words", "code", "unbuffered"), [
    (DIVERGES, 5, ""), (DIVERGES, 5, "1"), (["train", "resume=nope"], 4, ""), (["trian"], 2, "1"), (SHORT, 0, "1"),
])  # fmt: skip
def test_the_exit_code_where_nobody_reads(words, code, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    assert subprocess.run([*DLFOUND, *words], stdout=writer, stderr=writer, env=env).returncode == code
    os.close(writer)


@pytest.mark.parametrize(("words", "code"), [(SHORT, 6), (["options"], 6), (DIVERGES, 5)])
def test_a_full_disk_behind_standard_output(words, code):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*DLFOUND, *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr
    if words != DIVERGES:  # it has nothing to say there
        assert "error[resources]: cannot write to standard output: No space left on device" in done.stderr
    assert words == ["options"] or Path("mine/DONE").exists()


def test_a_full_disk_behind_standard_error():
    with open("/dev/full", "w") as full:
        assert subprocess.run([*DLFOUND, *SHORT], stderr=full, stdout=subprocess.DEVNULL).returncode == 0

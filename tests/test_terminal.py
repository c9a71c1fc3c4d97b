"""Standard streams that are closed or full: messages may get lost, but never the exit code or the run."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAIN = ["train", "data=moons", "data.rows=80", "model.hidden=[8]", "early_stopping=none", "lr_decay=none"]
TRAIN += ["logger=none", "run.dir=mine"]
ENDLESS = [*TRAIN, "train.checkpoint=1", "train.epochs=1000000"]
SHORT = [*TRAIN, "train.epochs=2"]
DIVERGES = [*SHORT, "optim=sgd", "optim.lr=1e25"]
FULL = "error[resources]: cannot write to standard output: No space left on device"


def wait_for_training() -> None:
    for _ in range(6000):
        if list(Path("mine/checkpoints").glob("step-*")):
            return
        time.sleep(0.01)
    raise AssertionError("there is no checkpoint after a minute")


@pytest.mark.parametrize(
    ("words", "ignore", "code"),
    [
        pytest.param(ENDLESS, False, 143, id="stops"),
        pytest.param(
            [*TRAIN, "train.checkpoint=1", "train.epochs=100"], True, 0, id="under nohup it continues"
        ),
    ],
)
def test_a_training_whose_terminal_closes(forked, words, ignore, code):
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" if ignore else ""
    master, terminal = pty.openpty()
    child = forked.start(*words, terminal=terminal, before=before)
    os.close(terminal)
    wait_for_training()
    assert os.read(master, 100)  # the progress bar
    os.close(master)
    assert child.wait().returncode == code
    log = Path("mine/log.txt").read_text()
    assert ("stopped at step" in log) == (code == 143) != Path("mine/DONE").exists()
    assert code == 143 or len(Path("mine/metrics.jsonl").read_text().splitlines()) == 100


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_training_whose_output_nobody_reads(forked, number, code):
    reader, writer = os.pipe()
    child = forked.start(*ENDLESS, stdout=writer, stderr=writer)
    os.close(writer)
    wait_for_training()
    os.close(reader)
    child.send_signal(number)
    assert child.wait().returncode == code


def test_the_exit_code_does_not_depend_on_a_reader(forked):
    """Each with Python's usual buffers and without: then every write fails at once."""
    commands = [
        (DIVERGES, 5, None), (DIVERGES, 5, "1"), (["train", "resume=nope"], 4, None), (["trian"], 2, "1"),
        ([*TRAIN[:-1], "run.dir=other", "train.epochs=2"], 0, "1"),
    ]  # fmt: skip
    reader, writer = os.pipe()
    os.close(reader)
    for words, code, unbuffered in commands:
        done = forked(*words, stdout=writer, stderr=writer, env={"PYTHONUNBUFFERED": unbuffered})
        assert done.returncode == code, words
    os.close(writer)


def test_a_full_disk_behind_standard_output_is_an_error(forked):
    """The code of another error stays."""
    with open("/dev/full", "w") as full:
        diverges = [word.replace("mine", "other") for word in DIVERGES]
        for words, code in ((SHORT, 6), (["options"], 6), (diverges, 5)):
            done = forked(*words, stdout=full)
            assert done.returncode == code and "Traceback" not in done.stderr, words
            assert FULL in done.stderr, words
    assert Path("mine/DONE").exists() and Path("other/DONE").exists()


def test_a_full_disk_behind_standard_error_is_not_an_error(forked):
    with open("/dev/full", "w") as full:
        assert forked(*SHORT, stderr=full).returncode == 0


def test_a_process_that_python_starts_behaves_the_same():
    """The tests above fork a warm process; here Python itself makes the streams, without and with buffers."""
    command = [sys.executable, "-m", "dlfound"]
    reader, writer = os.pipe()
    os.close(reader)
    for words, code, unbuffered in ((DIVERGES, 5, ""), (["trian"], 2, "1")):
        env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run([*command, *words], stdout=writer, stderr=writer, env=env)
        assert done.returncode == code, words
    os.close(writer)
    with open("/dev/full", "w") as full:
        done = subprocess.run([*command, "options"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 6 and FULL in done.stderr

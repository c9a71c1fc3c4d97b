"""Sweeps of several processes: signals, kills, and commands that share a sweep.

Most commands are forked from the test process, which has imported everything, so that they start quickly and
can be killed.
"""

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import alembic.command  # noqa: F401 (forked processes then need not import it)
import pytest
import sqlalchemy.dialects.sqlite  # noqa: F401
from proofs.forked import exit_code, fork

from dlfound.cli import main
from dlfound.reports import pictures

COMMON = [
    "data=moons", "data.rows=400", "train.batch_size=8", "model.hidden=[8]", "logger=none",
    "early_stopping=none", "lr_decay=none", "run.threads=1", "optim.lr=tag(log,interval(1e-3,1e-1))",
]  # fmt: skip
LONG = [*COMMON, "train.epochs=10000", "search.trials=4", "run.dir=sweep"]
SHORT = [*COMMON, "train.epochs=2", "search.trials=6"]
START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with SIGINT ignored
from dlfound.cli import main
print("ready", flush=True)
sys.exit(main())
"""
LOG = Path("log.txt")


def fork_sweep(overrides, log=LOG):
    def call():
        pictures.draw = lambda path, out: []
        return main(["sweep", *overrides])

    return fork(call, log)


def wait_for(condition, seconds=60):
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(LOG.read_text() if LOG.exists() else "no log")


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


def workers_of(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def trials_table(sweep="sweep"):
    with open(f"{sweep}/trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def checkpoints():
    return list(Path("sweep/trials").glob("*/checkpoints/step-*"))


def both_train():
    return sum(path.stat().st_size > 0 for path in Path("sweep/trials").glob("*/metrics.jsonl")) == 2


@pytest.fixture
def running():
    """The process of a sweep whose two workers are training."""
    pid = fork_sweep(LONG)
    wait_for(both_train)
    processes = [os.pidfd_open(process) for process in (pid, *workers_of(pid))]
    yield pid
    for process in processes:  # a failed test may have left them
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        os.close(process)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_processes_and_says_how_to_resume(running, number, code):
    workers = workers_of(running)
    assert len(workers) == 2
    os.kill(running, number)
    assert exit_code(running) == code
    assert not any(is_alive(pid) for pid in workers)
    log = LOG.read_text()
    assert "stopped after 0 of 4 trials; rerun the command with run.dir=sweep to resume" in log
    assert "2 interrupted" in log
    assert len(checkpoints()) >= 2


def test_workers_stop_when_their_parent_process_is_killed(running):
    workers = workers_of(running)
    os.kill(running, signal.SIGKILL)
    os.waitpid(running, 0)
    wait_for(lambda: not any(is_alive(pid) for pid in workers), 10)
    assert len(checkpoints()) >= 2


def test_a_killed_worker_is_replaced_and_its_trial_resumed(running):
    first, _ = workers_of(running)
    wait_for(lambda: len(checkpoints()) >= 2)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: "a worker was killed by SIGKILL in trial" in LOG.read_text())
    number = re.search(r"in trial (\d+), which resumes from its checkpoint", LOG.read_text())[1]
    log = Path(f"sweep/trials/{int(number):04}/log.txt")
    wait_for(lambda: re.search(r"after epoch \d+, step \d+", log.read_text()))
    assert {path.name for path in Path("sweep/trials").iterdir() if path.is_dir()} == {"0000", "0001"}
    os.kill(running, signal.SIGTERM)
    os.waitpid(running, 0)


@pytest.mark.parametrize(("trials", "moments"), [(0, (0.2, 1.0)), (2, (0.6, 1.4))])
def test_a_signal_at_any_moment_of_the_start_harms_no_trial(trials, moments):
    """Also while torch is being imported: half an import would fail every later trial."""
    words = ["sweep", *COMMON, "train.epochs=20", "run.dir=sweep"]
    if trials:
        assert main([*words, f"search.trials={trials}"]) == 0
    for moment in moments:
        command = [sys.executable, "-c", START, *words, "search.trials=60"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            message = process.communicate()[1]
        assert process.returncode == 130 and ("interrupted" in message or "stopped after" in message), message
    count = len(list(Path("sweep/trials").glob("*.json"))) + 1
    assert main([*words, f"search.trials={count}"]) == 0
    assert [row["state"] for row in trials_table()] == ["done"] * count


@pytest.mark.parametrize("storage", ["journal", "sqlite:///study.db"])
def test_simultaneous_commands_share_one_sweep(storage):
    logs = [Path(f"log{i}.txt") for i in range(3)]
    words = [*SHORT, "run.dir=sweep", f"search.storage={storage}"]
    codes = [exit_code(pid) for pid in [fork_sweep(words, log) for log in logs]]
    texts = [log.read_text() for log in logs]
    assert codes == [0, 0, 0], texts
    ended = [number for text in texts for number in re.findall(r"trial (\d+)  done", text)]
    assert sorted(map(int, ended)) == list(range(6))
    assert [row["state"] for row in trials_table()] == ["done"] * 6


def test_two_folders_share_the_trials_of_one_database_file():
    words = [*SHORT, "search.storage=sqlite:///study.db", "run.name=both"]
    pids = [fork_sweep([*words, f"run.dir={name}"], f"log {name}") for name in "ab"]
    assert [exit_code(pid) for pid in pids] == [0, 0]
    trained = {name: {path.name for path in Path(name, "trials").iterdir() if path.is_dir()} for name in "ab"}
    assert trained["a"] | trained["b"] == {f"{n:04}" for n in range(6)} and not trained["a"] & trained["b"]
    assert [len(trials_table(name)) for name in "ab"] == [6, 6]

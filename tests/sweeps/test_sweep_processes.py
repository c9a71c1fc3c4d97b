"""Sweeps of several processes: signals, kills, commands that join; in real processes, forked by one that is warm."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlfound.cli import main

WORDS = [
    "data=moons", "data.rows=400", "train.batch_size=8", "model.hidden=[8]", "train.epochs=10000", "logger=none",
    "early_stopping=none", "lr_decay=none", "run.threads=1", "run.dir=sweep", "optim.lr=tag(log,interval(1e-3,1e-1))",
    "search.trials=4",
]  # fmt: skip


def fork(words, log):
    """The command in a child that may be killed; its process's number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins without
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        with open(1, "w", closefd=False) as out, open(2, "w", closefd=False) as err:
            sys.stdout, sys.stderr = out, err  # pytest has others
            code = main(["sweep", *words])
    finally:
        os._exit(code)


def wait_for(condition, seconds=60):
    for _ in range(int(seconds / 0.05)):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(Path("said").read_text() if Path("said").exists() else "nothing was said")


def workers(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def training():
    """True while both workers train."""
    return len([path for path in Path("sweep/trials").glob("*/metrics.jsonl") if path.stat().st_size]) == 2


@pytest.fixture
def running():
    """A sweep of which both workers train: its process's number."""
    pid = fork(WORDS, "said")
    wait_for(training)
    yield pid
    for victim in [*workers(pid), pid] if Path(f"/proc/{pid}/task").exists() else []:
        os.kill(victim, signal.SIGKILL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_cleanly_and_says_how_to_go_on(running, number, code):
    below = workers(running)
    assert len(below) == 2
    os.kill(running, number)
    assert os.waitstatus_to_exitcode(os.waitpid(running, 0)[1]) == code
    assert not any(Path(f"/proc/{pid}").exists() for pid in below)
    said = Path("said").read_text()
    assert "stopped after 0 of 4 trials; the same command goes on, with run.dir=sweep" in said
    assert "2 interrupted" in said
    assert len(list(Path("sweep/trials").glob("*/checkpoints/step-*"))) >= 2


def test_a_signal_at_any_moment_of_the_start_spoils_no_trial():
    """While torch and its like come in, too: half of them would fail every trial to come."""
    words = [w for w in WORDS if not w.startswith(("train.epochs", "search.trials"))] + ["train.epochs=60"]
    command = [sys.executable, "-m", "dlfound", "sweep", *words]
    for folder, done, moments in (("new", 0, (0.4, 1.0, 1.6)), ("half", 2, (0.7, 1.3))):
        if done:
            assert (
                subprocess.run(
                    [*command, f"run.dir={folder}", f"search.trials={done}"], check=False
                ).returncode
                == 0
            )
        for moment in moments:
            with subprocess.Popen(
                [*command, f"run.dir={folder}", "search.trials=60"],
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            ) as process:
                time.sleep(moment)
                process.send_signal(signal.SIGINT)
                said = process.communicate()[1]
            assert process.returncode == 130 and ("interrupted" in said or "stopped after" in said), said
        done = len(list(Path(folder, "trials").glob("*.json"))) + 1
        assert (
            subprocess.run([*command, f"run.dir={folder}", f"search.trials={done}"], check=False).returncode
            == 0
        )
        with open(f"{folder}/trials.csv", newline="") as file:
            assert [row["state"] for row in csv.DictReader(file)] == ["done"] * done


def test_workers_end_with_who_watches_over_them(running):
    below = workers(running)
    os.kill(running, signal.SIGKILL)
    os.waitpid(running, 0)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), 10)
    assert len(list(Path("sweep/trials").glob("*/checkpoints/step-*"))) >= 2


def test_a_worker_that_is_killed_is_replaced_and_its_trial_goes_on(running):
    first, _ = workers(running)
    wait_for(lambda: len(list(Path("sweep/trials").glob("*/checkpoints/step-*"))) >= 2)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: "a worker was ended by SIGKILL in trial" in Path("said").read_text())
    wait_for(
        lambda: any(
            "resuming after epoch" in path.read_text() for path in Path("sweep/trials").glob("*/log.txt")
        )
    )
    assert {path.name for path in Path("sweep/trials").iterdir() if path.is_dir()} == {"0000", "0001"}
    os.kill(running, signal.SIGTERM)
    os.waitpid(running, 0)


SHORT = [w for w in WORDS if not w.startswith(("train.epochs", "search.trials"))] + [
    "train.epochs=2",
    "search.trials=9",
]


@pytest.mark.parametrize("storage", ["journal", "sqlite:///study.db"])
def test_commands_at_once_share_one_sweep(storage):
    children = [fork([*SHORT, f"search.storage={storage}"], f"said{i}") for i in range(3)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    said = [Path(f"said{i}").read_text() for i in range(3)]
    assert codes == [0, 0, 0], said
    ends = [line for text in said for line in re.findall(r"trial (\d+)  done", text)]
    assert sorted(map(int, ends)) == list(range(9))
    with open("sweep/trials.csv", newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["done"] * 9


def test_two_folders_share_the_trials_of_one_database_file():
    words = [w for w in SHORT if not w.startswith("run.dir")] + [
        "search.storage=sqlite:///study.db",
        "run.name=both",
    ]
    children = [fork([*words, f"run.dir={name}"], f"said {name}") for name in "ab"]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    trained = {name: {path.name for path in Path(name, "trials").iterdir() if path.is_dir()} for name in "ab"}
    assert trained["a"] | trained["b"] == {f"{n:04}" for n in range(9)} and not trained["a"] & trained["b"]
    for name in "ab":
        with open(f"{name}/trials.csv", newline="") as file:
            assert len(list(csv.DictReader(file))) == 9

"""`dlfound board`: a real TensorBoard, on this machine's own address, with the runs' curves."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import dlfound
from dlfound.cli import main

QUICK = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "model.hidden=[8]"]


@contextmanager
def board(*words):
    """The address that a running `dlfound board` prints, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dlfound", "board", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process.stdout.readline().split()[0], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def scalars(address: str, runs: int = 1) -> dict:
    """Run -> its curves, as soon as the board has read so many runs."""
    for _ in range(120):
        with urllib.request.urlopen(f"{address}data/plugin/scalars/tags", timeout=60) as answer:
            found = json.load(answer)
        if len(found) >= runs:
            return found
        time.sleep(0.5)
    raise AssertionError(f"the board shows {found}")


def test_the_curves_are_served_here_only_and_a_second_board_takes_the_next_port():
    run = dlfound.train(QUICK)
    with board("--port", "16006") as (address, first), board("--port", "16006") as (other, _):
        assert address.startswith("http://127.0.0.1:16") and other.startswith("http://127.0.0.1:16")
        assert address != other
        tags = scalars(address)
        assert [set(found) for found in tags.values()] == [
            {"loss/train", "loss/val", "accuracy/train", "accuracy/val", "lr"}
        ]
        assert run.path.name in next(iter(tags))
        port = int(address.rstrip("/").rpartition(":")[2])
        with open("/proc/net/tcp") as table:
            listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert f"0100007F:{port:04X}" in listening  # 127.0.0.1
        assert f"00000000:{port:04X}" not in listening
        first.send_signal(signal.SIGINT)
        assert first.wait(timeout=30) == 0


def test_runs_by_name():
    dlfound.train([*QUICK, "run.name=one"])
    dlfound.train([*QUICK, "run.name=two"])
    dlfound.train([*QUICK, "run.name=three"])
    with board("one", "two", "--port", "16206") as (address, _):
        assert sorted(name.partition("/")[0] for name in scalars(address, runs=2)) == ["one", "two"]


def test_nothing_to_show_is_told(capsys):
    assert main(["board"]) == 4
    assert "train one first" in capsys.readouterr().err
    run = dlfound.train([*QUICK, "logger=none"])
    assert main(["board", str(run.path)]) == 4
    assert "logger=none" in capsys.readouterr().err

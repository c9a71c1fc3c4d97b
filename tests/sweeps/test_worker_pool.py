"""The worker pool replaces killed workers, passes errors on, and ends workers that do not stop."""

import os
import signal
import struct
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from dlfound.errors import Error
from dlfound.sweeps import worker_pool
from dlfound.sweeps.worker_pool import WorkerPool

LOG = Path("workers.log")


@pytest.fixture
def messages():
    return []


@pytest.fixture
def pool(messages):
    """Run a pool; it collects the messages of all workers."""

    def run(target, count=1, stop=lambda: False):
        WorkerPool(count, target, LOG, lambda index, message: messages.append(message), stop=stop).run()

    return run


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


def test_a_killed_worker_is_replaced(pool, messages):
    def work(send):
        if not Path("killed").exists():
            Path("killed").touch()
            send({"kind": "begin"})
            kill_self()
        send({"kind": "end"})
        return 0

    pool(work)
    assert messages == [{"kind": "begin"}, {"kind": "killed", "signal": "SIGKILL"}, {"kind": "end"}]


def test_too_many_killed_workers_end_the_pool(pool, messages, monkeypatch):
    monkeypatch.setattr(worker_pool, "MAX_KILLED", 3)
    with pytest.raises(Error, match=r"4 workers in a row were killed \(SIGKILL\)") as caught:
        pool(lambda send: kill_self())
    assert caught.value.code == 6 and len(messages) == 3


def test_killed_workers_are_counted_anew_after_a_trial(pool, messages, monkeypatch):
    monkeypatch.setattr(worker_pool, "MAX_KILLED", 1)

    def work(send):
        if len(list(Path().glob("started-*"))) == 4:
            return 0
        Path(f"started-{os.getpid()}").touch()
        send({"kind": "end"})
        kill_self()

    pool(work)
    assert [message["kind"] for message in messages] == ["end", "killed"] * 4


def test_an_error_in_a_worker_ends_all_with_its_code(pool):
    def work(send):
        Path(f"pid-{os.getpid()}").touch()
        while len(pids()) < 2:
            time.sleep(0.01)
        if os.getpid() == min(pids()):
            raise Error("no data", "give some", 3)
        time.sleep(60)

    def pids():
        return [int(path.name.removeprefix("pid-")) for path in Path().glob("pid-*")]

    began = time.monotonic()
    with pytest.raises(Error, match="no data") as caught:
        pool(work, count=2)
    assert caught.value.code == 3 and caught.value.problems[0].fix == "give some"
    assert time.monotonic() - began < 30 and not any(is_alive(pid) for pid in pids())


def test_a_bug_in_a_worker_is_reported_with_its_traceback_in_the_log(pool):
    def work(send):
        raise ZeroDivisionError("nothing to divide by\nmore")

    with pytest.raises(Error, match=r"ZeroDivisionError: nothing to divide by$") as caught:
        pool(work)
    assert caught.value.code == 1 and str(LOG) in caught.value.problems[0].fix


def test_a_worker_that_ends_without_a_message_is_reported(pool):
    with pytest.raises(Error, match="a worker ended with exit code 1") as caught:
        pool(lambda send: os._exit(1))
    assert caught.value.code == 1


def test_a_log_that_cannot_be_written_is_reported(pool):
    LOG.symlink_to("elsewhere")
    with pytest.raises(Error, match=r"cannot write to workers\.log") as caught:
        pool(lambda send: 0)
    assert caught.value.code == 6


def test_workers_print_to_the_log(pool):
    def work(send):
        os.write(1, b"on standard output\n")
        os.write(2, b"on standard error\n")
        return 0

    pool(work)
    assert LOG.read_text() == "on standard output\non standard error\n"


def test_a_worker_that_ignores_the_request_to_stop_is_killed(pool, messages, monkeypatch):
    monkeypatch.setattr(worker_pool, "GRACE_PERIOD", 0.2)

    def work(send):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        send({"kind": "ready"})
        time.sleep(60)

    began = time.monotonic()
    pool(work, stop=lambda: bool(messages))
    assert 0.2 <= time.monotonic() - began < 30 and messages == [{"kind": "ready"}]


def test_a_message_that_was_cut_off_counts_as_the_end_of_its_worker():
    read_end, write_end = os.pipe()
    os.write(write_end, struct.pack("!i", 100) + b'{"kind": "e')
    os.close(write_end)
    worker = object.__new__(worker_pool._Worker)
    worker.read_end = Connection(read_end)
    assert worker.receive() is None

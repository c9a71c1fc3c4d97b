"""One writer a run, in processes of their own."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from dlfound.errors import Error
from dlfound.runs import lock
from dlfound.runs.lock import is_held, locked

HOLD = """
import sys
from pathlib import Path
from dlfound.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_by_whom(holder, tmp_path):
    told = f"is in use by process {holder.pid} since 20..-..-.. ..:..:..$"
    with pytest.raises(Error, match=told) as caught, locked(tmp_path):
        raise AssertionError("both hold it")
    assert caught.value.code == 4
    with pytest.raises(Error, match=f"process {holder.pid} "):  # to ask changed nothing
        locked(tmp_path).__enter__()


def test_who_only_asks_is_told_and_disturbs_nobody(holder, tmp_path):
    before = (tmp_path / ".lock").read_text()
    assert is_held(tmp_path) and (tmp_path / ".lock").read_text() == before
    holder.kill()
    holder.wait()
    assert not is_held(tmp_path)
    with locked(tmp_path):
        assert is_held(tmp_path)
    (tmp_path / ".lock").unlink()
    assert not is_held(tmp_path) and not is_held(tmp_path / "nowhere") and not (tmp_path / ".lock").exists()
    os.mkfifo(tmp_path / ".lock")
    assert not is_held(tmp_path)


def test_to_be_asked_is_not_to_be_taken(tmp_path, monkeypatch):
    asker = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(asker, fcntl.LOCK_SH)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: fcntl.flock(asker, fcntl.LOCK_UN))
    with locked(tmp_path) as trouble:
        assert trouble == "" and is_held(tmp_path)
    os.close(asker)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_it_is_free_however_the_holder_ends(holder, tmp_path, how):
    getattr(holder, how)()
    holder.wait()
    with locked(tmp_path) as trouble:
        assert trouble == "" and f"process {os.getpid()} since" in (tmp_path / ".lock").read_text()


def test_it_is_free_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    with locked(tmp_path) as trouble:
        assert trouble == ""


def test_a_shorter_name_leaves_nothing_of_a_longer_one(tmp_path):
    (tmp_path / ".lock").write_text("process 123456789 since 2026-01-01 00:00:00 and more")
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} since ")
        assert "more" not in (tmp_path / ".lock").read_text()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_where_a_file_system_cannot_lock_that_is_told(tmp_path, monkeypatch, number):
    def refuse(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path) as trouble:
        assert (
            trouble == f"cannot lock {tmp_path} on this file system: make sure that only one run writes there"
        )


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(Error, match="cannot write to") as caught, locked(tmp_path):
        pass
    assert caught.value.code == 6 and (tmp_path / "target").read_text() == "precious"


@pytest.mark.parametrize("name", ["ftruncate", "pwrite"])
def test_a_full_disk_is_told_and_the_lock_given_back(tmp_path, monkeypatch, name):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched, pytest.raises(Error, match="No space left") as caught:
        patched.setattr(os, name, refuse)
        locked(tmp_path).__enter__()
    assert caught.value.code == 6
    with locked(tmp_path) as trouble:
        assert trouble == ""

"""Files that a crash leaves complete, and the lock that only one process holds."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from dlfound.errors import Error
from dlfound.runs import durable
from dlfound.runs.durable import (
    is_held,
    locked,
    make_folders,
    name_aside,
    remove_aside,
    replace_durably,
    sync_file,
    sync_folder,
    write_durably,
)


def fail_with(number):
    """A call of the operating system that fails."""

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    return fail


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# Files.


def test_a_file_is_replaced_as_a_whole(tmp_path):
    for content in (b"old", b"", os.urandom(100_000)):
        replace_durably(tmp_path / "a", content)
        assert (tmp_path / "a").read_bytes() == content and names_in(tmp_path) == ["a"]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    rename = os.rename
    seen = []

    def look_and_rename(aside, target):
        seen.append((aside.parent, aside.read_text(), target.read_text()))
        rename(aside, target)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    for name in ("open", "write", "fsync", "rename"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(os, name, interrupt)
            replace_durably(path, b"new")
        assert path.read_text() == "old" and names_in(tmp_path) == ["a"]
    monkeypatch.setattr(os, "rename", look_and_rename)
    replace_durably(path, b"new")
    assert seen == [(tmp_path, "new", "old")]
    assert path.read_text() == "new" and names_in(tmp_path) == ["a"]


def test_a_partial_write_is_continued(tmp_path, monkeypatch):
    write = os.write
    content = os.urandom(1000)
    monkeypatch.setattr(os, "write", lambda file, part: write(file, part[:7]))
    write_durably(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == content


@pytest.mark.parametrize("name", ["open", "write", "fsync", "rename", "close"])
def test_the_old_file_stays_if_the_disk_refuses(tmp_path, monkeypatch, name):
    path = tmp_path / "a"
    real = getattr(os, name)
    path.write_bytes(b"old")

    def refuse(*arguments):
        if name == "close":
            real(*arguments)
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(OSError):
        replace_durably(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and names_in(tmp_path) == ["a"]


def test_a_link_under_the_temporary_name_is_not_written_through(tmp_path):
    target = tmp_path / "target"
    aside = tmp_path / ".tmp-0"
    target.write_text("precious")
    for link_to in (target, tmp_path / "nothing"):
        aside.symlink_to(link_to)
        with pytest.raises(FileExistsError):
            write_durably(aside, b"new")
        aside.unlink()
    assert target.read_text() == "precious" and not (tmp_path / "nothing").exists()


def test_a_link_under_the_final_name_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "target")
    replace_durably(tmp_path / "a", b"new")
    assert not (tmp_path / "a").is_symlink() and (tmp_path / "target").read_text() == "precious"


def test_temporary_names_are_unique_and_only_they_are_removed(tmp_path):
    names = {name_aside(tmp_path / "a").name for _ in range(1000)}
    assert len(names) == 1000
    others = ["a", "tmp-0123456789abcdef", ".tmp-mine", ".tmp-0123456789abcdefg", ".tmp-0123456789ABCDEF"]
    for name in [*list(names)[:5], *others]:
        (tmp_path / name).write_text("")
    remove_aside(tmp_path)
    remove_aside(tmp_path / "no folder")
    assert names_in(tmp_path) == sorted(others)


def test_new_folders_are_forced_to_the_disk(tmp_path, monkeypatch):
    """The name of a new folder is durable once the folder above it is synced."""
    synced = []
    real = os.fsync

    def fsync(file):
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    make_folders(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    make_folders(tmp_path / "a" / "b")
    assert len(synced) == 3


def test_a_file_system_that_cannot_sync_folders_is_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.EINVAL))
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(OSError):
        sync_folder(tmp_path)


def test_syncing_a_file_returns_its_size(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"12345")
    assert sync_file(path) == 5


# The lock.

HOLD = """
import sys
from pathlib import Path
from dlfound.runs.durable import locked
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


def test_a_second_process_is_refused_and_learns_who_holds_the_lock(holder, tmp_path):
    message = f"is in use by process {holder.pid} since 20..-..-.. ..:..:..$"
    with pytest.raises(Error, match=message) as caught, locked(tmp_path):
        raise AssertionError("two processes hold the lock")
    assert caught.value.code == 4
    with pytest.raises(Error, match=f"process {holder.pid} "):  # the first refusal changed nothing
        locked(tmp_path).__enter__()


def test_is_held_tells_and_changes_nothing(holder, tmp_path):
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


def test_a_process_in_the_middle_of_is_held_does_not_count_as_a_holder(tmp_path, monkeypatch):
    tester = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(tester, fcntl.LOCK_SH)
    monkeypatch.setattr(durable.time, "sleep", lambda seconds: fcntl.flock(tester, fcntl.LOCK_UN))
    with locked(tmp_path) as warning:
        assert warning == "" and is_held(tmp_path)
    os.close(tester)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_the_kernel_releases_the_lock_of_a_dead_process(holder, tmp_path, how):
    getattr(holder, how)()
    holder.wait()
    with locked(tmp_path) as warning:
        assert warning == "" and f"process {os.getpid()} since" in (tmp_path / ".lock").read_text()


def test_an_exception_releases_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    with locked(tmp_path) as warning:
        assert warning == ""


def test_a_shorter_holder_overwrites_all_of_a_longer_one(tmp_path):
    (tmp_path / ".lock").write_text("process 123456789 since 2026-01-01 00:00:00 and more")
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} since ")
        assert "more" not in (tmp_path / ".lock").read_text()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", fail_with(number))
    expected = f"cannot lock {tmp_path} on this file system: make sure that only one process trains there"
    with locked(tmp_path) as warning:
        assert warning == expected


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(Error, match="cannot write to") as caught, locked(tmp_path):
        pass
    assert caught.value.code == 6 and (tmp_path / "target").read_text() == "precious"


@pytest.mark.parametrize("name", ["ftruncate", "pwrite"])
def test_a_full_disk_is_an_error_and_releases_the_lock(tmp_path, monkeypatch, name):
    with monkeypatch.context() as patched, pytest.raises(Error, match="No space left") as caught:
        patched.setattr(os, name, fail_with(errno.ENOSPC))
        locked(tmp_path).__enter__()
    assert caught.value.code == 6
    with locked(tmp_path) as warning:
        assert warning == ""

"""Files that are whole or not there, whatever stands in the way."""

import errno
import os

import pytest

from dlfound.runs.durable import (
    make_folders,
    name_aside,
    remove_aside,
    replace_durably,
    sync_file,
    sync_folder,
    write_durably,
)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a"
    for content in (b"old", b"", os.urandom(100_000)):
        replace_durably(path, content, name_aside(path))
        assert path.read_bytes() == content and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_write_that_takes_only_a_part_goes_on(tmp_path, monkeypatch):
    write, content = os.write, os.urandom(1000)
    monkeypatch.setattr(os, "write", lambda file, part: write(file, part[:7]))
    write_durably(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == content


@pytest.mark.parametrize("name", ["open", "write", "fsync", "rename", "close"])
def test_what_stood_there_stays_where_the_disk_refuses(tmp_path, monkeypatch, name):
    path, real = tmp_path / "a", getattr(os, name)
    path.write_bytes(b"old")

    def refuse(*arguments):
        if name == "close":
            real(*arguments)
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(OSError):
        replace_durably(path, b"new", name_aside(path))
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_link_laid_in_wait_is_not_written_through(tmp_path):
    target, aside = tmp_path / "target", tmp_path / ".tmp-0"
    target.write_text("precious")
    for link_to in (target, tmp_path / "nothing"):
        aside.symlink_to(link_to)
        with pytest.raises(FileExistsError):
            write_durably(aside, b"new")
        aside.unlink()
    assert target.read_text() == "precious" and not (tmp_path / "nothing").exists()


def test_a_link_at_the_name_itself_is_replaced_not_followed(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "target")
    replace_durably(tmp_path / "a", b"new", name_aside(tmp_path / "a"))
    assert not (tmp_path / "a").is_symlink() and (tmp_path / "target").read_text() == "precious"


def test_names_aside_are_never_the_same_and_only_these_are_removed(tmp_path):
    names = {name_aside(tmp_path / "a").name for _ in range(1000)}
    assert len(names) == 1000
    others = ["a", "tmp-0123456789abcdef", ".tmp-mine", ".tmp-0123456789abcdefg", ".tmp-0123456789ABCDEF"]
    for name in [*list(names)[:5], *others]:
        (tmp_path / name).write_text("")
    remove_aside(tmp_path)
    remove_aside(tmp_path / "no folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)


def test_folders_are_made_and_each_is_forced_to_the_disk_from_above(tmp_path, monkeypatch):
    synced, real = [], os.fsync

    def fsync(file):
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    make_folders(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    make_folders(tmp_path / "a" / "b")
    assert len(synced) == 3


def test_a_file_system_that_cannot_force_folders_is_no_error(tmp_path, monkeypatch):
    for number, raises in [(errno.EINVAL, False), (errno.EIO, True)]:

        def refuse(file, number=number):
            raise OSError(number, "")

        monkeypatch.setattr(os, "fsync", refuse)
        if raises:
            with pytest.raises(OSError):
                sync_folder(tmp_path)
        else:
            sync_folder(tmp_path)


def test_the_size_of_what_was_appended(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"12345")
    assert sync_file(path) == 5

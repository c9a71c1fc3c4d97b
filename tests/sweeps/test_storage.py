"""Storages: addresses, passwords, torn and damaged journals, what databases refuse."""

import json
import sqlite3
import threading
from pathlib import Path

import optuna
import pytest

from dlfound.errors import Error
from dlfound.options.search_methods import read_address
from dlfound.sweeps import storage as storages
from dlfound.sweeps.storage import JOURNAL, TORN, locks_file, masked, mend, open_storage, sound

WHOLE = b'{"op_code":0}\n{"op_code":4,"x":1}\n'


def quiet(text):
    raise AssertionError(text)


@pytest.mark.parametrize(
    "address",
    [
        "journal",
        "sqlite:///a.db",
        "postgresql://me:pw@host:5432/db",
        "postgresql+psycopg://h/d",
        "grpc://h:13000",
    ],
)
def test_addresses(address):
    assert read_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "redis://x",
        "mysql://x",
        "journal2",
        "sqlite://a b",
        "grpc://host",
        "grpc://h:x",
        None,
        3,
        "http://x",
    ],
)
def test_what_is_no_address(address):
    with pytest.raises(ValueError):
        read_address(address)


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("journal", "folder/.trials.lock"),
        ("postgresql://host/db", "folder/.trials.lock"),
        ("sqlite:///a/b.db?timeout=3", "a/.b.db.my%2Fname.lock"),
        ("sqlite:////a/b.db", "/a/.b.db.my%2Fname.lock"),
        ("sqlite:///", "folder/.trials.lock"),
    ],
)
def test_locks_lie_with_what_all_share(address, file):
    assert str(locks_file(address, Path("folder"), "my/name")) == file


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("a postgresql://me:s:e@c/r@host/db b", "a postgresql://me:***@host/db b"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql://h/db?sslpassword=secret&x=1", "postgresql://h/db?sslpassword=***&x=1"),
        ("grpc://HOST:PORT, not 'mysql://a:secret@c/d'", "grpc://HOST:PORT, not 'mysql://a:***@c/d'"),
        ("mysql://a:se c/r://et@c/d", "mysql://a:***@c/d"),
        ("host=h password=secret user=me", "host=h password=*** user=me"),
    ],
)
def test_passwords_are_never_seen(text, told):
    assert masked(text) == told


@pytest.mark.parametrize(
    "tail", [b'{"op_code":5,"wor', b"{", b"\0" * 40, b"\0\0\n", b"junk\n", b'{"op": 1}\n{"torn', b"[1]\n{"]
)
def test_torn_ends(tail, tmp_path):
    path = tmp_path / JOURNAL
    path.write_bytes(WHOLE + tail)
    told = []
    mend(path, told.append)
    kept = WHOLE + (b'{"op": 1}\n' if tail.startswith(b'{"op"') else b"")
    assert path.read_bytes() == kept and (tmp_path / TORN).read_bytes() == (WHOLE + tail)[len(kept) :]
    assert told and f"removed {len(WHOLE + tail) - len(kept)} bytes" in told[0]


@pytest.mark.parametrize("content", [b"", WHOLE])
def test_whole_journals_are_left_alone(content, tmp_path):
    (tmp_path / JOURNAL).write_bytes(content)
    mend(tmp_path / JOURNAL, quiet)
    assert (tmp_path / JOURNAL).read_bytes() == content and not (tmp_path / TORN).exists()
    assert sound(content) == len(content)


def test_a_torn_end_is_mended_before_the_next_record(tmp_path):
    """While the study is in use: another process was killed in the middle of a line."""
    told = []
    first, second = (open_storage("journal", tmp_path, told.append) for _ in range(2))
    study = optuna.create_study(storage=first)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    id = second.create_new_trial(study._study_id)
    assert first.get_trial(id).number == 0 and len(told) == 1
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines())


def test_a_lock_of_the_journal_waits_for_its_holder(tmp_path):
    study = optuna.create_study(storage=open_storage("journal", tmp_path, quiet))

    def add():
        store = open_storage("journal", tmp_path, quiet)
        for _ in range(20):
            store.create_new_trial(study._study_id)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [t.number for t in study.get_trials()] == list(range(80))


@pytest.mark.parametrize(
    ("content", "told"), [(b"this is no database at all" * 50, "is not a dlfound study"), (b"", None)]
)
def test_files_that_are_no_database(content, told, tmp_path):
    (tmp_path / "x.db").write_bytes(content)
    if told is None:
        open_storage(f"sqlite:///{tmp_path / 'x.db'}", tmp_path, quiet)
        return
    with pytest.raises(Error, match=told) as caught:
        open_storage(f"sqlite:///{tmp_path / 'x.db'}", tmp_path, quiet)
    assert caught.value.code == 4


def test_a_locked_database(tmp_path, monkeypatch):
    monkeypatch.setattr(storages, "PATIENCE", 0.1)
    address = f"sqlite:///{tmp_path / 'x.db'}"
    store = open_storage(address, tmp_path, quiet)
    study = optuna.create_study(storage=store)
    holder = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    told = "study storage is locked by another process"
    with pytest.raises(Error, match=told) as caught, storages.storage_errors(address, tmp_path):
        store.set_study_user_attr(study._study_id, "a", 1)
    assert caught.value.code == 6
    holder.close()


def test_a_proxy_that_is_not_there(tmp_path):
    address = "grpc://127.0.0.1:1"
    with (
        pytest.raises(Error, match=r"127\.0\.0\.1:1: failed to connect") as caught,
        storages.storage_errors(address, tmp_path),
    ):
        open_storage(address, tmp_path, quiet).get_all_studies()
    assert caught.value.code == 6


def test_a_password_that_the_driver_tells_in_its_own_words(tmp_path):
    address = "grpc://me:hunter%212@127.0.0.1:1"
    with pytest.raises(Error) as caught, storages.storage_errors(address, tmp_path):
        open_storage(address, tmp_path, quiet).get_all_studies()
    assert (
        caught.value.code == 6
        and "hunter" not in str(caught.value)
        and "me:***@127.0.0.1:1" in str(caught.value)
    )


def test_a_server_that_is_not_there_and_its_password(tmp_path):
    with pytest.raises(Error) as caught:
        open_storage("postgresql://me:secret@127.0.0.1:1/db", tmp_path, quiet)
    assert (
        caught.value.code == 6
        and "secret" not in str(caught.value)
        and "me:***@127.0.0.1:1" in str(caught.value)
    )

"""Storages: addresses, hidden passwords, repaired journals, and the errors of databases."""

import json
import multiprocessing
import sqlite3
import threading
from pathlib import Path

import optuna
import pytest

from dlfound.config.setting_types import setting_type
from dlfound.errors import Error
from dlfound.options.search_methods import Address
from dlfound.sweeps import storage as storages
from dlfound.sweeps.folder import JOURNAL
from dlfound.sweeps.storage import (
    TORN,
    find_lock_file,
    mask_passwords,
    open_storage,
    repair_journal,
    sound_length,
    storage_errors,
)

SOUND = b'{"op_code":0}\n{"op_code":4,"x":1}\n'


def expect_no_message(text):
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
def test_addresses_are_accepted(address):
    assert setting_type(Address).read(address) == address


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
def test_other_texts_are_no_address(address):
    with pytest.raises(ValueError):
        setting_type(Address).read(address)


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
def test_the_lock_file_is_where_all_processes_see_it(address, file):
    assert str(find_lock_file(address, Path("folder"), "my/name")) == file


@pytest.mark.parametrize(
    ("text", "masked"),
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
def test_passwords_are_masked(text, masked):
    assert mask_passwords(text) == masked


@pytest.mark.parametrize(
    "tail", [b'{"op_code":5,"wor', b"{", b"\0" * 40, b"\0\0\n", b"junk\n", b'{"op": 1}\n{"torn', b"[1]\n{"]
)
def test_a_torn_end_is_cut_off_and_saved(tail, tmp_path):
    path = tmp_path / JOURNAL
    path.write_bytes(SOUND + tail)
    messages = []
    repair_journal(path, messages.append)
    sound = SOUND + (b'{"op": 1}\n' if tail.startswith(b'{"op"') else b"")
    assert path.read_bytes() == sound and (tmp_path / TORN).read_bytes() == (SOUND + tail)[len(sound) :]
    assert f"removed {len(SOUND + tail) - len(sound)} bytes of an unfinished record" in messages[0]


@pytest.mark.parametrize("content", [b"", SOUND])
def test_a_sound_journal_is_not_changed(content, tmp_path):
    (tmp_path / JOURNAL).write_bytes(content)
    repair_journal(tmp_path / JOURNAL, expect_no_message)
    assert (tmp_path / JOURNAL).read_bytes() == content and not (tmp_path / TORN).exists()
    assert sound_length(content) == len(content)


def test_a_torn_end_is_repaired_before_the_next_record(tmp_path):
    """While the study is in use, another process was killed in the middle of a line."""
    messages = []
    first, second = (open_storage("journal", tmp_path, messages.append) for _ in range(2))
    study = optuna.create_study(storage=first)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    id = second.create_new_trial(study._study_id)
    assert first.get_trial(id).number == 0 and len(messages) == 1
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines())


def test_writers_of_the_journal_wait_for_each_other(tmp_path):
    study = optuna.create_study(storage=open_storage("journal", tmp_path, expect_no_message))

    def add():
        store = open_storage("journal", tmp_path, expect_no_message)
        for _ in range(20):
            store.create_new_trial(study._study_id)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [t.number for t in study.get_trials()] == list(range(80))


def test_a_file_that_is_not_a_database_is_refused(tmp_path):
    (tmp_path / "x.db").write_bytes(b"this is not a database" * 50)
    with pytest.raises(Error, match="is not a dlfound study") as caught:
        open_storage(f"sqlite:///{tmp_path / 'x.db'}", tmp_path, expect_no_message)
    assert caught.value.code == 4


def test_an_empty_file_becomes_a_database(tmp_path):
    (tmp_path / "x.db").touch()
    storage = open_storage(f"sqlite:///{tmp_path / 'x.db'}", tmp_path, expect_no_message)
    assert storage.get_all_studies() == []


def test_a_locked_database(tmp_path, monkeypatch):
    monkeypatch.setattr(storages, "TIMEOUT", 0.1)
    address = f"sqlite:///{tmp_path / 'x.db'}"
    storage = open_storage(address, tmp_path, expect_no_message)
    study = optuna.create_study(storage=storage)
    holder = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    message = "study storage is locked by another process: sqlite:"
    with pytest.raises(Error, match=message) as caught, storage_errors(address, tmp_path):
        storage.set_study_user_attr(study._study_id, "a", 1)
    assert caught.value.code == 6
    holder.close()


def open_missing_proxy(address, results):
    try:
        with storage_errors(address, Path("folder")):
            open_storage(address, Path("folder"), expect_no_message).get_all_studies()
    except Error as error:
        results.send((int(error.code), str(error)))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("grpc://127.0.0.1:1", "127.0.0.1:1: failed to connect"),
        ("grpc://me:hunter%212@127.0.0.1:1", "me:***@127.0.0.1:1"),  # the driver quotes the address too
    ],
)
def test_a_missing_proxy_is_reported_without_the_password(address, message):
    """In a process of its own, because other tests fork and gRPC's threads do not survive that."""
    context = multiprocessing.get_context("fork")
    receiver, results = context.Pipe(duplex=False)
    context.Process(target=open_missing_proxy, args=(address, results)).start()
    code, text = receiver.recv()
    assert code == 6 and message in text and "hunter" not in text


def test_a_missing_server_is_reported_without_the_password(tmp_path):
    with pytest.raises(Error) as caught:
        open_storage("postgresql://me:secret@127.0.0.1:1/db", tmp_path, expect_no_message)
    message = str(caught.value)
    assert caught.value.code == 6 and "secret" not in message and "me:***@127.0.0.1:1" in message

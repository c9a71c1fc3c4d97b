"""Where the trials of a sweep are stored for all its processes: a journal file, or a database."""

import fcntl
import itertools
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import lazy_loader

from dlfound.errors import Code, Error, printable
from dlfound.sweeps.folder import JOURNAL

optuna = lazy_loader.load("optuna")

TORN = "journal.log.torn"  # what was cut off the end of a damaged journal
JOURNAL_LOCK = ".journal.lock"
TRIAL_LOCKS = ".trials.lock"
ATTEMPTS = 10  # to create the tables of a database while other processes create them too
TIMEOUT = 25  # seconds to wait for a locked database; Optuna retries, so a minute may pass in all
_PASSWORD = re.compile(  # up to the last @ before the next address, since a password may hold any character
    r"(://[^/@:]*:)((?:(?!\s\W?[\w+.=]+://).)*)(?=@)|(\b\w*password=)([^&\s]*)"
)


def mask_passwords(text: object) -> str:
    """Replace every password in an address by three stars."""
    return _PASSWORD.sub(lambda match: f"{match[1] or match[3]}***", str(text))


def _passwords(address: str) -> set[str]:
    """Find the passwords in an address, percent-encoded and decoded."""
    encoded = {match[2] or match[4] for match in _PASSWORD.finditer(address)} - {"", None}
    return encoded | {unquote(password) for password in encoded}


def silence_optuna() -> None:
    """Keep Optuna from writing messages of its own, and warnings that a part of it is new."""
    optuna.logging.disable_default_handler()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


# ---- opening


def open_storage(address: str, folder: Path, say: Callable[[str], None]) -> Any:
    """Open Optuna's storage at an address; `journal` is a file in the sweep's folder.

    Args:
        say: receives a message if the journal had to be repaired.

    Raises:
        Error: the storage cannot be reached (code 6), or is not a study's (code 4).
    """
    silence_optuna()
    with storage_errors(address, folder):
        if address == "journal":
            return optuna.storages.JournalStorage(open_journal(folder, say))
        scheme, _, rest = address.partition("://")
        if scheme == "grpc":
            host, _, port = rest.rpartition(":")
            return optuna.storages.GrpcStorageProxy(host=host, port=int(port))
        driver = {"postgresql": "postgresql+psycopg"}.get(scheme, scheme)
        option = "timeout" if scheme == "sqlite" else "connect_timeout"
        database = _open_database(f"{driver}://{rest}", {option: TIMEOUT})
        return optuna.storages.get_storage(database)  # adds a cache of finished trials


def _open_database(url: str, connect_args: dict[str, int]) -> Any:
    """Open a database and create its tables; try again if another process creates them at the same moment."""
    from sqlalchemy.exc import DBAPIError, IntegrityError

    for attempt in itertools.count(1):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": connect_args})
        except DBAPIError as error:
            created_meanwhile = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not created_meanwhile or attempt == ATTEMPTS:
                raise
        time.sleep(0.2)


def is_shared_file(address: str) -> bool:
    """Tell whether every process that reaches the storage also reaches the lock file of the trials."""
    return address == "journal" or address.startswith("sqlite:")


def find_lock_file(address: str, folder: Path, study_name: str) -> Path:
    """Find the lock file of a study's trials: beside a database file, else in the sweep's folder.

    Raises:
        Error: the address is malformed (code 6).
    """
    if address.startswith("sqlite:"):
        from sqlalchemy.engine import make_url

        with storage_errors(address, folder):
            file = Path(make_url(address).database or "")
        if file.name:
            return file.with_name(f".{file.name}.{quote(study_name, safe='')}.lock")
    return folder / TRIAL_LOCKS


# ---- errors


@contextmanager
def storage_errors(address: str, folder: Path) -> Iterator[None]:
    """Translate the errors of a storage, and hide the password in its address.

    Raises:
        Error: as `open_storage`.
    """
    try:
        yield
    except (Error, optuna.exceptions.UpdateFinishedTrialError):
        raise
    except json.JSONDecodeError as error:
        message = f"{folder / JOURNAL} is not a dlfound study, or is damaged: {printable(error)}"
        fix = "move it away; the same command rebuilds it from the folders of the trials"
        raise Error(message, fix, Code.RUN) from None
    except Exception as error:
        if (translated := _translate(error, address)) is None:
            raise
        raise translated from None


def _translate(error: BaseException, address: str) -> Error | None:
    """Translate an error of a database or its driver; return None for any other error."""
    chain = _chain(error)
    text = _first_line(chain[-1], address)
    modules = {type(link).__module__.partition(".")[0] for link in chain}
    address = mask_passwords(address)
    if "locked" in text:
        message = f"study storage is locked by another process: {address}"
        return Error(message, "end that process, then rerun the command", Code.RESOURCES)
    if "not a database" in text or "no such column" in text or "schema" in text.lower():
        message = f"{address} is not a dlfound study ({text})"
        return Error(message, "choose another search.storage, or leave it out", Code.RUN)
    if isinstance(chain[-1], ModuleNotFoundError):
        message = f"search.storage={address} needs another package: {text}"
        return Error(message, "run pip install 'dlfound[remote]'", Code.RESOURCES)
    is_storage_error = isinstance(error, optuna.exceptions.StorageInternalError)
    if is_storage_error or modules & {"sqlalchemy", "psycopg", "sqlite3", "grpc"}:
        message = f"cannot use search.storage={address}: {text}"
        return Error(message, "check that the address is right and the storage is running", Code.RESOURCES)
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """List an error and what caused it, the root cause last."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _first_line(error: BaseException, address: str) -> str:
    """The first line of an error's message, without the passwords of the address."""
    is_grpc = type(error).__module__.startswith("grpc") and hasattr(error, "details")
    text = mask_passwords((error.details() if is_grpc else str(error)) or type(error).__name__)
    for password in _passwords(address):  # a driver may quote it in another form
        text = text.replace(password, "***")
    return text.strip().partition("\n")[0]


# ---- the journal


class JournalLock:
    """A kernel lock, released however its holder ends; where the file system has none, Optuna's own lock.

    Once it is acquired, the journal ends with a complete record.

    Args:
        say: receives a message if the journal had to be repaired.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]):
        self._folder = folder
        self._say = say
        self._fallback = optuna.storages.journal.JournalFileOpenLock(str(folder / JOURNAL))
        self._file: int | None = None

    def acquire(self, check_records: bool = False) -> bool:
        """Wait for the lock, then repair the journal."""
        path = self._folder / JOURNAL_LOCK
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._file = file
        except OSError:
            os.close(file)
            self._fallback.acquire()
        try:
            repair_journal(self._folder / JOURNAL, self._say, check_records)
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Give up the lock."""
        if self._file is None:
            self._fallback.release()
        else:
            os.close(self._file)
            self._file = None


def open_journal(folder: Path, say: Callable[[str], None]) -> Any:
    """Open Optuna's journal file; a torn end is repaired at once, and before each record is added."""
    lock = JournalLock(folder, say)
    journal = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL), lock)  # creates the file
    lock.acquire(check_records=True)
    lock.release()
    return journal


def repair_journal(path: Path, say: Callable[[str], None], check_records: bool = True) -> None:
    """Cut off the record that a killed process left unfinished. The caller must hold the journal's lock.

    Args:
        say: receives a message about what was removed.
        check_records: also parse the last records; else only check that the file ends with a line break.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read() in (b"\n", b"") and not check_records:
            return
        file.seek(0)
        content = file.read()
        sound = sound_length(content)
        if sound == size:
            return
        with (path.parent / TORN).open("ab") as torn:
            torn.write(content[sound:])
        file.truncate(sound)
        os.fsync(file.fileno())
    say(f"removed {size - sound} bytes of an unfinished record from {path} (saved to {path.parent / TORN})")


def sound_length(content: bytes) -> int:
    """Count the bytes of a journal up to its last complete record."""
    end = content.rfind(b"\n") + 1
    while end:
        begin = content.rfind(b"\n", 0, end - 1) + 1
        with suppress(ValueError):
            if isinstance(json.loads(content[begin:end]), dict):
                break
        end = begin
    return end

"""Where the trials of a sweep are written down, for all processes that work on it: a file, or a database."""

import fcntl
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

optuna = lazy_loader.load("optuna")

JOURNAL = "journal.log"
TORN = "journal.log.torn"  # what was cut off its end
LOCKS = ".trials.lock"
DRIVERS = {"postgresql": "postgresql+psycopg", "postgresql+psycopg": "postgresql+psycopg", "sqlite": "sqlite"}
MEETINGS = 10  # times that others may be found at making a database's tables
PATIENCE = (
    25  # seconds that a locked database is asked again; Optuna asks in two ways: a minute in all at most
)
_PASSWORD = re.compile(  # up to the last @ before another address begins: it may hold any character
    r"(://[^/@:]*:)((?:(?!\s\W?[\w+.=]+://).)*)(?=@)|(\b\w*password=)([^&\s]*)"
)


def masked(text: object) -> str:
    """The text with three stars for every password that stands in an address."""
    return _PASSWORD.sub(lambda m: f"{m[1] or m[3]}***", str(text))


def _secrets(address: str) -> set[str]:
    """The passwords in an address, as it writes them and as they are."""
    found = {m[2] or m[4] for m in _PASSWORD.finditer(address)} - {"", None}
    return found | {unquote(secret) for secret in found}


def open_storage(address: str, folder: Path, tell: Callable[[str], None]) -> Any:
    """Optuna's storage behind an address; a file in the sweep's folder for `journal`.

    Raises:
        Error: not to be reached (code 6), or not what it should be (code 4).
    """
    quiet()
    with storage_errors(address, folder):
        if address == "journal":
            return optuna.storages.JournalStorage(open_journal(folder, tell))
        scheme, _, rest = address.partition("://")
        if scheme == "grpc":
            host, _, port = rest.rpartition(":")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.storages.GrpcStorageProxy(host=host, port=int(port))
        wait = {"timeout": PATIENCE} if scheme == "sqlite" else {"connect_timeout": PATIENCE}
        url = f"{DRIVERS[scheme]}://{rest}"
        return optuna.storages.get_storage(_database(url, wait))  # which keeps trials that are over


def _database(url: str, wait: dict[str, int]) -> Any:
    """Its tables are made by whoever comes first; who comes at the same moment finds them the next time."""
    import sqlalchemy.exc

    for left in reversed(range(MEETINGS)):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": wait})
        except (
            sqlalchemy.exc.IntegrityError,
            sqlalchemy.exc.OperationalError,
            sqlalchemy.exc.ProgrammingError,
        ) as error:
            met = isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error)
            if not met or not left:
                raise
            time.sleep(0.2)
    raise AssertionError("the last attempt returns or raises")


def quiet() -> None:
    """Optuna says nothing by itself."""
    optuna.logging.disable_default_handler()


def is_shared_file(address: str) -> bool:
    """True where whoever reaches the storage also reaches the locks on its trials."""
    return address == "journal" or address.startswith("sqlite:")


def locks_file(address: str, folder: Path, study: str) -> Path:
    """Where the locks on a study's trials lie: by a database's file, for sweeps of several folders; else in the one."""
    if address.startswith("sqlite:"):
        from sqlalchemy.engine import make_url

        with storage_errors(address, folder):
            file = Path(make_url(address).database or "")
        if file.name:
            return file.with_name(f".{file.name}.{quote(study, safe='')}.lock")
    return folder / LOCKS


@contextmanager
def storage_errors(address: str, folder: Path) -> Iterator[None]:
    """Tell in words what a storage refuses, without the password in its address.

    Raises:
        Error: as `open_storage`.
    """
    try:
        yield
    except (Error, optuna.exceptions.DuplicatedStudyError, optuna.exceptions.UpdateFinishedTrialError):
        raise
    except json.JSONDecodeError as error:
        raise _damaged(folder / JOURNAL, error) from None
    except Exception as error:
        found = _translated(error, address)
        if found is None:
            raise
        raise found from None


def _translated(error: BaseException, address: str) -> Error | None:
    """What a database's or a driver's own error means; None for any other."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    modules = {type(e).__module__.partition(".")[0] for e in chain}
    said = chain[-1].details() if "grpc" in modules and hasattr(chain[-1], "details") else str(chain[-1])
    text = masked(said or type(chain[-1]).__name__).strip().partition("\n")[0]
    for secret in _secrets(address):  # a driver tells it in ways of its own
        text = text.replace(secret, "***")
    address = masked(address)
    if "locked" in text:
        what = f"study storage is locked by another process: {address}"
        return Error(what, "end that process, then give the same command again", Code.RESOURCES)
    if "not a database" in text or "no such column" in text or "schema" in text.lower():
        what = f"{address} is not a dlfound study ({text})"
        return Error(what, "name another search.storage, or leave it out", Code.RUN)
    if isinstance(chain[-1], ModuleNotFoundError):
        return Error(
            f"search.storage={address} needs more: {text}", "pip install 'dlfound[remote]'", Code.RESOURCES
        )
    if modules & {"sqlalchemy", "psycopg", "sqlite3", "grpc"} or isinstance(
        error, optuna.exceptions.StorageInternalError
    ):
        return Error(
            f"cannot use search.storage={address}: {text}", "see that it can be reached", Code.RESOURCES
        )
    return None


def _damaged(path: Path, error: Exception) -> Error:
    what = f"{path} is not a dlfound study, or damaged: {printable(error)}"
    return Error(what, "set it aside: the same command makes it anew from the trials' folders", Code.RUN)


# ---- the journal


def open_journal(folder: Path, tell: Callable[[str], None]) -> Any:
    """Optuna's journal file, with a lock that ends with its holder, and torn ends mended before a line is added."""
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    path = folder / JOURNAL

    class Lock:
        """The kernel's, given back however the process ends; where there is none, Optuna's own."""

        def __init__(self) -> None:
            self._file, self._other = -1, JournalFileOpenLock(str(path))

        def acquire(self) -> bool:
            self._file = os.open(
                folder / ".journal.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666
            )
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            except OSError:
                os.close(self._file)
                self._file = -1
                return self._other.acquire()
            return True

        def release(self) -> None:
            if self._file < 0:
                self._other.release()
            else:
                os.close(self._file)
                self._file = -1

    class Journal(JournalFileBackend):
        def __init__(self) -> None:
            self._mended = Lock()
            super().__init__(str(path), Lock())
            self._mend(whole=True)

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            self._mend(whole=False)
            super().append_logs(logs)

        def _mend(self, whole: bool) -> None:
            self._mended.acquire()
            try:
                mend(path, tell, whole)
            finally:
                self._mended.release()

    return Journal()


def mend(path: Path, tell: Callable[[str], None], whole: bool = True) -> None:
    """Cut off what a killed process left half written at the end; only for the one who holds the journal's lock.

    Args:
        whole: also look at what a last line says, not only whether it ends.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(-1, os.SEEK_END)
        ends = file.read(1) == b"\n"
        if ends and not whole:
            return
        file.seek(0)
        content = file.read()
        kept = sound(content)
        if kept == size:
            return
        with (path.parent / TORN).open("ab") as aside:
            aside.write(content[kept:])
        file.truncate(kept)
        os.fsync(file.fileno())
    tell(f"removed {size - kept} bytes of an unfinished record from {path} (saved to {path.parent / TORN})")


def sound(content: bytes) -> int:
    """How many bytes of a journal are whole records: all but those at its end that are none."""
    end = content.rfind(b"\n") + 1
    while end:
        begin = content.rfind(b"\n", 0, end - 1) + 1
        with suppress(ValueError):
            if isinstance(json.loads(content[begin:end]), dict):
                return end
        end = begin
    return end

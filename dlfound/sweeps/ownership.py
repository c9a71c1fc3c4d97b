"""Who trains a trial: each one belongs to one process at a time.

Processes that share a folder, or the file of a database, lock one byte per trial in a common lock file. The
kernel releases the locks of a process however the process ends.

Machines that share only a database server cannot see each other's locks. There the owner of a trial writes a
heartbeat, a growing number, to the storage. A trial whose heartbeat stands still for a minute is abandoned.
The observer measures the minute on its own clock, so the clocks of the machines may differ. Optuna's own
heartbeat would need the clock of the server, which its gRPC proxy does not give.
"""

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dlfound.errors import Code, Error
from dlfound.sweeps.folder import read_mark
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.storage import find_lock_file, is_shared_file

HEARTBEAT_INTERVAL = 15.0  # seconds
ABANDONED_AFTER = 60.0  # seconds without a heartbeat
SETTLING_TIME = 1.0  # seconds until every machine sees who has taken over a trial
OWNER = "owner"  # a trial's attribute in the storage: the process that trains it, and its heartbeat
DEATHS = "deaths"  # a trial's attribute in the storage: how many of its processes have died


class TrialLocks:
    """The locks of one process on the trials of a sweep.

    Create it after a fork, and only once per process. These locks belong to the process, so closing a second
    object on the same file would release the locks of the first.

    Raises:
        Error: the lock file cannot be opened (code 6).
    """

    def __init__(self, file: Path):
        self._held: set[int] = set()
        try:
            self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            message = f"cannot write to {file.parent}: {error.strerror}"
            raise Error(message, "choose another folder, or make it writable", Code.RESOURCES) from None

    def acquire(self, number: int) -> bool:
        """Lock a trial; return False if this or another process already holds it."""
        if number in self._held:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number + 1)
        except (BlockingIOError, PermissionError):
            return False
        self._held.add(number)
        return True

    def release(self, number: int) -> None:
        """Unlock a trial."""
        self._held.discard(number)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number + 1)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep all other processes out of their own `exclusive` blocks."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 0)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)


class Ownership:
    """The trials that this process owns, by a lock and, for machines that cannot see it, by a heartbeat.

    Args:
        storage: Optuna's storage of the sweep.
    """

    def __init__(self, plan: Plan, storage: Any):
        self.locks = TrialLocks(find_lock_file(plan.address, plan.path, plan.study_name))
        self._storage = storage
        self._shared = is_shared_file(plan.address)
        self._owner = {"place": read_mark(plan.path), "worker": secrets.token_hex(8)}
        self._observed: dict[int, tuple[Any, float]] = {}  # trial -> its owner and state, and since when
        self._released = threading.Event()
        self._heart: threading.Thread | None = None

    def take_over_dead(self, trial: FrozenTrial) -> bool:
        """Acquire a running trial if its owner is dead and no other process is faster."""
        if not self._is_abandoned(trial) or not self.locks.acquire(trial.number):
            return False
        current = self._storage.get_trial(trial._trial_id)
        if current.state == TrialState.RUNNING and (self._lock_decides(current) or self.sign(current)):
            deaths = current.user_attrs.get(DEATHS, 0) + 1
            self._storage.set_trial_user_attr(trial._trial_id, DEATHS, deaths)
            return True
        self.locks.release(trial.number)
        return False

    def _lock_decides(self, trial: FrozenTrial) -> bool:
        """True if the owner of the trial uses the same lock file as this process."""
        return self._shared or trial.user_attrs.get(OWNER, {}).get("place") == self._owner["place"]

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        """Tell whether the heartbeat has stopped; True if the lock decides instead."""
        if self._lock_decides(trial):
            return True
        seen = (trial.user_attrs.get(OWNER), trial.state)
        now = time.monotonic()
        before, since = self._observed.get(trial.number, (None, now))
        if before != seen:
            since = now
            self._observed[trial.number] = (seen, now)
        return now - since >= ABANDONED_AFTER

    def sign(self, trial: FrozenTrial) -> bool:
        """Write this process down as the owner; return False if another process overwrites that."""
        owner = self.beat(trial._trial_id, 0)
        time.sleep(SETTLING_TIME)
        current = self._storage.get_trial(trial._trial_id)
        return current.state == TrialState.RUNNING and current.user_attrs.get(OWNER) == owner

    def beat(self, trial_id: int, number: int) -> dict[str, Any]:
        """Write a heartbeat; returns what it wrote."""
        owner = {**self._owner, "heartbeat": number}
        self._storage.set_trial_user_attr(trial_id, OWNER, owner)
        return owner

    def start_heartbeat(self, trial_id: int) -> None:
        """Keep showing machines that cannot see the lock that this process is alive."""
        if not self._shared:
            self.beat(trial_id, 0)
            self._released.clear()
            self._heart = threading.Thread(target=self._keep_beating, args=[trial_id], daemon=True)
            self._heart.start()

    def _keep_beating(self, trial_id: int) -> None:
        number = 0
        while not self._released.wait(HEARTBEAT_INTERVAL):
            number += 1
            with suppress(Exception):  # a short outage; a long one shows when the trial's result is written
                self.beat(trial_id, number)

    def release(self, number: int) -> None:
        """Give up a trial, finished or not."""
        self._released.set()
        if self._heart is not None:
            self._heart.join()
            self._heart = None
        self.locks.release(number)

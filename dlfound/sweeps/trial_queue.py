"""Hand out the trials of a sweep, each to one process at a time.

Processes that share a folder, or the file of a database, lock one byte per trial in a common lock file. The
kernel releases the locks of a process however the process ends.

Machines that share only a database server cannot see each other's locks. There the owner of a trial writes a
heartbeat, a growing number, to the storage. A trial whose heartbeat stands still for a minute is abandoned.
The observer measures the minute on its own clock, so the clocks of the machines may differ.
"""

import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dlfound.errors import Code, Error
from dlfound.sweeps.folder import Result, read_mark
from dlfound.sweeps.samplers import draw, make_pruner, make_sampler
from dlfound.sweeps.space import Values
from dlfound.sweeps.storage import find_lock_file, is_shared_file
from dlfound.sweeps.trials import RESULT, STATES, TrialStore

HEARTBEAT_INTERVAL = 15.0  # seconds
ABANDONED_AFTER = 60.0  # seconds without a heartbeat
SETTLING_TIME = 1.0  # seconds until every machine sees who has taken over a trial
OWNER = "owner"  # a trial's attribute in the storage: the process that trains it, and its heartbeat
DEATHS = "deaths"  # a trial's attribute in the storage: how many of its processes have died


# ---- ownership


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
        locks: the locks of this process.
        shared: True if every process of the sweep sees the same lock file.
        mark: identifies this sweep folder among those of other machines.
    """

    def __init__(self, storage: Any, locks: TrialLocks, shared: bool, mark: str):
        self.locks = locks
        self._storage = storage
        self._shared = shared
        self._owner = {"place": mark, "worker": secrets.token_hex(8)}
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
        owner = {**self._owner, "pulse": number}
        self._storage.set_trial_user_attr(trial_id, OWNER, owner)
        return owner

    def start_heartbeat(self, trial_id: int) -> None:
        """Show machines that cannot see the lock that this process is alive, again and again, from a thread."""
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


# ---- the queue


@dataclass(frozen=True)
class ClaimedTrial:
    """A trial that this process owns and must bring to an end.

    Attributes:
        deaths: how many processes have died while they owned it.
    """

    number: int
    values: Values
    trial: optuna.trial.Trial
    deaths: int


class TrialQueue:
    """Hands this process one trial after another, and records the outcome of each."""

    def __init__(self, store: TrialStore):
        plan = store.plan
        self.store = store
        self.locks = TrialLocks(find_lock_file(plan.address, plan.path, plan.study_name))
        shared = is_shared_file(plan.address)
        self.ownership = Ownership(store.storage, self.locks, shared, read_mark(plan.path))
        self._sampler = make_sampler(plan.method_name, plan.method, plan.space)
        self._pruner = make_pruner(plan.method, plan.base["train"]["epochs"])

    def claim(self, begin: bool = True) -> ClaimedTrial | None:
        """Claim a trial whose process has died, else the next one of the sweep; None if there is neither.

        Args:
            begin: False to claim no trial that has not been started before.
        """
        with self.store.errors():
            for trial in self.store.trials()[: self.store.plan.count]:
                if trial.state == TrialState.RUNNING and self.ownership.take_over_dead(trial):
                    return self._claimed(trial)
            return self._claim_next() if begin else None

    def _claim_next(self) -> ClaimedTrial | None:
        """Claim the first waiting trial; create one if there is none and the sweep may have more."""
        count = self.store.plan.count
        with self.locks.exclusive():
            while True:
                trials = self.store.trials()
                for trial in trials[:count]:
                    if trial.state == TrialState.WAITING and self.locks.acquire(trial.number):
                        if self._set_running(trial):
                            return self._claimed(trial)
                        self.locks.release(trial.number)
                if len(trials) >= count:
                    return None
                self.store.study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING))

    def _set_running(self, trial: FrozenTrial) -> bool:
        """Change a trial from waiting to running; return False if another process was faster."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            return self.store.storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING)
        return False

    def _claimed(self, frozen: FrozenTrial) -> ClaimedTrial:
        self.ownership.start_heartbeat(frozen._trial_id)
        # A study caches the trials that it has read, so each trial gets a study of its own.
        name = self.store.study.study_name
        study = optuna.study.Study(name, self.store.storage, sampler=self._sampler, pruner=self._pruner)
        trial = optuna.trial.Trial(study, frozen._trial_id)
        values = draw(trial, self.store.plan.space)
        return ClaimedTrial(frozen.number, values, trial, trial.user_attrs.get(DEATHS, 0))

    def should_prune(self, claimed: ClaimedTrial, epoch: int, value: float) -> bool:
        """Record an epoch's value (lower is better); return True if the pruner ends the trial."""
        with self.store.errors():
            recorded = self.store.storage.get_trial(claimed.trial._trial_id).intermediate_values
            if epoch not in recorded:  # it may be, if the trial was interrupted
                claimed.trial.report(value, epoch)
            return claimed.trial.should_prune()

    def finish(self, claimed: ClaimedTrial, result: Result) -> bool:
        """Record the outcome of a trial and release it; return False if another process has recorded one."""
        state = STATES[result.state]
        values = None if state == TrialState.FAIL or result.value is None else [result.value]
        with self.store.errors():
            try:
                claimed.trial.set_user_attr(RESULT, json.dumps(asdict(result), allow_nan=False))
                self.store.storage.set_trial_state_values(claimed.trial._trial_id, state, values)
                return True
            except optuna.exceptions.UpdateFinishedTrialError:
                return False
            finally:
                self.ownership.release(claimed.number)

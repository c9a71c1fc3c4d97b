"""The trials of a sweep: kept in its storage, and handed out to its processes.

Each trial is a trial of Optuna with the same number. A waiting trial belongs to no process, a running trial
to the process that owns it (see `ownership`), and a finished trial never changes again.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dlfound.errors import Code, Error
from dlfound.sweeps.folder import Result, State, find_differences, read_trial_files
from dlfound.sweeps.ownership import DEATHS, Ownership
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.samplers import draw, make_pruner, make_sampler, read_values
from dlfound.sweeps.space import Space, Values
from dlfound.sweeps.storage import mask_passwords, open_storage, storage_errors

STATES = {State.DONE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED}  # the others end as FAIL
MIN_TRIALS = 10  # finished trials from which the importance of settings can be estimated
IDENTITY = "dlfound"  # a study's attribute: the settings that all commands share
DATA = "data"  # the start of a study's attributes: the fingerprint of the rows that some data settings give
RESULT = "result"  # a trial's attribute: its outcome


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the storage has it; `result` is None until it ends."""

    number: int
    state: str
    values: Values
    result: Result | None


def best_trial(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """Find the finished trial with the lowest value; the earlier one of two equal ones."""
    done = [record for record in records if record.state == State.DONE and record.result.value is not None]
    return min(done, key=lambda record: (record.result.value, record.number), default=None)


# ---- the storage


class TrialStore:
    """The trials of a sweep in their storage; a missing study is created.

    Args:
        say: receives a message if the journal had to be repaired.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None]):
        self.plan = plan
        name = plan.study_name
        with self.errors():
            self.storage = open_storage(plan.address, plan.path, say)
            try:
                self.study = optuna.study.Study(name, self.storage)
            except KeyError:
                self.study = optuna.create_study(storage=self.storage, study_name=name, load_if_exists=True)

    def errors(self) -> AbstractContextManager[None]:
        """Translate the errors of the storage (see `storage_errors`)."""
        return storage_errors(self.plan.address, self.plan.path)

    def trials(self) -> list[FrozenTrial]:
        """List Optuna's trials by number; those beyond the number of the sweep's trials too."""
        return sorted(self.study.get_trials(deepcopy=False), key=lambda trial: trial.number)

    def records(self) -> list[TrialRecord]:
        """Read the trials of the sweep."""
        with self.errors():
            return [self._record(trial) for trial in self.trials()[: self.plan.count]]

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        values = read_values(self.plan.space, trial.params)
        if trial.state.is_finished():
            result = _read_result(trial)
            return TrialRecord(trial.number, result.state, values, result)
        state = State.RUNNING if trial.state == TrialState.RUNNING else State.WAITING
        return TrialRecord(trial.number, state, values, None)

    def join(self) -> int:
        """Check that the study is this sweep's; fill an empty one from the files of the trials.

        The caller must keep other processes out.

        Returns:
            How many trials were restored from their files.

        Raises:
            Error: the study belongs to another sweep; names the differences (code 4).
        """
        with self.errors():
            is_empty = not self.trials()
            if is_empty and IDENTITY not in self.study.user_attrs:
                self.study.set_user_attr(IDENTITY, json.dumps(self.plan.identity))
            try:
                saved = json.loads(self.study.user_attrs[IDENTITY])
                problems = find_differences(saved, self.plan.identity)
            except (KeyError, TypeError, ValueError, AttributeError):
                address = mask_passwords(self.plan.address)
                message = f"the study {self.plan.study_name!r} in {address} is not a dlfound study"
                fix = "choose another run.name, or another search.storage"
                raise Error(message, fix, Code.RUN) from None
            if problems:
                raise Error.of(problems, Code.RUN)
            return self._restore() if is_empty else 0

    def _restore(self) -> int:
        entries = {int(entry["number"]): entry for entry in read_trial_files(self.plan.path).values()}
        for number in range(max(entries, default=-1) + 1):
            self.study.add_trial(_restored_trial(entries.get(number), self.plan.space))
        return len(entries)

    def importances(self) -> dict[str, float]:
        """Estimate each setting's share of the variance of the results; empty for too few trials.

        Source: Hutter, Hoos & Leyton-Brown 2014 (functional ANOVA).
        """
        done = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        keys = set.intersection(*(set(trial.params) for trial in done)) if done else set()
        varied = [key for key in keys if len({trial.params[key] for trial in done}) > 1]
        if len(done) < MIN_TRIALS or not varied or len({trial.value for trial in done}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(self.study, evaluator=evaluator, params=sorted(varied))

    def last_failure(self, limit: int) -> str:
        """The reason of the last failure if the last `limit` trials all failed; else an empty text."""
        ended = [trial for trial in self.trials() if trial.state.is_finished() and trial.datetime_complete]
        ended.sort(key=lambda trial: trial.datetime_complete)
        results = [_read_result(trial) for trial in ended[-limit:]]
        if len(results) < limit or any(result.state != State.FAILED for result in results):
            return ""
        return results[-1].reason

    def check_data(self, settings: str, fingerprint: str) -> None:
        """Check that these data settings give the same rows as in the sweep's earlier trials.

        Raises:
            Error: they do not (code 4).
        """
        name = f"{DATA} {hashlib.sha256(settings.encode()).hexdigest()[:16]}"
        with self.errors():
            saved = self.study.user_attrs.get(name)
            if saved is None:
                self.study.set_user_attr(name, fingerprint)
            elif saved != fingerprint:
                message = "the data have changed since the sweep began"
                raise Error(message, "restore the data files, or choose another run.dir", Code.RUN)


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
        self.ownership = Ownership(plan, store.storage)
        self.locks = self.ownership.locks
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
        """Claim the first waiting trial; if no trial waits, create one as long as the sweep may have more."""
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
        state = STATES.get(result.state, TrialState.FAIL)
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


# ---- results and files


def _read_result(trial: FrozenTrial) -> Result:
    """Read the outcome of a finished trial from its attribute in the storage."""
    try:
        content = json.loads(trial.user_attrs[RESULT])
        return Result(**{name: content[name] for name in Result.__dataclass_fields__})
    except (TypeError, ValueError, KeyError):
        return Result(State.FAILED, reason="the storage has no result of this trial")


def _restored_trial(entry: Mapping[str, Any] | None, space: Space) -> FrozenTrial:
    """Make a trial from its file; a waiting one if the file is missing."""
    if entry is None:
        return optuna.trial.create_trial(state=TrialState.WAITING)
    drawn = {d.key: d.distribution for d in space.dimensions if d.key in entry["params"]}
    params = {key: entry["params"][key] for key in drawn}
    create = partial(optuna.trial.create_trial, params=params, distributions=drawn)
    result = entry["result"]
    if result is None:
        return create(state=TrialState.RUNNING)
    state = STATES.get(result.get("state"), TrialState.FAIL)
    value = result.get("value") if state != TrialState.FAIL else None
    return create(state=state, value=value, user_attrs={RESULT: json.dumps(result)})

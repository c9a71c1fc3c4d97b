"""The trials of a sweep in its storage.

Each trial is a trial of Optuna with the same number. A waiting trial belongs to no process, a running trial
to the process that owns it (see `trial_queue`), and a finished trial never changes again.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dlfound.errors import Code, Error
from dlfound.sweeps.folder import DIVERGED, DONE, FAILED, PRUNED, RUNNING, WAITING, Result, find_differences
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.samplers import Values, distribution, read_values
from dlfound.sweeps.space import Space
from dlfound.sweeps.storage import open_storage, storage_errors

STATES = {
    DONE: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    DIVERGED: TrialState.FAIL,
    FAILED: TrialState.FAIL,
}
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
    best: tuple[float, int, TrialRecord] | None = None
    for record in records:
        if record.state == DONE and record.result is not None and record.result.value is not None:
            candidate = (record.result.value, record.number, record)
            if best is None or candidate[:2] < best[:2]:
                best = candidate
    return best[2] if best else None


class TrialStore:
    """The trials of a sweep in their storage.

    Args:
        storage: Optuna's storage at `address`.
        folder: the sweep's folder.
        name: the study's name in the storage.
    """

    def __init__(self, storage: Any, address: str, folder: Path, name: str, space: Space):
        self.storage = storage
        self.address = address
        self.folder = folder
        self.name = name
        self.space = space
        self.study_id = -1

    def errors(self) -> AbstractContextManager[None]:
        """Translate the errors of the storage (see `storage_errors`)."""
        return storage_errors(self.address, self.folder)

    def find(self) -> None:
        """Find the study, which must exist."""
        with self.errors():
            self._find()

    def _find(self) -> None:
        self.study_id = self.storage.get_study_id_from_name(self.name)

    def join(self, identity: Mapping[str, str]) -> bool:
        """Find the study or create it; the caller must keep other processes out.

        Args:
            identity: the settings that all commands working on the sweep must share.

        Returns:
            True if it is new.

        Raises:
            Error: the study belongs to another sweep; names the differences (code 4).
        """
        with self.errors():
            new = self._create()
            if self._attributes().get(IDENTITY) is None:
                if self.trials():
                    raise _foreign_study(self.address, self.name)
                self.storage.set_study_user_attr(self.study_id, IDENTITY, json.dumps(identity))
            saved = self._attributes()[IDENTITY]
            try:
                problems = find_differences(json.loads(saved), identity)
            except (TypeError, ValueError, AttributeError):
                raise _foreign_study(self.address, self.name) from None
            if problems:
                raise Error.of(problems, Code.RUN)
            return new

    def _create(self) -> bool:
        with suppress(KeyError):
            self._find()
            return False
        with suppress(optuna.exceptions.DuplicatedStudyError):  # another machine was faster
            self.storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], self.name)
        self._find()
        return True

    def _attributes(self) -> dict[str, Any]:
        return self.storage.get_study_user_attrs(self.study_id)

    def restore(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Fill a new study from the trials' own files; the caller must keep other processes out.

        Args:
            entries: the contents of these files, with `number`, `params` and `result`.
        """
        by_number = {int(entry["number"]): entry for entry in entries}
        with self.errors():
            for number in range(max(by_number, default=-1) + 1):
                template = _restored_trial(by_number.get(number), self.space)
                self.storage.create_new_trial(self.study_id, template_trial=template)

    def trials(self) -> list[FrozenTrial]:
        """List Optuna's trials by number."""
        trials = self.storage.get_all_trials(self.study_id, deepcopy=False)
        return sorted(trials, key=lambda trial: trial.number)

    def records(self, count: int) -> list[TrialRecord]:
        """Read the first `count` trials."""
        with self.errors():
            return [self._record(trial) for trial in self.trials()[:count]]

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        values = read_values(self.space, trial.params)
        if trial.state.is_finished():
            result = _read_result(trial.user_attrs.get(RESULT))
            return TrialRecord(trial.number, result.state, values, result)
        state = RUNNING if trial.state == TrialState.RUNNING else WAITING
        return TrialRecord(trial.number, state, values, None)

    def importances(self) -> dict[str, float]:
        """Estimate each setting's share of the variance of the results; empty for too few trials.

        Source: Hutter, Hoos & Leyton-Brown 2014 (functional ANOVA).
        """
        done = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        keys = set.intersection(*(set(trial.params) for trial in done)) if done else set()
        varied = [key for key in keys if len({trial.params[key] for trial in done}) > 1]
        if len(done) < MIN_TRIALS or not varied or len({trial.value for trial in done}) < 2:
            return {}
        study = optuna.study.Study(self.name, self.storage)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(study, evaluator=evaluator, params=sorted(varied))

    def last_failure(self, limit: int) -> str:
        """The reason of the last failure if the last `limit` trials all failed; else an empty text."""
        ended = [trial for trial in self.trials() if trial.state.is_finished() and trial.datetime_complete]
        ended.sort(key=lambda trial: trial.datetime_complete)
        results = [_read_result(trial.user_attrs.get(RESULT)) for trial in ended[-limit:]]
        if len(results) < limit or any(result.state != FAILED for result in results):
            return ""
        return results[-1].reason

    def check_data(self, settings: str, fingerprint: str) -> None:
        """Check that these data settings give the same rows as in the sweep's earlier trials.

        Raises:
            Error: they do not (code 4).
        """
        name = f"{DATA} {hashlib.sha256(settings.encode()).hexdigest()[:16]}"
        with self.errors():
            saved = self._attributes().get(name)
            if saved is None:
                self.storage.set_study_user_attr(self.study_id, name, fingerprint)
            elif saved != fingerprint:
                message = "the data have changed since the sweep began"
                raise Error(message, "restore the data files, or choose another run.dir", Code.RUN)


def open_store(plan: Plan, say: Callable[[str], None]) -> TrialStore:
    """Open the storage of a sweep.

    Args:
        say: receives a message if the journal had to be repaired.
    """
    storage = open_storage(plan.method.storage, plan.path, say)
    return TrialStore(storage, plan.method.storage, plan.path, plan.study_name, plan.space)


def _read_result(text: Any) -> Result:
    """Read the outcome of a trial from its attribute in the storage."""
    try:
        content = json.loads(text)
        return Result(**{name: content[name] for name in Result.__dataclass_fields__})
    except (TypeError, ValueError, KeyError):
        return Result(FAILED, reason="the storage has no result of this trial")


def _restored_trial(entry: Mapping[str, Any] | None, space: Space) -> FrozenTrial:
    """Make a trial from its file; a waiting one if the file is missing."""
    if entry is None:
        return optuna.trial.create_trial(state=TrialState.WAITING)
    known = {d.key: distribution(d) for d in space.dimensions}
    params = {key: value for key, value in entry["params"].items() if key in known}
    drawn = {"params": params, "distributions": {key: known[key] for key in params}}
    if entry["result"] is None:
        return optuna.trial.create_trial(state=TrialState.RUNNING, **drawn)
    text = json.dumps(entry["result"])
    result = _read_result(text)
    state = STATES[result.state]
    value = None if state == TrialState.FAIL else result.value
    return optuna.trial.create_trial(state=state, value=value, user_attrs={RESULT: text}, **drawn)


def _foreign_study(address: str, name: str) -> Error:
    message = f"the study {name!r} in {address} is not a dlfound study"
    return Error(message, "choose another run.name, or another search.storage", Code.RUN)

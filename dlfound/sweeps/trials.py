"""The trials of a sweep in its storage.

Each trial is a trial of Optuna with the same number. A waiting trial belongs to no process, a running trial
to the process that owns it (see `trial_queue`), and a finished trial never changes again.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dlfound.errors import Code, Error
from dlfound.sweeps.folder import Result, State, find_differences, read_trial_files
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.samplers import read_values
from dlfound.sweeps.space import Space, Values
from dlfound.sweeps.storage import open_storage, storage_errors

STATES = {
    State.DONE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.DIVERGED: TrialState.FAIL,
    State.FAILED: TrialState.FAIL,
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
    done = [
        r for r in records if r.state == State.DONE and r.result is not None and r.result.value is not None
    ]
    return min(done, key=lambda record: (record.result.value, record.number), default=None)


class TrialStore:
    """The trials of a sweep in their storage; a missing study is created.

    Args:
        say: receives a message if the journal had to be repaired.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None]):
        self.plan = plan
        with self.errors():
            self.storage = open_storage(plan.address, plan.path, say)
            try:
                self.study = optuna.study.Study(plan.study_name, self.storage)
            except KeyError:
                self.study = optuna.create_study(
                    study_name=plan.study_name, storage=self.storage, load_if_exists=True
                )

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
            result = _read_result(trial.user_attrs.get(RESULT))
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
                message = f"the study {self.plan.study_name!r} in {self.plan.address} is not a dlfound study"
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
        results = [_read_result(trial.user_attrs.get(RESULT)) for trial in ended[-limit:]]
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


def _read_result(text: Any) -> Result:
    """Read the outcome of a trial from its attribute in the storage."""
    try:
        content = json.loads(text)
        return Result(**{name: content[name] for name in Result.__dataclass_fields__})
    except (TypeError, ValueError, KeyError):
        return Result(State.FAILED, reason="the storage has no result of this trial")


def _restored_trial(entry: Mapping[str, Any] | None, space: Space) -> FrozenTrial:
    """Make a trial from its file; a waiting one if the file is missing."""
    if entry is None:
        return optuna.trial.create_trial(state=TrialState.WAITING)
    known = {d.key: d.distribution for d in space.dimensions}
    params = {key: value for key, value in entry["params"].items() if key in known}
    drawn = {"params": params, "distributions": {key: known[key] for key in params}}
    if entry["result"] is None:
        return optuna.trial.create_trial(state=TrialState.RUNNING, **drawn)
    text = json.dumps(entry["result"])
    result = _read_result(text)
    state = STATES[result.state]
    value = result.value if state != TrialState.FAIL else None
    return optuna.trial.create_trial(state=state, value=value, user_attrs={RESULT: text}, **drawn)

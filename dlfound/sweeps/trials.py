"""The trials of a sweep: who has which, what came of it, and how many are left.

Each trial is one of Optuna's, its number the trial's. One that waits is nobody's; one that runs belongs to the process
that holds its lock; one that is over never changes again. Where processes share neither a folder nor a database's file
they cannot see each other's locks: there a trial's pulse, a count in the storage that its process raises, says that it
is alive. It is compared with what it was a while ago on the reader's own clock, so that clocks may differ.
"""

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dlfound.errors import Code, Error, Problem
from dlfound.sweeps.samplers import Values, distribution, draw, read_values
from dlfound.sweeps.space import Space
from dlfound.sweeps.storage import is_shared_file, storage_errors
from dlfound.sweeps.trial_locks import Claims

DONE, PRUNED, DIVERGED, FAILED = "done", "pruned", "diverged", "failed"  # how a trial ends
RUNNING, INTERRUPTED, WAITING = "running", "interrupted", "waiting"  # and what it is before
STATES = {
    DONE: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    DIVERGED: TrialState.FAIL,
    FAILED: TrialState.FAIL,
}
PULSE, GRACE = 15.0, 60.0  # seconds between two pulses; without one for so long a process counts as dead
SETTLED = 1.0  # seconds after which who has taken a dead process's trial is known to all
ENOUGH = 10  # trials from which on the importance of settings can be told
IDENTITY, DATA, RESULT, OWNER, DEATHS = "dlfound", "data", "result", "owner", "deaths"  # attributes


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Attributes:
        state: done, pruned, diverged or failed.
        value: the monitor's, the mean over the trial's runs; lower is better. None where there is none.
        metrics: on the validation rows: the mean over the runs, and their standard deviation where there are several.
        reason: why it diverged or failed.
        seconds: that its training took.
    """

    state: str
    value: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    spread: dict[str, float | None] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    epochs: int = 0


@dataclass(frozen=True)
class Row:
    """A trial as one looks at it."""

    number: int
    state: str
    values: Values
    result: Result | None


@dataclass(frozen=True)
class Claimed:
    """A trial that this process has, and must bring to an end."""

    number: int
    values: Values
    trial: optuna.trial.Trial

    @property
    def params(self) -> dict[str, Any]:
        """The values as Optuna has them."""
        return self.trial.params


class Trials:
    """A sweep's trials, as one process sees them.

    Args:
        place: the sweep's folder.
        mark: that tells this folder from those on other machines.
        name: the study's, in its storage.
    """

    def __init__(
        self,
        storage: Any,
        address: str,
        place: Path,
        mark: str,
        claims: Claims | None,
        name: str,
        space: Space,
    ):
        self.storage, self.address, self.place, self.claims = storage, address, place, claims
        self.name, self.space, self._study_id = name, space, -1
        self._owner = {"place": mark, "worker": secrets.token_hex(8)}
        self._seen: dict[int, tuple[Any, float]] = {}
        self._pulse: Pulse | None = None
        self.shared = is_shared_file(address)

    # ---- joining

    def join(self, identity: Mapping[str, str]) -> bool:
        """Make the study, or find it; true where it is new.

        Raises:
            Error: it is that of another sweep, and how (code 4).
        """
        with storage_errors(self.address, self.place), self.claims.alone():
            new = self._make()
            known = self.storage.get_study_user_attrs(self._study_id).get(IDENTITY)
            if known is None:
                if self.storage.get_all_trials(self._study_id, deepcopy=False):
                    raise _foreign(self.address, self.name)
                self.storage.set_study_user_attr(self._study_id, IDENTITY, json.dumps(identity))
                known = self.storage.get_study_user_attrs(self._study_id)[IDENTITY]
            _check_identity(self.address, known, identity)
            return new

    def _make(self) -> bool:
        """True where the study was not there."""
        with suppress(KeyError):
            self._find()
            return False
        with suppress(optuna.exceptions.DuplicatedStudyError):  # made on another machine meanwhile
            self.storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], self.name)
        self._find()
        return True

    def _find(self) -> None:
        self._study_id = self.storage.get_study_id_from_name(self.name)

    def open(self, sampler: Any, pruner: Any) -> "Trials":
        """Find the study, which exists; and draw and prune by these."""
        with storage_errors(self.address, self.place):
            self._find()
            self._sampler, self._pruner = sampler, pruner
            self.study = self._fresh()
        return self

    def _fresh(self) -> optuna.study.Study:
        """Optuna's study, which remembers trials as they were when it first saw them: each trial has one of its own."""
        return optuna.study.Study(self.name, self.storage, sampler=self._sampler, pruner=self._pruner)

    def restore(self, kept: Sequence[Mapping[str, Any]]) -> None:
        """Fill a new study with what the trials' own files say: `number`, `params`, and `result` where there is one."""
        by_number = {int(entry["number"]): entry for entry in kept}
        with storage_errors(self.address, self.place), self.claims.alone():
            for number in range(max(by_number, default=-1) + 1):
                template = _template(by_number.get(number), self.space)
                self.storage.create_new_trial(self._study_id, template_trial=template)

    # ---- looking

    def _all(self) -> list[FrozenTrial]:
        return sorted(self.storage.get_all_trials(self._study_id, deepcopy=False), key=lambda t: t.number)

    def rows(self, count: int) -> list[Row]:
        """The first so many trials."""
        with storage_errors(self.address, self.place):
            return [self._row(t) for t in self._all()[:count]]

    def _row(self, t: FrozenTrial) -> Row:
        values = read_values(self.space, t.params)
        if t.state.is_finished():
            result = read_result(t.user_attrs.get(RESULT))
            return Row(t.number, result.state, values, result)
        running = t.state == TrialState.RUNNING
        return Row(t.number, RUNNING if running else WAITING, values, None)

    # ---- having

    def claim(self, count: int, new: bool = True) -> Claimed | None:
        """A trial for this process: one that a dead one left, or the next of `count`; None where there is none now.

        Args:
            new: False where no trial is to begin any more.
        """
        with storage_errors(self.address, self.place):
            for t in [t for t in self._all()[:count] if t.state == TrialState.RUNNING]:
                if (claimed := self._inherit(t)) is not None:
                    return claimed
            return self._begin(count) if new else None

    def _begin(self, count: int) -> Claimed | None:
        """A trial that nobody has had."""
        with self.claims.alone():
            while True:
                trials = self._all()
                for t in [t for t in trials[:count] if t.state == TrialState.WAITING]:
                    if self.claims.take(t.number):
                        if self._run(t):
                            return self._have(t)
                        self.claims.free(t.number)
                if len(trials) >= count:
                    return None
                waiting = optuna.trial.create_trial(state=TrialState.WAITING)
                self.storage.create_new_trial(self._study_id, template_trial=waiting)

    def _run(self, t: FrozenTrial) -> bool:
        """True where this process, and no other, has turned it from waiting to running."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            return self.storage.set_trial_state_values(t._trial_id, state=TrialState.RUNNING)
        return False

    def _inherit(self, t: FrozenTrial) -> Claimed | None:
        """A trial that runs, if the process that had it is dead."""
        if not self._is_left(t) or not self.claims.take(t.number):
            return None
        now = self.storage.get_trial(t._trial_id)
        if now.state != TrialState.RUNNING or (self._is_elsewhere(now) and not self._take_over(now)):
            self.claims.free(t.number)
            return None
        self.storage.set_trial_user_attr(t._trial_id, DEATHS, now.user_attrs.get(DEATHS, 0) + 1)
        return self._have(t)

    def deaths(self, claimed: Claimed) -> int:
        """How many processes ended while they had this trial."""
        return self.storage.get_trial(claimed.trial._trial_id).user_attrs.get(DEATHS, 0)

    def _is_elsewhere(self, t: FrozenTrial) -> bool:
        """True where the locks that this process sees say nothing of the trial."""
        return not self.shared and t.user_attrs.get(OWNER, {}).get("place") != self._owner["place"]

    def _is_left(self, t: FrozenTrial) -> bool:
        if not self._is_elsewhere(t):
            return True
        owner, now = t.user_attrs.get(OWNER), time.monotonic()
        if self._seen.get(t.number, (None, 0.0))[0] != (owner, t.state):
            self._seen[t.number] = (owner, t.state), now
        return now - self._seen[t.number][1] >= GRACE

    def _take_over(self, t: FrozenTrial) -> bool:
        """Write one's name on it, and look whether it stays: the last of several counts."""
        own = {**self._owner, "pulse": 0}
        self.storage.set_trial_user_attr(t._trial_id, OWNER, own)
        time.sleep(SETTLED)
        again = self.storage.get_trial(t._trial_id)
        return again.state == TrialState.RUNNING and again.user_attrs.get(OWNER) == own

    def _have(self, t: FrozenTrial) -> Claimed:
        if not self.shared:
            self._pulse = Pulse(self.storage, t._trial_id, self._owner)
        self.study = self._fresh()
        trial = optuna.trial.Trial(self.study, t._trial_id)
        return Claimed(t.number, draw(trial, self.space), trial)

    def importances(self) -> dict[str, float]:
        """Key -> its share of the variance of the results (functional ANOVA); empty where there are too few."""
        done = [t for t in self._all() if t.state == TrialState.COMPLETE]
        keys = set.intersection(*(set(t.params) for t in done)) if done else set()
        varied = [key for key in keys if len({t.params[key] for t in done}) > 1]
        if len(done) < ENOUGH or not varied or len({t.value for t in done}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(self.study, evaluator=evaluator, params=sorted(varied))

    def failing(self, most: int) -> str:
        """Why the last trials failed, where so many in a row did; empty otherwise."""
        over = [t for t in self._all() if t.state.is_finished() and t.datetime_complete is not None]
        last = sorted(over, key=lambda t: t.datetime_complete)[-most:]
        results = [read_result(t.user_attrs.get(RESULT)) for t in last]
        return results[-1].reason if len(results) == most and all(r.state == FAILED for r in results) else ""

    def check_data(self, settings: str, fingerprint: str) -> None:
        """Raise where these settings of the data gave the sweep's first trial other rows (code 4)."""
        name = f"{DATA} {hashlib.sha256(settings.encode()).hexdigest()[:16]}"
        with storage_errors(self.address, self.place):
            known = self.storage.get_study_user_attrs(self._study_id).get(name)
            if known is None:
                self.storage.set_study_user_attr(self._study_id, name, fingerprint)
            elif known != fingerprint:
                what = "the data are not those that the sweep began with"
                raise Error(what, "give it the same files, or choose another run.dir", Code.RUN)

    # ---- ending

    def report(self, claimed: Claimed, epoch: int, value: float) -> bool:
        """Tell an epoch's value; true where the trial promises too little to go on."""
        with storage_errors(self.address, self.place):
            id = claimed.trial._trial_id
            if epoch not in self.storage.get_trial(id).intermediate_values:
                self.storage.set_trial_intermediate_value(id, epoch, value)
            return self.study.pruner.prune(self.study, self.storage.get_trial(id))

    def settle(self, claimed: Claimed, result: Result) -> bool:
        """Write down what came of a trial, once for all; false where another process has done so before."""
        with storage_errors(self.address, self.place):
            id, values = claimed.trial._trial_id, None if result.value is None else [result.value]
            try:
                self.storage.set_trial_user_attr(id, RESULT, json.dumps(asdict(result), allow_nan=False))
                state = STATES[result.state]
                self.storage.set_trial_state_values(id, state, values if state != TrialState.FAIL else None)
                return True
            except optuna.exceptions.UpdateFinishedTrialError:
                return False
            finally:
                self.leave(claimed)

    def leave(self, claimed: Claimed) -> None:
        """Give it back, ended or not."""
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None
        self.claims.free(claimed.number)


def _template(entry: Mapping[str, Any] | None, space: Space) -> FrozenTrial:
    """A trial as its file says it was; one that waits where there is no file."""
    if entry is None:
        return optuna.trial.create_trial(state=TrialState.WAITING)
    known = {d.key: distribution(d) for d in space.dimensions}
    params = {key: value for key, value in entry["params"].items() if key in known}
    found = {"params": params, "distributions": {key: known[key] for key in params}}
    if entry["result"] is None:
        return optuna.trial.create_trial(state=TrialState.RUNNING, **found)
    text = json.dumps(entry["result"])
    result = read_result(text)
    state = STATES[result.state]
    value = None if state == TrialState.FAIL else result.value
    return optuna.trial.create_trial(state=state, value=value, user_attrs={RESULT: text}, **found)


class Pulse:
    """A thread that says, again and again, that the process which has a trial is alive."""

    def __init__(self, storage: Any, trial_id: int, owner: dict[str, Any]):
        self._storage, self._id, self._owner, self._end = storage, trial_id, owner, threading.Event()
        self._beat(0)
        self._thread = threading.Thread(target=self._beats, daemon=True)
        self._thread.start()

    def _beat(self, number: int) -> None:
        self._storage.set_trial_user_attr(self._id, OWNER, {**self._owner, "pulse": number})

    def _beats(self) -> None:
        number = 0
        while not self._end.wait(PULSE):
            number += 1
            with suppress(
                Exception
            ):  # a storage that is away for a moment; when it stays away, the trial's end says so
                self._beat(number)

    def stop(self) -> None:
        """No more."""
        self._end.set()
        self._thread.join()


def read_result(text: Any) -> Result:
    """What stands in a storage of a trial that is over."""
    try:
        found = json.loads(text)
        return Result(**{name: found[name] for name in Result.__dataclass_fields__})
    except (TypeError, ValueError, KeyError):
        return Result(FAILED, reason="the storage does not say what came of it")


def _foreign(address: str, name: str) -> Error:
    what = f"the study {name!r} in {address} is not a dlfound study"
    return Error(what, "choose another run.name, or another search.storage", Code.RUN)


def _check_identity(address: str, known: Any, identity: Mapping[str, str]) -> None:
    try:
        found = json.loads(known)
        problems = differences(found, identity)
    except (TypeError, ValueError, AttributeError):
        raise _foreign(address, "") from None
    if problems:
        raise Error.of(problems, Code.RUN)


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[Problem]:
    """What two sweeps do not share."""
    fix = "leave it as it was, or choose another run.dir"
    return [
        Problem(
            f"search space differs: {k} was {old.get(k, 'not given')}, now {new.get(k, 'not given')}", fix
        )
        for k in {**old, **new}
        if old.get(k) != new.get(k)
    ]


def best_row(rows: Sequence[Row]) -> Row | None:
    """The trial with the best value of those that are done; the earlier one of two that are equal."""
    done = [
        (row.result.value, row.number, row) for row in rows if row.state == DONE and row.result is not None
    ]
    return min(
        (entry for entry in done if entry[0] is not None), default=(None, 0, None), key=lambda e: e[:2]
    )[2]

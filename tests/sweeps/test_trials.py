"""Who has which trial: within a folder by locks, between machines by a pulse; and what is never counted twice."""

import optuna
import pytest

from dlfound.errors import Error
from dlfound.options.search_methods import Random
from dlfound.sweeps import trials as studies
from dlfound.sweeps.samplers import make_sampler
from dlfound.sweeps.space import Choice, Interval, Space
from dlfound.sweeps.storage import LOCKS, open_storage
from dlfound.sweeps.trial_locks import Claims
from dlfound.sweeps.trials import DIVERGED, DONE, FAILED, PRUNED, Result, Trials, best_row

SPACE = Space((Choice("optim", ("adam", "sgd")), Interval("optim.lr", 1e-4, 0.1, log=True)))
METHOD = Random(
    trials=3, seconds="none", repeats=1, folds=0, startup=10, pruner="none", min_epochs=1, reduction=3, workers=1,
    storage="journal", seed=0, max_failures=3,
)  # fmt: skip
IDENTITY = {"optim": "choice(adam,sgd)", "search": "random"}
GOOD = Result(DONE, 0.5, {"loss": 0.5})


class Machine:
    """One process on a machine of its own; `address` is what all share."""

    def __init__(self, folder, address, mark=""):
        folder.mkdir(exist_ok=True)
        store = open_storage(address, folder, lambda text: None)
        self.trials = Trials(
            store, address, folder, mark or folder.name, Claims(folder / LOCKS), "sweep", SPACE
        )
        self.trials.join(IDENTITY)
        self.trials.open(make_sampler("random", METHOD, SPACE), optuna.pruners.NopPruner())

    def claim(self, count=3, new=True):
        return self.trials.claim(count, new)

    def states(self, count=3):
        return [row.state for row in self.trials.rows(count)]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An address that is no file of the sweep's folder, for machines that share nothing else."""
    monkeypatch.setattr(studies, "is_shared_file", lambda address: False)
    monkeypatch.setattr(studies, "SETTLED", 0.01)
    return f"sqlite:///{tmp_path / 'server.db'}"


def test_each_trial_is_begun_once_and_no_more_than_there_are(tmp_path):
    machine = Machine(tmp_path / "a", "journal")
    claimed = [machine.claim() for _ in range(3)]
    assert [c.number for c in claimed] == [0, 1, 2] and len({c.values["optim.lr"] for c in claimed}) == 3
    for c in claimed:
        assert machine.trials.settle(c, GOOD)
    assert machine.claim() is None and machine.states() == [DONE] * 3
    assert machine.claim(count=4).number == 3


def test_machines_share_the_trials(server, tmp_path):
    a, b = Machine(tmp_path / "a", server), Machine(tmp_path / "b", server)
    numbers = [m.claim().number for m in (a, b, a)]
    assert numbers == [0, 1, 2] and a.claim() is None and b.claim() is None


def test_a_trial_of_a_dead_machine_is_taken_over_after_a_minute(server, tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(studies.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(studies, "PULSE", 3600)
    dead, other = Machine(tmp_path / "a", server), Machine(tmp_path / "b", server)
    lost = [dead.claim(), dead.claim(), dead.claim()]
    assert other.claim() is None
    clock[0] += 59
    assert other.claim() is None
    clock[0] += 2
    found = other.claim()
    assert found.number == 0 and found.values == lost[0].values
    assert other.trials.settle(found, GOOD)
    assert not dead.trials.settle(
        lost[0], Result(DONE, 0.1, {"loss": 0.1})
    )  # it was only asleep: nothing counts twice
    assert [row.result.value for row in other.trials.rows(3) if row.result] == [0.5]


def test_a_pulse_keeps_a_trial(server, tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(studies.time, "monotonic", lambda: clock[0])
    alive, other = Machine(tmp_path / "a", server), Machine(tmp_path / "b", server)
    alive.claim(count=1)
    for _ in range(5):
        assert other.claim(count=1) is None
        clock[0] += 50
        alive.trials._pulse._beat(int(clock[0]))
    assert other.claim(count=1) is None


def test_of_two_that_take_over_one_does(server, tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(studies.time, "monotonic", lambda: clock[0])
    dead, first, second = (Machine(tmp_path / name, server) for name in "abc")
    dead.claim(count=1)
    assert first.claim(count=1) is None and second.claim(count=1) is None
    clock[0] += 61

    def meanwhile(seconds):  # the other one saw it just as dead, a moment before
        monkeypatch.setattr(studies.time, "sleep", lambda seconds: None)
        assert second.trials._take_over(second.trials.storage.get_trial(1))

    monkeypatch.setattr(studies.time, "sleep", meanwhile)
    assert first.claim(count=1) is None


def test_another_sweep_under_the_same_name_is_refused(tmp_path):
    machine = Machine(tmp_path / "a", "journal")
    with pytest.raises(Error, match="search space differs: optim was choice") as caught:
        machine.trials.join({"optim": "choice(sgd)", "search": "random"})
    assert caught.value.code == 4


def test_a_study_of_someone_else_is_refused(tmp_path):
    store = open_storage("journal", tmp_path, lambda text: None)
    optuna.create_study(storage=store, study_name="sweep").ask()
    with pytest.raises(Error, match="is not a dlfound study") as caught:
        Machine(tmp_path, "journal")
    assert caught.value.code == 4


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (GOOD, "COMPLETE"),
        (Result(PRUNED, 0.1), "PRUNED"),
        (Result(DIVERGED), "FAIL"),
        (Result(FAILED), "FAIL"),
    ],
)
def test_only_what_is_done_can_be_best(result, state, tmp_path):
    machine = Machine(tmp_path / "a", "journal")
    machine.trials.settle(machine.claim(), result)
    machine.trials.settle(machine.claim(), Result(DONE, 0.9))
    assert machine.trials.storage.get_all_trials(0)[0].state.name == state
    assert best_row(machine.trials.rows(3)).number == (0 if result is GOOD else 1)


def test_failures_in_a_row(tmp_path):
    machine = Machine(tmp_path / "a", "journal")
    for state, reason in (("failed", "a"), ("failed", "b"), ("done", ""), ("failed", "c"), ("failed", "d")):
        machine.trials.settle(
            machine.claim(count=9), Result(state, 0.5 if state == "done" else None, reason=reason)
        )
        assert machine.trials.failing(3) == ""
    machine.trials.settle(machine.claim(count=9), Result(FAILED, reason="e"))
    assert machine.trials.failing(3) == "e"

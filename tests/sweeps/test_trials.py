"""Each trial belongs to one process, by a lock or by a heartbeat, and no result counts twice."""

from types import SimpleNamespace

import pytest

from dlfound.errors import Error
from dlfound.options.configure import catalog
from dlfound.options.search_methods import Random
from dlfound.sweeps import ownership
from dlfound.sweeps.folder import Result, State, open_folder
from dlfound.sweeps.space import read_space
from dlfound.sweeps.storage import open_storage
from dlfound.sweeps.trials import TrialQueue, TrialStore, best_trial

SPACE = read_space(["optim=adam,sgd", "optim.lr=tag(log,interval(1e-4,0.1))"], catalog())[0]
METHOD = Random(
    trials=3, seconds="none", repeats=1, folds=0, startup=10, pruner="none", min_epochs=1, reduction=3,
    workers=1, storage="journal", seed=0, max_failures=3,
)  # fmt: skip
IDENTITY = {"optim": "choice(adam,sgd)", "search": "random"}
GOOD = Result(State.DONE, 0.5, {"loss": 0.5})


class Machine:
    """A process on a machine with its own sweep folder; all machines share the storage at `address`."""

    def __init__(self, folder, address, identity=IDENTITY):
        open_folder(folder, IDENTITY, 9, "dlfound sweep")
        self.plan = SimpleNamespace(
            path=folder, address=address, study_name="sweep", space=SPACE, count=3, identity=identity,
            method_name="random", method=METHOD, base={"train": {"epochs": 9}},
        )  # fmt: skip
        self.store = TrialStore(self.plan, lambda text: None)
        self.store.join()
        self.queue = TrialQueue(self.store)

    def claim(self, count=3):
        self.plan.count = count
        return self.queue.claim()

    def states(self):
        return [record.state for record in self.store.records()]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a storage for machines that share nothing else."""
    monkeypatch.setattr(ownership, "is_shared_file", lambda address: False)
    monkeypatch.setattr(ownership, "SETTLING_TIME", 0.01)
    return f"sqlite:///{tmp_path / 'server.db'}"


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless a test advances it."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(ownership.time, "monotonic", lambda: clock.now)
    return clock


def test_each_trial_is_started_once_up_to_the_count(tmp_path):
    machine = Machine(tmp_path / "a", "journal")
    claimed = [machine.claim() for _ in range(3)]
    assert [c.number for c in claimed] == [0, 1, 2] and len({c.values["optim.lr"] for c in claimed}) == 3
    for c in claimed:
        assert machine.queue.finish(c, GOOD)
    assert machine.claim() is None and machine.states() == [State.DONE] * 3
    assert machine.claim(count=4).number == 3


def test_machines_share_the_trials(server, tmp_path):
    a, b = Machine(tmp_path / "a", server), Machine(tmp_path / "b", server)
    numbers = [machine.claim().number for machine in (a, b, a)]
    assert numbers == [0, 1, 2] and a.claim() is None and b.claim() is None


def test_a_trial_of_a_dead_machine_is_taken_over_after_a_minute(server, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "HEARTBEAT_INTERVAL", 3600)
    dead, other = Machine(tmp_path / "a", server), Machine(tmp_path / "b", server)
    lost = [dead.claim() for _ in range(3)]
    assert other.claim() is None
    clock.now += 59
    assert other.claim() is None
    clock.now += 2
    trial = other.claim()
    assert trial.number == 0 and trial.values == lost[0].values and trial.deaths == 1
    assert other.queue.finish(trial, GOOD)
    late = Result(State.DONE, 0.1, {"loss": 0.1})  # the first machine was only asleep
    assert not dead.queue.finish(lost[0], late)
    assert [record.result.value for record in other.store.records() if record.result] == [0.5]


def test_a_heartbeat_keeps_a_trial(server, clock, tmp_path):
    alive, other = Machine(tmp_path / "a", server), Machine(tmp_path / "b", server)
    trial = alive.claim(count=1).trial
    for _ in range(5):
        assert other.claim(count=1) is None
        clock.now += 50
        alive.queue.ownership.beat(trial._trial_id, int(clock.now))
    assert other.claim(count=1) is None


def test_only_one_of_two_machines_takes_over_a_trial(server, clock, tmp_path, monkeypatch):
    dead, first, second = (Machine(tmp_path / name, server) for name in "abc")
    dead.claim(count=1)
    assert first.claim(count=1) is None and second.claim(count=1) is None
    clock.now += 61

    def second_signs_meanwhile(seconds):
        monkeypatch.setattr(ownership.time, "sleep", lambda seconds: None)
        assert second.queue.ownership.sign(second.store.storage.get_trial(1))

    monkeypatch.setattr(ownership.time, "sleep", second_signs_meanwhile)
    assert first.claim(count=1) is None


def test_another_sweep_under_the_same_name_is_refused(tmp_path):
    Machine(tmp_path / "a", "journal")
    with pytest.raises(Error, match="search space differs: optim was choice") as caught:
        Machine(tmp_path / "a", "journal", {"optim": "choice(sgd)", "search": "random"})
    assert caught.value.code == 4


def test_the_study_of_another_program_is_refused(tmp_path):
    import optuna

    storage = open_storage("journal", tmp_path, lambda text: None)
    optuna.create_study(storage=storage, study_name="sweep").ask()
    with pytest.raises(Error, match="is not a dlfound study") as caught:
        Machine(tmp_path, "journal")
    assert caught.value.code == 4


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (GOOD, "COMPLETE"),
        (Result(State.PRUNED, 0.1), "PRUNED"),
        (Result(State.DIVERGED), "FAIL"),
        (Result(State.FAILED), "FAIL"),
    ],
)
def test_only_a_trial_that_is_done_can_be_the_best(result, state, tmp_path):
    machine = Machine(tmp_path / "a", "journal")
    machine.queue.finish(machine.claim(), result)
    machine.queue.finish(machine.claim(), Result(State.DONE, 0.9))
    assert machine.store.trials()[0].state.name == state
    assert best_trial(machine.store.records()).number == (0 if result is GOOD else 1)


def test_failures_in_a_row(tmp_path):
    machine = Machine(tmp_path / "a", "journal")
    for state, reason in (("failed", "a"), ("failed", "b"), ("done", ""), ("failed", "c"), ("failed", "d")):
        value = 0.5 if state == "done" else None
        machine.queue.finish(machine.claim(count=9), Result(state, value, reason=reason))
        assert machine.store.last_failure(3) == ""
    machine.queue.finish(machine.claim(count=9), Result(State.FAILED, reason="e"))
    assert machine.store.last_failure(3) == "e"

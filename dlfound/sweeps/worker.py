"""A worker process: it claims a trial, trains it and records the outcome, until no trial is left."""

import json
import math
import os
import shlex
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import optuna
import torch

from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error, Stopped
from dlfound.options.search_methods import Method
from dlfound.runs.folder import TRIALS, make_folder
from dlfound.runs.run import Run
from dlfound.runs.train import read_source, run_training, take_fold
from dlfound.sweeps.folder import (
    DIVERGED,
    DONE,
    FAILED,
    PRUNED,
    RUNNING,
    Result,
    mean_and_spread,
    read_trial_files,
    write_trial,
)
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.samplers import make_sampler
from dlfound.sweeps.trial_queue import ClaimedTrial, TrialLocks, TrialQueue
from dlfound.sweeps.trials import TrialStore, open_store
from dlfound.terminal import Stop
from dlfound.training.device import TooLarge
from dlfound.training.loop import Epoch
from dlfound.training.metrics import monitored, watch

Send = Callable[[dict[str, Any]], None]
FIRST_WAIT = 0.05  # seconds until a worker without a trial looks for one again; doubled each time
LONGEST_WAIT = 1.0  # seconds
REPORT_INTERVAL = 0.2  # seconds between two messages about the epochs of a run


class WorkerStop(Stop):
    """Stops on a signal, and when the parent process is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.training = True  # a worker always has something to save: a trial or its result
        self._parent = os.getppid()

    def __call__(self) -> bool:
        if not self.code and os.getppid() != self._parent:
            self.code = 143
        return super().__call__()


def join_study(plan: Plan, send: Send) -> None:
    """Find the study or create it; fill a new one with the trials that the folder already has."""
    store = open_store(plan, lambda text: send({"kind": "say", "text": text}))
    locks = TrialLocks(plan.lock_file)
    with locks.exclusive():
        if store.join(plan.identity):
            entries = list(read_trial_files(plan.path).values())
            store.restore(entries)
            if entries:
                text = f"the study was missing: rebuilt it from the {len(entries)} trials in {plan.path}"
                send({"kind": "say", "text": text})
    ended = [_end_message(r.number, r.values, r.result) for r in store.records(plan.count) if r.result]
    send({"kind": "joined", "ended": ended})
    locks.close()


def run_worker(plan: Plan, deadline: float, send: Send, stop: Stop) -> int:
    """Train trials until none is left.

    Args:
        deadline: when the last trial may begin, on the clock of `time.monotonic`.
        send: sends a message to the parent process.

    Returns:
        The exit code of the worker process.
    """
    torch.set_num_threads(max(1, torch.get_num_threads() // plan.method.workers))
    store = open_store(plan, lambda text: send({"kind": "say", "text": text}))
    store.find()
    pruner = make_pruner(plan.method, plan.base["train"]["epochs"])
    sampler = make_sampler(plan.method_name, plan.method, plan.space)
    queue = TrialQueue(store, TrialLocks(plan.lock_file), sampler, pruner)
    try:
        return Worker(plan, queue, send, stop).work(deadline)
    except Stopped as stopped:
        return stopped.code


def make_pruner(method: Method, epochs: int) -> optuna.pruners.BasePruner:
    """Create the pruner of a sweep.

    Args:
        epochs: the most epochs that a run may have.
    """
    first = min(method.min_epochs, epochs)
    makers: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(method.startup, first),
        "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(first, method.reduction),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(first, epochs, method.reduction),
    }
    return makers[method.pruner]()


class DataCache:
    """The data of the last run; runs with the same data settings share them, and each fold is cut once."""

    def __init__(self, store: TrialStore):
        self._store = store
        self._settings = ""
        self._dataset: Dataset | None = None
        self._folds: dict[tuple[int, int], Dataset] = {}

    def load(self, config: Config, data: Any) -> Dataset:
        """Read the data of a run.

        Raises:
            Error: they have changed since the sweep began (code 4), or cannot be read (code 3).
        """
        settings = json.dumps(config["data"], sort_keys=True)
        if settings != self._settings:
            self._dataset = read_source(config)
            self._settings = settings
            self._folds = {}
        assert self._dataset is not None
        self._store.check_data(settings, self._dataset.fingerprint())
        fold = (config["train"]["folds"], config["train"]["fold"])
        if fold not in self._folds:
            self._folds[fold] = take_fold(config, self._dataset)
        return self._folds[fold]


class Worker:
    """Trains the trials that a queue hands out."""

    def __init__(self, plan: Plan, queue: TrialQueue, send: Send, stop: Stop):
        self.plan = plan
        self.queue = queue
        self.send = send
        self.stop = stop
        self._data = DataCache(queue.store)

    def work(self, deadline: float) -> int:
        """Train until no trial is left; returns the exit code.

        Args:
            deadline: when the last trial may begin, on the clock of `time.monotonic`.
        """
        make_folder(self.plan.path / TRIALS)
        wait = FIRST_WAIT
        while not self.stop():
            begin = time.monotonic() < deadline
            claimed = self.queue.claim(self.plan.count, begin)
            if claimed is not None:
                self._train_claimed(claimed)
                wait = FIRST_WAIT
            elif self._is_over(begin):
                return Code.DONE
            else:  # other processes train the last trials; if one dies, this process takes over its trial
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        return self.stop.code

    def _is_over(self, begin: bool) -> bool:
        """Tell whether no trial will be left for this process, even if another process dies."""
        records = self.queue.store.records(self.plan.count)
        ended = sum(record.result is not None for record in records)
        running = any(record.state == RUNNING for record in records)
        return not running and (ended == self.plan.count or not begin)

    def _train_claimed(self, claimed: ClaimedTrial) -> None:
        """Bring a trial to its end, or release it if this process has to stop."""
        began = time.perf_counter()
        write_trial(self.plan.path, claimed.number, claimed.values, claimed.params, None)
        self.send({"kind": "begin", "number": claimed.number, "values": claimed.values})
        try:
            result = self._result(claimed)
        except BaseException:
            self.queue.release(claimed)
            raise
        write_trial(self.plan.path, claimed.number, claimed.values, claimed.params, result)
        if self.queue.finish(claimed, result):
            message = _end_message(claimed.number, claimed.values, result)
            records = self.queue.store.records(self.plan.count)
            message["seconds"] = time.perf_counter() - began
            message["ended"] = sum(record.result is not None for record in records)
            self.send(message)
        limit = self.plan.method.max_failures
        if reason := self.queue.store.last_failure(limit):
            message = f"the last {limit} trials failed, the last one with: {reason}"
            fix = "fix the cause, then rerun the command with a larger search.trials"
            raise Error(message, fix, Code.NUMERIC)

    def _result(self, claimed: ClaimedTrial) -> Result:
        """Train a trial; an error that does not concern the other trials becomes its result."""
        if claimed.deaths > self.plan.method.max_failures:
            return Result(
                FAILED, reason=f"{claimed.deaths} processes were killed in this trial: out of memory?"
            )
        try:
            return self._train(claimed)
        except Stopped:
            raise
        except TooLarge as error:
            return Result(FAILED, reason=str(error))
        except Error as error:
            if self._concerns_all_trials(error):
                raise
            return Result(FAILED, reason="; ".join(problem.what for problem in error.problems))
        except (OSError, ImportError) as error:  # the disk or the installation: other trials would fail too
            message = f"trial {claimed.number}: {error}"
            raise Error(message, "fix the cause, then rerun the command", Code.RESOURCES) from error
        except Exception as error:
            traceback.print_exc()
            first_line = str(error).partition("\n")[0]
            return Result(FAILED, reason=f"{type(error).__name__}: {first_line}")

    def _concerns_all_trials(self, error: Error) -> bool:
        """Tell whether an error would end every other trial too, so that the sweep has to stop."""
        varied = {d.key.partition(".")[0] for d in self.plan.space.dimensions}
        if error.code == Code.DATA:
            return not varied & {"data", "experiment"}
        return error.code in (Code.RESOURCES, Code.RUN, Code.UNSAFE)

    def _train(self, claimed: ClaimedTrial) -> Result:
        """Train the runs of a trial, up to the first that diverges or is pruned."""
        runs: list[Run] = []
        for name, overrides in self.plan.runs:
            words = [*self.plan.run_overrides(claimed.values), *overrides]
            config = self.plan.compose(words)
            run = run_training(
                config,
                self.plan.trial_folder(claimed.number) / name,
                None,
                shlex.join(["dlfound", "train", *words]),
                shown=False,
                stop=self.stop,
                load=self._data.load,
                should_prune=self._should_prune(claimed, config, prunes=not runs),
            )
            runs.append(run)
            if run.report["status"] != DONE:
                break
        return trial_result(runs)

    def _should_prune(
        self, claimed: ClaimedTrial, config: Config, prunes: bool
    ) -> Callable[[Epoch, float], bool]:
        """Make the function that a run calls after each epoch: it reports the epoch and may end the run."""
        epochs = config["train"]["epochs"]
        monitor = monitored(config["train"]["monitor"])
        prunes = prunes and self.plan.method.pruner != "none"
        reported = 0.0

        def should_prune(epoch: Epoch, value: float) -> bool:
            nonlocal reported
            now = time.monotonic()
            if now - reported >= REPORT_INTERVAL:
                reported = now
                message = {"kind": "epoch", "number": claimed.number, "epoch": epoch.number, "epochs": epochs}
                self.send({**message, "value": epoch.val[monitor]})
            return prunes and math.isfinite(value) and self.queue.should_prune(claimed, epoch.number, value)

        return should_prune


def trial_result(runs: list[Run]) -> Result:
    """Combine the runs of a trial into its result."""
    reports = [run.report for run in runs]
    last = reports[-1]
    monitor = last["monitor"]
    means, spread = mean_and_spread([report["val"] for report in reports])
    totals = {
        "seconds": sum(report["seconds"]["total"] for report in reports),
        "epochs": sum(report["epochs_run"] for report in reports),
    }
    if last["status"] == DIVERGED:
        return Result(DIVERGED, None, means, reason=last["error"]["what"], **totals)
    value = watch(monitored(monitor))(means)
    if not math.isfinite(value):
        reason = f"{monitor} is undefined on the validation rows"
        return Result(FAILED, None, means, reason=reason, **totals)
    return Result(PRUNED if last["status"] == PRUNED else DONE, value, means, spread, **totals)


def _end_message(number: int, values: Mapping[str, str], result: Result) -> dict[str, Any]:
    return {"kind": "end", "number": number, "values": dict(values), **asdict(result)}

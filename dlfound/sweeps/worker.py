"""A worker process: it claims a trial, trains it and records the outcome, until no trial is left."""

import json
import math
import os
import shlex
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error, Stopped
from dlfound.runs.folder import TRIALS, make_folder
from dlfound.runs.run import Run
from dlfound.runs.train import read_source, run_training, take_fold
from dlfound.sweeps.folder import Result, State, mean_and_spread, write_trial
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.trials import ClaimedTrial, TrialQueue, TrialStore
from dlfound.terminal import Stop, stoppable
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


def join_study(plan: Plan, send: Send) -> int:
    """Find the study or create it; fill an empty one with the trials that the folder already has.

    Sends a message "joined" with the trials that have ended before. Returns the exit code of its process.

    Raises:
        Error: the study belongs to another sweep (code 4), or the storage cannot be used (codes 4 and 6).
    """
    queue = _open_queue(plan, send)
    with queue.locks.exclusive():
        restored = queue.store.join()
    if restored:
        text = f"the study was missing: rebuilt it from the {restored} trials in {plan.path}"
        send({"kind": "say", "text": text})
    records = queue.store.records()
    ended = [_end_message(r.number, r.values, r.result) for r in records if r.result is not None]
    send({"kind": "joined", "ended": ended})
    return Code.DONE


def run_worker(plan: Plan, deadline: float, send: Send) -> int:
    """Train trials until none is left.

    Args:
        deadline: when the last trial may begin, on the clock of `time.monotonic`.
        send: sends a message to the parent process.

    Returns:
        The exit code of the worker process.
    """
    with stoppable(WorkerStop()) as stop:
        torch.set_num_threads(max(1, torch.get_num_threads() // plan.method.workers))
        try:
            return Worker(_open_queue(plan, send), send, stop).work(deadline)
        except Stopped as stopped:
            return stopped.code


def _open_queue(plan: Plan, send: Send) -> TrialQueue:
    return TrialQueue(TrialStore(plan, lambda text: send({"kind": "say", "text": text})))


class Worker:
    """Trains the trials that a queue hands out."""

    def __init__(self, queue: TrialQueue, send: Send, stop: Stop):
        self.plan = queue.store.plan
        self.queue = queue
        self.send = send
        self.stop = stop
        self._data_settings = ""  # of the last run; runs with the same ones share their data
        self._folds: dict[tuple[int, int], Dataset] = {}  # folds, fold -> these data; 0, 0 has all rows
        self._reported = 0.0  # when the last message about an epoch was sent

    def work(self, deadline: float) -> int:
        """Train until no trial is left; returns the exit code.

        Args:
            deadline: when the last trial may begin, on the clock of `time.monotonic`.
        """
        make_folder(self.plan.path / TRIALS)
        wait = FIRST_WAIT
        while not self.stop():
            begin = time.monotonic() < deadline
            claimed = self.queue.claim(begin)
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
        records = self.queue.store.records()
        if any(record.state == State.RUNNING for record in records):
            return False
        return not begin or sum(record.result is not None for record in records) == self.plan.count

    def _train_claimed(self, claimed: ClaimedTrial) -> None:
        """Bring a trial to its end, or release it if this process has to stop."""
        began = time.perf_counter()
        entry = {"number": claimed.number, "values": claimed.values, "params": claimed.trial.params}
        write_trial(self.plan.path, entry, None)
        self.send({"kind": "begin", "number": claimed.number, "values": claimed.values})
        try:
            result = self._result(claimed)
        except BaseException:
            self.queue.ownership.release(claimed.number)
            raise
        write_trial(self.plan.path, entry, result)
        store = self.queue.store
        if self.queue.finish(claimed, result):
            message = _end_message(claimed.number, claimed.values, result)
            message["seconds"] = time.perf_counter() - began
            message["ended"] = sum(record.result is not None for record in store.records())
            self.send(message)
        limit = self.plan.method.max_failures
        if reason := store.last_failure(limit):
            message = f"the last {limit} trials failed, the last one with: {reason}"
            fix = "fix the cause, then rerun the command with a larger search.trials"
            raise Error(message, fix, Code.NUMERIC)

    def _result(self, claimed: ClaimedTrial) -> Result:
        """Train a trial; an error that does not concern the other trials becomes its result."""
        if claimed.deaths > self.plan.method.max_failures:
            reason = f"{claimed.deaths} processes were killed in this trial: out of memory?"
            return Result(State.FAILED, reason=reason)
        try:
            return self._train(claimed)
        except Stopped:
            raise
        except Error as error:
            if self._concerns_all_trials(error):
                raise
            return Result(State.FAILED, reason="; ".join(problem.what for problem in error.problems))
        except (OSError, ImportError) as error:  # the disk or the installation: other trials would fail too
            message = f"trial {claimed.number}: {error}"
            raise Error(message, "fix the cause, then rerun the command", Code.RESOURCES) from error
        except Exception as error:
            traceback.print_exc()
            first_line = str(error).partition("\n")[0]
            return Result(State.FAILED, reason=f"{type(error).__name__}: {first_line}")

    def _concerns_all_trials(self, error: Error) -> bool:
        """Tell whether an error would end every other trial too, so that the sweep has to stop."""
        varied = {d.key.partition(".")[0] for d in self.plan.space.dimensions}
        if error.code == Code.DATA:
            return not varied & {"data", "experiment"}
        concerns_all = error.code in (Code.RESOURCES, Code.RUN, Code.UNSAFE)
        return concerns_all and not isinstance(error, TooLarge)

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
                load=self._load,
                should_prune=partial(self._should_prune, claimed, config["train"], not runs),
            )
            runs.append(run)
            if run.report["status"] != State.DONE:
                break
        return trial_result(runs)

    def _load(self, config: Config, data: Any) -> Dataset:
        """Read the data of a run, or take those of the last one; each fold is cut once.

        Raises:
            Error: they have changed since the sweep began (code 4), or cannot be read (code 3).
        """
        settings = json.dumps(config["data"], sort_keys=True)
        if settings != self._data_settings:
            dataset = read_source(config)
            self.queue.store.check_data(settings, dataset.fingerprint())
            self._folds = {(0, 0): dataset}
            self._data_settings = settings
        fold = (config["train"]["folds"], config["train"]["fold"])
        if fold not in self._folds:
            self._folds[fold] = take_fold(config, self._folds[0, 0])
        return self._folds[fold]

    def _should_prune(
        self, claimed: ClaimedTrial, settings: Mapping[str, Any], is_first: bool, epoch: Epoch, value: float
    ) -> bool:
        """Report an epoch of a run, and let the pruner decide whether the trial ends.

        Args:
            settings: the node `train` of the run's configuration.
            is_first: True for the first run of the trial; only this one can be pruned.
        """
        if time.monotonic() - self._reported >= REPORT_INTERVAL:
            self._reported = time.monotonic()
            message = {"kind": "epoch", "number": claimed.number, "epoch": epoch.number}
            metric = epoch.val[monitored(settings["monitor"])]
            self.send({**message, "epochs": settings["epochs"], "value": metric})
        if not is_first or self.plan.method.pruner == "none" or not math.isfinite(value):
            return False
        return self.queue.should_prune(claimed, epoch.number, value)


def trial_result(runs: list[Run]) -> Result:
    """Combine the runs of a trial into its result."""
    reports = [run.report for run in runs]
    last = reports[-1]
    monitor = last["monitor"]
    means, spread = mean_and_spread([report["val"] for report in reports])
    combine = partial(
        Result,
        metrics=means,
        seconds=sum(report["seconds"]["total"] for report in reports),
        epochs=sum(report["epochs_run"] for report in reports),
    )
    if last["status"] == State.DIVERGED:
        return combine(State.DIVERGED, reason=last["error"]["what"])
    value = watch(monitored(monitor))(means)
    if not math.isfinite(value):
        return combine(State.FAILED, reason=f"{monitor} is undefined on the validation rows")
    return combine(State.PRUNED if last["status"] == State.PRUNED else State.DONE, value, spread=spread)


def _end_message(number: int, values: Mapping[str, str], result: Result) -> dict[str, Any]:
    return {"kind": "end", "number": number, "values": dict(values), **asdict(result)}

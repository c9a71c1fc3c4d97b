"""A process that trains trials until none is left: it takes one, trains it, and writes down what came of it."""

import json
import math
import os
import shlex
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error, Stopped, printable
from dlfound.runs.durable import name_aside
from dlfound.runs.folder import TRIALS, RunFolder, make_folder
from dlfound.runs.run import Run
from dlfound.runs.train import read_source, run_training, take_fold
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.samplers import make_pruner, make_sampler
from dlfound.sweeps.storage import open_storage
from dlfound.sweeps.trial_locks import Claims
from dlfound.sweeps.trials import DIVERGED, DONE, FAILED, PRUNED, RUNNING, Claimed, Result, Row, Trials
from dlfound.terminal import Stop
from dlfound.training.device import TooLarge
from dlfound.training.loop import Epoch
from dlfound.training.metrics import monitored, watch

Send = Callable[[dict[str, Any]], None]
LOOKS = 0.05, 1.0  # seconds between two looks for a trial, at first and at last
TOLD = 0.2  # seconds between two tellings of a run's epochs


def open_trials(plan: Plan, claims: Claims, send: Send) -> Trials:
    """The sweep's trials, as this process sees them."""
    storage = open_storage(plan.method.storage, plan.path, lambda text: send({"kind": "say", "text": text}))
    return Trials(storage, plan.method.storage, plan.path, plan.mark, claims, plan.study, plan.space)


def join(plan: Plan, send: Send) -> None:
    """Make the study or find it; a new one is filled with the trials whose folders are there already."""
    claims = Claims(plan.locks)
    trials = open_trials(plan, claims, send)
    if trials.join(plan.identity):
        kept = kept_trials(plan.path)
        trials.restore(kept)
        if kept:
            send(
                {
                    "kind": "say",
                    "text": f"the study was gone: made anew from the {len(kept)} trials in {plan.path}",
                }
            )
    for row in trials.rows(plan.count):
        if row.result is not None:
            send({"kind": "end", "number": row.number, "values": row.values, **asdict(row.result)})
    claims.close()


def look(plan: Plan) -> tuple[list[Row], dict[str, float]]:
    """The trials as they stand, and how much each setting matters."""
    storage = open_storage(plan.method.storage, plan.path, lambda text: None)
    trials = Trials(storage, plan.method.storage, plan.path, plan.mark, None, plan.study, plan.space)
    trials.open(None, None)
    return trials.rows(plan.count), trials.importances()


def kept_trials(sweep: Path) -> list[dict[str, Any]]:
    """What the trials' own files say."""
    folder = RunFolder(sweep / TRIALS)
    return [folder.read_json(path.name) for path in sorted(folder.path.glob("*.json"))]


@dataclass
class Worker:
    """A process of a sweep.

    Attributes:
        until: when the last trial may begin, on the clock of `time.monotonic`.
    """

    plan: Plan
    send: Send
    stop: Stop
    until: float = math.inf
    _read: str = ""
    _whole: Dataset | None = None  # as the source gives it
    _folds: dict[tuple[int, int], Dataset] = field(default_factory=dict)

    def work(self) -> int:
        """Train until there is nothing left; the exit code."""
        claims, wait = Claims(self.plan.locks), LOOKS[0]
        self.trials = open_trials(self.plan, claims, self.send)
        method, epochs = self.plan.method, self.plan.base["train"]["epochs"]
        self.trials.open(make_sampler(self.plan.word, method, self.plan.space), make_pruner(method, epochs))
        make_folder(self.plan.path / TRIALS)
        while not self.stop():
            new = time.monotonic() < self.until
            claimed = self.trials.claim(self.plan.count, new)
            if claimed is not None:
                self._have(claimed)
                wait = LOOKS[0]
            elif self._over(new):
                return Code.DONE
            else:  # others train the last ones; should they die, they are gone on with here
                time.sleep(wait)
                wait = min(2 * wait, LOOKS[1])
        return self.stop.code

    def _over(self, new: bool) -> bool:
        """True where no trial will be left for this process: not even one whose process dies."""
        left = [row for row in self.trials.rows(self.plan.count) if row.result is None]
        running = sum(row.state == RUNNING for row in left)
        missing = self.plan.count - self._finished()
        return running == 0 and (missing == 0 or not new)

    def _have(self, claimed: Claimed) -> None:
        """Bring a trial to its end; it stays for others where this process ends before."""
        number, began = claimed.number, time.perf_counter()
        self._keep(claimed, None)
        self.send({"kind": "begin", "number": number, "values": claimed.values})
        try:
            result = self._result(claimed)
        except BaseException:
            self.trials.leave(claimed)
            raise
        self._keep(claimed, result)
        new = self.trials.settle(claimed, result)
        seconds = time.perf_counter() - began
        if new:
            told = asdict(result) | {"values": claimed.values, "seconds": seconds, "over": self._finished()}
            self.send({"kind": "end", "number": number, **told})
        if reason := self.trials.failing(self.plan.method.max_failures):
            what = f"the last {self.plan.method.max_failures} trials failed; the last one: {reason}"
            raise Error(
                what, "mend what is wrong, then give the same command with more search.trials", Code.NUMERIC
            )

    def _finished(self) -> int:
        """Trials that are over, whoever trained them."""
        return sum(row.result is not None for row in self.trials.rows(self.plan.count))

    def _keep(self, claimed: Claimed, result: Result | None) -> None:
        """A file for what the storage says of the trial, so that the one can be made from the other."""
        kept = {"number": claimed.number, "values": claimed.values, "params": claimed.params}
        path = self.plan.path / TRIALS / f"{claimed.number:04}.json"
        aside = name_aside(path)
        aside.write_text(json.dumps(kept | {"result": asdict(result) if result else None}), encoding="utf-8")
        aside.rename(path)  # not forced to the disk: that is what the storage is for

    def _result(self, claimed: Claimed) -> Result:
        if self.trials.deaths(claimed) > self.plan.method.max_failures:
            return Result(FAILED, reason="its process was killed again and again: too little memory?")
        try:
            return self._train(claimed)
        except (Stopped, BrokenPipeError):
            raise
        except TooLarge as error:
            return Result(FAILED, reason=str(error))
        except Error as error:
            if self._concerns_all(error):
                raise
            return Result(FAILED, reason="; ".join(p.what for p in error.problems))
        except Exception as error:
            if isinstance(
                error, OSError | ImportError
            ):  # the disk, or what is installed: no other would fare better
                raise Error(
                    f"trial {claimed.number}: {error}",
                    "see to it, then give the same command again",
                    Code.RESOURCES,
                ) from error
            traceback.print_exc()
            return Result(FAILED, reason=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")

    def _concerns_all(self, error: Error) -> bool:
        """True for what would end every other trial as well: the sweep stops, and goes on once it is mended."""
        varies = {d.key.partition(".")[0] for d in self.plan.space.dimensions}
        of_data = error.code == Code.DATA and not varies & {"data", "experiment"}
        return of_data or error.code in (Code.RESOURCES, Code.RUN, Code.UNSAFE)

    # ---- training

    def _train(self, claimed: Claimed) -> Result:
        """All runs of a trial, up to the first that does not end well."""
        runs, folder = [], self.plan.folder(claimed.number)
        for name, more in self.plan.runs:
            words = [*self.plan.run_words(claimed.values), *more]
            config = self.plan.compose(words)
            command = shlex.join(["dlfound", "train", *words])
            watched = self._watched(claimed, config, first=not runs)
            run, code = run_training(
                config,
                folder / name,
                None,
                command,
                shown=False,
                stop=self.stop,
                load=self._load,
                should_prune=watched,
            )
            runs.append(run)
            if code != Code.DONE or run.report["status"] == PRUNED:
                break
        return result_of(runs)

    def _load(self, config: Config, data: Any) -> Dataset:
        """The data, read once as long as their configuration is the same; its folds share the rows."""
        key, train = json.dumps(config["data"], sort_keys=True), config["train"]
        if key != self._read:
            self._read, self._whole, self._folds = key, read_source(config), {}
        self.trials.check_data(key, self._whole.fingerprint())
        fold = train["folds"], train["fold"]
        if fold not in self._folds:
            self._folds[fold] = take_fold(config, self._whole)
        return self._folds[fold]

    def _watched(self, claimed: Claimed, config: Config, first: bool) -> Callable[[Epoch, float], bool]:
        last, prunes = 0.0, first and self.plan.method.pruner != "none"
        of, monitor = config["train"]["epochs"], monitored(config["train"]["monitor"])

        def watched(epoch: Epoch, value: float) -> bool:
            nonlocal last
            if time.monotonic() - last >= TOLD:
                last = time.monotonic()
                now = {"epoch": epoch.number, "of": of, "val": epoch.val[monitor]}
                self.send({"kind": "epoch", "number": claimed.number, **now})
            return prunes and math.isfinite(value) and self.trials.report(claimed, epoch.number, value)

        return watched


def result_of(runs: list[Run]) -> Result:
    """What the runs of a trial come to."""
    reports = [run.report for run in runs]
    last, seconds = reports[-1], sum(report["seconds"]["total"] for report in reports)
    epochs = sum(report["epochs_run"] for report in reports)
    metrics, spread = _summary([report["val"] for report in reports])
    if last["status"] == "diverged":
        return Result(DIVERGED, None, metrics, {}, last["error"]["what"], seconds, epochs)
    monitor = last["monitor"]
    value = watch(monitored(monitor))(metrics)
    if not math.isfinite(value):
        return Result(
            FAILED, None, metrics, {}, f"{monitor} is undefined on the validation rows", seconds, epochs
        )
    state = PRUNED if last["status"] == PRUNED else DONE
    return Result(state, value, metrics, spread, "", seconds, epochs)


def _summary(
    found: list[Mapping[str, float | None]],
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Mean and standard deviation of each metric over runs; none where one run has none."""
    means: dict[str, float | None] = {}
    spread: dict[str, float | None] = {}
    for name in found[0]:
        values = [v for metrics in found if (v := metrics.get(name)) is not None]
        whole = len(values) == len(found)
        means[name] = statistics.fmean(values) if whole else None
        if len(found) > 1:
            spread[name] = statistics.stdev(values) if whole else None
    return means, spread


# ---- as a process of its own


class Leaving(Stop):
    """A stop that also comes when who began this process is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.training, self._parent = (
            True,
            os.getppid(),
        )  # there is always something to keep: a trial, or its result

    def __call__(self) -> bool:
        if not self.code and os.getppid() != self._parent:
            self.code = 143
        return super().__call__()


@contextmanager
def own_share(workers: int) -> Any:
    """Each of several processes takes its share of the cores."""
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    yield


def run_worker(plan: Plan, send: Send, stop: Stop, until: float) -> int:
    """The life of a worker process; its exit code."""
    with own_share(plan.method.workers):
        try:
            return Worker(plan, send, stop, until).work()
        except Stopped as stopped:
            return stopped.code
        except BrokenPipeError:
            return 143
        except Error as error:
            send(
                {
                    "kind": "fatal",
                    "code": int(error.code),
                    "problems": [[p.what, p.fix] for p in error.problems],
                }
            )
            return int(error.code)
        except Exception as error:
            traceback.print_exc()
            with suppress(BrokenPipeError):
                what = f"{type(error).__name__}: {printable(str(error).partition(chr(10))[0])}"
                fix = f"this is a fault of dlfound; {plan.path / 'workers.log'} shows where"
                send({"kind": "fatal", "code": int(Code.BUG), "problems": [[what, fix]]})
            return int(Code.BUG)
        finally:
            sys.stderr.flush()

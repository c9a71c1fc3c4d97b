"""`dlfound sweep`: train many configurations and find the best one."""

import argparse
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from dlfound.commands.options import own_options
from dlfound.errors import Code, Error, Stopped, printable
from dlfound.options.configure import load_options
from dlfound.sweeps.folder import WORKERS_LOG, State, open_folder
from dlfound.sweeps.worker_pool import WorkerPool
from dlfound.terminal import Stop, age_text, number_text, say, stoppable

if TYPE_CHECKING:  # these import Hydra and Optuna
    from dlfound.sweeps.plan import Plan
    from dlfound.sweeps.results import Results

SUMMARY = "search for good settings: train many configurations and find the best"
EXAMPLES = """\
examples:
  dlfound sweep optim=adam,sgd optim.lr='tag(log, interval(1e-4, 1e-1))' search.trials=50
  dlfound sweep model.hidden='choice([256],[256,256])' dropout=none,standard search=grid
  dlfound sweep optim.lr='tag(log, interval(1e-4, 1e-1))' 'train.batch_size=int(interval(16,256))' search=tpe
  dlfound sweep optim.lr=0.001,0.01 search=grid search.repeats=5      mean and spread over five seeds
  dlfound sweep optim.lr='tag(log, interval(1e-4, 1e-1))' search.pruner=asha search.workers=4
  dlfound sweep ... run.dir=my_sweep                                  rerun this command to resume
  dlfound compare my_sweep                                            all trials in a table
  dlfound train --config-dir my_sweep experiment=best                 train the best configuration again
  dlfound options search                                              the search methods and settings
"""
REFRESH_INTERVAL = 0.25  # seconds


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    help_text = "overrides as for train; a list or a distribution in place of a value is searched"
    parser.add_argument("overrides", nargs="*", metavar="SPACE", help=help_text)
    own_options(parser)
    parser.add_argument("--cfg", action="store_true", help="print the search space; train nothing")
    parser.add_argument("--json", action="store_true", help="print only the sweep's report, as JSON")


def command(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    # Handle signals before torch is imported: an exception in the middle of an import leaves a broken module.
    with stoppable() as stop:
        from dlfound.sweeps.plan import make_plan  # imports Hydra

        load_options(args.files)
        typed = f"dlfound {shlex.join(sys.argv[1:])}"
        plan = make_plan(args.overrides, args.config_dir, args.files, typed)
        if args.cfg:
            _print_space(plan, args.json)
            return Code.DONE
        return _search(plan, args.json, stop)


def _print_space(plan: "Plan", as_json: bool) -> None:
    content = plan.identity | {"search.trials": plan.count}
    lines = [f"{key}: {text}" for key, text in content.items()]
    print(json.dumps(content, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))


def _search(plan: "Plan", as_json: bool, stop: Stop) -> int:
    """Run the sweep; return the exit code."""
    seconds = plan.method.seconds
    deadline = float("inf") if seconds == "none" else time.monotonic() + seconds
    open_folder(plan.path, plan.identity, plan.count, plan.command)
    if warning := plan.repetition_warning():
        say(warning)
    from dlfound.sweeps.worker import join_study, run_worker  # imports torch, before the forks

    display = Display(plan.count, plan.monitor)
    log = plan.path / WORKERS_LOG
    WorkerPool(1, partial(join_study, plan), log, display.listen).run()
    failure = None
    stop.training = True
    with display.shown():
        try:
            if display.ended < plan.count:
                work = partial(run_worker, plan, deadline)
                WorkerPool(plan.method.workers, work, log, display.listen, display.refresh, stop).run()
        except Error as error:
            failure = error
    return _finish(plan, stop, failure, as_json)


def _finish(plan: "Plan", stop: Stop, failure: Error | None, as_json: bool) -> int:
    """Write the sweep's files and print its results; return the exit code."""
    from dlfound.sweeps.results import draw_pictures, read_results, write_results

    results = read_results(plan)
    changed = write_results(results)
    if changed and results.ended and (message := draw_pictures(plan.path)):
        say(message)
    if failure is not None:
        raise failure
    for warning in results.report["warnings"]:
        say(warning)
    print(json.dumps(results.report, indent=2, ensure_ascii=False) if as_json else results_text(results))
    progress = f"{results.ended} of {plan.count} trials"
    resume = f"rerun the command with run.dir={shlex.quote(str(plan.path))} to resume"
    if stop():
        rest = "none is left" if results.finished else resume
        raise Stopped(f"stopped after {progress}; {rest}", stop.code)
    if not results.finished:
        say(f"search.seconds is over after {progress}; {resume}")
    if (failure := results.failure()) is not None:
        raise failure
    return Code.DONE


def results_text(results: "Results") -> str:
    """Format the results of a sweep for a person; the last line is its folder."""
    plan = results.plan
    states = ", ".join(f"{count} {state}" for state, count in sorted(results.states.items()))
    lines = [f"{results.ended} of {plan.count} trials: {states}" if states else "no trial yet"]
    if best := results.report["best"]:
        lines.append(f"best: trial {best['trial']}")
        lines += [f"  {key} = {printable(text)}" for key, text in best["values"].items()]
        for part in ("val", "test"):
            if best[part] is not None:
                spread = best["val_std"] if part == "val" else {}
                lines.append(f"  {part:<4}  {_metrics_text(best[part], spread, results.best_metrics())}")
        if results.importances:
            shares = [f"{key} {share:.0%}" for key, share in results.importances.items()]
            lines.append(f"importance of the settings: {', '.join(shares)}")
        lines.append("to train the best configuration again:")
        lines.append(f"  dlfound train --config-dir {shlex.quote(printable(plan.path))} experiment=best")
        lines.append(f"  {printable(best['command'])}")
    return "\n".join([*lines, str(plan.path)])


def _metrics_text(means: Mapping[str, Any], spread: Mapping[str, Any], names: Sequence[str]) -> str:
    texts = {name: f"{name} {number_text(means[name])}" for name in names if name in means}
    texts |= {name: f"{texts[name]} ± {number_text(spread[name])}" for name in texts if name in spread}
    return "  ".join(texts.values())


class Display:
    """What a person sees on standard error: a live table in a terminal, else a line per trial."""

    def __init__(self, count: int, monitor: str):
        self.count = count
        self.monitor = monitor
        self.ended = 0  # trials of all processes
        self._states: Counter[str] = Counter()
        self._best: dict[str, Any] | None = None
        self._running: dict[int, dict[str, Any]] = {}  # worker -> its last message
        self._began = time.monotonic()
        self._ended_here = 0  # trials that this command has ended
        self._live: Any = None
        self._refreshed = 0.0

    def shown(self) -> AbstractContextManager:
        """Return a context in which the live table is shown, if standard error is a terminal."""
        if not sys.stderr.isatty():
            return nullcontext()
        from rich.console import Console
        from rich.live import Live

        # Without a thread that refreshes it, since this process forks. While the table is shown, rich prints
        # what is written on standard error above it.
        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        return self._live

    # ---- messages

    def listen(self, worker: int, message: dict[str, Any]) -> None:
        """Take in a message of a worker."""
        kind = message["kind"]
        if kind == "joined":
            for ended in message["ended"]:
                self._count(ended)
        elif kind == "begin":
            self._running[worker] = message
        elif kind == "epoch":
            self._running.get(worker, {}).update(message)
        elif kind == "end":
            self._running.pop(worker, None)
            self._ended_here += 1
            self._count(message)
            self.ended = max(self.ended, message["ended"])
            if self._live is None:
                say(self._trial_line(message))
        elif kind == "killed":
            trial = self._running.pop(worker, None)
            where = f" in trial {trial['number']}, which resumes from its checkpoint" if trial else ""
            say(f"a worker was killed by {message['signal']}{where}")
        elif kind == "say":
            say(message["text"])

    def _count(self, message: dict[str, Any]) -> None:
        self._states[message["state"]] += 1
        self.ended = max(self.ended, self._states.total())
        if message["state"] == State.DONE:
            self._best = min(filter(None, [self._best, message]), key=lambda m: (m["value"], m["number"]))

    # ---- text

    def refresh(self) -> None:
        """Redraw the live table if it is time."""
        if self._live is not None and time.monotonic() - self._refreshed >= REFRESH_INTERVAL:
            self._refreshed = time.monotonic()
            self._live.update(self._table(), refresh=True)

    def _trial_line(self, message: Mapping[str, Any]) -> str:
        outcome = message["reason"] or self._metric(message)
        parts = [f"trial {message['number']}", message["state"], outcome, f"{message['seconds']:.1f} s"]
        parts.append(_values_text(message["values"]))
        best = f"; best {self._metric(self._best)} (trial {self._best['number']})" if self._best else ""
        return f"{'  '.join(filter(None, parts))}  [{self.ended}/{self.count}{best}]"

    def _metric(self, message: Mapping[str, Any]) -> str:
        value = message["metrics"].get(self.monitor)
        return f"val {self.monitor} {number_text(value)}" if value is not None else ""

    def _time_left(self) -> str:
        if not self._ended_here:
            return ""
        seconds_per_trial = (time.monotonic() - self._began) / self._ended_here
        return f"{age_text(round(seconds_per_trial * max(0, self.count - self.ended)))} left"

    def _table(self) -> Any:
        """Build the live table: the progress, a line for each running trial, and the best trial."""
        from rich.table import Table
        from rich.text import Text

        states = [f"{self._states[state]} {state}" for state in State if self._states[state]]
        head = [f"{self.ended} of {self.count} trials", ", ".join(states), self._time_left()]
        grid = Table.grid()
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_row(Text("  ".join(filter(None, head))))
        if self._running:
            table = Table(box=None, pad_edge=False)
            for name in ("trial", "epoch", f"val {self.monitor}", "settings"):
                table.add_column(name, no_wrap=True, overflow="ellipsis")
            for _, run in sorted(self._running.items()):
                epoch = f"{run['epoch']}/{run['epochs']}" if "epoch" in run else "-"
                settings = Text(_values_text(run["values"]))
                table.add_row(str(run["number"]), epoch, number_text(run.get("value")), settings)
            grid.add_row(table)
        if self._best is not None:
            best = f"best: {self._metric(self._best)}, trial {self._best['number']}: "
            grid.add_row(Text(best + _values_text(self._best["values"])))
        return grid


def _values_text(values: Mapping[str, str]) -> str:
    return printable(" ".join(f"{key}={text}" for key, text in values.items()))

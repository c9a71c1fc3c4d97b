"""The parts of one training: its messages, its net, state and decisions, and when it writes checkpoints."""

import math
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error, Problem, Stopped, printable
from dlfound.options.rules import cautions, loss_fits_task, monitor_fits_loss, monitor_fits_task
from dlfound.runs.checkpoints import Checkpoints, Schedule
from dlfound.runs.folder import RunFolder
from dlfound.runs.state import TrainState
from dlfound.terminal import Stop, say
from dlfound.training.assemble import Assembly, assemble, resolve
from dlfound.training.loop import Epoch, EpochProgress
from dlfound.training.metrics import watch

WARNING = "warning: "  # the begin of a warning in log.txt, on the terminal and at the head of config.yaml
ShouldPrune = Callable[[Epoch, float], bool]


def never_prune(epoch: Epoch, value: float) -> bool:
    """Let the run go on to its own end."""
    return False


@dataclass
class RunLog:
    """The messages of one run.

    Attributes:
        shown: False keeps standard error silent.
        warnings: the warnings of the training so far; part of its state.
        broken: True once log.txt could not be written.
    """

    folder: RunFolder
    shown: bool
    warnings: list[str]
    broken: bool = False

    def write(self, text: str) -> None:
        """Append a line to log.txt. If that fails, warn once: a run is worth more than its log."""
        if self.broken:
            return
        try:
            self.folder.append("log.txt", printable(text))
        except Error as error:
            self.broken = True
            self.warn(f"{error}; the run continues without log.txt")

    def note(self, text: str) -> None:
        """Log a detail; show it on a terminal only."""
        self.write(text)
        if self.shown and sys.stderr.isatty():
            say(text)

    def tell(self, text: str) -> None:
        """Log and show something that the person must know."""
        self.write(text)
        if self.shown:
            say(text)

    def warn(self, text: str) -> None:
        """Log and show a sign of trouble, and keep it for the report."""
        self.warnings.append(printable(text))
        self.tell(f"{WARNING}{text}")

    def all_warnings(self) -> list[str]:
        """Return the warnings about the configuration, from the head of config.yaml, and of the training."""
        head = [text.removeprefix(WARNING) for text in self.folder.head if text.startswith(WARNING)]
        return [*head, *self.warnings]

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Write the error that ends the run to log.txt; for an unexpected exception, the traceback too."""
        try:
            yield
        except Exception as error:
            lines = [str(error)] if isinstance(error, Stopped) else traceback.format_exc().splitlines()
            if isinstance(error, Error):
                lines = [f"error: {problem.what}; {problem.fix}" for problem in error.problems]
            for line in lines:
                self.write(line)
            raise


class Training:
    """One training: its net and data, its state, and what is decided after each validation.

    Attributes:
        config: settled, with no `auto` option left.
        schema: the content of schema.json.
        remarks: notes and warnings about the settings and the data.
        should_prune: called with each epoch and the monitor's value (lower is better); True ends the run.
        state: at the start of the run, until a checkpoint is restored.
    """

    def __init__(
        self, config: Config, schema: dict[str, Any], remarks: list[str], assembly: Assembly,
        should_prune: ShouldPrune,
    ):  # fmt: skip
        self.config = config
        self.schema = schema
        self.remarks = remarks
        self.assembly = assembly
        self.should_prune = should_prune
        self.state = TrainState.initial(config, assembly, schema["fingerprint"])
        self.epochs = config["train"]["epochs"]
        self.decay = config.build("lr_decay")(self.epochs)
        self.stopping = config.build("early_stopping")()
        self.value_of = watch(config["train"]["monitor"])

    def fit_arguments(self) -> dict[str, Any]:
        """Return the arguments of `fit`: it continues where the state is."""
        a = self.assembly
        return {
            "network": a.network,
            "step": a.step,
            "loss": a.loss,
            "decay": self.decay,
            "train": a.parts["train"],
            "val": a.parts["val"],
            "epochs": 0 if self.state.ended else self.epochs,  # 0: it only has to be finished
            "batch_size": a.batch_size,
            "seed": self.config["run"]["seed"],
            "progress": self.state.progress,
        }

    def advance(self, event: Epoch | EpochProgress) -> None:
        """Bring the state up to date with what `fit` yields; an epoch may end the training."""
        state = self.state
        if isinstance(event, EpochProgress):
            state.progress = event
            return
        state.progress = EpochProgress(event.number + 1)
        state.seconds.train += event.train_seconds
        value = self.value_of(event.val)
        state.best.update(value, event.number, self.assembly.step)
        if self._stops(value):
            state.ended = "early_stopping"
        elif event.number == self.epochs:
            state.ended = "epochs"
        if self.should_prune(event, value) and not state.ended:
            state.ended = "pruned"

    def best_of(self, lines: Sequence[Mapping[str, Any]]) -> tuple[int, float | None]:
        """Find the best validation in lines of metrics.jsonl: (epoch, value), or (0, None) without lines."""
        values = [(self.value_of(line["val"]), line["epoch"]) for line in lines]
        value, epoch = min((pair for pair in values if pair[0] < math.inf), default=(None, 0))
        return epoch, value

    def repeat(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Count the validations in lines of metrics.jsonl, from before a checkpoint."""
        for line in lines:
            self._stops(self.value_of(line["val"]))

    def _stops(self, value: float) -> bool:
        self.decay.after(value)
        return self.stopping.after(value)


def assemble_training(
    config: Config, dataset: Dataset, device: torch.device, should_prune: ShouldPrune
) -> Training:
    """Build the parts of a training.

    Raises:
        Error: settings that do not fit the data (code 2); a net that does not fit the machine (code 6).
    """
    check_task(config, dataset)
    settled, notes = resolve(config, dataset.task)
    assembly = assemble(settled, dataset, device)
    _refuse(monitor_fits_loss(config["train"]["monitor"], settled.name("loss"), assembly.loss))
    schema = dataset.schema() | {"plan": assembly.network.preprocessing.plan}
    return Training(settled, schema, _remarks(settled, dataset, notes), assembly, should_prune)


def check_task(config: Config, dataset: Dataset) -> None:
    """Refuse a loss or a monitor that does not fit the data's task (code 2)."""
    loss_problem = loss_fits_task(config.name("loss"), dataset.task)
    _refuse(loss_problem, monitor_fits_task(config["train"]["monitor"], dataset.task))


def _refuse(*problems: Problem | None) -> None:
    if any(problems):
        raise Error.of([problem for problem in problems if problem is not None], Code.CONFIG)


def _remarks(config: Config, dataset: Dataset, notes: Sequence[str]) -> list[str]:
    """Collect the remarks for the head of config.yaml: a later command may not know them any more."""
    warnings = [*dataset.warnings, *(text for text in config.warnings if text not in cautions(config))]
    remarks = [*dataset.notes, *notes, *(f"{WARNING}{text}" for text in warnings)]
    requested = config["train"]["batch_size"]
    rows = len(dataset.parts["train"])
    if isinstance(requested, int) and requested > rows:
        remarks.append(f"train.batch_size={requested} is more than the {rows} training rows: using {rows}")
    return remarks


class Saver:
    """Writes checkpoints: at each pause, after an epoch if one is due, at the end, and before a stop.

    Args:
        flush: called before each checkpoint, to write what is still in memory.
        started: when the command started, on the clock of `time.perf_counter`.
    """

    def __init__(
        self, training: Training, folder: RunFolder, flush: Callable[[], None], stop: Stop, started: float
    ):
        self.state = training.state
        self.folder = folder
        self.flush = flush
        self.schedule = Schedule(training.config["train"]["checkpoint"])
        self.stop = stop
        self.started = started - self.state.seconds.total  # as if the run had never been interrupted

    def pause(self) -> bool:
        """Return True if `fit` should pause inside an epoch."""
        return self.stop() or self.schedule.due()

    def save_if_due(self, event: Epoch | EpochProgress) -> None:
        """Write a checkpoint if it is time.

        Raises:
            Stopped: a signal asked the training to stop; it can be resumed.
        """
        is_pause = isinstance(event, EpochProgress)
        if is_pause or self.state.ended or self.stop() or self.schedule.due(event.number):
            self._save()
        if self.stop() and not self.state.ended:
            at = f"stopped at step {self.state.step} (epoch {self.state.progress.epoch})"
            resume = shlex.quote(f"resume={self.folder.path}")
            raise Stopped(f"{at}; resume with: dlfound train {resume}", self.stop.code)

    def _save(self) -> None:
        with self.schedule.writing():
            self.flush()
            self.update_total()
            self.state.save(Checkpoints(self.folder.path), self.folder)

    def update_total(self) -> None:
        """Bring the run's total time up to date."""
        self.state.seconds.total = time.perf_counter() - self.started

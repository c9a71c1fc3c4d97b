"""The parts of one training: net and data, state, decisions between two epochs, observation, checkpoints."""

import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error, Stopped
from dlfound.options.rules import cautions, loss_fits_task, monitor_fits_loss, monitor_fits_task
from dlfound.runs.checkpoints import Checkpoints, Schedule
from dlfound.runs.record import Recorder
from dlfound.runs.run_log import WARNING, EpochBar, RunLog
from dlfound.runs.state import TrainState
from dlfound.terminal import Stop
from dlfound.training.assemble import Assembly, assemble, resolve
from dlfound.training.layers import LayerProbe
from dlfound.training.loop import Epoch, EpochProgress
from dlfound.training.metrics import monitored, watch
from dlfound.training.symptoms import Symptoms

ShouldPrune = Callable[[Epoch, float], bool]


def never_prune(epoch: Epoch, value: float) -> bool:
    """Let the run go on to its own end."""
    return False


class Decisions:
    """Decides after each validation: is it the best, does the learning rate decay, does the training stop?

    Args:
        should_prune: called with each epoch and the monitor's value (lower is better); True ends the run.
    """

    def __init__(self, config: Config, should_prune: ShouldPrune):
        self.epochs = config["train"]["epochs"]
        self.decay = config.build("lr_decay")(self.epochs)
        self.stopping = config.build("early_stopping")()
        self.value_of = watch(config["train"]["monitor"])
        self.should_prune = should_prune

    def after(self, epoch: Epoch, state: TrainState, assembly: Assembly) -> None:
        """Keep the best weights, decay the learning rate, and end the training if it is time."""
        value = self.value_of(epoch.val)
        state.best.update(value, epoch.number, assembly.step)
        if self._stops(value):
            state.ended = "early_stopping"
        elif epoch.number == self.epochs:
            state.ended = "epochs"
        if self.should_prune(epoch, value) and not state.ended:
            state.ended = "pruned"

    def best_of(self, lines: Sequence[Mapping[str, Any]]) -> tuple[int, float | None]:
        """Find the best validation in lines of metrics.jsonl: (epoch, value), or (0, None) without lines."""
        best: tuple[int, float | None] = (0, None)
        for line in lines:
            value = self.value_of(line["val"])
            if value < (math.inf if best[1] is None else best[1]):
                best = line["epoch"], value
        return best

    def repeat(self, validation: Mapping[str, float | None]) -> None:
        """Count a validation from before a checkpoint."""
        self._stops(self.value_of(validation))

    def _stops(self, value: float) -> bool:
        self.decay.after(value)
        return self.stopping.after(value)


@dataclass(frozen=True)
class Training:
    """One training before its folder is opened.

    Attributes:
        config: settled, with no `auto` option left.
        schema: the content of schema.json.
        remarks: notes and warnings about the settings and the data.
        state: at the start of the run.
    """

    config: Config
    schema: dict[str, Any]
    remarks: list[str]
    assembly: Assembly
    state: TrainState
    decisions: Decisions

    def fit_arguments(self) -> dict[str, Any]:
        """The arguments of `fit`: it continues where the state is."""
        a = self.assembly
        return {
            "network": a.network,
            "step": a.step,
            "loss": a.loss,
            "decay": self.decisions.decay,
            "train": a.parts["train"],
            "val": a.parts["val"],
            "epochs": 0 if self.state.ended else self.decisions.epochs,  # 0: it only has to be finished
            "batch_size": a.batch_size,
            "seed": self.config["run"]["seed"],
            "progress": self.state.progress,
        }

    def take(self, event: Epoch | EpochProgress) -> None:
        """Bring the state up to date with what `fit` yields, and decide after an epoch."""
        if isinstance(event, EpochProgress):
            self.state.progress = event
            return
        self.state.progress = EpochProgress(event.number + 1)
        self.state.seconds.train += event.train_seconds
        self.decisions.after(event, self.state, self.assembly)


def assemble_training(
    config: Config, dataset: Dataset, device: torch.device, should_prune: ShouldPrune = never_prune
) -> Training:
    """Build the parts of a training.

    Raises:
        Error: settings that do not fit the data (code 2); a net that does not fit the machine (code 6).
    """
    check_task(config, dataset)
    settled, notes = resolve(config, dataset.task)
    assembly = assemble(settled, dataset, device)
    monitor = config["train"]["monitor"]
    if (problem := monitor_fits_loss(monitor, settled.name("loss"), assembly.loss)) is not None:
        raise Error.of([problem], Code.CONFIG)
    schema = dataset.schema() | {"plan": assembly.network.preprocessing.plan}
    state = TrainState.initial(settled, assembly, schema["fingerprint"])
    remarks = _remarks(settled, dataset, notes)
    return Training(settled, schema, remarks, assembly, state, Decisions(settled, should_prune))


def check_task(config: Config, dataset: Dataset) -> None:
    """Refuse a loss or a monitor that does not fit the data's task (code 2)."""
    problems = [
        loss_fits_task(config.name("loss"), dataset.task),
        monitor_fits_task(config["train"]["monitor"], dataset.task),
    ]
    if any(problems):
        raise Error.of([problem for problem in problems if problem is not None], Code.CONFIG)


def _remarks(config: Config, dataset: Dataset, notes: Sequence[str]) -> list[str]:
    """Collect the remarks for the head of config.yaml: a later command may not know them any more."""
    remarks = [*dataset.notes, *notes]
    warnings = [*dataset.warnings, *(text for text in config.warnings if text not in cautions(config))]
    remarks += [f"{WARNING}{text}" for text in warnings]
    asked = config["train"]["batch_size"]
    rows = len(dataset.parts["train"])
    if isinstance(asked, int) and asked > rows:
        remarks.append(f"train.batch_size={asked} is more than the {rows} training rows: using {rows}")
    return remarks


class Observer:
    """Looks into the net after each epoch, records the results, and warns. Used as a context manager."""

    def __init__(self, training: Training, log: RunLog):
        config = training.config
        schema = training.schema
        assembly = training.assembly
        step = assembly.step
        self.assembly = assembly
        self.log = log
        self.state = training.state
        self.monitor = monitored(config["train"]["monitor"])
        self.probe = LayerProbe(assembly.network, step, assembly.parts["train"])
        self.symptoms = Symptoms(config, step.base_lr, schema, self.state.symptoms)
        self.recorder = Recorder(config, assembly, schema, log, self.state)
        self.bar = EpochBar(config["train"]["epochs"], self.monitor, log.shown)

    def __enter__(self) -> "Observer":
        self.bar.__enter__()
        return self

    def __exit__(self, *unused: object) -> None:
        self.bar.__exit__()
        self.recorder.close()

    def start(self) -> None:
        """Look at the net before the first step; a resumed training is past it."""
        if self.state.step > 0:
            return
        loss, layers = self.probe.look()
        initial = self.probe.loss(self.assembly.parts["train"])
        self._warn(self.symptoms.start(initial, loss, layers))
        self.recorder.start(layers)

    def take(self, event: Epoch | EpochProgress) -> None:
        """Record an epoch, show it, and warn of what goes wrong."""
        if isinstance(event, Epoch):
            self._after(event)

    def _after(self, epoch: Epoch) -> None:
        loss, layers = self.probe.look(epoch.before)
        self.recorder.epoch(epoch, layers)
        self.bar.show(epoch, self.state.best.epoch)
        self._warn(self.symptoms.epoch(epoch, loss, layers))

    def end(self, metrics: Mapping[str, Mapping[str, float | None]], diverged: bool) -> None:
        """Record the metrics of the best net, and judge the fit of a training that did not diverge."""
        if not diverged and self.state.best.epoch == 0:
            self.log.warn(f"{self.monitor} was undefined at every validation: no epoch counts as the best")
        if not diverged:
            self._warn(self.symptoms.end(metrics["train"], metrics["val"]))
        self.recorder.end(self.state.epochs_done, metrics)

    def _warn(self, messages: list[str]) -> None:
        for message in messages:
            self.log.warn(message)


class Saver:
    """Writes checkpoints: at each pause, after an epoch if one is due, at the end, and before a stop.

    Args:
        started: when the run would have started on the clock of `time.perf_counter` without interruptions.
    """

    def __init__(self, training: Training, observer: Observer, stop: Stop, started: float):
        self.state = training.state
        self.observer = observer
        self.folder = observer.log.folder
        self.schedule = Schedule(training.config["train"]["checkpoint"])
        self.stop = stop
        self.started = started

    def pause(self) -> bool:
        """True if `fit` should pause inside an epoch."""
        return self.stop() or self.schedule.due()

    def take(self, event: Epoch | EpochProgress) -> None:
        """Write a checkpoint if it is time.

        Raises:
            Stopped: a signal asked the training to stop; it can be resumed.
        """
        number = event.number if isinstance(event, Epoch) else None
        if number is None or self.state.ended or self.stop() or self.schedule.due(number):
            self._save()
        if self.stop() and not self.state.ended:
            at = f"stopped at step {self.state.step} (epoch {self.state.progress.epoch})"
            resume = shlex.quote(f"resume={self.folder.path}")
            raise Stopped(f"{at}; resume with: dlfound train {resume}", self.stop.code)

    def _save(self) -> None:
        with self.schedule.writing():
            self.observer.recorder.flush()
            self.update_total()
            self.state.save(Checkpoints(self.folder.path), self.folder)

    def update_total(self) -> None:
        """Bring the run's total time up to date."""
        self.state.seconds.total = time.perf_counter() - self.started

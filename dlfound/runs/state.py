"""The training of one run, from its start or from a checkpoint, to what it ended with."""

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from dlfound.config.config import Config
from dlfound.errors import Code, Error, Problem, Stopped, printable
from dlfound.nn.modules import BatchNorm, exact_statistics
from dlfound.runs.checkpoints import Checkpoint, Checkpoints
from dlfound.runs.folder import LINES, RunFolder
from dlfound.runs.progress import Progress
from dlfound.runs.record import Recorder
from dlfound.runs.report import Outcome, versions
from dlfound.runs.resume import fixed_settings
from dlfound.runs.run_log import Journal
from dlfound.runs.stop import Stop
from dlfound.training.assemble import Assembly
from dlfound.training.device import count_threads, kind_of, threads
from dlfound.training.layers import Probe
from dlfound.training.loop import Best, Diverged, Epoch, Place, fit
from dlfound.training.metrics import EVALUATION_ROWS, evaluate, monitored, watch
from dlfound.training.symptoms import Symptoms

SHARE = 50  # a checkpoint at most so many times its own duration after the last: 2 % of the time
CELLS = ("fingerprint", "class_counts")  # of a schema: what may be another one where only cells have changed
SOONEST = 1.0  # seconds: what is shorter can as well be trained again


class Pace:
    """When the next checkpoint is due. Its clock decides what is kept, never what is computed."""

    def __init__(self, setting: int | str):
        self.epochs = setting if isinstance(setting, int) else 0
        self.wait = SOONEST if setting == "auto" else float(str(setting).removesuffix("s"))
        self.auto, self._last = setting == "auto", time.perf_counter()

    def due(self, epoch: int = 0) -> bool:
        """True when one should be written; `epoch`: the number of one that has just ended."""
        if self.epochs:
            return epoch > 0 and epoch % self.epochs == 0
        return time.perf_counter() - self._last >= self.wait

    def wrote(self, seconds: float) -> None:
        """One was written, in so many seconds."""
        self._last = time.perf_counter()
        self.wait = max(SOONEST, SHARE * seconds) if self.auto else self.wait


Watched = Callable[[Epoch, float], bool]


def unwatched(epoch: Epoch, value: float) -> bool:
    """Nobody looks on: the run goes on to its own end."""
    return False


class Session:
    """The loop over epochs, and all that a next epoch depends on.

    Args:
        stop: true once the run should end early: the step is finished and kept.
        watched: told each epoch and its monitor's value (lower is better); true ends the run: it is pruned.
        begun: when it was asked for, on the clock of `time.perf_counter`.
    """

    def __init__(
        self,
        config: Config,
        assembly: Assembly,
        schema: dict[str, Any],
        folder: RunFolder,
        journal: Journal,
        stop: Stop,
        watched: Watched,
        begun: float,
    ):
        self.config, self.assembly, self.schema = config, assembly, schema
        self.folder, self.journal, self.stop, self.watched = folder, journal, stop, watched
        self.monitor = monitored(config["train"]["monitor"])
        self.symptoms = Symptoms(config, assembly.step.base_lr, schema["class_counts"], schema["split"])
        self.checkpoints, self.pace = Checkpoints(folder.path), Pace(config["train"]["checkpoint"])
        self.decay = config.build("lr_decay")(config["train"]["epochs"])
        self.stopping = config.build("early_stopping")()
        self.best, self.place, self.value_of = Best(assembly.step), Place(), watch(self.monitor)
        self.ended, self.seconds, self.before, self.begun = "", 0.0, 0.0, begun
        weights = sum(w.numel() for w in assembly.network.body.parameters())
        self.threads = count_threads(config["run"]["threads"], weights, assembly.batch_size)
        self.machine = {"device": kind_of(assembly.step.params.device), **versions()}
        self.exact, self.resumed = True, False

    @property
    def done(self) -> int:
        """Epochs that are over."""
        return self.place.epoch - 1

    def run(self) -> Outcome:
        """Train to the end, measure, and save the net.

        Raises:
            Stopped: `stop` was true; a checkpoint holds what was reached.
        """
        recorder = Recorder(
            self.config, self.assembly, self.schema, self.journal, self.done if self.resumed else None
        )
        with threads(self.threads), closing(recorder):
            self.recorder = recorder
            error = self._train()
            parts = self._finish()
            if error is None:
                self._judge(parts)
            recorder.end(self.done, parts)
        status = "diverged" if error else "pruned" if self.ended == "pruned" else "done"
        return Outcome(
            self.assembly, self.best, self.done, status, self.ended, error, parts, self.journal.all_warnings(),
            self.threads, self.exact, self.seconds, self.total,
        )  # fmt: skip

    @property
    def total(self) -> float:
        """Seconds since the run's start, without the time in between."""
        return self.before + time.perf_counter() - self.begun

    def _train(self) -> Problem | None:
        """All epochs; returns why they ended where that was a divergence."""
        try:
            if not self.ended:
                self._epochs()
        except Diverged as diverged:
            self.ended, error = "divergence", diverged.problems[0]
            self.journal.write(f"error: {error.what}; {error.fix}")
            return error
        return None

    def _epochs(self) -> None:
        """Train; between epochs: look, log, keep the best, decay, stop."""
        a, settings = self.assembly, self.config["train"]
        loop = fit(
            a.network, a.step, a.loss, self.decay, a.parts["train"], a.parts["val"],
            epochs=settings["epochs"], batch_size=a.batch_size, seed=self.config["run"]["seed"],
            place=self.place, pause=lambda: self.stop() or self.pace.due(),
        )  # fmt: skip
        probe = Probe(a.network, a.step, a.parts["train"])
        with Progress(settings["epochs"], self.monitor, self.journal.shown) as progress:
            if not self.resumed:
                self._start(probe)
            for event in loop:
                if isinstance(event, Place):
                    self.place = event
                    self._save()
                else:
                    self._after(event, probe, progress)
                if self.ended:
                    break
                if self.stop():
                    raise self._stopped()
        self.ended = self.ended or "epochs"

    def _start(self, probe: Probe) -> None:
        loss, layers = probe.look()
        self._warn(self.symptoms.start(probe.loss(self.assembly.parts["train"]), loss, layers))
        self.recorder.start(layers)

    def _after(self, epoch: Epoch, probe: Probe, progress: Progress) -> None:
        """What is done between two epochs."""
        value = self.value_of(epoch.val)
        self.best.see(value, epoch.number, self.assembly.step)
        self.place, self.seconds = Place(epoch.number + 1), self.seconds + epoch.train_seconds
        loss, layers = probe.look(epoch.before)
        self.recorder.epoch(epoch, layers)
        progress.epoch(epoch, self.best.epoch)
        self._warn(self.symptoms.epoch(epoch, loss, layers))
        self.decay.after(value)
        if self.stopping.after(value):
            self.ended = "early_stopping"
        elif epoch.number == self.config["train"]["epochs"]:
            self.ended = "epochs"
        if self.watched(epoch, value) and not self.ended:
            self.ended = "pruned"
        if self.ended or self.stop() or self.pace.due(epoch.number):
            self._save()

    def _warn(self, found: list[str]) -> None:
        for text in found:
            self.journal.warn(text)

    def _judge(self, parts: dict[str, dict[str, float | None]]) -> None:
        if self.best.epoch == 0:
            self.journal.warn(
                f"{self.monitor} was undefined at every validation: no epoch counts as the best"
            )
        self._warn(self.symptoms.end(parts["train"], parts["val"]))

    def _stopped(self) -> Stopped:
        step = int(self.assembly.step.t)
        where, again = (
            f"stopped at step {step} (epoch {self.place.epoch})",
            shlex.quote(f"resume={self.folder.path}"),
        )
        return Stopped(f"{where}; go on with: dlfound train {again}", self.stop.code)

    def _training_batches(self) -> Iterator[Tensor]:
        return (
            self.assembly.network.ready(x) for x in self.assembly.parts["train"].inputs.split(EVALUATION_ROWS)
        )

    def _finish(self) -> dict[str, dict[str, float | None]]:
        """Go back to the best weights, make batch statistics exact, measure, and save the net."""
        a = self.assembly
        self.best.restore(a.step)
        parts = {}
        if any(isinstance(m, BatchNorm) and m.exact for m in a.network.modules()):
            parts["val_running_statistics"] = evaluate(a.network, a.loss, a.parts["val"])
            exact_statistics(a.network.body, self._training_batches)
        measured = {name: evaluate(a.network, a.loss, part) for name, part in a.parts.items()}
        self.folder.save_weights(a.network.state_dict())
        self.folder.write_json(
            "schema.json", self.schema
        )  # it may be lost, or the data may have changed, on the way
        return measured | parts

    # Checkpoints.

    def _save(self) -> None:
        """Keep all that the rest of the run depends on, and nothing that can be found again."""
        began = time.perf_counter()
        self.recorder.flush()
        files = {name: self.folder.sync(name) for name in LINES}
        state = {
            "epoch": self.place.epoch,
            "batches": self.place.batches,
            "ended": self.ended,
            "symptoms": self.symptoms.state(),
            "warnings": self.journal.warnings,
            "files": files,
            "metrics": self.folder.digest("metrics.jsonl"),
            "seconds": {"epoch": self.place.seconds, "train": self.seconds, "total": self.total},
            "threads": self.threads,
            "machine": self.machine,
            "exact": self.exact,
            "fingerprint": self.schema["fingerprint"],
            "settings": fixed_settings(self.config),
        }
        self.checkpoints.save(int(self.assembly.step.t), self._tensors(), state)
        self.pace.wrote(time.perf_counter() - began)

    def _tensors(self) -> dict[str, Tensor]:
        """Views of the vectors themselves, and what came of the batches of an epoch that is not over."""
        step, place = self.assembly.step, self.place
        tensors = {"params": step.params, "buffers": step.buffers, "t": step.t}
        tensors |= {f"slots.{i}": slot for i, slot in enumerate(step.slots)}
        tensors |= {"best.params": self.best.params, "best.buffers": self.best.buffers}
        if place.batches:
            tensors |= {"norms": torch.stack(place.norms), "outputs": torch.cat(place.outputs)}
        return tensors

    def resume(self, kept: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            Error: it does not fit this run (code 4), or the data are others (code 3).
        """
        changed = self._changed_data(kept)
        state, lines = kept.state, self._lines_before(kept)
        self._fill(kept)
        # The first change: all that is known of the run has been asked.
        short = [name for name, length in state["files"].items() if not self.folder.cut(name, length)]
        self.place.epoch, self.place.batches = state["epoch"], state["batches"]
        self.journal.warnings[:] = state["warnings"]
        self.symptoms.restore(state["symptoms"])
        for line in lines:  # decay, stopping and best follow from the validations
            value = self.value_of(line["val"])
            self.best.judge(value, line["epoch"])
            self.decay.after(value)
            self.stopping.after(value)
        seconds = state["seconds"]
        self.place.seconds, self.seconds, self.before = seconds["epoch"], seconds["train"], seconds["total"]
        longer = state["ended"] == "epochs" and self.config["train"]["epochs"] > self.done
        self.ended, self.threads, self.resumed = "" if longer else state["ended"], state["threads"], True
        if short:  # never metrics.jsonl, whose digest was right
            self.journal.warn(f"{' and '.join(short)} lost lines from before the last checkpoint")
        self._compare(state)
        if changed:
            self.exact = False
            self.journal.warn(f"{changed}: going on with train.allow_changed, not exactly any more")

    def _changed_data(self, kept: Checkpoint) -> str:
        """What to tell where the data are not those of the checkpoint; empty where they are.

        Raises:
            Error: it is not allowed, or they have other rows or columns (code 3).
        """
        old, new = kept.state["fingerprint"], self.schema["fingerprint"]
        if old == new:
            return ""
        told = f"the data have changed since step {kept.step} (sha256 {printable(old[:8])}, now {new[:8]})"
        before = {**self.folder.read_json("schema.json"), **{name: self.schema[name] for name in CELLS}}
        if before != json.loads(json.dumps(self.schema)):
            what = f"{told}, and they have other rows, columns or classes"
            raise Error(what, "give it the same files, or train anew in another run.dir", Code.DATA)
        if not self.config["train"]["allow_changed"]:
            raise Error(
                told, "give it the same files; train.allow_changed=true goes on with these", Code.DATA
            )
        return told

    def _lines_before(self, kept: Checkpoint) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl up to a checkpoint, once all is known to be of one run."""
        state, path = kept.state, self.folder.path
        size = state["files"]["metrics.jsonl"]
        if self.folder.digest("metrics.jsonl", size) != state["metrics"]:
            what = f"{path / 'metrics.jsonl'} is not what it was at the checkpoint of step {kept.step}"
            raise Error(what, "bring the file back, or train anew in another run.dir", Code.RUN)
        if state["settings"] != (own := fixed_settings(self.config)):
            there = state["settings"]
            names = sorted(name for name in {**own, **there} if there.get(name) != own.get(name))
            told = "; ".join(
                f"{name} was {there.get(name)}, and config.yaml has {own.get(name)}" for name in names
            )
            what = f"the checkpoint of step {kept.step} in {path} is not of its config.yaml: {told}"
            raise Error(what, "the folder's files must come from one run", Code.RUN)
        lines = self.folder.read_lines("metrics.jsonl", size)
        if len(lines) != state["epoch"] - 1:
            at = f"the checkpoint of step {kept.step} in {path}"
            what = f"{at} is of epoch {state['epoch']}, after {len(lines)} lines"
            raise Error(what, "the folder's files must come from one run", Code.RUN)
        return lines

    def _compare(self, state: dict[str, Any]) -> None:
        """Tell where what computes is not what computed the run till then."""
        before, self.exact = state["machine"], state["exact"]
        told = [
            f"{name} {now} where the run used {before.get(name)}"
            for name, now in self.machine.items()
            if now != before.get(name)
        ]
        if told:
            self.exact = False
            self.journal.tell(f"note: resuming with {', '.join(told)}: results will not be bit-identical")

    def _fill(self, kept: Checkpoint) -> None:
        """Copy the tensors of a checkpoint over those of the run."""
        own, batches = self._tensors(), kept.state["batches"]
        wanted = {name: (tuple(t.shape), t.dtype) for name, t in own.items()}
        if batches:  # all of the same size: an epoch's last one, which may differ, is never paused after
            outputs = batches * self.assembly.batch_size, self.assembly.network.body.output.out_features
            wanted |= {"norms": ((batches,), torch.float32), "outputs": (outputs, torch.float32)}
        found = {name: (tuple(t.shape), t.dtype) for name, t in kept.tensors.items()}
        if found != wanted or kept.state["symptoms"].keys() != self.symptoms.state().keys():
            what = f"the checkpoint of step {kept.step} in {self.folder.path} does not fit config.yaml"
            raise Error(what, "the folder's files must come from one run", Code.RUN)
        for name, tensor in own.items():
            tensor.copy_(kept.tensors[name])
        if batches:
            norms, outputs = (
                kept.tensors[name].to(self.assembly.step.params.device) for name in ("norms", "outputs")
            )
            self.place.norms, self.place.outputs = list(norms.unbind()), [outputs]
            self.place.losses = list(
                torch.zeros_like(norms).unbind()
            )  # they were finite: no more is asked of them

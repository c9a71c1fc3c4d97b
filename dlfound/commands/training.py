"""One training, from a checked configuration to a finished folder."""

import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlfound.commands.configure import catalog, configure
from dlfound.commands.opened import Run
from dlfound.commands.progress import Progress, say
from dlfound.commands.recording import Recorder
from dlfound.commands.rules import loss_fits_task, monitor_fits_loss, monitor_fits_task
from dlfound.config.compose import reopen
from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.diagnostics.layers import Probe
from dlfound.diagnostics.symptoms import Symptoms
from dlfound.errors import Code, Error, Problem
from dlfound.nn.modules import BatchNorm, exact_statistics
from dlfound.runs.folder import RunFolder, check_place, make_folder, new_path
from dlfound.training.assemble import Assembly, assemble, resolve
from dlfound.training.device import count_threads, find_device, threads
from dlfound.training.loop import Best, Diverged, fit
from dlfound.training.metrics import EVALUATION_ROWS, evaluate, monitored, watch
from dlfound.version import VERSION

REPORT_FORMAT = 1


def train(
    overrides: Sequence[str] = (), *, data: tuple[Any, Any] | None = None, config_dirs: Sequence[str | Path] = ()
) -> Run:
    """Train a net; the same as `dlfound train` with the same overrides, but silent.

    Args:
        overrides: as on the command line, for example ["optim=sgd", "optim.lr=0.1"].
        data: arrays (X, y) to train on instead of a source: X (rows, columns), y classes or numbers.
        config_dirs: folders with options of your own.

    Returns:
        The finished run.

    Raises:
        Error: what the command would have ended with; `code` is its exit code.
    """
    words = list(overrides) if data is None else ["data=arrays", *overrides]
    config = configure(words, config_dirs)
    if data is not None and config.name("data") != "arrays":
        what = f"data=(X, y) was handed over, and data={config.name('data')} asked for too"
        raise Error(what, "leave one of them out", Code.CONFIG)
    run, code = run_training(config, data, f"dlfound.train({list(overrides)!r})", shown=False)
    raise_failure(run, code)
    return run


def raise_failure(run: Run, code: Code) -> None:
    """A training that went wrong, as an error; its folder holds the best net so far."""
    if code != Code.DONE:
        error = run.report["error"]
        kept = f"; the best net so far is in {run.path}" if run.report["best_epoch"] else ""
        raise Error(error["what"], error["fix"] + kept, code)


def run_training(config: Config, data: Any, command: str, shown: bool) -> tuple[Run, Code]:
    """Train as configured, or say that the folder holds a finished run already."""
    clock = time.perf_counter()
    path = Path(config["run"]["dir"]).expanduser() if config["run"]["dir"] else new_path(config["run"]["name"])
    if RunFolder(path).finished:
        _say(shown, f"{path} holds a finished run; it is left as it is (choose another run.dir to train anew)")
        if data is not None:  # the caller would take the old run's result for that of these arrays
            raise Error(f"{path} holds a finished run", "choose another run.dir", Code.RUN)
        return _ended(path)
    check_place(path)
    device = find_device(config["run"]["device"])
    dataset = load_data(config, data)
    _check_task(config, dataset)
    settled, notes = resolve(config, dataset.task)
    assembly, schema = assemble(settled, dataset, device), dataset.schema()
    if (problem := monitor_fits_loss(config["train"]["monitor"], config.name("loss"), assembly.loss)) is not None:
        raise Error.of([problem], Code.CONFIG)
    folder = _open_folder(path, settled)  # only now: nothing is left behind by a mistake
    journal = _Journal(folder, shown)
    for note in notes:
        journal.note(note)
    for warning in config.warnings:
        journal.warn(warning)
    _note_batch(settled, dataset, journal)
    folder.write_json("schema.json", schema)
    trained = _Training(settled, assembly, schema, folder, journal).run()
    report = _report(settled, schema, trained, journal, command, time.perf_counter() - clock)
    folder.write_json("report.json", report)
    folder.finish()
    return _ended(path)


def _ended(path: Path) -> tuple[Run, Code]:
    run = Run(path)
    return run, Code.NUMERIC if run.report["status"] == "diverged" else Code.DONE


def load_data(config: Config, data: Any = None) -> Dataset:
    """The rows that the configuration names, or the arrays that a program handed over."""
    source = config.build("data")
    return source(data) if config.name("data") == "arrays" else source()


def _say(shown: bool, text: str) -> None:
    if shown:
        say(text)


def _check_task(config: Config, dataset: Dataset) -> None:
    """The rules that need the data, right after they are read."""
    found = [
        loss_fits_task(config.name("loss"), dataset.task),
        monitor_fits_task(config["train"]["monitor"], dataset.task),
    ]
    if problems := [p for p in found if p is not None]:
        raise Error.of(problems, Code.CONFIG)


def _open_folder(path: Path, config: Config) -> RunFolder:
    """A fresh folder; or that of an unfinished run of the same configuration, to be trained again from its start."""
    if (path / "config.yaml").exists():
        if not config.same_run(reopen(path / "config.yaml", catalog(config.catalog.config_dirs))):
            what = f"{path} holds an unfinished run of another configuration"
            raise Error(what, "choose another run.dir, or remove the folder", Code.RUN)
    elif path.exists() and any(path.iterdir()):
        raise Error(f"{path} holds other files", "choose another run.dir", Code.RUN)
    folder = make_folder(path)
    folder.clear()
    folder.write_text("config.yaml", config.saved())
    return folder


def _note_batch(config: Config, dataset: Dataset, journal: "_Journal") -> None:
    asked, rows = config["train"]["batch_size"], len(dataset.parts["train"])
    if isinstance(asked, int) and asked > rows:
        journal.note(f"train.batch_size={asked} is more than the {rows} training rows: taking {rows}")


@dataclass
class _Journal:
    """What is said during a run: to the person, to log.txt, and the warnings to the report."""

    folder: RunFolder
    shown: bool
    warnings: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Good to know: not worth a line where nobody watches."""
        self.folder.append("log.txt", text)
        _say(self.shown and sys.stderr.isatty(), text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.folder.append("log.txt", f"warning: {text}")
        _say(self.shown, f"warning: {text}")


@dataclass
class _Trained:
    """What a training ended with."""

    assembly: Assembly
    best: Best
    epochs_run: int
    status: str
    stopped_by: str
    error: Problem | None
    parts: dict[str, dict[str, float | None]]
    seconds: float
    threads: int


class _Training:
    """The loop over epochs and what happens between them."""

    def __init__(
        self, config: Config, assembly: Assembly, schema: dict[str, Any], folder: RunFolder, journal: _Journal
    ):
        self.config, self.assembly, self.schema = config, assembly, schema
        self.folder, self.journal = folder, journal
        self.symptoms = Symptoms(config, assembly.step.base_lr, schema["class_counts"], schema["split"])
        self.monitor = monitored(config["train"]["monitor"])
        self.best, self.epochs_run, self.seconds = Best(), 0, 0.0
        self.best.begin(assembly.step)

    def run(self) -> _Trained:
        a = self.assembly
        weights = sum(w.numel() for w in a.network.body.parameters())
        count = count_threads(self.config["run"]["threads"], weights, a.batch_size)
        with threads(count), closing(self.config.build("logger")(self.folder.path)) as logger:
            self.recorder = Recorder(self.config, a, self.schema, self.folder, logger)
            status, stopped_by, error = "done", "epochs", None
            try:
                stopped_by = self._epochs()
            except Diverged as diverged:
                status, stopped_by, error = "diverged", "divergence", diverged.problems[0]
                self.folder.append("log.txt", f"error: {error.what}; {error.fix}")
            if self.best.epoch == 0 and status == "done":
                self.journal.warn(f"{self.monitor} was undefined at every validation: no epoch counts as the best")
            parts = self._finish()
            self._warn(self.symptoms.end(parts["train"], parts["val"]) if status == "done" else [])
            self.recorder.end(self.epochs_run, parts)
        return _Trained(a, self.best, self.epochs_run, status, stopped_by, error, parts, self.seconds, count)

    def _warn(self, found: list[str]) -> None:
        for text in found:
            self.journal.warn(text)

    def _epochs(self) -> str:
        """Train; between epochs: look, log, keep the best, decay, stop. Returns what ended it."""
        a, config = self.assembly, self.config
        value_of, settings = watch(self.monitor), config["train"]
        decay, stop = config.build("lr_decay")(settings["epochs"]), config.build("early_stopping")()
        loop = fit(
            a.network, a.step, a.loss, decay, a.parts["train"], a.parts["val"],
            epochs=settings["epochs"], batch_size=a.batch_size, seed=config["run"]["seed"],
        )  # fmt: skip
        probe = Probe(a.network, a.step, a.parts["train"])
        with Progress(settings["epochs"], self.monitor, self.journal.shown) as progress:
            loss, layers = probe.look()
            self._warn(self.symptoms.start(loss, layers))
            self.recorder.start(layers)
            for epoch in loop:
                value = value_of(epoch.val)
                self.best.see(value, epoch.number, a.step)
                self.epochs_run, self.seconds = epoch.number, self.seconds + epoch.train_seconds
                loss, layers = probe.look(epoch.before)
                self.recorder.epoch(epoch, layers)
                progress.epoch(epoch, self.best.epoch)
                self._warn(self.symptoms.epoch(epoch, loss, layers))
                decay.after(value)
                if stop.after(value):
                    return "early_stopping"
        return "epochs"

    def _training_batches(self) -> Iterator[torch.Tensor]:
        return (self.assembly.network.ready(x) for x in self.assembly.parts["train"].inputs.split(EVALUATION_ROWS))

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
        return measured | parts


def _report(
    config: Config, schema: dict[str, Any], trained: _Trained, journal: _Journal, command: str, total: float
) -> dict[str, Any]:
    a, done = trained.assembly, schema["split"]["train"] * trained.epochs_run
    widths = [len(schema["features"]), *config.build("model")(), a.network.body.output.out_features]
    return {
        "format": REPORT_FORMAT,
        "status": trained.status,
        "warnings": journal.warnings,
        "stopped_by": trained.stopped_by,
        **({"error": asdict(trained.error)} if trained.error else {}),
        "task": schema["task"],
        "monitor": monitored(config["train"]["monitor"]),
        "epochs_run": trained.epochs_run,
        "best_epoch": trained.best.epoch,
        **trained.parts,
        "net": "-".join(map(str, widths)),
        "parameters": sum(p.numel() for p in a.network.parameters()),
        "batch_size": a.batch_size,
        "seconds": {"total": round(total, 3), "train": round(trained.seconds, 3)},
        "samples_per_second": round(done / trained.seconds, 1) if trained.seconds else None,
        "device": str(next(a.network.parameters()).device),
        "precision": "fp32",
        "threads": trained.threads,
        "seed": config["run"]["seed"],
        "versions": {
            "dlfound": VERSION,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "command": command,
        "data": {
            "name": config.name("data"),
            "rows": schema["rows"],
            "features": len(schema["features"]),
            "classes": len(schema["classes"]),
            "fingerprint": schema["fingerprint"],
        },
    }

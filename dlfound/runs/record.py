"""The records of a training: metrics.jsonl, timing.jsonl and report.json for programs, curves for people."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from dlfound.config.config import Config
from dlfound.errors import Problem
from dlfound.objective.tasks import CHEAP_METRICS, Metrics
from dlfound.runs.folder import RUN_PLACE
from dlfound.runs.parts import RunLog, Training
from dlfound.terminal import number_text
from dlfound.training.device import versions
from dlfound.training.layers import LayerProbe, LayerState
from dlfound.training.loggers import Logger
from dlfound.training.loop import Epoch, EpochProgress
from dlfound.training.metrics import monitored
from dlfound.training.symptoms import Symptoms

FORMAT = 1  # of report.json
PICTURES = 10  # moments at which a run is drawn; curves have a point each epoch


def moments(epochs: int) -> set[int]:
    """Return the epochs at which a run is drawn: 0, 1, and on by equal factors to the last; at most ten."""
    return {0, *(round(epochs ** (i / (PICTURES - 2))) for i in range(PICTURES - 1))}


class Observer:
    """Looks into the net after each epoch, records the results, and warns. Used as a context manager.

    If it cannot write the curves, it warns once and continues without: a run is worth more than its curves.

    Args:
        show: shows the number of an epoch and a text about it.
    """

    def __init__(self, training: Training, log: RunLog, show: Callable[[int, str], None]):
        config = training.config
        assembly = training.assembly
        schema = training.schema
        self.training = training
        self.log = log
        self.show = show
        self.state = training.state
        self.monitor = monitored(config["train"]["monitor"])
        self.probe = LayerProbe(assembly.network, assembly.step, assembly.parts["train"])
        self.symptoms = Symptoms(config, assembly.step.base_lr, schema, self.state.symptoms)
        done = self.state.epochs_done if self.state.step > 0 else None
        self.logger = Logger(log.folder.path, done)
        with self._tolerant():
            self.logger = config.build("logger")(log.folder.path, done)

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *unused: object) -> None:
        with self._tolerant():
            self.logger.close()

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeError) as error:  # TensorBoard takes no folder whose name is not UTF-8
            self.logger = Logger(self.log.folder.path, None)
            reason = getattr(error, "strerror", None) or error
            self.log.warn(f"cannot write curves ({reason}); the run continues without them")

    def start(self) -> None:
        """Look at the net before the first step; a resumed training is past it."""
        if self.state.step > 0:
            return
        loss, layers = self.probe.look()
        initial = self.probe.loss(self.training.assembly.parts["train"])
        self._warn(self.symptoms.start(initial, loss, layers))
        with self._tolerant():
            if self.logger.draws:
                self.logger.text("configuration", self.training.config.saved())
                self.logger.text("net", str(self.training.assembly.network))
            self._draw(0, layers)

    def record(self, event: Epoch | EpochProgress) -> None:
        """Record an epoch, show it, and warn of what goes wrong.

        Raises:
            Error: the disk refuses a line of metrics.jsonl or timing.jsonl (code 6).
        """
        if isinstance(event, Epoch):
            loss, layers = self.probe.look(event.before)
            self._write(event, layers)
            self.show(event.number, self._summary(event))
            self._warn(self.symptoms.epoch(event, loss, layers))

    def _write(self, epoch: Epoch, layers: Sequence[LayerState]) -> None:
        measured = {"train": epoch.train, "val": epoch.val}
        seconds = {"train": round(epoch.train_seconds, 6), "val": round(epoch.val_seconds, 6)}
        folder = self.log.folder
        folder.append_json("metrics.jsonl", {"epoch": epoch.number, "lr": epoch.lr, **measured})
        folder.append_json("timing.jsonl", {"epoch": epoch.number, "seconds": seconds})
        metrics = {f"{name}/{part}": value for part, m in measured.items() for name, value in m.items()}
        others = {"lr": epoch.lr, "gradient_norm/all": epoch.grad_norm}
        others |= {f"seconds/{part}": value for part, value in seconds.items()}
        of_layers = curves_of(layers)
        with self._tolerant():
            self.logger.scalars(epoch.number, metrics | others | of_layers)
            if epoch.number == 1:
                self.logger.charts({"metrics": _charts(metrics), "layers": _charts(of_layers)})
            self._draw(epoch.number, layers)

    def _summary(self, epoch: Epoch) -> str:
        """Return the losses, the monitor, the best epoch and the learning rate, for the progress bar."""
        losses = f"loss {number_text(epoch.train['loss'])} val {number_text(epoch.val['loss'])}"
        if self.monitor != "loss":
            losses += f" {self.monitor} {number_text(epoch.val[self.monitor])}"
        return f"{losses} best @{self.state.best.epoch} lr {epoch.lr:.2g}"

    def end(self, measured: Mapping[str, Metrics], diverged: bool) -> None:
        """Record the metrics of the best net, and judge the fit of a training that did not diverge."""
        if not diverged and self.state.best.epoch == 0:
            self.log.warn(f"{self.monitor} was undefined at every validation: no epoch counts as the best")
        if not diverged:
            self._warn(self.symptoms.end(measured["train"], measured["val"]))
        names = [name for name in measured["val"] if name in (*CHEAP_METRICS, self.monitor)]
        results = {f"Final/{name}/{part}": measured[part][name] for name in names for part in ("val", "test")}
        beyond = self.state.epochs_done + 1  # so that TensorBoard drops these points if the run continues
        with self._tolerant():
            self.logger.settings(beyond, hyperparameters(self.training.config), results)
            if self.logger.draws:
                from dlfound.runs.pictures import draw_predictions  # not needed without pictures

                draw_predictions(self.logger, beyond, self.training)

    def _draw(self, number: int, layers: Sequence[LayerState]) -> None:
        if self.logger.draws and number in moments(self.training.epochs):
            from dlfound.runs.pictures import draw_net  # not needed without pictures

            draw_net(self.logger, number, self.training, layers)

    def flush(self) -> None:
        """Write the curves that are still in memory, so that they outlive this process."""
        with self._tolerant():
            self.logger.flush()

    def _warn(self, messages: list[str]) -> None:
        for message in messages:
            self.log.warn(message)


def curves_of(layers: Sequence[LayerState]) -> Metrics:
    """Return a point per layer and quantity: gradient norm, update to weight, zero, dead and saturated."""
    curves: Metrics = {}
    for layer in layers:
        curves[f"gradient_norm/{layer.name}"] = layer.grad_norm
        curves[f"update_to_weight/{layer.name}"] = layer.update_ratio
        if layer.name != "output":
            curves[f"zero/{layer.name}"] = layer.zero
            curves[f"dead/{layer.name}"] = layer.dead
        if layer.saturated is not None:
            curves[f"saturated/{layer.name}"] = layer.saturated
    return curves


def _charts(curves: Metrics) -> dict[str, list[str]]:
    """Return a chart for each metric or quantity, with the curves of all parts or layers."""
    heads = dict.fromkeys(tag.partition("/")[0] for tag in curves)
    return {head: [tag for tag in curves if tag.startswith(f"{head}/")] for head in heads}


def hyperparameters(config: Config) -> dict[str, Any]:
    """Return every setting that may change a result; the name of a group's option is the group's."""
    return {k.removesuffix(".name"): value for k, value in config.flat().items() if k not in RUN_PLACE}


def make_report(
    training: Training, metrics: Mapping[str, Metrics], error: Problem | None, log: RunLog
) -> dict[str, Any]:
    """Return the content of report.json; its numbers are finite or None.

    Args:
        metrics: train, val, test (and val under running statistics) -> loss and metrics of the best net.
        error: why the training diverged; None if it did not.
    """
    config = training.config
    schema = training.schema
    assembly = training.assembly
    state = training.state
    body = assembly.network.body
    widths = [body.inputs, *config.build("model")(), body.output.out_features]
    rows = schema["split"]["train"] * state.epochs_done
    seconds = state.seconds
    status = "pruned" if state.ended == "pruned" else "done"
    return {
        "format": FORMAT,
        "status": "diverged" if error else status,
        "warnings": log.all_warnings(),
        "stopped_by": "divergence" if error else state.ended,
        **({"error": asdict(error)} if error else {}),
        "task": schema["task"],
        "monitor": monitored(config["train"]["monitor"]),
        "epochs_run": state.epochs_done,
        "best_epoch": state.best.epoch,
        **metrics,
        "net": "-".join(map(str, widths)),
        "parameters": sum(p.numel() for p in assembly.network.parameters()),
        "batch_size": assembly.batch_size,
        "seconds": {"total": round(seconds.total, 3), "train": round(seconds.train, 3)},
        "samples_per_second": round(rows / seconds.train, 1) if seconds.train else None,
        "device": str(assembly.step.params.device),
        "precision": "fp32",
        "threads": state.machine.threads,
        "seed": config["run"]["seed"],
        "versions": versions(),
        "exact": state.machine.exact,
        "command": log.folder.head[0],
        "data": _data(config, schema),
    }


def _data(config: Config, schema: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: len(schema[name]) for name in ("features", "classes")}
    return {
        "name": config.name("data"),
        "rows": schema["rows"],
        **counts,
        "fingerprint": schema["fingerprint"],
    }

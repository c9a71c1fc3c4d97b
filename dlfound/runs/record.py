"""The records of a training: metrics.jsonl and timing.jsonl for programs, curves and pictures for people."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from dlfound.config.config import Config
from dlfound.objective.tasks import CHEAP_METRICS, MULTILABEL, gives_probabilities
from dlfound.runs import pictures
from dlfound.runs.run_log import RunLog
from dlfound.runs.state import TrainState
from dlfound.training.assemble import Assembly
from dlfound.training.layers import LayerState
from dlfound.training.loggers import Logger
from dlfound.training.loop import Epoch
from dlfound.training.metrics import monitored, outputs_of

PICTURES = 10  # moments at which a run is drawn; curves have a point each epoch
POINTS = 300  # rows drawn on a picture
GRID = 100  # points along each side of a decision boundary's plane

Metrics = Mapping[str, Mapping[str, float | None]]


def moments(epochs: int) -> set[int]:
    """The epochs at which a run is drawn: 0, 1, and on by equal factors to the last; at most ten."""
    return {0, *(round(epochs ** (i / (PICTURES - 2))) for i in range(PICTURES - 1))}


class Recorder:
    """Writes the records of a training into its folder, and hands curves and pictures to the logger.

    If it cannot write the curves, it warns once and continues without: a run is worth more than its curves.
    """

    def __init__(
        self, config: Config, assembly: Assembly, schema: Mapping[str, Any], log: RunLog, state: TrainState
    ):
        self.config = config
        self.assembly = assembly
        self.schema = schema
        self.log = log
        self.folder = log.folder
        self._moments = moments(config["train"]["epochs"])
        done = state.epochs_done if state.step > 0 else None
        self.logger = Logger(self.folder.path, done)
        with self._tolerant():
            self.logger = config.build("logger")(self.folder.path, done)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeError) as error:  # TensorBoard takes no folder whose name is not UTF-8
            self.logger = Logger(self.folder.path, None)
            reason = getattr(error, "strerror", None) or error
            self.log.warn(f"cannot write curves ({reason}); the run continues without them")

    def start(self, layers: Sequence[LayerState]) -> None:
        """Record the configuration and the net before the first step."""
        with self._tolerant():
            if self.logger.draws:
                self.logger.text("configuration", self.config.saved())
                self.logger.text("net", str(self.assembly.network))
                self._draw(0, layers)

    def epoch(self, epoch: Epoch, layers: Sequence[LayerState]) -> None:
        """Record an epoch.

        Raises:
            Error: the disk refuses a line of metrics.jsonl or timing.jsonl (code 6).
        """
        measured = {"train": epoch.train, "val": epoch.val}
        seconds = {"train": round(epoch.train_seconds, 6), "val": round(epoch.val_seconds, 6)}
        self.folder.append_json("metrics.jsonl", {"epoch": epoch.number, "lr": epoch.lr, **measured})
        self.folder.append_json("timing.jsonl", {"epoch": epoch.number, "seconds": seconds})
        curves = {f"{name}/{part}": value for part, m in measured.items() for name, value in m.items()}
        curves |= {"lr": epoch.lr, "gradient_norm/all": epoch.grad_norm}
        curves |= {f"seconds/{part}": value for part, value in seconds.items()}
        layer_curves = curves_of(layers)
        with self._tolerant():
            self.logger.scalars(epoch.number, curves | layer_curves)
            if epoch.number == 1:
                self.logger.charts({"metrics": _pairs(measured), "layers": _families(layer_curves)})
            if self.logger.draws and epoch.number in self._moments:
                self._draw(epoch.number, layers)

    def end(self, number: int, measured: Metrics) -> None:
        """Record the metrics and pictures of the best net, after `number` epochs."""
        shown = (*CHEAP_METRICS, monitored(self.config["train"]["monitor"]))
        names = [name for name in measured["val"] if name in shown]
        results = {f"Final/{name}/{part}": measured[part][name] for name in names for part in ("val", "test")}
        beyond = number + 1  # so that TensorBoard drops these points if the run continues
        with self._tolerant():
            self.logger.settings(beyond, hyperparameters(self.config), results)
            if self.logger.draws:
                self._draw_predictions(beyond, "val")
                self._draw_predictions(beyond, "test")

    def flush(self) -> None:
        """Write the curves that are still in memory, so that they outlive this process."""
        with self._tolerant():
            self.logger.flush()

    def close(self) -> None:
        """Write the curves that are still in memory, and close the files."""
        with self._tolerant():
            self.logger.close()

    def _draw(self, number: int, layers: Sequence[LayerState]) -> None:
        for layer in layers:
            self.logger.histogram(number, f"weights/{layer.name}", layer.weights)
            self.logger.histogram(number, f"gradients/{layer.name}", layer.gradient)
            self.logger.histogram(number, f"activations/{layer.name}", layer.activations)
        if self.schema["image"]:
            tiles = layers[0].weights[: pictures.MOST_UNITS].unflatten(1, self.schema["image"])
            self.logger.picture(number, "first_layer", pictures.filters(tiles.cpu().numpy()))
        columns = self.assembly.parts["train"].inputs.shape[1]
        if columns == self.assembly.network.body.inputs == 2 and self.schema["task"] != MULTILABEL:
            tag = "decision_boundary" if self.schema["classes"] else "surface"
            self.logger.picture(number, tag, self._plane())

    def _draw_predictions(self, number: int, part: str) -> None:
        """The confusion matrix, or predicted against true values."""
        rows = self.assembly.parts[part]
        classes = self.schema["classes"]
        outputs = outputs_of(self.assembly.network, rows.inputs)
        if not outputs.isfinite().all():
            return
        if self.schema["task"] == MULTILABEL:
            return  # a matrix per label would add little to exact_match and f1_macro
        if not classes:
            predicted = self.assembly.network.target.inverse(outputs)[:POINTS, 0]
            image = pictures.scatter(rows.targets[:POINTS, 0].cpu().numpy(), predicted.cpu().numpy())
            self.logger.picture(number, f"predicted_against_true/{part}", image)
        elif len(classes) <= pictures.MOST_CLASSES:
            pairs = rows.targets * len(classes) + self.assembly.loss.classes(outputs)
            counts = torch.bincount(pairs, minlength=len(classes) ** 2).unflatten(0, (len(classes), -1))
            image = pictures.confusion(counts.cpu().numpy(), classes)
            self.logger.picture(number, f"confusion/{part}", image)

    def _plane(self) -> Any:
        """Draw the predictions over the plane of the two inputs, with training rows in their true colours."""
        network = self.assembly.network
        rows = self.assembly.parts["train"]
        x = network.ready(rows.inputs[:POINTS])
        low = x.amin(0)
        high = x.amax(0)
        margin = torch.where(high > low, 0.1 * (high - low), 1.0)
        corner = low - margin
        size = high + margin - corner
        along = torch.linspace(0, 1, GRID, device=x.device)
        grid = torch.stack(torch.meshgrid(along, along, indexing="xy"), -1).flatten(0, 1)
        outputs = outputs_of(network, corner + grid * size)
        targets = rows.targets[:POINTS]
        colours, shades = self._class_colours(outputs, targets)
        return pictures.plane(colours.reshape(GRID, GRID, 3), ((x - corner) / size).cpu().numpy(), shades)

    def _class_colours(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[Any, Any]:
        """The colours of the net's predictions, and those of the true values."""
        loss = self.assembly.loss
        count = len(self.schema["classes"])
        if count:
            shares = (
                loss.probabilities(outputs)
                if gives_probabilities(loss)
                else _one_hot(loss.classes(outputs), count)
            )
            true = _one_hot(targets, count)
            return pictures.mixed(shares.double().cpu().numpy()), pictures.mixed(true.cpu().numpy())
        numbers = targets[:, 0].cpu().numpy()
        span = float(numbers.min()), float(numbers.max())
        predicted = self.assembly.network.target.inverse(outputs)[:, 0].cpu().numpy()
        return pictures.ramp(predicted, *span), pictures.ramp(numbers, *span)


def _one_hot(classes: torch.Tensor, count: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes, count).double()


def curves_of(layers: Sequence[LayerState]) -> dict[str, float | None]:
    """A point per layer and quantity: gradient norm, update to weight, zero, dead and saturated shares."""
    curves: dict[str, float | None] = {}
    for layer in layers:
        curves[f"gradient_norm/{layer.name}"] = layer.grad_norm
        curves[f"update_to_weight/{layer.name}"] = layer.update_ratio
        if layer.name != "output":
            curves[f"zero/{layer.name}"] = layer.zero
            curves[f"dead/{layer.name}"] = layer.dead
        if layer.saturated is not None:
            curves[f"saturated/{layer.name}"] = layer.saturated
    return curves


def _pairs(measured: Metrics) -> dict[str, list[str]]:
    """Each metric's training and validation curve in one chart."""
    return {
        name: [f"{name}/{part}" for part in measured if name in measured[part]] for name in measured["val"]
    }


def _families(curves: Mapping[str, float | None]) -> dict[str, list[str]]:
    """The curves of all layers in one chart per quantity."""
    heads = dict.fromkeys(tag.partition("/")[0] for tag in curves)
    return {head: [tag for tag in curves if tag.startswith(f"{head}/")] for head in heads}


def hyperparameters(config: Config) -> dict[str, Any]:
    """Return every setting that may change a result; the name of a group's option is the group's."""
    places = ("run.name", "run.dir")
    return {name.removesuffix(".name"): value for name, value in config.flat().items() if name not in places}

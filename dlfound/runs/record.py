"""What a run writes down while it trains: lines for programs, curves and pictures for people."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from dlfound.config.config import Config
from dlfound.objective.tasks import BRIEF, MULTILABEL, gives_probabilities
from dlfound.runs import pictures
from dlfound.runs.run_log import Journal
from dlfound.training.assemble import Assembly
from dlfound.training.layers import LayerState
from dlfound.training.loggers import NoLogger
from dlfound.training.loop import Epoch
from dlfound.training.metrics import monitored, outputs_of

PICTURES = 10  # times a run; curves have a point each epoch
POINTS = 300  # rows drawn on a picture
GRID = 100  # points along each side of a plane


def moments(epochs: int) -> set[int]:
    """The epochs at which a run is drawn: 0, 1, and on by equal factors to the last; at most ten."""
    return {0, *(round(epochs ** (i / (PICTURES - 2))) for i in range(PICTURES - 1))}


class Recorder:
    """Tells the folder and the logger how a training goes on.

    Curves are worth no run: where they cannot be written, that is told once, and the run goes on without them.

    Args:
        done: epochs that are done before; None at the start of a run.
    """

    def __init__(
        self,
        config: Config,
        assembly: Assembly,
        schema: Mapping[str, Any],
        journal: Journal,
        done: int | None,
    ):
        self.config, self.assembly, self.schema = config, assembly, schema
        self.journal, self.folder = journal, journal.folder
        self._moments = moments(config["train"]["epochs"])
        self.logger: Any = NoLogger(self.folder.path, done)
        with self._spared():
            self.logger = config.build("logger")(self.folder.path, done)

    @contextmanager
    def _spared(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeError) as error:  # TensorBoard takes no name of a folder that is not UTF-8
            self.logger = NoLogger(self.folder.path, None)
            why = getattr(error, "strerror", None) or error
            self.journal.warn(f"the curves cannot be written ({why}): none from here on")

    def start(self, layers: Sequence[LayerState]) -> None:
        """Before the first step."""
        with self._spared():
            if self.logger.draws:
                self.logger.text("configuration", self.config.saved())
                self.logger.text("net", str(self.assembly.network))
                self._draw(0, layers)

    def epoch(self, epoch: Epoch, layers: Sequence[LayerState]) -> None:
        """After an epoch."""
        measured = {"train": epoch.train, "val": epoch.val}
        self.folder.append_json("metrics.jsonl", {"epoch": epoch.number, "lr": epoch.lr, **measured})
        seconds = {"train": round(epoch.train_seconds, 6), "val": round(epoch.val_seconds, 6)}
        self.folder.append_json("timing.jsonl", {"epoch": epoch.number, "seconds": seconds})
        curves = {
            f"{name}/{part}": value for part, found in measured.items() for name, value in found.items()
        }
        curves |= {"lr": epoch.lr, "gradient_norm/all": epoch.grad_norm}
        curves |= {f"seconds/{part}": value for part, value in seconds.items()}
        of_layers = curves_of(layers)
        with self._spared():
            self.logger.scalars(epoch.number, curves | of_layers)
            if epoch.number == 1:
                self.logger.charts({"metrics": _pairs(measured), "layers": _families(of_layers)})
            if self.logger.draws and epoch.number in self._moments:
                self._draw(epoch.number, layers)

    def end(self, number: int, measured: Mapping[str, Mapping[str, float | None]]) -> None:
        """With the best weights back: what came out, and the pictures of it."""
        names = [
            name for name in measured["val"] if name in (*BRIEF, monitored(self.config["train"]["monitor"]))
        ]
        results = {f"Final/{name}/{part}": measured[part][name] for name in names for part in ("val", "test")}
        beyond = number + 1  # so that a run that goes on forgets what came out before
        with self._spared():
            self.logger.settings(beyond, hyperparameters(self.config), results)
            if self.logger.draws:
                self._answers(beyond, "val")
                self._answers(beyond, "test")

    def flush(self) -> None:
        """What was told so far outlives this process."""
        with self._spared():
            self.logger.flush()

    def close(self) -> None:
        """Write what is still held back."""
        with self._spared():
            self.logger.close()

    def _draw(self, number: int, layers: Sequence[LayerState]) -> None:
        for layer in layers:
            self.logger.histogram(number, f"weights/{layer.name}", layer.weights)
            self.logger.histogram(number, f"gradients/{layer.name}", layer.gradient)
            self.logger.histogram(number, f"activations/{layer.name}", layer.activations)
        if self.schema["image"]:
            tiles = layers[0].weights[: pictures.MOST_UNITS].unflatten(1, self.schema["image"])
            self.logger.picture(number, "first_layer", pictures.filters(tiles.cpu().numpy()))
        flat = self.assembly.parts["train"].inputs.shape[1] == self.assembly.network.body.inputs == 2
        if flat and self.schema["task"] != MULTILABEL:
            tag = "decision_boundary" if self.schema["classes"] else "surface"
            self.logger.picture(number, tag, self._plane())

    def _answers(self, number: int, part: str) -> None:
        """The confusion matrix, or predicted against true."""
        network, loss, rows = self.assembly.network, self.assembly.loss, self.assembly.parts[part]
        outputs, classes = outputs_of(network, rows.inputs), self.schema["classes"]
        if not outputs.isfinite().all():
            return
        if self.schema["task"] == MULTILABEL:
            return  # a matrix a label would say little that exact_match and f1_macro do not
        if not classes:
            predicted = network.target.inverse(outputs)[:POINTS, 0]
            image = pictures.scatter(rows.targets[:POINTS, 0].cpu().numpy(), predicted.cpu().numpy())
            self.logger.picture(number, f"predicted_against_true/{part}", image)
        elif len(classes) <= pictures.MOST_CLASSES:
            pairs = rows.targets * len(classes) + loss.classes(outputs)
            counts = torch.bincount(pairs, minlength=len(classes) ** 2).unflatten(0, (len(classes), -1))
            self.logger.picture(
                number, f"confusion/{part}", pictures.confusion(counts.cpu().numpy(), classes)
            )

    def _plane(self) -> Any:
        """What the net answers where its two features may lie, and training rows with their true answer."""
        network, loss, rows = self.assembly.network, self.assembly.loss, self.assembly.parts["train"]
        x = network.ready(rows.inputs[:POINTS])
        low, high = x.amin(0), x.amax(0)
        margin = torch.where(high > low, 0.1 * (high - low), 1.0)
        low, high = low - margin, high + margin
        along = torch.linspace(0, 1, GRID, device=x.device)
        grid = torch.stack(torch.meshgrid(along, along, indexing="xy"), -1).flatten(0, 1)
        outputs = outputs_of(network, low + grid * (high - low))
        places = ((x - low) / (high - low)).cpu().numpy()
        if self.schema["classes"]:
            count = len(self.schema["classes"])
            answers = (
                loss.probabilities(outputs)
                if gives_probabilities(loss)
                else _one_hot(loss.classes(outputs), count)
            )
            colours, true = (
                pictures.mixed(answers.double().cpu().numpy()),
                _one_hot(rows.targets[:POINTS], count),
            )
            shades = pictures.mixed(true.cpu().numpy())
        else:
            true = rows.targets[:POINTS, 0].cpu().numpy()
            span = float(true.min()), float(true.max())
            colours = pictures.ramp(network.target.inverse(outputs)[:, 0].cpu().numpy(), *span)
            shades = pictures.ramp(true, *span)
        return pictures.plane(colours.reshape(GRID, GRID, 3), places, shades)


def _one_hot(classes: torch.Tensor, count: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes, count).double()


def curves_of(layers: Sequence[LayerState]) -> dict[str, float | None]:
    """A point for each layer and each thing that is watched in it."""
    curves: dict[str, float | None] = {}
    for layer in layers:
        hidden = layer.name != "output"
        curves[f"gradient_norm/{layer.name}"] = layer.grad_norm
        curves[f"update_to_weight/{layer.name}"] = layer.update_ratio
        curves |= {f"zero/{layer.name}": layer.zero, f"dead/{layer.name}": layer.dead} if hidden else {}
        curves |= {f"saturated/{layer.name}": layer.saturated} if layer.saturated is not None else {}
    return curves


def _pairs(measured: Mapping[str, Mapping[str, float | None]]) -> dict[str, list[str]]:
    """Each metric's training and validation curve in one chart."""
    return {
        name: [f"{name}/{part}" for part in measured if name in measured[part]] for name in measured["val"]
    }


def _families(curves: Mapping[str, float | None]) -> dict[str, list[str]]:
    """All layers in one chart."""
    heads = dict.fromkeys(tag.partition("/")[0] for tag in curves)
    return {head: [tag for tag in curves if tag.startswith(f"{head}/")] for head in heads}


def hyperparameters(config: Config) -> dict[str, Any]:
    """Every setting that could make a difference, by the name that sets it; a group's option by the group's."""
    return {
        name.removesuffix(".name"): v
        for name, v in config.flat().items()
        if name not in ("run.dir", "run.name")
    }

"""Use a finished run's net: measure it again, or predict the rows of a file as the columns of a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlfound.data.dataset import Dataset
from dlfound.data.files import Rows
from dlfound.data.frames import read_labelled
from dlfound.errors import Code, Error, printable
from dlfound.objective.tasks import Metrics, gives_probabilities
from dlfound.runs.run import Run
from dlfound.runs.train import load_data
from dlfound.terminal import say
from dlfound.training.assemble import weigh
from dlfound.training.device import make_resident, threads
from dlfound.training.metrics import EVALUATION_ROWS, evaluate

FAR_MEAN = 0.5  # distance of an image's mean from that of training, in deviations; digits stay below 0.4
LOW_CONTRAST = 0.1  # an image with less than this share of their deviation has hardly any contrast


# Measure it.


def evaluate_run(run: Run) -> dict[str, Metrics]:
    """Measure the saved net on the run's own data.

    Returns:
        train, val and test -> loss and metrics.

    Raises:
        Error: the data were arrays of a program, or they differ from those of the training (code 3).
    """
    if run.config.name("data") == "arrays" and run.config["data"]["path"] is None:
        message = f"{run.path} was trained on arrays of a Python program, which are not in its folder"
        raise Error(message, "use dlfound.open_run(...).predict in that program", Code.DATA)
    dataset = load_data(run.config)
    if dataset.fingerprint() != run.schema["fingerprint"]:
        other = ", or measure other rows with --data FILE" if run.schema["columns"] else ""
        message = f"the data are not those that {run.path} was trained on"
        raise Error(message, f"restore the files of the training{other}", Code.DATA)
    return _evaluate(run, dataset)


def evaluate_file(run: Run, file: str, reading: Mapping[str, Any]) -> dict[str, Metrics]:
    """Measure the saved net on the rows of a table that has the target column.

    Args:
        reading: settings of `data` that replace the run's own, such as a separator.

    Returns:
        data -> loss and metrics.

    Raises:
        Error: the run was not trained on a table, or the file does not fit it (code 3).
    """
    if not run.schema["columns"]:
        message = f"{run.path} was not trained on a table"
        raise Error(message, "leave --data out to measure the run on its own data", Code.DATA)
    dataset = read_labelled(Path(file).expanduser(), run.schema, run.config["data"] | reading)
    for note in dataset.notes:
        say(note)
    return _evaluate(run, dataset)


def _evaluate(run: Run, dataset: Dataset) -> dict[str, Metrics]:
    loss = weigh(run.config, run.loss, dataset)
    device = next(run.model.parameters()).device
    with threads(run.report["threads"]):
        parts = make_resident(dataset, run.model, loss, device)
        return {name: evaluate(run.model, loss, part) for name, part in parts.items()}


# Predict.


@dataclass(frozen=True)
class Predictions:
    """The predictions for some rows.

    Attributes:
        outputs: the net's outputs (rows, outputs).
        every: True if the table has the probability of every class.
    """

    run: Run
    rows: Rows
    outputs: torch.Tensor
    every: bool

    @property
    def head(self) -> list[str]:
        """The names of the columns: the rows, the copied columns, the predictions and their probabilities."""
        copied = list(self.rows.kept)
        targets = self.run.schema["targets"]
        predicted = [*targets] or ["class"]
        if self._probabilities is not None and targets:
            predicted += [f"probability_{name}" for name in targets]
        elif self._probabilities is not None:
            predicted.append("probability")
            predicted += [f"probability_{name}" for name in self._classes if self.every]
        kind = self.rows.kind
        head = [f"{kind}_number" if kind in copied else kind, *copied]
        for name in predicted:
            while name in head:  # a copied column has this name
                name = f"predicted_{name}"
            head.append(name)
        return head

    @property
    def texts(self) -> list[str]:
        """Every text that the table may contain."""
        names = self.rows.names if self.rows.kind == "file" else ()
        copied = (cell for column in self.rows.kept.values() for cell in column if isinstance(cell, str))
        labels = (name for pair in self.run.schema["labels"] for name in pair)
        return [*names, *copied, *self._classes, *labels]

    def pieces(self) -> Iterator[list[Sequence[Any]]]:
        """Yield the columns of some thousand rows at a time."""
        for first in range(0, len(self.outputs), EVALUATION_ROWS):
            piece = slice(first, first + EVALUATION_ROWS)
            copied = [column[piece] for column in self.rows.kept.values()]
            yield [self.rows.names[piece], *copied, *self._value_columns(piece), *self._share_columns(piece)]

    @property
    def _classes(self) -> list[str]:
        return self.run.schema["classes"]

    @cached_property
    def _probabilities(self) -> torch.Tensor | None:
        """(rows, classes), for several labels (rows, labels); None if the run gives no probabilities."""
        if self.run.model.target is not None or not gives_probabilities(self.run.loss):
            return None
        return self.run.loss.probabilities(self.outputs)

    def _value_columns(self, piece: slice) -> list[Sequence[Any]]:
        """Return one column of classes, or a column per predicted number or label."""
        values = self.run.values(self.outputs[piece])
        return [values] if self._classes else list(values.T)

    def _share_columns(self, piece: slice) -> list[Sequence[Any]]:
        """Return the probabilities of the predicted classes or labels, and of every class if asked for."""
        if self._probabilities is None:
            return []
        probabilities = self._probabilities[piece]
        if not self._classes:
            return list(probabilities.numpy().T)
        predicted = self.run.loss.classes(self.outputs[piece])
        columns = [probabilities.gather(1, predicted[:, None])[:, 0].numpy()]
        return [*columns, *probabilities.numpy().T] if self.every else columns


def predict_rows(run: Run, rows: Rows, *, every: bool, invert: bool) -> Predictions:
    """Predict rows in pieces, and warn if they look unlike the training data.

    Args:
        every: add the probability of every class.
        invert: invert the images before the prediction.
    """
    _tell_about(run, rows)
    outputs = torch.empty(len(rows.names), run.model.body.output.out_features)
    odd = np.zeros(2, int)  # images that look inverted, and flat ones
    for first in range(0, len(rows.names), EVALUATION_ROWS):
        piece = rows.read(first, first + EVALUATION_ROWS)
        if invert:
            piece = rows.white - piece.astype(np.float64)
        outputs[first : first + len(piece)] = run.outputs_of(piece) if rows.encoded else run.outputs(piece)
        if run.schema["image"]:
            odd += _count_odd(run, piece, rows.white)
    _warn_of_images(rows, *odd, invert)
    return Predictions(run, rows, outputs, every)


def _tell_about(run: Run, rows: Rows) -> None:
    """Tell what the person should know about the run and the rows."""
    if run.report["status"] != "done":
        status = printable(run.report["status"])
        say(f"{printable(run.path)} ended as {status}: dlfound uses the best net from before that")
    if run.model.target is None and not gives_probabilities(run.loss):
        name = run.config.name("loss")
        say(f"loss={name} gives scores, not probabilities: the table has no column of probabilities")
    for note in rows.notes:
        say(note)


def _count_odd(run: Run, pixels: np.ndarray, white: int) -> tuple[int, int]:
    """Count the images that look inverted, and those with hardly any contrast.

    An image looks inverted if its brightness is far from that of the training images, and nearer once it is
    inverted.
    """
    mean = float(run.model.preprocessing.mean.mean())
    deviation = float(run.model.preprocessing.deviation.mean())
    means = pixels.mean(1)
    distance = np.abs(means - mean)
    is_inverted = (distance > FAR_MEAN * deviation) & (np.abs(white - means - mean) < distance / 2)
    return is_inverted.sum(), (pixels.std(1) < LOW_CONTRAST * deviation).sum()


def _warn_of_images(rows: Rows, inverted: int, flat: int, invert: bool) -> None:
    """Warn if most images differ from the training images."""
    total = len(rows.names)
    if 2 * inverted > total:
        fix = "leave out --invert" if invert else "try --invert"
        say(f"{inverted} of {total} images look like negatives of the training images: {fix}")
    if 2 * flat > total:
        span = 255 if rows.kind == "file" else rows.white
        say(f"{flat} of {total} images have hardly any contrast: pixels must span 0 to {span}")

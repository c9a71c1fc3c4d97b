"""Rows of a file, through a run's net: the columns of a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from dlfound.data.files import Rows
from dlfound.errors import printable
from dlfound.objective.tasks import gives_probabilities
from dlfound.runs.run import Run
from dlfound.terminal import say
from dlfound.training.metrics import EVALUATION_ROWS

FAR = 0.5  # deviations of the training's pixels between an image's mean and theirs; the digits' own stay below 0.4
FLAT = 0.1  # an image's deviation as a share of theirs: below it there is hardly a picture


@dataclass(frozen=True)
class Predictions:
    """What a run's net says of rows.

    Attributes:
        outputs: of the net, (rows, outputs).
        every: whether the table has the probability of every class.
    """

    run: Run
    rows: Rows
    outputs: torch.Tensor
    every: bool

    @property
    def head(self) -> list[str]:
        """The columns' names."""
        kept, targets = list(self.rows.kept), self.run.schema["targets"]
        own = [*targets] or ["class"]
        if self._shares is not None and targets:
            own += [f"probability_{name}" for name in targets]
        elif self._shares is not None:
            own += ["probability", *(f"probability_{name}" for name in self._classes if self.every)]
        head = [f"{self.rows.kind}_number" if self.rows.kind in kept else self.rows.kind, *kept]
        for name in own:
            while name in head:  # a column that is kept has the name already
                name = f"predicted_{name}"
            head.append(name)
        return head

    @property
    def texts(self) -> list[str]:
        """All words that may stand in the table."""
        names = self.rows.names if self.rows.kind == "file" else ()
        kept = (word for column in self.rows.kept.values() for word in column if isinstance(word, str))
        return [*names, *kept, *self._classes, *(name for pair in self.run.schema["labels"] for name in pair)]

    def pieces(self) -> Iterator[list[Sequence[Any]]]:
        """The columns of some thousand rows at a time."""
        for first in range(0, len(self.outputs), EVALUATION_ROWS):
            piece = slice(first, first + EVALUATION_ROWS)
            kept = [column[piece] for column in self.rows.kept.values()]
            yield [self.rows.names[piece], *kept, *self._values(piece), *self._probabilities(piece)]

    @property
    def _classes(self) -> list[str]:
        return self.run.schema["classes"]

    @cached_property
    def _shares(self) -> torch.Tensor | None:
        """(rows, classes): probabilities, where the loss gives them; of several labels (rows, labels)."""
        known = self.run.model.target is None and gives_probabilities(self.run.loss)
        return self.run.loss.probabilities(self.outputs) if known else None

    def _values(self, piece: slice) -> list[Sequence[Any]]:
        """A column of classes, or one for each number or label that is predicted."""
        values = self.run.values(self.outputs[piece])
        return [values] if self._classes else list(values.T)

    def _probabilities(self, piece: slice) -> list[Sequence[Any]]:
        """A column for the class that is predicted; one more for each class."""
        if self._shares is None:
            return []
        if not self._classes:
            return list(self._shares[piece].numpy().T)
        shares, predicted = self._shares[piece], self.run.loss.classes(self.outputs[piece])
        own = shares.gather(1, predicted[:, None])[:, 0]
        return [own.numpy(), *(shares.numpy().T if self.every else ())]


def predict_rows(run: Run, rows: Rows, *, every: bool, invert: bool) -> Predictions:
    """Read the rows piece by piece, as the training's own evaluation takes them, and tell what is odd about them.

    Args:
        run: a finished run.
        rows: of a file, as one of `data.files` reads it.
        every: ask for the probability of every class.
        invert: exchange dark and light of images first.
    """
    _tell_run(run, rows)
    outputs, strange = torch.empty(len(rows.names), run.model.body.output.out_features), np.zeros(2, int)
    for first in range(0, len(rows.names), EVALUATION_ROWS):
        piece = rows.read(first, first + EVALUATION_ROWS)
        if invert:
            piece = rows.white - piece.astype(np.float64)
        outputs[first : first + len(piece)] = run.outputs_of(piece) if rows.encoded else run.outputs(piece)
        if run.schema["image"]:
            strange += _strange(run, piece, rows.white)
    _tell_strange(rows, *strange.tolist(), invert)
    return Predictions(run, rows, outputs, every)


def _tell_run(run: Run, rows: Rows) -> None:
    if run.report["status"] != "done":
        status = printable(run.report["status"])
        say(f"{printable(run.path)} ended as {status}: this is the best net that it had till then")
    if run.model.target is None and not gives_probabilities(run.loss):
        say(f"loss={run.config.name('loss')} gives scores, not probabilities: that column is left out")
    for note in rows.notes:
        say(note)


def _strange(run: Run, pixels: np.ndarray, white: int) -> tuple[int, int]:
    """How many images are far from the training's brightness but near it when inverted, and how many are all alike."""
    fitted = run.model.preprocessing
    mean, deviation = float(fitted.mean.mean()), float(fitted.deviation.mean())
    means, deviations = pixels.mean(1), pixels.std(1)
    away = np.abs(means - mean)
    inverted = (away > FAR * deviation) & (np.abs(white - means - mean) < away / 2)
    return int(inverted.sum()), int((deviations < FLAT * deviation).sum())


def _tell_strange(rows: Rows, inverted: int, flat: int, invert: bool) -> None:
    """A word where most images are unlike those of the training."""
    total = len(rows.names)
    if 2 * inverted > total:
        fix = "leave out --invert" if invert else "try --invert"
        say(
            f"{inverted} of {total} images look like negatives of the training's, dark and light exchanged: {fix}"
        )
    if 2 * flat > total:
        span = 255 if rows.kind == "file" else rows.white
        say(f"{flat} of {total} images have hardly any contrast: pixels must span 0 to {span}")

"""An opened run: its report, its net, and the net's predictions."""

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from dlfound.config.config import Config, reopen
from dlfound.config.setting_types import Whole
from dlfound.data.arrays import as_array, plain_numbers, unfolded
from dlfound.data.frames import encoded
from dlfound.data.suffixes import refuse_running
from dlfound.errors import Code, Error, Problem
from dlfound.nn.modules import Network
from dlfound.objective.tasks import REGRESSION, gives_probabilities
from dlfound.options.configure import catalog
from dlfound.runs.checkpoints import BadField, read
from dlfound.runs.folder import CONFIG, PARTS, RunFolder, load_weights, mismatch, unusable
from dlfound.runs.state import Seconds
from dlfound.training.assemble import empty_network
from dlfound.training.device import threads
from dlfound.training.metrics import outputs_of


class Run:
    """A finished run.

    Attributes:
        path: its folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self._folder = RunFolder(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def config(self) -> Config:
        """The settings of the run."""
        return reopen(self.path / CONFIG, catalog())

    @cached_property
    def report(self) -> dict[str, Any]:
        """The results: the content of report.json."""
        report = self._folder.read_json("report.json")
        _check_report(self.path / "report.json", report)
        return report

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The columns, classes and split of the data: the content of schema.json."""
        return self._folder.read_json("schema.json")

    def check(self) -> None:
        """Check the files that the end of a run writes.

        Raises:
            Error: a file is missing or damaged, or belongs to another run (code 4).
        """
        if self.schema.get("fingerprint") != self.report["data"]["fingerprint"]:
            raise mismatch(f"{self.path / 'schema.json'} does not belong to its report.json")
        load_weights(self.path)

    @cached_property
    def loss(self) -> Any:
        """The loss function that the run was trained with."""
        return self.config.build("loss")(self.schema["class_counts"])

    @cached_property
    def model(self) -> Network:
        """The best net, in evaluation mode on the CPU; it takes rows as the data source gives them.

        Raises:
            Error: the weights do not fit the configuration (code 4).
        """
        network = empty_network(self.config, self.loss, self.schema)
        weights = load_weights(self.path)
        if _shapes(weights) != _shapes(network.state_dict()):
            raise mismatch(f"{self.path / 'model.safetensors'} does not fit {CONFIG}")
        network.load_state_dict(weights)
        return network.eval()

    def predict(self, rows: Any) -> np.ndarray:
        """Predict the class of each row, by its name, or the number, in the target's unit.

        Args:
            rows: a frame of polars or pandas or a mapping of columns, matched by name; or numbers
                (rows, columns) in the order of `schema["features"]`.

        Returns:
            (rows,), or (rows, targets) if the run predicts several targets.

        Raises:
            Error: the rows have another shape, or a value cannot be used (code 3).
        """
        predictions = self.values(self.outputs(rows))
        is_column = predictions.ndim == 2 and predictions.shape[1] == 1
        return predictions[:, 0] if is_column else predictions

    def probabilities(self, rows: Any) -> np.ndarray:
        """Predict the probability of each class, in the order of `schema["classes"]`.

        Args:
            rows: as `predict` takes them.

        Returns:
            (rows, classes); for several labels (rows, labels), the probability of each label's second value.

        Raises:
            Error: the run gives no probabilities (code 2); rows that `predict` refuses too (code 3).
        """
        self.check_probabilities()
        return self.loss.probabilities(self.outputs(rows)).numpy()

    def check_probabilities(self) -> None:
        """Refuse a run without probabilities: a regression, or a loss that gives scores (code 2)."""
        if self.schema["task"] == REGRESSION:
            raise Error("a regression has no probabilities", "leave them out", Code.CONFIG)
        if not gives_probabilities(self.loss):
            message = f"loss={self.config.name('loss')} gives scores, not probabilities"
            raise Error(message, "leave them out", Code.CONFIG)

    def outputs(self, rows: Any) -> torch.Tensor:
        """Compute the net's outputs (rows, outputs), as the evaluation during the training does."""
        return self.outputs_of(self.encoded(rows))

    def encoded(self, rows: Any) -> np.ndarray:
        """Encode rows as the numbers (rows, columns) that the net's preprocessing takes."""
        if self.schema["columns"]:
            return encoded(rows, self.schema, self.config["data"])[0]
        array = unfolded(as_array("rows", rows), self.schema["image"])
        columns = len(self.schema["features"])
        if array.ndim != 2 or array.shape[1] != columns:
            message = f"rows have shape {array.shape}, not (rows, {columns})"
            raise Error(message, "give one column for each feature", Code.DATA)
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            message = "rows hold values that are not finite numbers"
            raise Error(message, "convert or replace these values", Code.DATA)
        return plain_numbers(array)

    def outputs_of(self, numbers: np.ndarray) -> torch.Tensor:
        """Compute the net's outputs (rows, outputs) for numbers from `encoded`."""
        with threads(self.report["threads"]):
            outputs = outputs_of(self.model, self.model.preprocessing(torch.from_numpy(numbers)))
        if not outputs.isfinite().all():
            message = "rows hold values far beyond those of the training data"
            raise Error(message, "check their unit", Code.DATA)
        return outputs

    def values(self, outputs: torch.Tensor) -> np.ndarray:
        """Turn the net's outputs into predictions.

        Returns:
            Class names (rows,), names of label values (rows, labels), or numbers in the target's unit
            (rows, targets).
        """
        if self.model.target is not None:
            return self.model.target.inverse(outputs).numpy()
        indices = self.loss.classes(outputs).numpy()
        if not self.schema["labels"]:
            return np.array(self.schema["classes"])[indices]
        names = [np.array(pair) for pair in self.schema["labels"]]
        return np.stack([pair[column] for pair, column in zip(names, indices.T, strict=True)], 1)


def open_run(run: str | Path) -> Run:
    """Open a finished run.

    Args:
        run: a folder, a run's name, or "latest".

    Raises:
        Error: no such run, or it is unfinished (code 4); a file that could run code (code 7).
    """
    from dlfound.runs.find import find_run  # a training needs no search

    refuse_running(Path(str(run)), "name a run's folder; its weights are safetensors")
    path = find_run(str(run))
    if not RunFolder(path).finished:
        fix = f"resume it first: dlfound train {shlex.quote(f'resume={path}')}"
        raise Error(f"{path} is unfinished", fix, Code.RUN)
    return Run(path)


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


# The form of a report.


@dataclass
class _Data:
    name: str
    fingerprint: str


@dataclass
class _Report:
    """The fields of a report that dlfound itself reads."""

    status: Literal["done", "pruned", "diverged"]
    stopped_by: str
    warnings: list[str]
    monitor: str
    epochs_run: Whole
    best_epoch: Whole
    train: dict[str, float | None]
    val: dict[str, float | None]
    test: dict[str, float | None]
    net: str
    parameters: Whole
    seconds: Seconds
    device: str
    threads: Whole
    data: _Data


@dataclass
class _Diverged(_Report):
    error: Problem


def _check_report(path: Path, report: dict[str, Any]) -> None:
    """Refuse a report that lacks a field, or holds something else in it.

    Raises:
        Error: naming the field (code 4).
    """
    kind = _Diverged if report.get("status") == "diverged" else _Report
    try:
        checked = read(kind, report, {}, extra=True)
        for part in PARTS:
            if "loss" not in getattr(checked, part):
                raise BadField(f"{part}.loss")
    except BadField as field:
        raise unusable(f"{path} is not the report of a run: bad field '{field}'") from None

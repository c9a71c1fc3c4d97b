"""A run's folder, opened: its report, its net, its predictions."""

import shlex
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlfound.config.config import Config, reopen
from dlfound.data.arrays import as_array, plain_numbers, unfolded
from dlfound.data.frames import encoded
from dlfound.data.suffixes import refuse_running
from dlfound.errors import Code, Error
from dlfound.nn.modules import Network
from dlfound.objective.tasks import REGRESSION, gives_probabilities
from dlfound.options.configure import catalog
from dlfound.runs.find import find_run
from dlfound.runs.folder import RunFolder, load_weights
from dlfound.runs.report import check_report
from dlfound.training.assemble import empty_network
from dlfound.training.device import threads
from dlfound.training.metrics import outputs_of


class Run:
    """One finished run.

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
        """Every setting of the run."""
        return reopen(self.path / "config.yaml", catalog())

    @cached_property
    def report(self) -> dict[str, Any]:
        """What came out: the content of `report.json`."""
        report = self._folder.read_json("report.json")
        check_report(self.path / "report.json", report)
        return report

    @cached_property
    def schema(self) -> dict[str, Any]:
        """What the run knows of its data: the content of `schema.json`."""
        return self._folder.read_json("schema.json")

    def check(self) -> None:
        """Raise where a file that the run's end wrote is not there, or damaged (code 4)."""
        if self.schema.get("fingerprint") != self.report["data"]["fingerprint"]:
            what = f"{self.path / 'schema.json'} does not belong to its report.json"
            raise Error(what, "the folder's files must come from one run", Code.RUN)
        load_weights(self.path)

    @cached_property
    def loss(self) -> Any:
        """The loss that the run was trained with."""
        return self.config.build("loss")(self.schema["class_counts"])

    @cached_property
    def model(self) -> Network:
        """The best net, in evaluation mode on the CPU; takes rows as the data hold them.

        Raises:
            Error: the weights do not fit the configuration (code 4).
        """
        network = empty_network(self.config, self.loss, self.schema)
        stored, wanted = load_weights(self.path), network.state_dict()
        shapes = {name: tuple(t.shape) for name, t in stored.items()}
        if shapes != {name: tuple(t.shape) for name, t in wanted.items()}:
            what = f"{self.path / 'model.safetensors'} does not fit config.yaml"
            raise Error(what, "the folder's files must come from one run", Code.RUN)
        network.load_state_dict(stored)
        return network.eval()

    def predict(self, rows: Any) -> np.ndarray:
        """The most probable class of each row, by its name; for regression the number, in the target's unit.

        Args:
            rows: of a table, a frame of polars or pandas, or a mapping of columns: they are matched by name. Else
                (rows, columns) numbers, in the order of `schema["features"]`.

        Raises:
            Error: rows of another shape, or values that cannot be used (code 3).
        """
        predicted = self.values(self.outputs(rows))
        return predicted[:, 0] if predicted.ndim == 2 and predicted.shape[1] == 1 else predicted

    def probabilities(self, rows: Any) -> np.ndarray:
        """(rows, classes): the probability of each class, in the order of `schema["classes"]`; of several labels
        (rows, labels), that of each one's second value."""
        self.check_probabilities()
        return self.loss.probabilities(self.outputs(rows)).numpy()

    def check_probabilities(self) -> None:
        """Raise where there are none: for numbers, and for a loss that gives scores (code 2)."""
        if self.schema["task"] == REGRESSION:
            raise Error("a regression has no probabilities", "leave them out", Code.CONFIG)
        if not gives_probabilities(self.loss):
            what = f"loss={self.config.name('loss')} gives scores, not probabilities"
            raise Error(what, "leave them out", Code.CONFIG)

    def outputs(self, rows: Any) -> torch.Tensor:
        """(rows, outputs): what the net itself says, computed as the training's own evaluation does."""
        return self.outputs_of(self.encoded(rows))

    def encoded(self, rows: Any) -> np.ndarray:
        """(rows, columns): the numbers that the net's preprocessing takes."""
        if self.schema["columns"]:
            return encoded(rows, self.schema, self.config["data"])[0]
        array, columns = unfolded(as_array("rows", rows), self.schema["image"]), len(self.schema["features"])
        if array.ndim != 2 or array.shape[1] != columns:
            raise Error(
                f"rows have shape {array.shape}, not (rows, {columns})",
                "give one column a feature",
                Code.DATA,
            )
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise Error("rows hold values that are no finite numbers", "convert or fill them", Code.DATA)
        return plain_numbers(array)

    def outputs_of(self, numbers: np.ndarray) -> torch.Tensor:
        """(rows, outputs) of numbers as `encoded` gives them."""
        with threads(self.report["threads"]):
            outputs = outputs_of(self.model, self.model.preprocessing(torch.from_numpy(numbers)))
        if not outputs.isfinite().all():
            raise Error("rows hold values far beyond those of the training", "check their unit", Code.DATA)
        return outputs

    def values(self, outputs: torch.Tensor) -> np.ndarray:
        """What outputs of the net mean: classes by name (rows,), names of labels' values (rows, labels), or numbers in
        the target's unit (rows, columns)."""
        if self.model.target is not None:
            return self.model.target.inverse(outputs).numpy()
        if self.schema["labels"]:
            found = self.loss.classes(outputs).numpy().T
            return np.stack(
                [np.array(pair)[k] for pair, k in zip(self.schema["labels"], found, strict=True)], 1
            )
        return np.array(self.schema["classes"])[self.loss.classes(outputs).numpy()]


def open_run(run: str | Path) -> Run:
    """Open a run.

    Args:
        run: a folder, a run's name, or "latest".

    Raises:
        Error: there is no such run, or it is not over yet (code 4); a file that could run code (code 7).
    """
    refuse_running(Path(str(run)), "name a run's folder; its weights are safetensors")
    path = find_run(str(run))
    if not RunFolder(path).finished:
        raise Error(
            f"{path} is unfinished", f"dlfound train resume={shlex.quote(str(path))} goes on", Code.RUN
        )
    return Run(path)

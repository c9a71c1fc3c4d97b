"""Measure a finished run again: on its own data, or on the rows of another table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlfound.data.dataset import Dataset
from dlfound.data.frames import read_labelled
from dlfound.errors import Code, Error
from dlfound.runs.run import Run
from dlfound.runs.train import load_data
from dlfound.terminal import say
from dlfound.training.assemble import weigh
from dlfound.training.device import make_resident, threads
from dlfound.training.metrics import evaluate

Metrics = dict[str, dict[str, float | None]]


def evaluate_run(run: Run) -> Metrics:
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


def evaluate_file(run: Run, file: str, reading: Mapping[str, Any]) -> Metrics:
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


def _evaluate(run: Run, dataset: Dataset) -> Metrics:
    loss = weigh(run.config, run.loss, dataset)
    device = next(run.model.parameters()).device
    with threads(run.report["threads"]):
        parts = make_resident(dataset, run.model, loss, device)
        return {name: evaluate(run.model, loss, part) for name, part in parts.items()}

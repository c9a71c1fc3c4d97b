"""The report of a run: the content of report.json, and the form that a report must have to be read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dlfound.config.config import Config
from dlfound.config.setting_types import NonNegative, Whole
from dlfound.errors import Code, Error, Problem
from dlfound.runs.codec import BadField, read
from dlfound.runs.parts import Training
from dlfound.runs.run_log import RunLog
from dlfound.training.assemble import Assembly
from dlfound.training.device import versions
from dlfound.training.metrics import monitored

FORMAT = 1

Metrics = dict[str, float | None]


def make_report(
    training: Training, metrics: Mapping[str, Metrics], error: Problem | None, log: RunLog
) -> dict[str, Any]:
    """The content of report.json; its numbers are finite or None.

    Args:
        metrics: train, val, test (and val under running statistics) -> loss and metrics of the best net.
        error: why the training diverged; None if it did not.
    """
    config = training.config
    schema = training.schema
    assembly = training.assembly
    state = training.state
    parameters = sum(p.numel() for p in assembly.network.parameters())
    rows = schema["split"]["train"] * state.epochs_done
    seconds = state.seconds
    return {
        "format": FORMAT,
        "status": "diverged" if error else "pruned" if state.ended == "pruned" else "done",
        "warnings": log.all_warnings(),
        "stopped_by": "divergence" if error else state.ended,
        **({"error": asdict(error)} if error else {}),
        "task": schema["task"],
        "monitor": monitored(config["train"]["monitor"]),
        "epochs_run": state.epochs_done,
        "best_epoch": state.best.epoch,
        **metrics,
        "net": _widths(config, assembly),
        "parameters": parameters,
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


def _widths(config: Config, assembly: Assembly) -> str:
    body = assembly.network.body
    return "-".join(map(str, [body.inputs, *config.build("model")(), body.output.out_features]))


def _data(config: Config, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": config.name("data"),
        "rows": schema["rows"],
        "features": len(schema["features"]),
        "classes": len(schema["classes"]),
        "fingerprint": schema["fingerprint"],
    }


@dataclass
class _Seconds:
    total: NonNegative
    train: NonNegative


@dataclass
class _Data:
    name: str
    fingerprint: str


@dataclass
class _Error:
    what: str
    fix: str


@dataclass
class _Report:
    """The fields of a report that dlfound itself reads."""

    status: Literal["done", "pruned", "diverged"]
    stopped_by: str
    warnings: list[str]
    monitor: str
    epochs_run: Whole
    best_epoch: Whole
    train: Metrics
    val: Metrics
    test: Metrics
    net: str
    parameters: Whole
    seconds: _Seconds
    device: str
    threads: Whole
    data: _Data


@dataclass
class _Diverged(_Report):
    error: _Error


def check_report(path: Path, report: dict[str, Any]) -> None:
    """Refuse a report that lacks a field, or holds something else in it.

    Raises:
        Error: naming the field (code 4).
    """
    kind = _Diverged if report.get("status") == "diverged" else _Report
    try:
        checked = read(kind, report, {}, extra=True)
        if missing := [name for name in ("train", "val", "test") if "loss" not in getattr(checked, name)]:
            raise BadField(f"{missing[0]}.loss")
    except BadField as field:
        message = f"{path} is not the report of a run: bad field '{field}'"
        raise Error(message, "use another run", Code.RUN) from None

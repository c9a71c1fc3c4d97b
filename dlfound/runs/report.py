"""What came out of a run: the content of report.json."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from dlfound.config.config import Config
from dlfound.errors import Problem
from dlfound.training.assemble import Assembly
from dlfound.training.loop import Best
from dlfound.training.metrics import monitored
from dlfound.version import VERSION

FORMAT = 1


@dataclass(frozen=True)
class Outcome:
    """What a training ended with.

    Attributes:
        status: done, pruned or diverged; stopped_by: early_stopping, epochs, pruned or divergence.
        error: why it diverged.
        parts: train, val, test (and val under running statistics) -> loss and metrics.
        exact: true unless it went on where other bits may come: on another device, with other versions.
        seconds: of training proper; total: of the whole, over all times that it went on.
    """

    assembly: Assembly
    best: Best
    epochs_run: int
    status: str
    stopped_by: str
    error: Problem | None
    parts: dict[str, dict[str, float | None]]
    warnings: list[str]
    threads: int
    exact: bool
    seconds: float
    total: float


def versions() -> dict[str, str]:
    """Of what computed the run."""
    return {
        "dlfound": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def make_report(config: Config, schema: Mapping[str, Any], outcome: Outcome, command: str) -> dict[str, Any]:
    """The report; its numbers are finite or None."""
    a, done = outcome.assembly, schema["split"]["train"] * outcome.epochs_run
    widths = [a.network.body.inputs, *config.build("model")(), a.network.body.output.out_features]
    return {
        "format": FORMAT,
        "status": outcome.status,
        "warnings": outcome.warnings,
        "stopped_by": outcome.stopped_by,
        **({"error": asdict(outcome.error)} if outcome.error else {}),
        "task": schema["task"],
        "monitor": monitored(config["train"]["monitor"]),
        "epochs_run": outcome.epochs_run,
        "best_epoch": outcome.best.epoch,
        **outcome.parts,
        "net": "-".join(map(str, widths)),
        "parameters": sum(p.numel() for p in a.network.parameters()),
        "batch_size": a.batch_size,
        "seconds": {"total": round(outcome.total, 3), "train": round(outcome.seconds, 3)},
        "samples_per_second": round(done / outcome.seconds, 1) if outcome.seconds else None,
        "device": str(next(a.network.parameters()).device),
        "precision": "fp32",
        "threads": outcome.threads,
        "seed": config["run"]["seed"],
        "versions": versions(),
        "exact": outcome.exact,
        "command": command,
        "data": {
            "name": config.name("data"),
            "rows": schema["rows"],
            "features": len(schema["features"]),
            "classes": len(schema["classes"]),
            "fingerprint": schema["fingerprint"],
        },
    }

"""What a run leaves in its folder, as tests compare it and take it away."""

import json
from pathlib import Path
from typing import Any

TIMES = ("seconds", "samples_per_second", "command")  # of report.json: what differs between two equal runs


def report_of(path: Path | str) -> dict[str, Any]:
    """What stands in its report."""
    return json.loads(Path(path, "report.json").read_text())


def contents(path: Path | str, *free: str) -> dict[str, Any]:
    """What must be the same in two runs, to the byte; the report without times and what else is free."""
    return {
        "weights": Path(path, "model.safetensors").read_bytes(),
        "metrics": Path(path, "metrics.jsonl").read_bytes(),
        "schema": Path(path, "schema.json").read_bytes(),
        "report": {name: value for name, value in report_of(path).items() if name not in (*TIMES, *free)},
    }


def take_end(path: Path | str, checkpoints: int) -> None:
    """Take away what a run wrote last, with so many of its checkpoints: as if it had been killed before."""
    newest = sorted(Path(path, "checkpoints").iterdir())[::-1][:checkpoints]
    for file in (*newest, *(Path(path, name) for name in ("DONE", "report.json", "model.safetensors"))):
        file.unlink()

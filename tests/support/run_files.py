"""The files of a run: what tests compare, and what they remove."""

import json
from pathlib import Path
from typing import Any

TIMES = ("seconds", "samples_per_second", "command")  # of report.json: they differ between two equal runs


def report_of(path: Path | str) -> dict[str, Any]:
    """Read report.json; a number that is not finite is an error."""
    return json.loads(Path(path, "report.json").read_text(), parse_constant=_refuse)


def lines_of(path: Path | str, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Read the lines of a .jsonl file."""
    return [json.loads(line) for line in Path(path, name).read_text().splitlines()]


def contents(path: Path | str, *free: str) -> dict[str, Any]:
    """Return what must be equal in two equal runs.

    Args:
        free: fields of the report that may differ, besides the times.
    """
    return {
        "weights": Path(path, "model.safetensors").read_bytes(),
        "metrics": Path(path, "metrics.jsonl").read_bytes(),
        "schema": Path(path, "schema.json").read_bytes(),
        "report": {name: value for name, value in report_of(path).items() if name not in (*TIMES, *free)},
    }


def all_files(path: Path | str) -> dict[str, bytes]:
    """Return the content of each file in a folder, except the lock's."""
    files = (file for file in Path(path).rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def remove_end(path: Path | str, checkpoints: int) -> None:
    """Remove what a run wrote last, and its newest checkpoints: as if it had been killed before."""
    newest = sorted(Path(path, "checkpoints").iterdir(), reverse=True)[:checkpoints]
    for file in (*newest, *(Path(path, name) for name in ("DONE", "report.json", "model.safetensors"))):
        file.unlink()


def _refuse(constant: str) -> None:
    raise AssertionError(f"report.json contains {constant}")

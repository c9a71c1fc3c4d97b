"""What two equal runs have in common: all that they leave, or only the results, which survive faults."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from support.run_files import contents

import dlfound
from dlfound.runs.checkpoints import Checkpoints

TIMES_OF_REPORT = ("seconds", "samples_per_second")
ABOUT_THE_DISK = r"the run continues without|checkpoint of step \d+ is damaged"  # warnings of a fault
RESUMED = "resuming after epoch"  # the lines of log.txt that only a resumed run has
# Of the checkpoint: times, and sizes that depend on times and on how often a run was resumed.
TIMES_OF_CHECKPOINT = ("progress.seconds", "seconds.train", "seconds.total", "files.timing", "files.log")


def results_of(run: Path) -> dict[str, Any]:
    """What a finished run has in common with one that no fault hit: name -> content, comparable with ==."""
    results = contents(run)
    warnings = results["report"]["warnings"]
    results["report"]["warnings"] = [text for text in warnings if not re.search(ABOUT_THE_DISK, text)]
    last = max((run / "checkpoints").glob("step-*.safetensors")).read_bytes()
    results["last checkpoint"] = last[8 + int.from_bytes(last[:8], "little") :]  # its header holds times
    return results


def left_by(run: Path) -> dict[str, Any]:
    """All that a finished run leaves except times and the folder's name: name -> content."""
    checkpoint, _ = Checkpoints(run).newest()
    assert checkpoint is not None
    report = json.loads(_text(run, "report.json"))
    return results_of(run) | {
        "exit": 0,
        "files": sorted(path.name for path in run.iterdir()),
        "config.yaml": yaml.safe_load(_text(run, "config.yaml")),
        "report": {key: value for key, value in report.items() if key not in TIMES_OF_REPORT},
        "log.txt": [line for line in _text(run, "log.txt").splitlines() if not line.startswith(RESUMED)],
        "timing.jsonl": [json.loads(line)["epoch"] for line in _text(run, "timing.jsonl").splitlines()],
        "checkpoint, step": checkpoint.step,
        "checkpoint, tensors": _bits(checkpoint.tensors),
        "checkpoint, state": {
            name: v for name, v in _flat(checkpoint.state) if name not in TIMES_OF_CHECKPOINT
        },
        "predictions": _predictions(run),
        "tensorboard": _curves(run),
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names whose contents differ."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def _text(run: Path, name: str) -> str:
    return (run / name).read_text(encoding="utf-8").replace(str(run), "RUN")


def _bits(tensors: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: (t.dtype, tuple(t.shape), t.numpy().tobytes()) for name, t in tensors.items()}


def _flat(state: dict[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """Nested objects as pairs of a dotted name and a value."""
    for key, value in state.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}{key}.")
        else:
            yield f"{name}{key}", value


def _predictions(run: Path) -> bytes:
    """The net's outputs for some rows, as another program gets them."""
    opened = dlfound.open_run(run)
    rows = np.random.default_rng(0).standard_normal((50, len(opened.schema["features"])))
    return opened.outputs(rows).numpy().tobytes()


def _curves(run: Path) -> dict[str, list[Any]]:
    """The points of each curve and the steps of each picture, as TensorBoard shows them."""
    folder = run / "tensorboard"
    if not folder.is_dir():
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # slow

    sizes = dict.fromkeys(("scalars", "images", "histograms"), 0)  # 0: keep all
    events = EventAccumulator(str(folder), size_guidance=sizes).Reload()
    tags = events.Tags()
    shown: dict[str, list[Any]] = {
        tag: [(e.step, None if tag.startswith("seconds/") else e.value) for e in events.Scalars(tag)]
        for tag in tags["scalars"]
    }
    for kind, read in (("images", events.Images), ("histograms", events.Histograms)):
        shown |= {f"{kind}: {tag}": [e.step for e in read(tag)] for tag in tags[kind]}
    # TensorBoard replaces texts and layouts, and purges none.
    return shown | {"texts and layouts": sorted(tags["tensors"])}

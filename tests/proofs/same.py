"""What two runs must have in common to be the same run: everything that they left, but times and the folder's name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.torch import load
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dlfound
from dlfound.runs.checkpoints import Checkpoints

TIMES = ("seconds", "samples_per_second")  # of report.json
ON_THE_WAY = "going on after epoch"  # the lines of log.txt that only a run which was stopped has
GROWN = ("timing.jsonl", "log.txt")  # whose sizes depend on times and on how often a run was stopped


def left_by(run: Path) -> dict[str, Any]:
    """What a finished run left: thing -> its content, comparable with ==."""
    checkpoint, _ = Checkpoints(run).newest()
    assert checkpoint is not None
    state = {key: value for key, value in checkpoint.state.items() if key != "seconds"}
    state["files"] = {name: size for name, size in state["files"].items() if name not in GROWN}
    report = json.loads(_text(run, "report.json"))
    return {
        "exit": 0,
        "files": sorted(path.name for path in run.iterdir()),
        "config.yaml": yaml.safe_load(_text(run, "config.yaml")),
        "schema.json": _text(run, "schema.json"),
        "metrics.jsonl": _text(run, "metrics.jsonl"),
        "report.json": {key: value for key, value in report.items() if key not in TIMES},
        "log.txt": [line for line in _text(run, "log.txt").splitlines() if not line.startswith(ON_THE_WAY)],
        "timing.jsonl": [json.loads(line)["epoch"] for line in _text(run, "timing.jsonl").splitlines()],
        "model.safetensors": _bits(load((run / "model.safetensors").read_bytes())),
        "checkpoint, step": checkpoint.step,
        "checkpoint, tensors": _bits(checkpoint.tensors),
        "checkpoint, state": state,
        "predictions": _predictions(run),
        "tensorboard": _curves(run),
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The things that are not the same in both."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def _text(run: Path, name: str) -> str:
    return (run / name).read_text(encoding="utf-8").replace(str(run), "RUN")


def _bits(tensors: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: (t.dtype, tuple(t.shape), t.numpy().tobytes()) for name, t in tensors.items()}


def _predictions(run: Path) -> bytes:
    """The net's outputs for some rows, as another program gets them."""
    opened = dlfound.open_run(run)
    rows = np.random.default_rng(0).standard_normal((50, len(opened.schema["features"])))
    return opened.outputs(rows).numpy().tobytes()


def _curves(run: Path) -> dict[str, list[Any]]:
    """Each curve's points and each picture's steps, in the order in which TensorBoard shows them."""
    folder = run / "tensorboard"
    if not folder.is_dir():
        return {}
    events = EventAccumulator(
        str(folder), size_guidance=dict.fromkeys(("scalars", "images", "histograms"), 0)
    ).Reload()
    tags = events.Tags()
    shown: dict[str, list[Any]] = {
        tag: [(e.step, None if tag.startswith("seconds/") else e.value) for e in events.Scalars(tag)]
        for tag in tags["scalars"]
    }
    for kind, read in (("images", events.Images), ("histograms", events.Histograms)):
        shown |= {f"{kind}: {tag}": [e.step for e in read(tag)] for tag in tags[kind]}
    return shown | {
        "texts and layouts": sorted(tags["tensors"])
    }  # those TensorBoard replaces, and purges none

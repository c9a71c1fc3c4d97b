"""The way from the command to the update rule is short, and a training loads only what it needs."""

import dataclasses
import json
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch

from dlfound.cli import main
from dlfound.errors import Error
from dlfound.optim.optimizers import SGD
from dlfound.runs.checkpoints import Checkpoint, Checkpoints
from dlfound.runs.state import TrainState

PACKAGE = Path(sys.modules["dlfound"].__file__).parent
SHORT = ["data=xor", "data.rows=40", "model.hidden=[4]", "train.epochs=2", "logger=none"]
SHORT += ["early_stopping=none", "lr_decay=none"]
FIELDS = [field.name for field in dataclasses.fields(TrainState)]


def frames_of_dlfound() -> list[str]:
    """List the functions of the package on the stack, the outermost first."""
    return [
        f"{Path(frame.filename).relative_to(PACKAGE)}:{frame.name}"
        for frame in traceback.extract_stack()
        if Path(frame.filename).is_relative_to(PACKAGE)
    ]


def test_at_most_eight_frames_lead_from_main_to_the_update_rule(monkeypatch):
    frames = []

    def reached(*_):
        frames.extend([*frames_of_dlfound(), "the rule"])
        raise RuntimeError

    monkeypatch.setattr(SGD, "fused", reached)
    assert main(["train", *SHORT, "optim=sgd"]) == 1
    assert frames[0] == "cli.py:main" and "runs/train.py:run_training" in frames
    assert frames[-2:] == ["training/step.py:update", "the rule"] and len(frames) <= 8, frames


def test_a_training_loads_no_room_that_it_does_not_need():
    program = (
        "import json, sys\nfrom dlfound.cli import main\n"
        f"code = main({['train', *SHORT]!r})\n"
        "print(json.dumps([code, [m for m in sys.modules if m.startswith('dlfound')]]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    rooms = {module.split(".")[1] for module in modules if "." in module}
    assert code == 0 and {"runs", "training", "optim"} <= rooms
    assert not rooms & {"sweeps", "checks", "studies", "reports"}
    assert len(modules) <= 85, sorted(modules)


def test_the_fields_of_the_state_are_the_schema_of_a_checkpoint(trained):
    assert len(FIELDS) <= 12
    checkpoint, _ = Checkpoints(trained.path("six")).newest()
    assert list(checkpoint.state) == FIELDS
    assert {name.split(".")[0] for name in checkpoint.tensors} <= set(FIELDS)


def test_a_missing_field_is_named(trained, capsys):
    folder = trained.copy("six")
    checkpoints = Checkpoints(folder)
    checkpoint, _ = checkpoints.newest()
    at = f"checkpoint step {checkpoint.step} is invalid: bad field"
    for name in FIELDS:
        rest = {field: value for field, value in checkpoint.state.items() if field != name}
        with pytest.raises(Error, match=f"{at} '{name}'") as caught:
            TrainState.load(Checkpoint(checkpoint.step, checkpoint.tensors, rest), torch.device("cpu"))
        assert caught.value.code == 4
    for path in [folder / "DONE", *checkpoints.path.iterdir()]:
        path.unlink()
    checkpoints.save(checkpoint.step, checkpoint.tensors, rest)
    assert main(["train", "resume=mine"]) == 4
    assert f"{at} '{FIELDS[-1]}'" in capsys.readouterr().err

"""The state of a training: everything that the rest of a run depends on, as a checkpoint holds it.

The learning-rate decay and the early stopping are not in it: they follow from the validations in
`metrics.jsonl`.
"""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from dlfound.config.config import Config
from dlfound.config.setting_types import NonNegative, Whole, whole
from dlfound.errors import Code, Error, printable
from dlfound.runs.checkpoints import BadField, Checkpoint, Checkpoints, read, split
from dlfound.runs.folder import LINES, RunFolder
from dlfound.runs.resume import MAY_CHANGE
from dlfound.training.assemble import Assembly
from dlfound.training.device import count_threads, kind_of, versions
from dlfound.training.loop import Best, EpochProgress
from dlfound.training.symptoms import Memory


def fixed_settings(config: Config) -> dict[str, Any]:
    """Return the settings that may not change during a run, as JSON gives them back."""
    return json.loads(json.dumps({k: v for k, v in config.flat().items() if k not in MAY_CHANGE}))


@dataclass
class Vectors:
    """The tensors that the steps change; in a running training they are the step's own."""

    params: Tensor
    buffers: Tensor
    slots: list[Tensor]
    t: Tensor


@dataclass
class Seconds:
    """Wall-clock time, without the time between two commands: in steps, and in all."""

    train: NonNegative = 0.0
    total: NonNegative = 0.0


@dataclass
class Files:
    """The size of each file that grows with the run, in bytes, and the SHA-256 of metrics.jsonl."""

    metrics: Whole = 0
    timing: Whole = 0
    log: Whole = 0
    digest: str = ""

    @property
    def sizes(self) -> dict[str, int]:
        """File name -> bytes."""
        return dict(zip(LINES, (self.metrics, self.timing, self.log), strict=True))


@dataclass
class Machine:
    """What the bits of the run depend on besides its settings.

    Attributes:
        versions: the device and the versions of the libraries.
        exact: False once the run was resumed where other bits may come.
    """

    threads: Annotated[int, whole("a whole number in 1...1024", 1, 1024)]
    versions: dict[str, str]
    exact: bool = True


@dataclass
class Origin:
    """The run that the state belongs to: its data's fingerprint, and its settings that may not change."""

    fingerprint: str
    settings: dict[str, Any]


@dataclass(kw_only=True)
class TrainState:
    """Everything that the rest of a run depends on.

    The fields are the schema of a checkpoint; no other list of them exists.

    Attributes:
        best: the weights of the best validation so far.
        progress: the position in the current epoch.
        ended: why the training ended; empty while it goes on. No checkpoint is written after a divergence.
        symptoms: what later warnings depend on.
        warnings: the warnings of the training so far.
    """

    vectors: Vectors
    best: Best
    progress: EpochProgress = field(default_factory=EpochProgress)
    ended: Literal["", "epochs", "early_stopping", "pruned"] = ""
    symptoms: Memory = field(default_factory=Memory)
    warnings: list[str] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)
    files: Files = field(default_factory=Files)
    machine: Machine
    origin: Origin

    @classmethod
    def initial(cls, config: Config, assembly: Assembly, fingerprint: str) -> "TrainState":
        """Return the state before the first step; its vectors are those of the assembly's step."""
        step = assembly.step
        weights = sum(p.numel() for p in assembly.network.body.parameters())
        threads = count_threads(config["run"]["threads"], weights, assembly.batch_size)
        return cls(
            vectors=Vectors(step.params, step.buffers, list(step.slots), step.t),
            best=Best.initial(step),
            machine=Machine(threads, {"device": kind_of(step.params.device), **versions()}),
            origin=Origin(fingerprint, fixed_settings(config)),
        )

    @property
    def epochs_done(self) -> int:
        """How many epochs are over."""
        return self.progress.epoch - 1

    @property
    def step(self) -> int:
        """How many updates were made."""
        return int(self.vectors.t)

    def save(self, checkpoints: Checkpoints, folder: RunFolder) -> None:
        """Write a checkpoint, after the files that grow with the run are on the disk.

        Raises:
            Error: the disk refuses (code 6).
        """
        self.files = Files(*(folder.sync(name) for name in LINES), folder.digest("metrics.jsonl"))
        values, tensors = split(self)
        checkpoints.save(self.step, tensors, values)

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device) -> "TrainState":
        """Return the state in a checkpoint, with tensors of its own on a device.

        Raises:
            Error: a field is missing, or holds something that the field cannot hold (code 4).
        """
        try:
            tensors = {name: tensor.to(device) for name, tensor in checkpoint.tensors.items()}
            state = read(cls, checkpoint.state, tensors)
            if state.vectors.t.numel() != 1 or state.vectors.t.item() != checkpoint.step:  # it may be NaN
                raise BadField("vectors.t")
        except BadField as field:
            message = f"checkpoint step {checkpoint.step} is invalid: bad field {printable(repr(str(field)))}"
            raise Error(message, "remove it, or start a new run in another run.dir", Code.RUN) from None
        return state

    def fits(self, saved: "TrainState", batch_size: int, outputs: int) -> bool:
        """Return True if a saved state has the shapes and types of this run.

        Args:
            batch_size: rows of every batch but an epoch's last, behind which no checkpoint is written.
            outputs: units of the output layer.
        """
        batches = saved.progress.batches
        rows = (batches * batch_size, outputs) if batches else (0,)
        dtype = self.vectors.params.dtype
        expected = [((batches,), dtype), ((batches,), dtype), (rows, dtype)]
        progress = [saved.progress.losses, saved.progress.norms, saved.progress.outputs]
        is_progress = [(tensor.shape, tensor.dtype) for tensor in progress] == expected
        return is_progress and _shapes_and_types(self) == _shapes_and_types(saved)

    def restore(self, saved: "TrainState") -> None:
        """Take over a saved state that fits; the vectors stay those of the step."""
        _, tensors = split(self.vectors)
        for name, tensor in split(saved.vectors)[1].items():
            tensors[name].copy_(tensor)
        vars(self).update(vars(saved) | {"vectors": self.vectors})


def _shapes_and_types(state: TrainState) -> dict[str, tuple]:
    """Return the shape and type, by name, of the tensors that have the same shape throughout a run."""
    _, tensors = split({"vectors": state.vectors, "best": state.best})
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}

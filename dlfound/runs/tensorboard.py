"""Curves for TensorBoard. Each option takes the run's folder and returns what is told each epoch."""

from pathlib import Path
from typing import Any, Protocol


class Logger(Protocol):
    """What a logger is told."""

    def epoch(self, number: int, scalars: dict[str, float | None]) -> None: ...

    def close(self) -> None: ...


class NoLogger:
    """No event files."""

    def __init__(self, folder: Path):
        pass

    def epoch(self, number: int, scalars: dict[str, float | None]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class TensorBoard:
    """Losses, metrics and the learning rate of each epoch, as event files in `tensorboard/`.

    Source: torch.utils.tensorboard.
    """

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter  # brings in torch and protobuf

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def epoch(self, number: int, scalars: dict[str, float | None]) -> None:
        """One point on each curve; undefined values leave a gap."""
        for tag, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(tag, value, number)

    def close(self) -> None:
        """Write what is still held back."""
        self._writer.close()


TABLE = {"none": NoLogger, "tensorboard": TensorBoard}

"""Curves and pictures of a training, written while it goes on, to be looked at with `dlfound board`.

Each option takes the run's folder and returns what is told as a run goes on.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import lazy_loader

torch = lazy_loader.load("torch")
np = lazy_loader.load("numpy")

BINS = 64  # of a histogram


class Logger(Protocol):
    """What a logger is told; `number` is the epoch, 0 before the first.

    Attributes:
        draws: False where histograms and pictures need not be made.
    """

    draws: bool

    def scalars(self, number: int, values: Mapping[str, float | None]) -> None: ...

    def charts(self, together: Mapping[str, Mapping[str, Sequence[str]]]) -> None: ...

    def histogram(self, number: int, tag: str, values: "torch.Tensor") -> None: ...

    def picture(self, number: int, tag: str, image: "np.ndarray") -> None: ...

    def text(self, tag: str, text: str) -> None: ...

    def settings(
        self, number: int, values: Mapping[str, Any], results: Mapping[str, float | None]
    ) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class NoLogger:
    """No event files."""

    draws = False

    def __init__(self, folder: Path, done: int | None):
        pass

    def scalars(self, number: int, values: Mapping[str, float | None]) -> None:
        """Nothing."""

    def charts(self, together: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Nothing."""

    def settings(self, number: int, values: Mapping[str, Any], results: Mapping[str, float | None]) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class TensorBoard:
    """Curves, histograms, pictures, the settings and what came out, as event files in `tensorboard/`.

    Each call raises OSError where the files cannot be written.

    Source: torch.utils.tensorboard.
    """

    draws = True

    def __init__(self, folder: Path, done: int | None):
        from torch.utils.tensorboard import SummaryWriter  # brings in torch and protobuf

        beyond = (
            None if done is None else done + 1
        )  # what a killed run wrote after its last checkpoint is forgotten
        _number(folder / "tensorboard")
        self._lost: BaseException | None = None
        self._hook, threading.excepthook = threading.excepthook, self._of_thread
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=beyond)

    def _of_thread(self, args: "threading.ExceptHookArgs") -> None:
        """The writer's thread hands its error to the next call: no need to print it as well."""
        if not type(args.thread).__module__.startswith("tensorboard."):
            self._hook(args)
        else:
            self._lost = args.exc_value

    def scalars(self, number: int, values: Mapping[str, float | None]) -> None:
        """One point on each curve, all in one record; undefined values leave a gap."""
        from torch.utils.tensorboard.summary import scalar

        known = [
            scalar(tag, value) for tag, value in values.items() if value is not None and math.isfinite(value)
        ]
        for more in known[1:]:
            known[0].MergeFrom(more)
        for record in known[:1]:
            self._writer.file_writer.add_summary(record, number)

    def charts(self, together: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Section -> chart -> the curves that it shows together, on the page "custom scalars"."""
        layout = {
            head: {title: ["Multiline", list(tags)] for title, tags in charts.items()}
            for head, charts in together.items()
        }
        self._writer.add_custom_scalars(layout)

    def histogram(self, number: int, tag: str, values: "torch.Tensor") -> None:
        """How values are spread; counted on their own device. Nothing where one is not finite."""
        values = values.detach().float().flatten()
        low, high, total, squares = torch.stack(
            [values.min(), values.max(), values.sum(), values.square().sum()]
        ).tolist()
        if not math.isfinite(squares):
            return
        if low == high:  # one value: a bin around it
            low, high = low - 0.5, high + 0.5
        counts = torch.histc(values, BINS, low, high).tolist()
        limits = torch.linspace(low, high, BINS + 1)[1:].tolist()
        self._writer.add_histogram_raw(tag, low, high, values.numel(), total, squares, limits, counts, number)

    def picture(self, number: int, tag: str, image: "np.ndarray") -> None:
        """(height, width, 3) bytes."""
        self._writer.add_image(tag, image, number, dataformats="HWC")

    def text(self, tag: str, text: str) -> None:
        """Lines as they are."""
        self._writer.add_text(tag, "\n".join(f"    {line}" for line in text.splitlines()))

    def settings(self, number: int, values: Mapping[str, Any], results: Mapping[str, float | None]) -> None:
        """The run's line on the page "hparams": its settings, and what came out.

        Written into the run's own file, where `SummaryWriter.add_hparams` would make another run of them. What it
        says of the whole experiment is left out: TensorBoard would believe the first run that says it, and shows the
        settings that differ between runs first where none does.
        """
        from torch.utils.tensorboard.summary import hparams

        found = {tag: value for tag, value in results.items() if value is not None}
        plain = {
            name: v if type(v) in (int, float) else str(v) for name, v in values.items()
        }  # a truth would turn 1.0
        _, *session = hparams(plain, found)
        for summary in session:
            self._writer.file_writer.add_summary(summary)
        self.scalars(number, found)

    def flush(self) -> None:
        """Write what is still held back: a thread does it, and a kill would end it too."""
        self._writer.flush()

    def close(self) -> None:
        """As `flush`, and no more comes."""
        try:
            self._writer.close()
        finally:
            threading.excepthook = self._hook
        if self._lost is not None:  # what the thread could not write last, no call was left to tell
            raise self._lost


class Curves(TensorBoard):
    """As `tensorboard`, but curves, settings and what came out alone: what a sweep's trials write.

    Source: torch.utils.tensorboard.
    """

    draws = False


def _number(folder: Path) -> None:
    """Give the files of earlier pieces of the run names that are read first, whatever second each was begun in."""
    for place, path in enumerate(sorted(folder.glob("events.out.tfevents.*"))):
        *head, _, rest = path.name.split(".", 4)
        path.rename(path.with_name(".".join([*head, f"{place:010}", rest])))


TABLE = {"none": NoLogger, "curves": Curves, "tensorboard": TensorBoard}

"""Curves and pictures of a training, written during the training; `dlfound board` shows them.

Each option takes the run's folder and the last epoch that is done (None at the start of a run), and returns
an object with the methods of `Logger`. Their `number` is the epoch, 0 before the first.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lazy_loader

torch = lazy_loader.load("torch")
np = lazy_loader.load("numpy")

HISTOGRAM_BINS = 64


class Logger:
    """Write no event files."""

    # False if the logger takes no texts, histograms and pictures, so that they need not be made
    draws = False

    def __init__(self, folder: Path, done: int | None):
        pass

    def scalars(self, number: int, values: Mapping[str, float | None]) -> None:
        """Add a point to each curve; undefined values leave a gap."""

    def charts(self, together: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Lay out the curves: section -> chart -> the curves that the chart shows together."""

    def histogram(self, number: int, tag: str, values: "torch.Tensor") -> None:
        """Add a histogram of the values."""

    def picture(self, number: int, tag: str, image: "np.ndarray") -> None:
        """Add a picture, (height, width, 3) bytes."""

    def text(self, tag: str, text: str) -> None:
        """Add lines of text, shown as they are."""

    def settings(self, number: int, values: Mapping[str, Any], results: Mapping[str, float | None]) -> None:
        """Add the run's settings and results."""

    def flush(self) -> None:
        """Write all pending events."""

    def close(self) -> None:
        """Write all pending events, and close the files."""


class TensorBoard(Logger):
    """Write curves, histograms, pictures, settings and results as event files to `tensorboard/`.

    Each call raises OSError if it cannot write the files.

    Source: torch.utils.tensorboard.
    """

    draws = True

    def __init__(self, folder: Path, done: int | None):
        from torch.utils.tensorboard import SummaryWriter  # imports torch and protobuf

        # TensorBoard ignores what a killed run wrote after its last checkpoint.
        purge_step = None if done is None else done + 1
        _number_files(folder / "tensorboard")
        self._thread_error: BaseException | None = None
        self._previous_hook = threading.excepthook
        threading.excepthook = self._keep_thread_error
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step)

    def _keep_thread_error(self, args: "threading.ExceptHookArgs") -> None:
        """Keep an error of the writer's thread, which the writer raises again at the next call."""
        if not type(args.thread).__module__.startswith("tensorboard."):
            self._previous_hook(args)
        else:
            self._thread_error = args.exc_value

    def scalars(self, number: int, values: Mapping[str, float | None]) -> None:
        """Add a point to each curve, all in one record; undefined values leave a gap."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard.summary import scalar

        finite = {tag: v for tag, v in values.items() if v is not None and math.isfinite(v)}
        if finite:
            points = [point for tag, v in finite.items() for point in scalar(tag, v).value]
            self._writer.file_writer.add_summary(Summary(value=points), number)

    def charts(self, together: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Lay out the page "custom scalars": section -> chart -> the curves that the chart shows together."""
        layout = {
            section: {title: ["Multiline", list(tags)] for title, tags in charts.items()}
            for section, charts in together.items()
        }
        self._writer.add_custom_scalars(layout)

    def histogram(self, number: int, tag: str, values: "torch.Tensor") -> None:
        """Add a histogram, counted on the device of the values; nothing if a value is not finite."""
        values = values.detach().float().flatten()
        moments = [values.min(), values.max(), values.sum(), values.square().sum()]
        low, high, total, squares = torch.stack(moments).tolist()
        if not math.isfinite(squares):
            return
        if low == high:  # a single value gets a bin around it
            low -= 0.5
            high += 0.5
        counts = torch.histc(values, HISTOGRAM_BINS, low, high).tolist()
        limits = torch.linspace(low, high, HISTOGRAM_BINS + 1)[1:].tolist()
        self._writer.add_histogram_raw(tag, low, high, values.numel(), total, squares, limits, counts, number)

    def picture(self, number: int, tag: str, image: "np.ndarray") -> None:
        """Add a picture, (height, width, 3) bytes."""
        self._writer.add_image(tag, image, number, dataformats="HWC")

    def text(self, tag: str, text: str) -> None:
        """Add lines of text, shown as they are."""
        self._writer.add_text(tag, "\n".join(f"    {line}" for line in text.splitlines()))

    def settings(self, number: int, values: Mapping[str, Any], results: Mapping[str, float | None]) -> None:
        """Add the run's row on the page "hparams": its settings and results.

        `SummaryWriter.add_hparams` would write them as another run, so they go into the run's own file. The
        first summary describes the whole experiment and is left out: TensorBoard would take it from the first
        run that has one, while without it TensorBoard shows first the settings that differ between runs.
        """
        from torch.utils.tensorboard.summary import hparams

        defined = {tag: value for tag, value in results.items() if value is not None}
        # as text, since a bool would be shown as 1.0
        plain = {name: v if type(v) in (int, float) else str(v) for name, v in values.items()}
        _, *summaries = hparams(plain, defined)
        for summary in summaries:
            self._writer.file_writer.add_summary(summary)
        self.scalars(number, defined)

    def flush(self) -> None:
        """Write all pending events. A thread writes them, and a kill would lose those that it holds."""
        self._writer.flush()

    def close(self) -> None:
        """Write all pending events, and close the files."""
        try:
            self._writer.close()
        finally:
            threading.excepthook = self._previous_hook
        if self._thread_error is not None:  # an error of the last events: no later call raises it
            raise self._thread_error


class Curves(TensorBoard):
    """Write only curves, settings and results, as the trials of a sweep do.

    Source: torch.utils.tensorboard.
    """

    draws = False


def _number_files(folder: Path) -> None:
    """Rename the event files of a resumed run by number, so that TensorBoard reads them before the next one.

    Their names hold the second in which they were created, and two may be created in the same second.
    """
    for number, path in enumerate(sorted(folder.glob("events.out.tfevents.*"))):
        *head, _, rest = path.name.split(".", 4)
        path.rename(path.with_name(".".join([*head, f"{number:010}", rest])))


TABLE = {"none": Logger, "curves": Curves, "tensorboard": TensorBoard}

"""Trainings that are stopped after a given number of steps and resumed, in this process."""

from collections.abc import Sequence

import pytest

import dlfound
from dlfound.errors import Stopped
from dlfound.runs import train as training


class StopsAfter:
    """A `Stop` that asks for the end at the n-th look: a training looks at each step and each epoch's end."""

    def __init__(self, looks: int):
        self.left = looks
        self.code = 130
        self.training = False

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def train_with_stops(words: Sequence[str], path: str, looks: Sequence[int]) -> None:
    """Train a run that is stopped several times, inside epochs and between them, and each time resumed.

    Args:
        looks: after how many looks each of the trainings is stopped; the last one goes to the end.
    """
    for count in looks:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "Stop", lambda count=count: StopsAfter(count))
            with pytest.raises(Stopped, match="resume with: dlfound train resume="):
                dlfound.train([*words, f"run.dir={path}"])
    dlfound.train([f"resume={path}"])

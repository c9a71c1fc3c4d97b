"""Trainings that are stopped after a stated number of steps and resumed, in this process."""

import pytest

import dlfound
from dlfound.errors import Stopped

LONG = ["train.epochs=9", "early_stopping=none", "lr_decay=none", "model.hidden=[12]", "train.batch_size=16"]


class StopsAt:
    """Asks to stop after so many questions: once a step, and at the epochs' ends."""

    def __init__(self, questions: int):
        self.left, self.code, self.training = questions, 130, False

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def stop_and_go_on(words: list[str], path: str, after: list[int]) -> None:
    """Train, stopped again and again inside epochs and between them, each time taken up from its checkpoint."""
    from dlfound.runs import train as training

    for questions in after:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "Stop", lambda count=questions: StopsAt(count))
            with pytest.raises(Stopped, match="resume with: dlfound train resume="):
                dlfound.train([*words, f"run.dir={path}"])
    dlfound.train([f"resume={path}"])

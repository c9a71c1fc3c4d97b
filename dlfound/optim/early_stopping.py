"""When training ends before train.epochs. However a run ends, dlfound keeps the net of the best validation.

Each option is an object that takes the value of each validation and says when to stop.
"""

import math
from dataclasses import dataclass, field

from dlfound.config.setting_types import Count, NonNegative


@dataclass
class Patience:
    """Counts validations in a row that do not improve on the best by more than `min_delta` (absolute)."""

    min_delta: float
    best: float = math.inf
    waited: int = 0

    def see(self, value: float) -> int:
        """The count after one more validation. Lower is better; NaN is never an improvement."""
        if value < self.best - self.min_delta:
            self.best = value
            self.waited = 0
        else:
            self.waited += 1
        return self.waited


class Never:
    """Train for all of train.epochs."""

    def after(self, value: float) -> bool:
        """Never stop."""
        return False


@dataclass(kw_only=True)
class LookAhead:
    """Stop at the `look_ahead`-th validation in a row without improvement, and restore the best net.

    dlfound validates after each epoch and compares the value of train.monitor with the best so far. Only a
    change by more than `min_delta` is an improvement. A net that improves on the training rows but not on
    others is overfitting.

    Source: the lecture, minute 36; Prechelt 1998.
    """

    look_ahead: Count
    min_delta: NonNegative
    count: Patience = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.count = Patience(self.min_delta)

    def after(self, value: float) -> bool:
        """True if training should stop after this validation. Lower is better."""
        return self.count.see(value) >= self.look_ahead


TABLE = {"none": Never, "lookahead": LookAhead}

"""When training ends before train.epochs are over. However it ends, the net of the best validation is what is kept.

Each option is an object that is told each validation's value and says when to stop.
"""

import math
from dataclasses import dataclass, field

from dlfound.config.setting_types import Count, NonNegative


@dataclass
class Patience:
    """Counts validations in a row without improvement by more than `min_delta` (absolute) over the best so far."""

    min_delta: float
    best: float = math.inf
    waited: int = 0

    def see(self, value: float) -> int:
        """The count after one more validation; lower values are better, and NaN is never an improvement."""
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited


class Never:
    """Train for all of train.epochs."""

    def after(self, value: float) -> bool:
        """True when training should stop."""
        return False


@dataclass(kw_only=True)
class LookAhead:
    """Stop at the `look_ahead`-th validation in a row without improvement, and go back to the best net.

    Validation comes after each epoch and is judged by train.monitor; better means better than the best so far by more
    than `min_delta`. A net that fits the training rows ever better and others no more is learning by heart.

    Source: the lecture, minute 36; Prechelt 1998.
    """

    look_ahead: Count
    min_delta: NonNegative
    count: Patience = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.count = Patience(self.min_delta)

    def after(self, value: float) -> bool:
        """True when training should stop, given this validation's value (lower is better)."""
        return self.count.see(value) >= self.look_ahead


TABLE = {"none": Never, "lookahead": LookAhead}

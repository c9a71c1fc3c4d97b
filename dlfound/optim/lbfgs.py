"""L-BFGS: a quasi-Newton method for the full batch. Not element by element: it looks at whole vectors, and searches."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import lazy_loader

from dlfound.config.setting_types import Positive, whole, word

torch = lazy_loader.load("torch")

History = Annotated[int, whole("a whole number in 1...1000", 1, 1000)]
LineSearch = Annotated[str, word("armijo", "none")]

ENOUGH = 1e-4  # of the decrease that the slope promises: Nocedal & Wright 2006, section 3.1
HALVINGS = 20
CURVED = 1e-10  # least curvature for which a pair is kept


@dataclass(kw_only=True)
class LBFGS:
    """Newton-like steps from the last few changes of parameters and gradients; for train.batch_size=full.

    From the last `history` of these changes it guesses how the slope bends, and steps to where it should be flat. `lr`
    scales the step; with line_search=armijo it is halved until the objective falls enough. train.batch_size=auto is
    the whole training set here.

    Source: Liu & Nocedal 1989; Nocedal & Wright 2006, algorithms 7.4 and 7.5.
    """

    lr: Positive
    history: History
    line_search: LineSearch
    slots: ClassVar = ("changes", "differences", "step", "gradient", "count")

    def start(self, w):
        """The slots: (history, parameters) twice, the newest last; the last step and gradient; the number of pairs."""
        pairs = w.new_zeros(self.history, len(w))
        return pairs, pairs.clone(), torch.zeros_like(w), torch.zeros_like(w), w.new_zeros(())

    def search(self, w, g, objective, slots, t, evaluate):
        """New parameters and slots from w, where the objective has this value and gradient g.

        Args:
            evaluate: parameters -> the objective there, under the same rows and noise.
        """
        changes, differences, step, gradient, count = slots
        difference = g - gradient
        if t > 1 and difference @ step > CURVED:
            changes = torch.cat([changes[1:], step[None]])
            differences = torch.cat([differences[1:], difference[None]])
            count = (count + 1).clamp(max=self.history)
        direction = -_newton(
            g, changes[self.history - int(count) :], differences[self.history - int(count) :]
        )
        if g @ direction >= 0:  # rounding has spoilt the curvature: begin again along the gradient
            direction, count = -g, torch.zeros_like(count)
        rate = self.lr if t > 1 else self.lr * torch.clamp(1 / g.abs().sum(), max=1)  # no curvature known yet
        if self.line_search == "armijo":
            rate = _backtrack(w, objective, direction, g @ direction, rate, evaluate)
        step = rate * direction
        return w + step, (changes, differences, step, g, count)


def _newton(g, changes, differences):
    """The inverse Hessian's product with g, from pairs (pairs, parameters): the two-loop recursion."""
    if len(changes) == 0:
        return g
    curvatures = (changes * differences).sum(1)
    q, weights = g, []
    for s, y, curvature in zip(changes.flip(0), differences.flip(0), curvatures.flip(0), strict=True):
        weights.append((s @ q) / curvature)
        q = q - weights[-1] * y
    r = q * curvatures[-1] / (differences[-1] @ differences[-1])
    for s, y, curvature, weight in zip(changes, differences, curvatures, reversed(weights), strict=True):
        r = r + s * (weight - (y @ r) / curvature)
    return r


def _backtrack(w, objective, direction, slope, rate, evaluate):
    """The rate, halved until the objective falls by enough of what the slope promises; 0 where it never does."""
    for _ in range(HALVINGS):
        if evaluate(w + rate * direction) <= objective + ENOUGH * rate * slope:  # never true of NaN
            return rate
        rate = rate / 2
    return torch.zeros_like(rate)

"""L-BFGS: a quasi-Newton method for the full batch. It uses whole vectors and evaluates the objective
itself."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import lazy_loader

from dlfound.config.setting_types import Positive, whole, word

torch = lazy_loader.load("torch")

History = Annotated[int, whole("a whole number in 1...1000", 1, 1000)]
LineSearch = Annotated[str, word("armijo", "none")]

SUFFICIENT_DECREASE = 1e-4  # share of what the slope promises: Nocedal & Wright 2006, section 3.1
MAX_HALVINGS = 20
MIN_CURVATURE = 1e-10  # pairs of changes with less curvature are not kept


@dataclass(kw_only=True)
class LBFGS:
    """Approximate Newton steps from the last changes of parameters and gradients; for train.batch_size=full.

    It estimates the curvature from the last `history` changes and steps to where the gradient should be zero.
    `lr` scales the step; with line_search=armijo, the step is halved until the objective decreases enough.
    With this optimizer, train.batch_size=auto is the whole training set.

    Source: Liu & Nocedal 1989; Nocedal & Wright 2006, algorithms 7.4 and 7.5.
    """

    lr: Positive
    history: History
    line_search: LineSearch
    slots: ClassVar = ("changes", "differences", "step", "gradient", "count")

    def start(self, w):
        """The initial slots: room for `history` pairs, the last step and gradient, and the number of pairs.

        A pair is a change of the parameters and the change of the gradient with it; the newest comes last.
        """
        pairs = w.new_zeros(self.history, len(w))
        return pairs, pairs.clone(), torch.zeros_like(w), torch.zeros_like(w), w.new_zeros(())

    def search(self, w, g, objective, slots, t, evaluate):
        """The new parameters and slots.

        Args:
            w: the parameters, where the objective has the value `objective` and the gradient `g`.
            evaluate: parameters -> the objective there, for the same rows and noise.
        """
        changes, differences, step, gradient, count = slots
        difference = g - gradient
        if t > 1 and difference @ step > MIN_CURVATURE:
            changes = torch.cat([changes[1:], step[None]])
            differences = torch.cat([differences[1:], difference[None]])
            count = (count + 1).clamp(max=self.history)
        first = self.history - int(count)
        direction = -_newton(g, changes[first:], differences[first:])
        if g @ direction >= 0:  # rounding has spoilt the curvature: start again along the gradient
            direction = -g
            count = torch.zeros_like(count)
        # Without any curvature, the first step is limited to length lr.
        rate = self.lr if t > 1 else self.lr * torch.clamp(1 / g.abs().sum(), max=1)
        if self.line_search == "armijo":
            rate = _backtrack(w, objective, direction, g @ direction, rate, evaluate)
        step = rate * direction
        return w + step, (changes, differences, step, g, count)


def _newton(g, changes, differences):
    """The estimated inverse Hessian times g, from (pairs, parameters) twice: the two-loop recursion."""
    if len(changes) == 0:
        return g
    curvatures = (changes * differences).sum(1)
    q = g
    weights = []
    for s, y, curvature in zip(changes.flip(0), differences.flip(0), curvatures.flip(0), strict=True):
        weights.append((s @ q) / curvature)
        q = q - weights[-1] * y
    r = q * curvatures[-1] / (differences[-1] @ differences[-1])
    for s, y, curvature, weight in zip(changes, differences, curvatures, reversed(weights), strict=True):
        r = r + s * (weight - (y @ r) / curvature)
    return r


def _backtrack(w, objective, direction, slope, rate, evaluate):
    """Halve the rate until the objective decreases enough, relative to the slope; 0 if it never does."""
    for _ in range(MAX_HALVINGS):
        # false if the objective is NaN
        if evaluate(w + rate * direction) <= objective + SUFFICIENT_DECREASE * rate * slope:
            return rate
        rate = rate / 2
    return torch.zeros_like(rate)

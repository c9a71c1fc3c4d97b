"""The two rules that do not treat each parameter by itself.

Muon makes an orthogonal step of each weight matrix. L-BFGS, a quasi-Newton method for the full batch, uses
whole vectors and evaluates the objective itself.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import lazy_loader

from dlfound.config.setting_types import Betas, Fraction, NonNegative, Positive, whole, word

torch = lazy_loader.load("torch")

# ---- Muon

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of a quintic, steep at zero: Jordan et al. 2024
ITERATIONS = 5


@dataclass(kw_only=True)
class Muon:
    """Step each weight matrix along its running direction, made orthogonal; other parameters follow AdamW.

        D <- momentum D + (1 - momentum) G
        U S V^T = momentum D + (1 - momentum) G, its singular values in S
        W <- (1 - lr weight_decay) W - lr sqrt(max(1, units / inputs)) U V^T

    G is the gradient of a layer's weights W, (units, inputs). Without S, all directions get steps of the same
    size, also those that few gradients point in. `lr` is the rate of the matrices, and `vector_lr` that of
    biases, embeddings and other vectors; a decay changes both alike.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    https://kellerjordan.github.io/posts/muon/
    """

    lr: Positive
    momentum: Fraction
    weight_decay: NonNegative
    vector_lr: Positive
    betas: Betas
    eps: Positive
    slots: ClassVar = ("direction", "mean", "square")
    whole: ClassVar = True

    def __post_init__(self) -> None:
        self._ratio = self.vector_lr / self.lr

    def rule(self, w, g, slots, t, layout):
        """The new parameters and slots; `layout` (`training.step.Layout`) cuts the vectors into tensors."""
        pieces = enumerate(zip(*(layout.views(v) for v in (w, g, *slots)), strict=True))
        new = [self._matrix(*p) if i in layout.matrices else self._vector(*p, t) for i, p in pieces]
        w, *slots = (torch.cat([piece.flatten() for piece in column]) for column in zip(*new, strict=True))
        return w, tuple(slots)

    def _matrix(self, w, g, d, m, v):
        d = torch.lerp(g, d, self.momentum)
        step = orthogonalised(torch.lerp(g, d, self.momentum))  # looks ahead, as Nesterov's momentum
        tall = math.sqrt(max(1, w.shape[0] / w.shape[1]))
        return (1 - self.lr * self.weight_decay) * w - self.lr * tall * step, d, m, v

    def _vector(self, w, g, d, m, v, t):
        beta1, beta2 = self.betas
        lr = self.lr * self._ratio
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        step = (m / (1 - beta1**t)) / ((v / (1 - beta2**t)) ** 0.5 + self.eps)
        return (1 - lr * self.weight_decay) * w - lr * step, d, m, v


def orthogonalised(g):
    """About U V^T where g = U S V^T, by five Newton-Schulz iterations. Its singular values are 0.5 to 1.5.

    On a GPU it computes in bfloat16, as its authors do; a CPU without bfloat16 units is faster in g's own
    type.
    Source: Jordan et al. 2024; Higham 2008, chapter 8.
    """
    a, b, c = NEWTON_SCHULZ
    x = g.to(torch.bfloat16) if g.is_cuda else g
    wide = g.shape[0] <= g.shape[1]
    x = (x if wide else x.T) / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.T).to(g.dtype)


# ---- L-BFGS

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

"""Muon: orthogonal steps of whole weight matrices."""

import math
from dataclasses import dataclass
from typing import ClassVar

import lazy_loader

from dlfound.config.setting_types import Betas, Fraction, NonNegative, Positive

torch = lazy_loader.load("torch")

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

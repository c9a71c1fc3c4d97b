"""Muon: steps of orthogonal matrices. Not element by element: it sees each weight matrix whole."""

import math
from dataclasses import dataclass
from typing import ClassVar

import lazy_loader

from dlfound.config.setting_types import Betas, Fraction, NonNegative, Positive

torch = lazy_loader.load("torch")

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # a quintic that is steep at zero: Jordan et al. 2024
ITERATIONS = 5


@dataclass(kw_only=True)
class Muon:
    """Each weight matrix steps along its running direction, made orthogonal; biases, embeddings and such follow AdamW.

        D <- momentum D + (1 - momentum) G
        U S V^T = momentum D + (1 - momentum) G, its singular values in S
        W <- (1 - lr weight_decay) W - lr sqrt(max(1, units / inputs)) U V^T

    G is the gradient of a layer's weights W, (units, inputs). Without S no direction is weak: what the gradients point
    at rarely gets steps as large as what they point at often. `lr` is the matrices' rate and `vector_lr` the others'; a
    decay changes both alike.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
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
        """`layout` cuts the vectors into the net's tensors (`training.step.Layout`)."""
        pieces = enumerate(zip(*(layout.views(v) for v in (w, g, *slots)), strict=True))
        new = [self._matrix(*p) if i in layout.matrices else self._vector(*p, t) for i, p in pieces]
        w, *slots = (torch.cat([piece.flatten() for piece in column]) for column in zip(*new, strict=True))
        return w, tuple(slots)

    def _matrix(self, w, g, d, m, v):
        d = torch.lerp(g, d, self.momentum)
        step = orthogonalised(torch.lerp(g, d, self.momentum))  # Nesterov's look ahead
        tall = math.sqrt(max(1, w.shape[0] / w.shape[1]))
        return (1 - self.lr * self.weight_decay) * w - self.lr * tall * step, d, m, v

    def _vector(self, w, g, d, m, v, t):
        (beta1, beta2), lr = self.betas, self.lr * self._ratio
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        step = (m / (1 - beta1**t)) / ((v / (1 - beta2**t)) ** 0.5 + self.eps)
        return (1 - lr * self.weight_decay) * w - lr * step, d, m, v


def orthogonalised(g):
    """Roughly U V^T where g = U S V^T, by five Newton-Schulz iterations; singular values end in 0.5 to 1.5.

    In bfloat16 on a GPU, as its authors do; on a CPU without units for it that is slower than g's own precision.
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

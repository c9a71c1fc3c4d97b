"""Update rules, as in their papers, on vectors: all parameters of a net lie in one.

An option is a class: its settings are fields; `slots` names the vectors it keeps; `rule(w, g, slots, t)` returns
the new parameters and slots at step t = 1, 2, ..., and changes nothing. Settings may be tensors that broadcast.
Where torch has a kernel that does the same in one pass, `fused` calls it: in place, and doing nothing where `skip`
(a tensor, 0 or 1) is 1. Both are tested to agree.
"""

from dataclasses import dataclass
from typing import ClassVar

import lazy_loader

from dlfound.config.kinds import Betas, Fraction, Positive

torch = lazy_loader.load("torch")


@dataclass(kw_only=True)
class SGD:
    """Stochastic gradient descent: w <- w - lr g.

    Source: Robbins & Monro 1951; the lecture, minute 13.
    """

    lr: Positive
    slots: ClassVar = ()

    def rule(self, w, g, slots, t):
        return w - self.lr * g, ()

    def fused(self, w, g, slots, t, skip):
        _fused_sgd(w, g, [], self.lr, 0.0, skip)


@dataclass(kw_only=True)
class Momentum:
    """SGD along a running direction: d <- g + momentum d; w <- w - lr d.

    Source: Polyak 1964; the lecture, minute 40.
    """

    lr: Positive
    momentum: Fraction
    slots: ClassVar = ("direction",)

    def rule(self, w, g, slots, t):
        (d,) = slots
        d = g + self.momentum * d
        return w - self.lr * d, (d,)

    def fused(self, w, g, slots, t, skip):
        _fused_sgd(w, g, list(slots), self.lr, self.momentum, skip)


@dataclass(kw_only=True)
class Adam:
    """Steps of the size lr, along the running mean of g over the root of the running mean of g^2, both unbiased.

    Source: Kingma & Ba 2015, algorithm 1; the lecture, minute 42.
    """

    lr: Positive
    betas: Betas
    eps: Positive
    slots: ClassVar = ("mean", "square")

    def rule(self, w, g, slots, t):
        (m, v), (beta1, beta2) = slots, self.betas
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        unbiased_m, unbiased_v = m / (1 - beta1**t), v / (1 - beta2**t)
        return w - self.lr * unbiased_m / (unbiased_v**0.5 + self.eps), (m, v)

    def fused(self, w, g, slots, t, skip):
        (m, v), (beta1, beta2) = slots, self.betas
        torch._fused_adam_(
            [w], [g], [m], [v], [], [t], lr=self.lr, beta1=beta1, beta2=beta2, eps=self.eps,
            weight_decay=0.0, amsgrad=False, maximize=False, found_inf=skip,
        )  # fmt: skip


def _fused_sgd(w, g, buffers, lr, momentum, skip):
    torch._fused_sgd_(
        [w], [g], buffers, lr=lr, momentum=momentum, dampening=0.0, weight_decay=0.0,
        nesterov=False, maximize=False, is_first_step=False, found_inf=skip,
    )  # fmt: skip


TABLE = {"sgd": SGD, "momentum": Momentum, "adam": Adam}

"""The update rule: how each step changes the parameters w, given the gradient g of the objective on a batch of rows.
Here <- is read "becomes", and t counts the steps from 1; what a rule keeps from step to step starts at zero. All but
muon and lbfgs treat each parameter by itself.

The rules are as in their papers, on vectors: all parameters of a net lie in one.

An option is a class: its settings are fields; `slots` names the vectors it keeps, which start at zero; and
`rule(w, g, slots, t)` returns the new parameters and slots at step t = 1, 2, ..., and changes nothing. Settings may be
tensors that broadcast. Where torch has a kernel that does the same in one pass, `fused` calls it: in place, and doing
nothing where `skip` (a tensor, 0 or 1) is 1. Both are tested to agree. Rules that are not element by element stand in
`muon.py` and `lbfgs.py`.
"""

from dataclasses import dataclass
from typing import ClassVar

import lazy_loader

from dlfound.config.setting_types import Betas, Fraction, NonNegative, Positive
from dlfound.optim.lbfgs import LBFGS
from dlfound.optim.muon import Muon

torch = lazy_loader.load("torch")


@dataclass(kw_only=True)
class SGD:
    """Stochastic gradient descent: w <- w - lr g.

    Straight down the slope of the batch, by the rate `lr`: the rule that all others are measured by.

    Source: Robbins & Monro 1951; the lecture, minute 13.
    """

    lr: Positive
    slots: ClassVar = ()

    def rule(self, w, g, slots, t):
        return w - self.lr * g, ()

    def fused(self, w, g, slots, t, skip):
        _fused_sgd(w, g, [], self.lr, 0.0, False, skip)


@dataclass(kw_only=True)
class Momentum:
    """SGD along a running direction: d <- g + momentum d; w <- w - lr d.

    What the gradients of many steps agree on adds up, to at most 1 / (1 - momentum) times one of them; what they
    disagree on cancels.

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
        _fused_momentum(w, g, slots, self, False, skip)


@dataclass(kw_only=True)
class Nesterov:
    """Momentum that looks one step ahead: d <- g + momentum d; w <- w - lr (g + momentum d).

    Where the slope turns, the step brakes one step earlier than that of optim=momentum.

    Source: Nesterov 1983; Sutskever et al. 2013; the lecture, minute 40.
    """

    lr: Positive
    momentum: Fraction
    slots: ClassVar = ("direction",)

    def rule(self, w, g, slots, t):
        (d,) = slots
        d = g + self.momentum * d
        return w - self.lr * (g + self.momentum * d), (d,)

    def fused(self, w, g, slots, t, skip):
        _fused_momentum(w, g, slots, self, True, skip)


@dataclass(kw_only=True)
class AdaGrad:
    """Each parameter's rate divided by the root of the sum of its squared gradients so far.

        s <- s + g^2
        w <- w - lr g / (sqrt(s) + eps)

    Parameters whose gradients are rare or small keep large steps. s never falls, so the rates never rise again.

    Source: Duchi, Hazan & Singer 2011; the lecture, minute 41.
    """

    lr: Positive
    eps: Positive
    slots: ClassVar = ("sum",)

    def rule(self, w, g, slots, t):
        s = slots[0] + g * g
        return w - self.lr * g / (s**0.5 + self.eps), (s,)


@dataclass(kw_only=True)
class RMSProp:
    """Each parameter's rate divided by the root of the running mean of its squared gradient.

        v <- rho v + (1 - rho) g^2
        w <- w - lr g / (sqrt(v) + eps)

    AdaGrad that forgets: the mean reaches back over some 1 / (1 - rho) steps, and rates can rise again.

    Source: Tieleman & Hinton 2012, lecture 6.5; the lecture, minute 41.
    """

    lr: Positive
    rho: Fraction
    eps: Positive
    slots: ClassVar = ("square",)

    def rule(self, w, g, slots, t):
        v = self.rho * slots[0] + (1 - self.rho) * g * g
        return w - self.lr * g / (v**0.5 + self.eps), (v,)


@dataclass(kw_only=True)
class AdaDelta:
    """Steps in the parameters' own unit: the root mean square of past steps over that of past gradients.

        v <- rho v + (1 - rho) g^2
        step = sqrt(u + eps) / sqrt(v + eps) g
        u <- rho u + (1 - rho) step^2
        w <- w - lr step

    Source: Zeiler 2012, algorithm 1.
    """

    lr: Positive
    rho: Fraction
    eps: Positive
    slots: ClassVar = ("square", "steps")

    def rule(self, w, g, slots, t):
        v, u = slots
        v = self.rho * v + (1 - self.rho) * g * g
        step = (u + self.eps) ** 0.5 / (v + self.eps) ** 0.5 * g
        return w - self.lr * step, (v, self.rho * u + (1 - self.rho) * step * step)


@dataclass(kw_only=True)
class Adam:
    """Steps of the size lr, along the running mean of g over the root of the running mean of g^2, both unbiased.

        m <- beta1 m + (1 - beta1) g
        v <- beta2 v + (1 - beta2) g^2
        w <- w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    m is momentum, v gives each parameter a rate of its own, and the divisions make up for their start at zero. `betas`
    is [beta1, beta2].

    Source: Kingma & Ba 2015, algorithm 1; the lecture, minute 42.
    """

    lr: Positive
    betas: Betas
    eps: Positive
    slots: ClassVar = ("mean", "square")

    def rule(self, w, g, slots, t):
        m, v, unbiased_m, unbiased_v = _moments(g, slots, t, self.betas)
        return w - self.lr * unbiased_m / (unbiased_v**0.5 + self.eps), (m, v)

    def fused(self, w, g, slots, t, skip):
        _fused_adam(torch._fused_adam_, w, g, slots, t, skip, self, weight_decay=0.0)


@dataclass(kw_only=True)
class AdamW:
    """Adam, and apart from it the weights shrink: w <- (1 - lr weight_decay) w. Biases shrink too, as in the paper.

    A penalty's gradient would be divided by sqrt(v) with the rest; this decay shrinks all weights at the same pace.

    Source: Loshchilov & Hutter 2019, algorithm 2.
    """

    lr: Positive
    betas: Betas
    eps: Positive
    weight_decay: NonNegative
    slots: ClassVar = ("mean", "square")

    def rule(self, w, g, slots, t):
        m, v, unbiased_m, unbiased_v = _moments(g, slots, t, self.betas)
        w = (1 - self.lr * self.weight_decay) * w
        return w - self.lr * unbiased_m / (unbiased_v**0.5 + self.eps), (m, v)

    def fused(self, w, g, slots, t, skip):
        _fused_adam(torch._fused_adamw_, w, g, slots, t, skip, self, weight_decay=self.weight_decay)


@dataclass(kw_only=True)
class NAdam:
    """Adam with Nesterov's look ahead: momentum grows towards beta1 by mu(t) = beta1 (1 - 0.96^(t momentum_decay) / 2).

        ahead = mu(t+1) m / (1 - mu(1) ... mu(t+1)) + (1 - mu(t)) g / (1 - mu(1) ... mu(t))
        w <- w - lr ahead / (sqrt(v / (1 - beta2^t)) + eps)

    m and v are those of optim=adam.

    Source: Dozat 2016, algorithm 2.
    """

    lr: Positive
    betas: Betas
    eps: Positive
    momentum_decay: NonNegative
    slots: ClassVar = (
        "mean",
        "square",
        "log_product",
    )  # log_product: of all mu so far, the same for every parameter

    def rule(self, w, g, slots, t):
        (*moments, log_product), beta1 = slots, self.betas[0]
        m, v, _, unbiased_v = _moments(g, moments, t, self.betas)
        mu, next_mu = (beta1 * (1 - 0.5 * 0.96 ** (k * self.momentum_decay)) for k in (t, t + 1))
        log_product = log_product + (mu * torch.ones_like(w)).log()
        product = log_product.exp()
        ahead = (1 - mu) * g / (1 - product) + next_mu * m / (1 - product * next_mu)
        return w - self.lr * ahead / (unbiased_v**0.5 + self.eps), (m, v, log_product)


@dataclass(kw_only=True)
class RAdam:
    """Adam whose rate is rectified while few gradients have been seen; momentum alone in the first steps.

        n = N - 2 t beta2^t / (1 - beta2^t), with N = 2 / (1 - beta2) - 1
        r = sqrt((n - 4) (n - 2) N / ((N - 4) (N - 2) n))
        w <- w - lr r (m / (1 - beta1^t)) sqrt(1 - beta2^t) / (sqrt(v) + eps) where n > 5
        w <- w - lr m / (1 - beta1^t) else

    m and v are those of optim=adam. The first squared gradients are too few to divide by: steps that hang on them would
    be wild. It needs no warm-up.

    Source: Liu et al. 2020, algorithm 2.
    """

    lr: Positive
    betas: Betas
    eps: Positive
    slots: ClassVar = ("mean", "square")

    def rule(self, w, g, slots, t):
        m, v, unbiased_m, _ = _moments(g, slots, t, self.betas)
        beta2 = self.betas[1]
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / (1 - beta2**t)  # of the average that v stands for
        rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        root = (1 - beta2**t) ** 0.5 / (
            v**0.5 + self.eps
        )  # eps before the bias is removed, as in the authors' code
        adaptive = torch.as_tensor(rectified).clamp(min=0) ** 0.5 * unbiased_m * root
        return w - self.lr * torch.where(torch.as_tensor(length > 5), adaptive, unbiased_m), (m, v)


def _moments(g, slots, t, betas):
    """The running means of g and g^2, as they are and unbiased."""
    (m, v), (beta1, beta2) = slots, betas
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return m, v, m / (1 - beta1**t), v / (1 - beta2**t)


def _fused_momentum(w, g, slots, settings, nesterov, skip):
    if settings.momentum == 0:  # plain SGD, for which torch's kernel takes no slot
        torch.where(skip > 0, slots[0], g, out=slots[0])
        _fused_sgd(w, g, [], settings.lr, 0.0, False, skip)
    else:
        _fused_sgd(w, g, list(slots), settings.lr, settings.momentum, nesterov, skip)


def _fused_sgd(w, g, buffers, lr, momentum, nesterov, skip):
    torch._fused_sgd_(
        [w], [g], buffers, lr=lr, momentum=momentum, dampening=0.0, weight_decay=0.0,
        nesterov=nesterov, maximize=False, is_first_step=False, found_inf=skip,
    )  # fmt: skip


def _fused_adam(kernel, w, g, slots, t, skip, settings, weight_decay):
    (m, v), (beta1, beta2) = slots, settings.betas
    kernel(
        [w], [g], [m], [v], [], [t], lr=settings.lr, beta1=beta1, beta2=beta2, eps=settings.eps,
        weight_decay=weight_decay, amsgrad=False, maximize=False, found_inf=skip,
    )  # fmt: skip


TABLE = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "adadelta": AdaDelta,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": NAdam,
    "radam": RAdam,
    "lbfgs": LBFGS,
    "muon": Muon,
}

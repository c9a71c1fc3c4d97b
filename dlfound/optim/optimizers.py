"""The update rule: how each step changes the parameters w, given the gradient g of the objective on a batch.
In the formulas, <- reads "becomes", and t counts the steps from 1; the vectors that a rule keeps start at
zero. All rules except muon and lbfgs treat each parameter by itself.

Each option is a class whose fields are its settings. It works on vectors that hold all parameters of a net,
and `slots` names those that it keeps. `rule(w, g, slots, t)` returns the new parameters and slots of step t,
and changes nothing; settings may be tensors that broadcast. Where torch has a kernel for a rule, `fused`
calls it: it works in place, and does nothing where the tensor `skip` is 1. Tests compare the two.
"""

from dataclasses import dataclass
from typing import ClassVar

import lazy_loader

from dlfound.config.setting_types import Betas, Fraction, NonNegative, Positive
from dlfound.optim.joint_rules import LBFGS, Muon

torch = lazy_loader.load("torch")


@dataclass(kw_only=True)
class SGD:
    """Stochastic gradient descent: w <- w - lr g.

    Each step goes down the slope of its batch, at the rate `lr`. All other rules are compared with it.

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

    The part that the gradients of many steps share adds up, to at most 1 / (1 - momentum) times one gradient;
    the parts that differ cancel.

    Source: Polyak 1964; the lecture, minute 40.
    """

    lr: Positive
    momentum: Fraction
    slots: ClassVar = ("direction",)
    nesterov: ClassVar = False

    def rule(self, w, g, slots, t):
        (d,) = slots
        d = g + self.momentum * d
        return w - self.lr * d, (d,)

    def fused(self, w, g, slots, t, skip):
        if self.momentum == 0:  # plain SGD, for which torch's kernel takes no slot
            torch.where(skip > 0, slots[0], g, out=slots[0])
            _fused_sgd(w, g, [], self.lr, 0.0, False, skip)
        else:
            _fused_sgd(w, g, list(slots), self.lr, self.momentum, self.nesterov, skip)


@dataclass(kw_only=True)
class Nesterov(Momentum):
    """Momentum that looks one step ahead: d <- g + momentum d; w <- w - lr (g + momentum d).

    Where the slope changes its direction, it slows down one step earlier than optim=momentum.

    Source: Nesterov 1983; Sutskever et al. 2013; the lecture, minute 40.
    https://proceedings.mlr.press/v28/sutskever13.html
    """

    nesterov: ClassVar = True

    def rule(self, w, g, slots, t):
        (d,) = slots
        d = g + self.momentum * d
        return w - self.lr * (g + self.momentum * d), (d,)


@dataclass(kw_only=True)
class AdaGrad:
    """Divide each parameter's rate by the root of the sum of its squared gradients so far.

        s <- s + g^2
        w <- w - lr g / (sqrt(s) + eps)

    Parameters with rare or small gradients keep large steps. s never falls, so the rates never rise again.

    Source: Duchi, Hazan & Singer 2011; the lecture, minute 41.
    https://jmlr.org/papers/v12/duchi11a.html
    """

    lr: Positive
    eps: Positive
    slots: ClassVar = ("sum",)

    def rule(self, w, g, slots, t):
        s = slots[0] + g * g
        return w - self.lr * g / (s**0.5 + self.eps), (s,)


@dataclass(kw_only=True)
class RMSProp:
    """Divide each parameter's rate by the root of the running mean of its squared gradient.

        v <- rho v + (1 - rho) g^2
        w <- w - lr g / (sqrt(v) + eps)

    It is AdaGrad that forgets: the mean covers about the last 1 / (1 - rho) steps, and rates can rise again.

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
    """Step in the parameters' own unit: the gradient times the RMS of past steps over that of past gradients.

        v <- rho v + (1 - rho) g^2
        step = sqrt(u + eps) / sqrt(v + eps) g
        u <- rho u + (1 - rho) step^2
        w <- w - lr step

    Source: Zeiler 2012, algorithm 1.
    https://arxiv.org/abs/1212.5701
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
class _Moments:
    """What the rules of Adam's family share: the running means of g and g^2."""

    lr: Positive
    betas: Betas
    eps: Positive
    slots: ClassVar = ("mean", "square")

    def moments(self, g, m, v, t):
        """The new running means m and v, and both without the bias of their start at zero."""
        beta1, beta2 = self.betas
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        return m, v, m / (1 - beta1**t), v / (1 - beta2**t)


@dataclass(kw_only=True)
class Adam(_Moments):
    """Step by about lr along the running mean of g, divided by the root of the running mean of g^2.

        m <- beta1 m + (1 - beta1) g
        v <- beta2 v + (1 - beta2) g^2
        w <- w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    m is a momentum, and v gives each parameter its own rate. The divisions by 1 - beta^t correct for the
    start at zero. `betas` is [beta1, beta2].

    Source: Kingma & Ba 2015, algorithm 1; the lecture, minute 42.
    https://arxiv.org/abs/1412.6980
    """

    def rule(self, w, g, slots, t):
        m, v, unbiased_m, unbiased_v = self.moments(g, *slots, t)
        return w - self.lr * unbiased_m / (unbiased_v**0.5 + self.eps), (m, v)

    def fused(self, w, g, slots, t, skip, weight_decay=0.0):
        m, v = slots
        beta1, beta2 = self.betas
        torch._fused_adamw_(  # without decay, this is Adam
            [w], [g], [m], [v], [], [t], lr=self.lr, beta1=beta1, beta2=beta2, eps=self.eps,
            weight_decay=weight_decay, amsgrad=False, maximize=False, found_inf=skip,
        )  # fmt: skip


@dataclass(kw_only=True)
class AdamW(Adam):
    """Adam with a separate decay of all parameters: w <- (1 - lr weight_decay) w.

    The gradient of a penalty would be divided by sqrt(v) like the rest; this decay shrinks all weights alike.
    Biases decay too, as in the paper.

    Source: Loshchilov & Hutter 2019, algorithm 2.
    https://arxiv.org/abs/1711.05101
    """

    weight_decay: NonNegative

    def rule(self, w, g, slots, t):
        return super().rule((1 - self.lr * self.weight_decay) * w, g, slots, t)

    def fused(self, w, g, slots, t, skip):
        super().fused(w, g, slots, t, skip, self.weight_decay)


@dataclass(kw_only=True)
class NAdam(_Moments):
    """Adam that looks one step ahead, as Nesterov's momentum does.

        mu(t) = beta1 (1 - 0.96^(t momentum_decay) / 2)
        ahead = mu(t+1) m / (1 - mu(1) ... mu(t+1)) + (1 - mu(t)) g / (1 - mu(1) ... mu(t))
        w <- w - lr ahead / (sqrt(v / (1 - beta2^t)) + eps)

    m and v are those of optim=adam. The momentum mu(t) grows towards beta1.

    Source: Dozat 2016, algorithm 2.
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ
    """

    momentum_decay: NonNegative
    slots: ClassVar = ("mean", "square", "log_product")  # of all mu so far, the same for every parameter

    def rule(self, w, g, slots, t):
        *means, log_product = slots
        m, v, _, unbiased_v = self.moments(g, *means, t)
        mu, next_mu = (self.betas[0] * (1 - 0.5 * 0.96 ** (k * self.momentum_decay)) for k in (t, t + 1))
        log_product = log_product + (mu * torch.ones_like(w)).log()
        product = log_product.exp()
        ahead = (1 - mu) * g / (1 - product) + next_mu * m / (1 - product * next_mu)
        return w - self.lr * ahead / (unbiased_v**0.5 + self.eps), (m, v, log_product)


@dataclass(kw_only=True)
class RAdam(_Moments):
    """Adam with a rectified rate while v averages few gradients, and momentum alone in the first steps.

        n = N - 2 t beta2^t / (1 - beta2^t), with N = 2 / (1 - beta2) - 1
        r = sqrt((n - 4) (n - 2) N / ((N - 4) (N - 2) n))
        w <- w - lr r (m / (1 - beta1^t)) sqrt(1 - beta2^t) / (sqrt(v) + eps) where n > 5
        w <- w - lr m / (1 - beta1^t) else

    m and v are those of optim=adam. After few steps, v is too uncertain to divide by. RAdam needs no warm-up.

    Source: Liu et al. 2020, algorithm 2.
    https://arxiv.org/abs/1908.03265
    """

    def rule(self, w, g, slots, t):
        m, v, unbiased_m, _ = self.moments(g, *slots, t)
        beta2 = self.betas[1]
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / (1 - beta2**t)  # of the average that v is
        rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        # eps is added before the bias is removed, as in the authors' code
        root = (1 - beta2**t) ** 0.5 / (v**0.5 + self.eps)
        adaptive = torch.as_tensor(rectified).clamp(min=0) ** 0.5 * unbiased_m * root
        return w - self.lr * torch.where(torch.as_tensor(length > 5), adaptive, unbiased_m), (m, v)


def _fused_sgd(w, g, buffers, lr, momentum, nesterov, skip):
    torch._fused_sgd_(
        [w], [g], buffers, lr=lr, momentum=momentum, dampening=0.0, weight_decay=0.0,
        nesterov=nesterov, maximize=False, is_first_step=False, found_inf=skip,
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

"""Faults to be planted: options of one's own that are wrong, each in its own way, and data that are."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dlfound
from dlfound.data.dataset import Dataset, classification, regression
from dlfound.data.digits import digits
from dlfound.data.split import cut
from dlfound.nn.modules import BatchNorm
from dlfound.objective.loss import CrossEntropy

SPLIT = [0.7, 0.15, 0.15]


# Activations.


def wrong_backward(backward: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], nn.Module]:
    """A tanh whose backward is the given function of (gradient, h)."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a: Tensor) -> Tensor:
            h = torch.tanh(a)
            ctx.save_for_backward(h)
            return h

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            return backward(gradient, *ctx.saved_tensors)

    return module(Function.apply)


def module(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    """A module that applies a function."""

    class Made(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            return function(a)

    return Made


class Offset(nn.Module):
    """A ReLU with a bias of its own that a penalty takes for a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.full((1, 1), 0.1))

    def forward(self, a: Tensor) -> Tensor:
        return torch.relu(a + self.offset)


class Meek(nn.Module):
    """A batch normalisation that forgets that its statistics depend on the batch."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, a: Tensor) -> Tensor:
        return self.gain * (a - a.mean(0).detach()) / (a.std(0).detach() + 1e-5)


ACTIVATIONS = {
    "double_backward": wrong_backward(lambda g, h: 2 * g * (1 - h * h)),
    "slope_of_sigmoid": wrong_backward(lambda g, h: g * h * (1 - h)),
    "turned_backward": wrong_backward(lambda g, h: -g * (1 - h * h)),
    "one_in_a_hundred": wrong_backward(lambda g, h: g * (1 - h * h) * (1 + (h > 0.9))),
    "detached": module(lambda a: torch.tanh(a.detach())),
    "half_detached": module(lambda a: torch.relu(a) * torch.sigmoid(a).detach()),
    "biased_to_death": module(lambda a: torch.relu(a - 10)),
    "deaf": module(lambda a: 0 * a + 0.5),
    "mixes_rows": module(lambda a: torch.relu(a - a.mean(0))),
    "softmax_over_rows": module(lambda a: torch.softmax(a, 0)),
    "noisy": module(lambda a: torch.relu(a + 0.1 * torch.randn(a.shape))),
    "offset": Offset,
    "tame": module(lambda a: torch.relu(a)),
}


# Initializers, losses, penalties, rules.


def pairs(weight: Tensor, generator: torch.Generator) -> None:
    """He's recipe, but each second unit is as the one before it, on both sides."""
    weight.normal_(0, (2 / weight.shape[1]) ** 0.5, generator=generator)
    weight[1::2] = weight[: len(weight) - len(weight) % 2 : 2]
    weight[:, 1::2] = weight[:, : weight.shape[1] - weight.shape[1] % 2 : 2]


def from_elsewhere(weight: Tensor, generator: torch.Generator) -> None:
    """Drawn from the global generator."""
    weight.normal_(0, (2 / weight.shape[1]) ** 0.5)


class SoftmaxTwice(CrossEntropy):
    """Cross-entropy of probabilities that it takes for outputs."""

    def __init__(self, counts=()):
        super().__init__(counts, label_smoothing=0.0, class_weight="none")

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        return super().__call__(torch.softmax(outputs, 1), encoded)


class WrongSign(SoftmaxTwice):
    """The log-likelihood, made small."""

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        return torch.log_softmax(outputs, 1).gather(1, encoded[:, None]).mean()


class Summed(SoftmaxTwice):
    """The sum over rows."""

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        return F.cross_entropy(outputs, encoded, reduction="sum")


class CutOff(SoftmaxTwice):
    """Without a way back."""

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        return F.cross_entropy(outputs.detach(), encoded)


class HalfCutOff(SoftmaxTwice):
    """The normalisation without a way back."""

    def __call__(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        right = outputs.gather(1, encoded[:, None])[:, 0]
        return (outputs.logsumexp(1).detach() - right).mean()


def half_penalty(weights) -> Tensor:
    """L2 with one factor cut off."""
    return 0.01 * sum((w * w.detach()).sum() for w in weights)


class Frozen:
    """SGD that leaves the first half of all numbers as they are."""

    slots = ()

    def __init__(self, *, lr: float = 0.1):
        self.lr = lr

    whole = True

    def rule(self, w, g, slots, t, layout):
        step = self.lr * g
        step[: layout.sizes[0]] = 0
        return w - step, ()


class Uphill:
    """SGD in the wrong direction."""

    slots = ()

    def __init__(self, *, lr: float = 0.1):
        self.lr = lr

    def rule(self, w, g, slots, t):
        return w + self.lr * g, ()


# Data: each from the seed of the split.


def blobs(seed: int, rows: int = 600, classes: int = 3, columns: int = 8):
    """Clouds that overlap a little: inputs and class numbers."""
    rng = np.random.default_rng([seed, 7])
    y = rng.integers(0, classes, rows)
    centres = 1.5 * rng.standard_normal((classes, columns))
    return centres[y] + rng.standard_normal((rows, columns)), y


def made(seed: int, x, y, parts=None, image=None, names=None) -> Dataset:
    """A dataset of classes."""
    names = names or [f"c{k}" for k in range(x.shape[1])]
    classes = [str(k) for k in range(int(y.max()) + 1)]
    return classification(x, y, classes, names, parts or cut(len(x), SPLIT, seed), image)


def leaked_class(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    return made(seed, np.column_stack([x, 10.0 * y - 3]), y)


def leaked_one_hot(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    return made(seed, np.column_stack([x, np.eye(3)[y]]), y)


def leaked_nearly(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    noise = np.random.default_rng(seed).standard_normal(len(y))
    return made(seed, np.column_stack([x, y + 1e-3 * noise]), y)


def leaked_number(*, seed: int, split: list) -> Dataset:
    x, _ = blobs(seed)
    target = x[:, 0] * x[:, 1] + x[:, 2]
    names = [f"c{k}" for k in range(9)]
    return regression(np.column_stack([x, 3 * target + 40]), target, names, cut(len(x), SPLIT, seed))


def shuffled_numbers(*, seed: int, split: list) -> Dataset:
    x, _ = blobs(seed)
    target = np.random.default_rng(seed).permutation(x[:, 0] + x[:, 1])
    return regression(x, target, [f"c{k}" for k in range(8)], cut(len(x), SPLIT, seed))


def test_in_training(share: float) -> Callable[..., Dataset]:
    """Some test rows stand among the training rows too."""

    def source(*, seed: int, split: list) -> Dataset:
        x, y = blobs(seed)
        parts = cut(len(x), SPLIT, seed)
        count = max(1, round(share * len(parts["test"])))
        return made(seed, x, y, {**parts, "train": np.concatenate([parts["train"], parts["test"][:count]])})

    return source


def all_rows_twice(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    return made(seed, np.concatenate([x, x]), np.concatenate([y, y]))


def constant_column(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    return made(seed, np.column_stack([x, np.full(len(y), 4.2)]), y)


def duplicate_column(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    return made(seed, np.column_stack([x, x[:, 2]]), y)


def rare_class(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed, 3000)
    kept = (y != 2) | (np.arange(len(y)) % 25 == 0)
    return made(seed, x[kept], y[kept])


def outlier(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    x[cut(len(x), SPLIT, seed)["train"][5], 3] = 1e8
    return made(seed, x, y)


def other_unit(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    x[cut(len(x), SPLIT, seed)["test"], 3] *= 1e4
    return made(seed, x, y)


def scale_1e4(*, seed: int, split: list) -> Dataset:
    """A column of 1e4 beside others of 1, normalised together as an image's channel is."""
    x, y = blobs(seed, columns=9)
    x[:, 4] = 1e4 * np.random.default_rng(seed).standard_normal(len(x))
    return made(seed, x, y, image=(1, 3, 3))


def shuffled_digits(*, seed: int, split: list) -> Dataset:
    data = digits(seed=seed, split=SPLIT)
    labels = np.random.default_rng(seed).permutation(data.targets)
    return made(seed, data.inputs, labels, data.parts, data.image)


def half_of_the_classes_shifted(*, seed: int, split: list) -> Dataset:
    """In half of the rows, by lot, the class is one too high."""
    data = digits(seed=seed, split=SPLIT)
    half = np.random.default_rng(seed).permutation(len(data.targets)) % 2
    return made(seed, data.inputs, (data.targets + half) % 10, data.parts, data.image)


def second_half_of_the_classes_shifted(*, seed: int, split: list) -> Dataset:
    data = digits(seed=seed, split=SPLIT)
    half = np.arange(len(data.targets)) >= len(data.targets) // 2
    return made(seed, data.inputs, (data.targets + half) % 10, data.parts, data.image)


def second_half_a_row_late(*, seed: int, split: list) -> Dataset:
    """From the middle on each row has the label of the row before it."""
    data = digits(seed=seed, split=SPLIT)
    labels, middle = data.targets.copy(), len(data.targets) // 2
    labels[middle:] = np.roll(labels[middle:], 1)
    return made(seed, data.inputs, labels, data.parts, data.image)


def by_place(*, seed: int, split: list) -> Dataset:
    """No fault: prices that follow from the place, the rows in the order of one of its two coordinates."""
    rng = np.random.default_rng([seed, 9])
    x = np.column_stack(
        [np.sort(rng.uniform(0, 12, 1500)), rng.uniform(0, 3, 1500), rng.standard_normal((1500, 2))]
    )
    y = np.sin(x[:, 0]) * np.cos(x[:, 1]) + 0.3 * x[:, 2] + 0.05 * rng.standard_normal(1500)
    return regression(x, y, [f"c{k}" for k in range(4)], cut(len(x), SPLIT, seed))


def blank(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    return made(seed, np.ones_like(x), y)


def never_the_same(*, seed: int, split: list) -> Dataset:
    x, y = blobs(seed)
    return made(seed, x + np.random.default_rng().standard_normal(x.shape), y)


DATA = {
    made.__name__: made
    for made in (
        leaked_class, leaked_one_hot, leaked_nearly, leaked_number, shuffled_numbers, all_rows_twice, constant_column,
        duplicate_column, rare_class, outlier, other_unit, scale_1e4, shuffled_digits, half_of_the_classes_shifted,
        second_half_of_the_classes_shifted, second_half_a_row_late, blank, never_the_same, by_place,
    )
} | {"one_test_row_in_training": test_in_training(0), "test_rows_in_training": test_in_training(0.05)}  # fmt: skip

OPTIONS = {
    "activation": ACTIVATIONS,
    "initializer": {"pairs": pairs, "from_elsewhere": from_elsewhere},
    "batchnorm": {"meek": Meek, "plain": lambda width: BatchNorm(width, 0.1, 1e-5, exact=False)},
    "loss": {
        "softmax_twice": SoftmaxTwice, "wrong_sign": WrongSign, "summed": Summed, "cut_off": CutOff,
        "half_cut_off": HalfCutOff,
    },
    "regularizer": {"half_penalty": half_penalty},
    "optim": {"frozen": Frozen, "uphill": Uphill},
    "data": DATA,
}  # fmt: skip


def register() -> None:
    """Make them options."""
    for group, table in OPTIONS.items():
        for name, made in table.items():
            dlfound.register(group, name, made)

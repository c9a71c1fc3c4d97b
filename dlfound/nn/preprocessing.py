"""Inputs and targets as a net takes them: fitted on the training rows, and saved as buffers with the weights.

Images and plain numbers are standardised. In a table, missing numbers are imputed, and a column of 0 and 1
marks them; numbers are scaled; categories become columns of 0 and 1, or numbers that `nn.modules.Embeddings`
replaces by learned vectors.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CONSTANT_DEVIATION = 1e-12  # relative to a column's magnitude: at most this deviation is rounding
CLIP = 3.0  # scaled numbers are squeezed into -3 ... 3 and hardly change near 0: Holzmueller et al. 2024
FARTHEST = 1e6  # larger scaled numbers count as this, so that no square overflows
MAX_KNOTS = 1000  # of a quantile transformation
MIN_KNOTS = 10
ROWS_PER_KNOT = 5
TAIL = 1e-3  # numbers outside the training rows get the score of this tail of the normal distribution

Column = Callable[[int], np.ndarray]


class Standardise(nn.Module):
    """(x - mean) / deviation, (rows, columns) of any number type -> (rows, columns) float32.

    It computes in the type of its two buffers: float64 for columns, whose values may be large and differ
    little (time stamps); float32 for pixels.
    """

    plan = None  # each column stays a column, so schema.json needs no plan

    def __init__(self, mean: Tensor, deviation: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, x: Tensor) -> Tensor:
        return ((x.to(self.mean.dtype) - self.mean) / self.deviation).float()

    @property
    def features(self) -> int:
        """The number of columns of the result."""
        return self.mean.numel()

    def fit(self, k: int, column: np.ndarray) -> None:
        """Fit column k, (rows,) without missing numbers, as `fit_columns` does."""
        fitted = fit_columns(torch.from_numpy(column)[:, None])
        self.mean[k] = fitted.mean[0]
        self.deviation[k] = fitted.deviation[0]

    def inverse(self, z: Tensor) -> Tensor:
        """Convert normalised numbers back to the unit of x."""
        return z * self.deviation + self.mean


def fit_columns(x: Tensor) -> Standardise:
    """Standardise each column by its own mean and deviation; columns of only 0 and 1 stay as they are.

    Source: the lecture, minute 38.

    Args:
        x: (rows, columns).
    """
    x = x.double()
    mean = x.mean(0)
    deviation = _floored(x.std(0, unbiased=False), x.abs().amax(0))
    binary = ((x == 0) | (x == 1)).all(0)
    return Standardise(torch.where(binary, 0.0, mean), torch.where(binary, 1.0, deviation))


def fit_images(x: Tensor, channels: int) -> Standardise:
    """Standardise by one mean and deviation per channel.

    A deviation per pixel would blow up the pixels that are almost always blank.

    Args:
        x: (rows, channels * height * width), channel by channel.
    """
    planes = x.double().unflatten(1, (channels, -1))
    mean = planes.mean((0, 2))
    deviation = _floored(planes.std((0, 2), unbiased=False), planes.abs().amax((0, 2)))
    size = planes.shape[2]
    return Standardise(mean.float().repeat_interleave(size), deviation.float().repeat_interleave(size))


def _floored(deviation: Tensor, magnitude: Tensor) -> Tensor:
    """The deviation; for a constant column its magnitude, so that rounding errors are not blown up."""
    constant = torch.where(magnitude > 0, magnitude, 1.0)
    return torch.where(deviation > CONSTANT_DEVIATION * magnitude, deviation, constant)


def empty(columns: int, image: bool = False) -> Standardise:
    """A module of the right shape and type, to be fitted, or filled with the buffers of a run."""
    dtype = torch.float32 if image else torch.float64
    return Standardise(torch.zeros(columns, dtype=dtype), torch.ones(columns, dtype=dtype))


# ---- tables


class Robust(nn.Module):
    """(x - median) * factor with a smooth clip, z / sqrt(1 + (z / 3)^2). (rows, columns) float64 -> float32.

    The factor is 1 / (upper - lower quartile). If both quartiles are equal, it is 2 / (largest - smallest);
    for a constant column it is 0.

    Source: Holzmueller et al. 2024, "Better by default".
    https://arxiv.org/abs/2407.04491
    """

    def __init__(self, columns: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("factor", torch.zeros(columns, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        z = ((x - self.centre) * self.factor).clamp(-FARTHEST, FARTHEST)
        return (z / (1 + (z / CLIP).square()).sqrt()).float()

    def fit(self, k: int, column: np.ndarray) -> None:
        """Fit column k, (rows,) without missing numbers."""
        low, lower, centre, upper, high = np.quantile(column, (0, 0.25, 0.5, 0.75, 1))
        spread = upper - lower if upper > lower else (high - low) / 2
        self.centre[k] = centre
        self.factor[k] = 1 / spread if spread > 0 else 0


class Quantile(nn.Module):
    """The normal score of a number's rank in training: the z with the same share of N(0, 1) below it.

    The score is linear between two knots. A number that lies on several knots gets the middle of their
    scores. (rows, columns) float64 -> float32.

    Source: scikit-learn's QuantileTransformer; for nets Gorishniy et al. 2021.
    https://arxiv.org/abs/2106.11959
    """

    def __init__(self, columns: int, knots: int):
        super().__init__()
        self.register_buffer("knots", torch.zeros(columns, knots, dtype=torch.float64))
        self.register_buffer("scores", torch.zeros(columns, knots, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        columns = x.T.contiguous()
        right = torch.searchsorted(self.knots, columns).clamp(1, self.knots.shape[1] - 1)
        low = self.knots.gather(1, right - 1)
        high = self.knots.gather(1, right)
        share = ((columns - low) / torch.where(high > low, high - low, 1)).clamp(0, 1)
        return torch.lerp(self.scores.gather(1, right - 1), self.scores.gather(1, right), share).T.float()

    def fit(self, k: int, column: np.ndarray) -> None:
        """Fit column k, (rows,) without missing numbers."""
        shares = np.linspace(0, 1, self.knots.shape[1])
        scores = torch.special.ndtri(torch.from_numpy(np.clip(shares, TAIL, 1 - TAIL))).numpy()
        knots = np.interp(shares * (len(column) - 1), np.arange(len(column)), np.sort(column))
        first = np.searchsorted(knots, knots)
        last = np.searchsorted(knots, knots, "right") - 1
        self.knots[k] = torch.from_numpy(knots)
        self.scores[k] = torch.from_numpy((scores[first] + scores[last]) / 2)


class TabularPreprocessing(nn.Module):
    """The encoded columns of a table (rows, columns) float64 -> (rows, features) float32.

    The features are, in this order: the scaled numbers, the numbers that are only 0 and 1, the marks of
    missing numbers, one-hot categories, and one number for each embedded category.

    Args:
        plan: what becomes of each column, and so the shapes of everything: `plan_columns` makes it, and
            schema.json holds it.
    """

    def __init__(self, plan: Mapping[str, Any]):
        super().__init__()
        self.plan = dict(plan)
        scales = {"robust": Robust, "standard": empty, "quantile": partial(Quantile, knots=plan["knots"])}
        self.scale = scales[plan["scale"]](len(plan["scaled"]))
        self.register_buffer("median", torch.zeros(len(plan["numbers"]), dtype=torch.float64))
        for k, codes in enumerate(plan["codes"]):
            self.register_buffer(f"places{k}", torch.zeros(codes, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        plan = self.plan
        numbers = x[:, plan["numbers"]]
        missing = numbers.isnan()
        numbers = torch.where(missing, self.median, numbers)
        places = [
            self.get_buffer(f"places{k}")[x[:, column].long()] for k, column in enumerate(plan["categories"])
        ]
        one_hot = [k for k in range(len(places)) if k not in plan["embedded"]]
        features = [
            self.scale(numbers[:, plan["scaled"]]),
            numbers[:, plan["plain"]].float(),
            missing[:, plan["flagged"]].float(),
            *(nn.functional.one_hot(places[k], plan["known"][k] + 1)[:, 1:].float() for k in one_hot),
            *(places[k][:, None].float() for k in plan["embedded"]),
        ]
        return torch.cat(features, 1)

    @property
    def features(self) -> int:
        """The number of columns of the result."""
        plan = self.plan
        one_hot = sum(count for k, count in enumerate(plan["known"]) if k not in plan["embedded"])
        return len(plan["numbers"]) + len(plan["flagged"]) + one_hot + len(plan["embedded"])

    def fit(self, column: Column, rare: int) -> "TabularPreprocessing":
        """Fill the buffers from the training rows; the arguments are those of `plan_columns`."""
        numbers = self.plan["numbers"]
        for i, k in enumerate(numbers):
            present = column(k)[~np.isnan(column(k))]
            self.median[i] = float(np.median(present)) if len(present) else 0.0
        medians = self.median.numpy()
        for k, i in enumerate(self.plan["scaled"]):
            self.scale.fit(k, _imputed(column(numbers[i]), medians[i]))
        for i, k in enumerate(self.plan["categories"]):
            places = self.get_buffer(f"places{i}")
            codes = _frequent_codes(column(k), len(places), rare)
            places[codes] = torch.arange(1, len(codes) + 1)
        return self


def plan_columns(
    column: Column, codes: Mapping[int, int | None], *, scale: str, one_hot: int, embedding: int, rare: int
) -> dict[str, Any]:
    """Decide what becomes of each column, from the training rows.

    Args: column: returns the training rows of a column, (rows,) float64. codes: for each column the number of
        codes of its categories, where code 0 is unknown; None for numbers. scale: robust, standard or
        quantile. one_hot: columns with at most this many categories become columns of 0 and 1; others are
        embedded. embedding: the width of the vector of an embedded category. rare: a category in fewer rows
        counts as unknown.

    Returns:
        A mapping of plain values:

        - scale, embedding: as given; knots: the knots of a quantile transformation.
        - numbers, categories: the columns that hold them.
        - scaled, plain, flagged: which of the numbers are scaled, are only 0 and 1, and have missing values.
        - codes, known: the number of codes of each category, and of those that occur often enough.
        - embedded: which of the categories are embedded.
    """
    numbers = [k for k, count in codes.items() if count is None]
    categories = {k: count for k, count in codes.items() if count is not None}
    plain = [i for i, k in enumerate(numbers) if _only_0_and_1(column(k))]
    frequent_counts = [len(_frequent_codes(column(k), count, rare)) for k, count in categories.items()]
    return {
        "scale": scale,
        "knots": max(min(MAX_KNOTS, len(column(0)) // ROWS_PER_KNOT), MIN_KNOTS),
        "numbers": numbers,
        "scaled": sorted({*range(len(numbers))} - {*plain}),
        "plain": plain,
        "flagged": [i for i, k in enumerate(numbers) if np.isnan(column(k)).any()],
        "categories": list(categories),
        "codes": list(categories.values()),
        "known": frequent_counts,
        "embedded": [i for i, count in enumerate(frequent_counts) if count > one_hot],
        "embedding": embedding,
    }


def _imputed(column: np.ndarray, value: float) -> np.ndarray:
    return np.where(np.isnan(column), value, column)


def _only_0_and_1(column: np.ndarray) -> bool:
    return bool(((column == 0) | (column == 1) | np.isnan(column)).all())


def _frequent_codes(column: np.ndarray, codes: int, rare: int) -> np.ndarray:
    """The codes that occur in at least `rare` training rows, in order; without code 0, which is unknown."""
    counts = np.bincount(column.astype(np.int64), minlength=codes)
    counts[0] = 0
    return np.flatnonzero(counts >= rare)

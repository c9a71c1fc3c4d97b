"""Columns of a table, as `data.columns` encodes them, to inputs of a net: fitted on the training split;
kept as buffers.

Numbers are imputed and scaled, columns that had missing numbers get one of 0 and 1 beside them, categories become
columns of 0 and 1, or places in a table of learned vectors (`nn.modules.Embeddings`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlfound.nn.preprocessing import Standardise, fit_columns

CLIP = 3.0  # scaled numbers come to lie within -3 and 3, hardly changed near 0 (Holzmueller et al. 2024)
KNOTS = 1000  # of a quantile transformation at most, and one for so many rows at least:
ROWS_A_KNOT = 5
TAIL = 1e-3  # of the normal distribution: what lies outside all training rows is put there
FARTHEST = 1e6  # scaled numbers beyond it count as it, so that no square overflows

Column = Callable[[int], np.ndarray]


class Robust(nn.Module):
    """(x - median) * factor, clipped smoothly: z / sqrt(1 + (z / 3)^2). (rows, columns) float64 -> float32.

    The factor is 1 / (upper - lower quartile); where that is 0, 2 / (largest - smallest); 0 for a constant.
    Source: Holzmueller et al. 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data".
    """

    def __init__(self, columns: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("factor", torch.zeros(columns, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        z = ((x - self.centre) * self.factor).clamp(-FARTHEST, FARTHEST)
        return (z / (1 + (z / CLIP).square()).sqrt()).float()

    def fit(self, columns: Iterable[np.ndarray]) -> None:
        """Each column: (rows,), no number missing."""
        for k, column in enumerate(columns):
            low, lower, centre, upper, high = np.quantile(column, (0, 0.25, 0.5, 0.75, 1))
            spread = upper - lower if upper > lower else (high - low) / 2
            self.centre[k], self.factor[k] = centre, 1 / spread if spread > 0 else 0


class Quantile(nn.Module):
    """The normal score of a number's rank in training: z with as large a share of N(0, 1) below it.

    Between two knots the score goes along a straight line; what lies on several knots has the middle of their scores.
    (rows, columns) float64 -> float32. Source: scikit-learn's QuantileTransformer; for nets Gorishniy et al. 2021.
    """

    def __init__(self, columns: int, knots: int):
        super().__init__()
        self.register_buffer("knots", torch.zeros(columns, knots, dtype=torch.float64))
        self.register_buffer("scores", torch.zeros(columns, knots, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        columns = x.T.contiguous()
        right = torch.searchsorted(self.knots, columns).clamp(1, self.knots.shape[1] - 1)
        low, high = self.knots.gather(1, right - 1), self.knots.gather(1, right)
        share = ((columns - low) / torch.where(high > low, high - low, 1)).clamp(0, 1)
        return torch.lerp(self.scores.gather(1, right - 1), self.scores.gather(1, right), share).T.float()

    def fit(self, columns: Iterable[np.ndarray]) -> None:
        """Each column: (rows,), no number missing."""
        shares = np.linspace(0, 1, self.knots.shape[1])
        scores = torch.special.ndtri(torch.from_numpy(np.clip(shares, TAIL, 1 - TAIL))).numpy()
        for k, column in enumerate(columns):
            knots = np.interp(shares * (len(column) - 1), np.arange(len(column)), np.sort(column))
            first, last = np.searchsorted(knots, knots), np.searchsorted(knots, knots, "right") - 1
            self.knots[k] = torch.from_numpy(knots)
            self.scores[k] = torch.from_numpy((scores[first] + scores[last]) / 2)


class Standard(Standardise):
    """(x - mean) / deviation. (rows, columns) float64 -> float32. Source: the lecture, minute 38."""

    def __init__(self, columns: int):
        super().__init__(torch.zeros(columns, dtype=torch.float64), torch.ones(columns, dtype=torch.float64))

    def fit(self, columns: Iterable[np.ndarray]) -> None:
        """Each column: (rows,), no number missing."""
        for k, column in enumerate(columns):
            fitted = fit_columns(torch.from_numpy(column)[:, None])
            self.mean[k], self.deviation[k] = fitted.mean[0], fitted.deviation[0]


class Columns(nn.Module):
    """(rows, columns) float64 as the table gives them -> (rows, features) float32.

    First come the scaled numbers, then those that are only 0 and 1, flags of the missing ones, the categories as
    columns of 0 and 1, and last a place for each embedded category.

    Args:
        plan: what each column becomes, and so the shape of everything: made by `plan_columns`, kept in `schema.json`.
            numbers and categories: which columns they are; scaled, plain and flagged: which of the numbers; codes and
            known: how many codes and places each category has; embedded: which of the categories; embedding: how wide.
    """

    def __init__(self, plan: Mapping[str, Any]):
        super().__init__()
        self.plan, scaled = dict(plan), len(plan["scaled"])
        self.scale = (
            Quantile(scaled, plan["knots"]) if plan["scale"] == "quantile" else SCALES[plan["scale"]](scaled)
        )
        self.register_buffer("median", torch.zeros(len(plan["numbers"]), dtype=torch.float64))
        for k, codes in enumerate(plan["codes"]):
            self.register_buffer(f"places{k}", torch.zeros(codes, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        plan, numbers = self.plan, x[:, self.plan["numbers"]]
        gaps = numbers.isnan()
        numbers = torch.where(gaps, self.median, numbers)
        parts = [self.scale(numbers[:, plan["scaled"]]), numbers[:, plan["plain"]].float()]
        parts.append(gaps[:, plan["flagged"]].float())
        places = [self._places(k)[x[:, column].long()] for k, column in enumerate(plan["categories"])]
        hot = [k for k in range(len(places)) if k not in plan["embedded"]]
        parts += [nn.functional.one_hot(places[k], plan["known"][k] + 1)[:, 1:].float() for k in hot]
        parts += [places[k][:, None].float() for k in plan["embedded"]]
        return torch.cat(parts, 1)

    @property
    def features(self) -> int:
        """How many columns come out."""
        plan = self.plan
        hot = sum(known for k, known in enumerate(plan["known"]) if k not in plan["embedded"])
        return len(plan["numbers"]) + len(plan["flagged"]) + hot + len(plan["embedded"])

    def _places(self, k: int) -> Tensor:
        """Category k: code -> place, 0 for what is unknown."""
        return getattr(self, f"places{k}")

    def fit(self, column: Column, rare: int) -> "Columns":
        """Fill the numbers from training rows; the arguments are those of `plan_columns`."""
        numbers = self.plan["numbers"]
        for i, k in enumerate(numbers):
            there = column(k)[~np.isnan(column(k))]
            self.median[i] = float(np.median(there)) if len(there) else 0.0
        medians = self.median.numpy()
        self.scale.fit(_filled(column(numbers[i]), medians[i]) for i in self.plan["scaled"])
        for i, k in enumerate(self.plan["categories"]):
            places = self._places(i)
            seen = _seen(column(k), len(places), rare)
            places[seen] = torch.arange(1, len(seen) + 1)
        return self


SCALES = {"robust": Robust, "standard": Standard}


def plan_columns(
    column: Column, codes: Mapping[int, int | None], *, scale: str, one_hot: int, embedding: int, rare: int
) -> dict[str, Any]:
    """What each column becomes, from the training rows.

    Args:
        column: gives the training rows of a column, (rows,) float64.
        codes: for each column how many codes its categories have, 0 being the unknown; None for numbers.
        one_hot: categories up to so many become columns of 0 and 1; embedding: numbers for each category of others.
        rare: a category of fewer rows counts as unknown.
    """
    numbers = [k for k, count in codes.items() if count is None]
    words = {k: count for k, count in codes.items() if count is not None}
    plain = [i for i, k in enumerate(numbers) if _only_0_and_1(column(k))]
    known = [len(_seen(column(k), count, rare)) for k, count in words.items()]
    return {
        "scale": scale,
        "knots": max(min(KNOTS, len(column(0)) // ROWS_A_KNOT), 10),
        "numbers": numbers,
        "scaled": sorted({*range(len(numbers))} - {*plain}),
        "plain": plain,
        "flagged": [i for i, k in enumerate(numbers) if np.isnan(column(k)).any()],
        "categories": list(words),
        "codes": list(words.values()),
        "known": known,
        "embedded": [i for i, count in enumerate(known) if count > one_hot],
        "embedding": embedding,
    }


def _filled(column: np.ndarray, value: float) -> np.ndarray:
    return np.where(np.isnan(column), value, column)


def _only_0_and_1(column: np.ndarray) -> bool:
    return bool(((column == 0) | (column == 1) | np.isnan(column)).all())


def _seen(column: np.ndarray, codes: int, rare: int) -> np.ndarray:
    """The codes of categories that training has often enough, in order; code 0 stands for the unknown itself."""
    counts = np.bincount(column.astype(np.int64), minlength=codes)
    counts[0] = 0
    return np.flatnonzero(counts >= rare)

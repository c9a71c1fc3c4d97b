"""Columns of a table, as `data.columns` encodes them, to inputs of a net: fitted on the training split;
kept as buffers.

Numbers are imputed and scaled, columns that had missing numbers get one of 0 and 1 beside them, categories become
columns of 0 and 1, or places in a table of learned vectors (`nn.modules.Embeddings`).
"""

from collections.abc import Iterable, Mapping
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

    Between two knots the score goes along a straight line; a number at several knots gets the middle of their scores.
    (rows, columns) float64 -> float32. Source: scikit-learn's QuantileTransformer; for nets Gorishniy et al. 2021.
    """

    def __init__(self, columns: int, knots: int):
        super().__init__()
        self.register_buffer("knots", torch.zeros(columns, knots, dtype=torch.float64))
        self.register_buffer("scores", torch.zeros(knots, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        columns = x.T.contiguous()
        first = self._scores(columns, self.knots)
        last = -self._scores(-columns, -self.knots.flip(1))
        return ((first + last) / 2).T.float()

    def _scores(self, x: Tensor, knots: Tensor) -> Tensor:
        """By the first of equal knots; scores are symmetric, so that mirrored numbers give the last."""
        right = torch.searchsorted(knots.contiguous(), x).clamp(1, knots.shape[1] - 1)
        low, high = knots.gather(1, right - 1), knots.gather(1, right)
        share = ((x - low) / torch.where(high > low, high - low, 1)).clamp(0, 1)
        return torch.lerp(self.scores[right - 1], self.scores[right], share)

    def fit(self, columns: Iterable[np.ndarray]) -> None:
        """Each column: (rows,), no number missing."""
        shares = np.linspace(0, 1, len(self.scores))
        self.scores[:] = torch.special.ndtri(torch.from_numpy(np.clip(shares, TAIL, 1 - TAIL)))
        for k, column in enumerate(columns):
            self.knots[k] = torch.from_numpy(np.quantile(column, shares))


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
        self.scale = Quantile(scaled, plan["knots"]) if plan["scale"] == "quantile" else SCALES[plan["scale"]](scaled)
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

    def fit(self, x: np.ndarray, rare: int) -> "Columns":
        """Fill the numbers from training rows. x: (rows, columns) float64."""
        columns = [x[:, k] for k in self.plan["numbers"]]
        for k, column in enumerate(columns):
            there = column[~np.isnan(column)]
            self.median[k] = float(np.median(there)) if len(there) else 0.0
        medians = self.median.numpy()
        self.scale.fit(np.where(np.isnan(columns[k]), medians[k], columns[k]) for k in self.plan["scaled"])
        for k, column in enumerate(self.plan["categories"]):
            places = self._places(k)
            seen = _seen(x[:, column], len(places), rare)
            places[seen] = torch.arange(1, len(seen) + 1)
        return self


SCALES = {"robust": Robust, "standard": Standard}


def plan_columns(
    x: np.ndarray, texts: Mapping[int, int], *, scale: str, one_hot: int, embedding: int, rare: int
) -> dict[str, Any]:
    """What each column becomes, from the training rows.

    Args:
        x: (rows, columns) float64.
        texts: the columns that are categories, and how many texts each has.
        one_hot: categories up to so many become columns of 0 and 1; embedding: numbers for each category of others.
        rare: a category of fewer rows counts as unknown.
    """
    numbers = [k for k in range(x.shape[1]) if k not in texts]
    plain = [i for i, k in enumerate(numbers) if _only_0_and_1(x[:, k])]
    codes = [count + 2 for count in texts.values()]  # beside the texts: unknown and missing
    known = [len(_seen(x[:, k], count, rare)) for k, count in zip(texts, codes, strict=True)]
    return {
        "scale": scale,
        "knots": max(min(KNOTS, len(x) // ROWS_A_KNOT), 10),
        "numbers": numbers,
        "scaled": [i for i in range(len(numbers)) if i not in set(plain)],
        "plain": plain,
        "flagged": [i for i, k in enumerate(numbers) if np.isnan(x[:, k]).any()],
        "categories": list(texts),
        "codes": codes,
        "known": known,
        "embedded": [i for i, count in enumerate(known) if count > one_hot],
        "embedding": embedding,
    }


def _only_0_and_1(column: np.ndarray) -> bool:
    return bool(((column == 0) | (column == 1) | np.isnan(column)).all())


def _seen(column: np.ndarray, codes: int, rare: int) -> np.ndarray:
    """The codes of categories that training has often enough, in order; code 0 stands for the unknown itself."""
    counts = np.bincount(column.astype(np.int64), minlength=codes)
    counts[0] = 0
    return np.flatnonzero(counts >= rare)

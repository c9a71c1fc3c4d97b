"""Which rows are for training, validation and test; and the folds of a cross-validation."""

from collections.abc import Mapping, Sequence

import lazy_loader

from dlfound.errors import Code, Error

np = lazy_loader.load("numpy")

Parts = "dict[str, np.ndarray]"


def cut(rows: int, fractions: list[float], seed: int) -> Parts:
    """Row numbers for train, val and test: a random order cut at the fractions, at least one row each.

    Raises:
        Error: too few rows to give each part one (code 3).
    """
    return cut_randomly(rows, {"val": fractions[1], "test": fractions[2]}, seed)


def cut_training(train: int, rows: int, fractions: list[float], seed: int) -> Parts:
    """Row numbers where the source has a test set of its own: the rows from `train` on. The others are cut in two.

    Raises:
        Error: fewer than two rows to train and validate on (code 3).
    """
    held_out = max(1, round(train * fractions[1]))
    if train - held_out < 1:
        raise Error(f"{train} training images: too few to train and validate on", "give more rows", Code.DATA)
    order = _order(train, seed)
    return {"train": order[:-held_out], "val": order[-held_out:], "test": np.arange(train, rows)}


def cut_randomly(rows: int, held_out: Mapping[str, float], seed: int) -> Parts:
    """A random order, cut: train has what the parts held out (name -> share of the rows) leave."""
    return _cut_order(_order(rows, seed), held_out)


def cut_in_order(rows: int, held_out: Mapping[str, float]) -> Parts:
    """The first rows to train, the last ones for the parts held out: for rows in the order of time."""
    return _cut_order(np.arange(rows), held_out)


def cut_classes(labels: "np.ndarray", held_out: Mapping[str, float], seed: int) -> "tuple[Parts, list[int]]":
    """Each class cut at random like all rows, at least one row of it in each part; and the classes too rare for that.

    Those are kept in training. labels: (rows,) class numbers.

    Raises:
        Error: no class has a row for each part (code 3).
    """
    order, rare = _order(len(labels), seed), []
    part = np.zeros(len(labels), np.int8)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        if len(own) <= len(held_out):
            rare.append(int(label))
        else:
            part[own] = np.repeat(np.arange(len(held_out) + 1), _counts(len(own), held_out))
    parts = {name: order[part[order] == k] for k, name in enumerate(("train", *held_out))}
    if not all(map(len, parts.values())):
        what = f"no class has {len(held_out) + 1} rows, one for each of {', '.join(parts)}"
        raise Error(what, "give more rows, or data.split_by=random", Code.DATA)
    return parts, rare


def cut_groups(groups: "np.ndarray", held_out: Mapping[str, float], seed: int) -> Parts:
    """Whole groups in a random order, until each part held out has its share of the rows. groups: (rows,) numbers.

    Raises:
        Error: fewer groups than parts (code 3).
    """
    sizes = np.bincount(groups)
    if len(sizes) <= len(held_out):
        what = f"{len(sizes)} group{'s' * (len(sizes) != 1)}: need at least {len(held_out) + 1}, one for each part"
        raise Error(what, "group by another column", Code.DATA)
    order, part, first = _order(len(sizes), seed), np.zeros(len(sizes), np.int8), 0
    for k, share in enumerate(held_out.values(), 1):
        spare = (
            len(sizes) - first - (len(held_out) - k) - 1
        )  # a group each for the parts to come, and for training
        reached = np.cumsum(sizes[order[first : first + spare]])
        count = 1 + int(np.searchsorted(reached, share * len(groups) * (1 - 1e-9)))
        count = min(count, spare)
        part[order[first : first + count]] = k
        first += count
    rows = _order(len(groups), seed)
    return {name: rows[part[groups[rows]] == k] for k, name in enumerate(("train", *held_out))}


def fold(parts: Parts, folds: int, number: int, seed: int, labels: "np.ndarray | None", groups) -> Parts:
    """Cross-validation: training and validation rows together, cut anew in `folds` parts; `number` validates.

    Test rows stay as they are. Each class is dealt evenly; groups stay whole.

    Args:
        labels: (rows,) class numbers, None where there are none; groups: (rows,) numbers, or None.

    Raises:
        Error: fewer rows, or groups, than folds (code 3).
    """
    pool = np.sort(np.concatenate([parts["train"], parts["val"]]))
    pool = pool[_order(len(pool), seed)]
    if groups is not None:
        of = _deal_groups(groups[pool], folds)
    else:
        of = np.empty(len(pool), np.int64)
        by_class = np.argsort(labels[pool], kind="stable") if labels is not None else np.arange(len(pool))
        of[by_class] = np.arange(len(pool)) % folds
    if len(np.unique(of)) < folds:
        what = f"{len(pool)} rows{' in few groups' * (groups is not None)} cannot be cut in {folds} folds"
        raise Error(what, "take fewer: train.folds", Code.DATA)
    return {**parts, "train": pool[of != number], "val": pool[of == number]}


def _deal_groups(groups: "np.ndarray", folds: int) -> "np.ndarray":
    """The fold of each row: the largest groups first, each to the fold that has fewest rows."""
    names, number = np.unique(groups, return_inverse=True)
    sizes, filled, of = np.bincount(number), np.zeros(folds, np.int64), np.empty(len(names), np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        of[group] = filled.argmin()
        filled[of[group]] += sizes[group]
    return of[number]


def _order(rows: int, seed: int) -> "np.ndarray":
    return np.random.default_rng([seed, 0]).permutation(rows)


def _cut_order(order: "np.ndarray", held_out: Mapping[str, float]) -> Parts:
    counts = _counts(len(order), held_out)
    return dict(zip(("train", *held_out), np.split(order, np.cumsum(counts)[:-1]), strict=True))


def check_rows(rows: int, parts: Sequence[str]) -> None:
    """Raise where there is not a row for each part (code 3)."""
    if rows < len(parts):
        listed = " and ".join([", ".join(parts[:-1])] * (len(parts) > 1) + [parts[-1]])
        what = f"{rows} row{'s' * (rows != 1)}: need at least {len(parts)} to make {listed}"
        raise Error(what, "give more rows", Code.DATA)


def _counts(rows: int, held_out: Mapping[str, float]) -> list[int]:
    """Rows of train and of each part held out, at least one each.

    Raises:
        Error: too few rows (code 3).
    """
    check_rows(rows, ["train", *held_out])
    counts = [max(1, round(rows * share)) for share in held_out.values()]
    while rows - sum(counts) < 1:
        counts[counts.index(max(counts))] -= 1
    return [rows - sum(counts), *counts]

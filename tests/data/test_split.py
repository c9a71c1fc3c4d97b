"""Which rows are for what: each class, groups, order, and the folds of a cross-validation."""

import numpy as np
import pytest

from dlfound.data.split import cut_classes, cut_groups, cut_in_order, cut_randomly, fold
from dlfound.errors import Code, Error

HELD_OUT = {"val": 0.15, "test": 0.2}


def same(first, second):
    return list(first) == list(second) and all(np.array_equal(first[name], second[name]) for name in first)


def complete(parts, rows):
    return sorted(np.concatenate(list(parts.values())).tolist()) == list(range(rows))


def drawn_labels(seed=0):
    rng = np.random.default_rng(seed)
    return rng.permutation(np.repeat(np.arange(5), [600, 250, 100, 40, 10]))


WAYS = {
    "random": lambda seed: cut_randomly(1000, HELD_OUT, seed),
    "stratified": lambda seed: cut_classes(drawn_labels(), HELD_OUT, seed)[0],
    "groups": lambda seed: cut_groups(drawn_labels(1) % 4 * 100 + np.arange(1000) % 100, HELD_OUT, seed),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_seed_alone_decides(way):
    """The same twice, another one with another seed, NumPy's global generator untouched; all rows in one part each."""
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    first = WAYS[way](5)
    assert same(first, WAYS[way](5)) and not same(first, WAYS[way](6))
    assert np.array_equal(state, np.random.get_state()[1])
    assert list(first) == ["train", "val", "test"] and complete(first, 1000)


def test_each_class_keeps_its_share():
    """Within half a row of it in validation and test; rows of one class do not stand together."""
    labels = drawn_labels()
    parts, rare = cut_classes(labels, HELD_OUT, 0)
    for part, share in HELD_OUT.items():
        found, wanted = np.bincount(labels[parts[part]], minlength=5), share * np.bincount(labels)
        assert (np.abs(found - wanted) <= 0.5).all() and rare == []
    assert len(np.unique(labels[parts["train"]][:50])) > 1


def test_each_class_that_can_is_in_each_part_and_the_others_in_training():
    labels = np.array([0] * 20 + [1] * 3 + [2] * 2 + [3])
    for seed in range(20):
        parts, rare = cut_classes(labels, HELD_OUT, seed)
        assert complete(parts, len(labels)) and rare == [2, 3]
        assert {0, 1, 2, 3} == set(labels[parts["train"]])
        assert {0, 1} == set(labels[parts["val"]]) == set(labels[parts["test"]])
    assert cut_classes(labels, {"test": 0.2}, 0)[1] == [3]  # two parts need two rows
    with pytest.raises(Error, match="no class has 3 rows, one for each of train, val, test") as told:
        cut_classes(np.arange(2).repeat(2), HELD_OUT, 0)
    assert told.value.code == Code.DATA


def test_each_row_of_a_class_is_as_likely_in_each_part():
    labels, often = np.array([0] * 60 + [1] * 40), np.zeros(100)
    for seed in range(400):
        often[cut_classes(labels, HELD_OUT, seed)[0]["test"]] += 1
    assert np.abs(often / 400 - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 400)


@pytest.mark.parametrize("sizes", [[10] * 50, [1] * 100, [200, 1, 1, 1], [50, 30, 20], [5, 1, 1, 90]])
def test_groups_never_straddle(sizes):
    """Each part has a group; a part held out has its share, or more by less than its last group."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    for seed in range(20):
        parts = cut_groups(groups, HELD_OUT, seed)
        assert complete(parts, len(groups)) and min(map(len, parts.values())) > 0
        own = [set(groups[rows]) for rows in parts.values()]
        assert sum(map(len, own)) == len(sizes)
    if len(set(sizes)) == 1:
        for part, share in HELD_OUT.items():
            assert 0 <= len(parts[part]) - share * len(groups) < sizes[0]


def test_too_few_groups_are_told():
    for groups, said in ((np.zeros(9, int), "1 group: need"), (np.arange(10) % 2, "2 groups: need")):
        with pytest.raises(Error, match=said) as told:
            cut_groups(groups, HELD_OUT, 0)
        assert told.value.code == Code.DATA and told.value.problems[0].fix
    assert min(map(len, cut_groups(np.arange(10) % 3, HELD_OUT, 0).values())) > 0


def test_rows_in_order():
    parts = cut_in_order(100, HELD_OUT)
    assert [part.tolist() for part in parts.values()] == [[*range(65)], [*range(65, 80)], [*range(80, 100)]]


# ---- folds


def folds_of(parts, count, **more):
    settings = {"labels": None, "groups": None, **more}
    return [fold(parts, count, number, 0, settings["labels"], settings["groups"]) for number in range(count)]


@pytest.mark.parametrize("count", [2, 5, 7])
@pytest.mark.parametrize("by", ["random", "stratified", "groups"])
def test_folds_are_disjoint_and_cover_all_but_the_test_rows(count, by):
    labels, groups = drawn_labels(), np.arange(1000) // 7
    more = {"random": {}, "stratified": {"labels": labels}, "groups": {"labels": labels, "groups": groups}}[
        by
    ]
    parts = cut_groups(groups, HELD_OUT, 0) if by == "groups" else cut_randomly(1000, HELD_OUT, 0)
    found, pool = folds_of(parts, count, **more), set(parts["train"]) | set(parts["val"])
    assert all(np.array_equal(one["test"], parts["test"]) and complete(one, 1000) for one in found)
    validated = [row for one in found for row in one["val"]]
    assert len(validated) == len(set(validated)) and set(validated) == pool
    sizes = [len(one["val"]) for one in found]
    assert max(sizes) - min(sizes) <= (7 if by == "groups" else 1)
    for one in found:
        if by == "groups":
            assert not set(groups[one["train"]]) & set(groups[one["val"]])
        if by == "stratified":
            spread = np.bincount(labels[one["val"]], minlength=5) - np.bincount(labels[sorted(pool)]) / count
            assert (np.abs(spread) < 1).all()


def test_folds_are_another_cut_with_another_seed():
    parts = cut_randomly(100, HELD_OUT, 0)
    first, again, other = (fold(parts, 5, 2, seed, None, None) for seed in (0, 0, 1))
    assert same(first, again) and not same(first, other)


def test_more_folds_than_rows_or_groups_are_told():
    parts = {"train": np.arange(4), "val": np.arange(4, 6), "test": np.arange(6, 8)}
    with pytest.raises(Error, match="6 rows cannot be cut in 7 folds") as told:
        fold(parts, 7, 0, 0, None, None)
    assert told.value.code == Code.DATA and "train.folds" in told.value.problems[0].fix
    with pytest.raises(Error, match="6 rows in few groups cannot be cut in 5 folds"):
        fold(parts, 5, 0, 0, None, np.arange(8) // 2)

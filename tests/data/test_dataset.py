"""The split, the fingerprint, the schema, and the digits in the package."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dlfound.data.dataset import classification, regression
from dlfound.data.digits import digits
from dlfound.data.split import cut
from dlfound.errors import Code, Error

SPLITS = [[0.7, 0.15, 0.15], [0.8, 0.1, 0.1], [0.34, 0.33, 0.33], [0.9, 0.05, 0.05], [0.5, 0.3, 0.2]]


def make(rows: int = 12):
    inputs = np.arange(rows * 3, dtype=np.float64).reshape(rows, 3)
    return inputs, np.arange(rows) % 3, ["a", "b", "c"], ["x", "y", "z"], cut(rows, [0.5, 0.25, 0.25], 0)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("rows", [3, 4, 5, 7, 10, 99, 100, 1797])
def test_every_row_is_in_one_part(rows, split):
    """Disjoint, complete, in order train, val, test, none empty, each within a row of its fraction."""
    parts = cut(rows, split, 0)
    assert list(parts) == ["train", "val", "test"]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(rows))
    sizes = [len(part) for part in parts.values()]
    assert min(sizes) >= 1
    if min(split) * rows >= 1:
        assert all(abs(size - share * rows) <= 1 for size, share in zip(sizes, split, strict=True))


def test_sizes_by_hand():
    """1797 rows at 70, 15, 15 per cent."""
    assert [len(part) for part in cut(1797, [0.7, 0.15, 0.15], 0).values()] == [1257, 270, 270]


def test_the_split_is_random_and_found_again():
    """Same seed, same rows in the same order; another seed, others; every row is as likely in each part."""
    first, again, other = (cut(1000, [0.7, 0.15, 0.15], seed) for seed in (5, 5, 6))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["test"], other["test"])
    held_out = np.zeros(100)
    for seed in range(400):
        held_out[cut(100, [0.7, 0.15, 0.15], seed)["test"]] += 1
    assert np.abs(held_out / 400 - 0.15).max() < 5 * np.sqrt(0.15 * 0.85 / 400)


def test_the_split_draws_no_global_random_numbers():
    """NumPy's global generator stays where it was."""
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    cut(100, [0.7, 0.15, 0.15], 3)
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("split", SPLITS)
def test_too_few_rows_are_told(rows, split):
    """An error of the data (3) that says how many there are and what to do."""
    with pytest.raises(Error) as told:
        cut(rows, split, 0)
    assert told.value.code == Code.DATA == 3
    assert f"{rows} row" in str(told.value) and "3" in str(told.value)
    assert told.value.problems[0].fix


@pytest.mark.parametrize(
    ("rows", "split"), [(10, [0.02, 0.49, 0.49]), (3, [0.1, 0.45, 0.45]), (5, [0.01, 0.5, 0.49])]
)
def test_a_small_share_of_training_gets_a_row(rows, split):
    """Three rows or more give each part one, whatever the fractions."""
    assert min(len(part) for part in cut(rows, split, 0).values()) >= 1


def test_the_fingerprint_changes_with_any_value():
    """One input, one target, their types, their shapes, or the split: another fingerprint; names do not matter."""
    inputs, targets, classes, features, parts = make()
    first = classification(inputs, targets, classes, features, parts).fingerprint()
    assert (
        first == classification(inputs.copy(), targets.copy(), classes, features, dict(parts)).fingerprint()
    )
    assert len(first) == 64 and int(first, 16) >= 0
    found = {first}
    for i in np.ndindex(inputs.shape):
        changed = inputs.copy()
        changed[i] = np.nextafter(changed[i], np.inf)
        found.add(classification(changed, targets, classes, features, parts).fingerprint())
    for i in range(len(targets)):
        changed = targets.copy()
        changed[i] = (changed[i] + 1) % 3
        found.add(classification(inputs, changed, classes, features, parts).fingerprint())
    found.add(classification(inputs.astype(np.float32), targets, classes, features, parts).fingerprint())
    found.add(classification(inputs.reshape(12, 3)[:, ::-1], targets, classes, features, parts).fingerprint())
    found.add(regression(inputs, targets.astype(float), features, parts).fingerprint())
    found.add(classification(inputs, targets, classes, features, cut(12, [0.5, 0.25, 0.25], 1)).fingerprint())
    moved = parts | {"val": parts["test"], "test": parts["val"]}
    found.add(classification(inputs, targets, classes, features, moved).fingerprint())
    assert len(found) == 1 + inputs.size + len(targets) + 5


@pytest.mark.parametrize("other", [np.zeros((12, 3), np.int64), np.zeros((6, 6)), np.zeros((36, 1))])
def test_the_fingerprint_tells_types_and_shapes_of_the_same_bytes(other):
    """Zeros are the same bytes as integers or doubles and in any shape, but not the same data."""
    _, targets, classes, features, parts = make()
    zeros = np.zeros((12, 3))
    assert zeros.tobytes() == other.tobytes()
    first, second = (classification(x, targets, classes, features, parts) for x in (zeros, other))
    assert first.fingerprint() != second.fingerprint()


def test_the_fingerprint_is_of_values_not_of_memory():
    """The same numbers lying otherwise in memory are the same data."""
    inputs, targets, classes, features, parts = make()
    lying = np.asfortranarray(inputs)
    assert not lying.flags.c_contiguous
    data = [classification(x, targets, classes, features, parts) for x in (inputs, lying)]
    assert data[0].fingerprint() == data[1].fingerprint()


def test_tasks_follow_from_the_classes():
    """Two classes are binary, more are multiclass, numbers are a regression of one column or several."""
    inputs, targets, classes, features, parts = make()
    assert classification(inputs, targets, classes, features, parts).task == "multiclass"
    binary = classification(inputs, targets > 0, ["no", "yes"], features, parts)
    assert binary.task == "binary" and binary.targets.dtype == np.int64
    for y, shape in ((targets * 0.5, (12, 1)), (inputs[:, :2], (12, 2))):
        data = regression(inputs, y, features, parts)
        assert data.task == "regression" and data.classes == [] and data.targets.shape == shape


def test_the_schema_says_what_the_data_are():
    """Names, counts and the fingerprint, in plain values."""
    inputs, targets, classes, features, parts = make()
    data = classification(inputs, targets, classes, features, parts, image=(1, 1, 3))
    found = data.schema()
    expected = {
        "task": "multiclass",
        "rows": 12,
        "features": ["x", "y", "z"],
        "image": [1, 1, 3],
        "classes": ["a", "b", "c"],
        "targets": [],
        "split": {"train": 6, "val": 3, "test": 3},
        "fingerprint": data.fingerprint(),
    }
    assert {name: found[name] for name in expected} == expected
    numbers = regression(inputs, inputs[:, :2], features, parts).schema()
    assert (numbers["targets"], numbers["classes"], numbers["image"]) == (["y1", "y2"], [], None)


def test_digits_are_those_of_scikit_learn():
    """Every pixel and every label, bit for bit, in the same order."""
    data, theirs = digits(seed=0, split=[0.7, 0.15, 0.15]), load_digits()
    assert data.inputs.shape == (1797, 64)
    assert np.array_equal(data.inputs.astype(np.float64), theirs.data)
    assert np.array_equal(data.inputs.reshape(-1, 8, 8), theirs.images)
    assert np.array_equal(data.targets, theirs.target)
    assert data.features == theirs.feature_names
    assert data.classes == [str(name) for name in theirs.target_names]
    assert data.image == (1, 8, 8) and data.task == "multiclass"


def test_the_split_of_digits():
    """By seed and fractions, as every source's."""
    data = digits(seed=4, split=[0.5, 0.25, 0.25])
    expected = cut(1797, [0.5, 0.25, 0.25], 4)
    assert all(np.array_equal(data.parts[name], expected[name]) for name in expected)
    assert data.fingerprint() != digits(seed=5, split=[0.5, 0.25, 0.25]).fingerprint()

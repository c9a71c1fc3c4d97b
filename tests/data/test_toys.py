"""Toys: each follows its formula exactly without noise, is balanced as described, and is found again from its seed."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_moons

from dlfound.data import toys

ROWS, SPLIT = 4000, [0.7, 0.15, 0.15]
MAKE = {
    "xor": (toys.xor, {}),
    "spirals": (toys.spirals, {"classes": 3, "turns": 1.0}),
    "circles": (toys.circles, {"factor": 0.5}),
    "moons": (toys.moons, {}),
    "pass": (toys.passfail, {"target": "pass"}),
    "grade": (toys.passfail, {"target": "grade"}),
    "sine": (toys.sine, {"periods": 1.5}),
    "parity": (toys.parity, {"bits": 6}),
}
CLASSES = {"xor": 2, "spirals": 3, "circles": 2, "moons": 2, "pass": 2, "grade": 0, "sine": 0, "parity": 2}
COLUMNS = {"xor": 2, "spirals": 2, "circles": 2, "moons": 2, "pass": 2, "grade": 2, "sine": 1, "parity": 6}


def make(name: str, *, rows=ROWS, noise=0.0, seed=0, split=SPLIT, **settings):
    of, defaults = MAKE[name]
    return of(rows=rows, noise=noise, seed=seed, split=split, **(defaults | settings))


def assert_uniform(numbers: np.ndarray, low: float, high: float) -> None:
    assert low <= numbers.min() and numbers.max() <= high
    assert stats.kstest(numbers, stats.uniform(low, high - low).cdf).pvalue > 1e-4


@pytest.mark.parametrize("rows", [10, 11, 4000])
@pytest.mark.parametrize("name", MAKE)
def test_shapes_types_and_names(name, rows):
    """Rows as asked for, a name for each column, class numbers 0, 1, ... or (rows, 1) numbers; all finite."""
    data = make(name, rows=rows, noise=0.1)
    assert data.inputs.shape == (rows, COLUMNS[name])
    assert len(data.features) == len(set(data.features)) == COLUMNS[name]
    assert data.image is None
    assert np.isfinite(data.inputs).all() and np.isfinite(data.targets).all()
    assert len(data.classes) == len(set(data.classes)) == CLASSES[name]
    assert data.task == {0: "regression", 2: "binary", 3: "multiclass"}[CLASSES[name]]
    if CLASSES[name]:
        assert data.targets.shape == (rows,) and data.targets.dtype == np.int64
        assert set(data.targets.tolist()) <= set(range(CLASSES[name]))
    else:
        assert data.targets.shape == (rows, 1) and data.targets.dtype == np.float64


@pytest.mark.parametrize("name", [n for n in MAKE if CLASSES[n]])
@pytest.mark.parametrize("seed", range(3))
def test_classes_are_balanced(name, seed):
    """Each class has its share of the rows within five standard errors."""
    counts = np.bincount(make(name, noise=0.01, seed=seed).targets, minlength=CLASSES[name])
    share = 1 / CLASSES[name]
    assert np.abs(counts - ROWS * share).max() < 5 * np.sqrt(ROWS * share * (1 - share))


@pytest.mark.parametrize("name", MAKE)
def test_the_split_is_disjoint_complete_and_in_its_fractions(name):
    """70, 15 and 15 per cent; each row in one part."""
    parts = make(name).parts
    assert {key: len(rows) for key, rows in parts.items()} == {"train": 2800, "val": 600, "test": 600}
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(ROWS))


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", MAKE)
def test_the_seed_decides(name, noise):
    """Same seed, same bits; another seed, other points and another split; no global random numbers."""
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    first, again, other = (make(name, noise=noise, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(state, np.random.get_state()[1])
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert not np.array_equal(first.inputs, other.inputs)
    assert not np.array_equal(first.parts["train"], other.parts["train"])


@pytest.mark.parametrize("name", MAKE)
def test_the_split_does_not_move_the_points(name):
    """Other fractions cut other parts out of the same rows."""
    first, other = make(name), make(name, split=[0.5, 0.25, 0.25])
    assert np.array_equal(first.inputs, other.inputs) and np.array_equal(first.targets, other.targets)
    assert len(other.parts["train"]) == 2000


@pytest.mark.parametrize("name", ["xor", "spirals", "circles", "moons"])
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_noise_in_the_plane_is_the_deviation_of_each_point(name, noise):
    """The same points and classes, moved by independent normal numbers of that deviation."""
    clean, noisy = make(name, seed=3), make(name, noise=noise, seed=3)
    moved = (noisy.inputs - clean.inputs) / noise
    assert np.array_equal(clean.targets, noisy.targets)
    assert stats.kstest(moved.ravel(), "norm").pvalue > 1e-4
    assert abs(np.corrcoef(moved.T)[0, 1]) < 5 / np.sqrt(ROWS)


def test_xor():
    """Corners of the unit square, each a quarter; the classes are those of exclusive or."""
    data = make("xor")
    assert data.classes == ["same", "different"]
    corners, counts = np.unique(data.inputs, axis=0, return_counts=True)
    assert corners.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert np.abs(counts - ROWS / 4).max() < 5 * np.sqrt(ROWS * 3 / 16)
    assert np.array_equal(data.targets, data.inputs[:, 0] != data.inputs[:, 1])


@pytest.mark.parametrize(("classes", "turns"), [(2, 1.0), (3, 0.5), (5, 2.0)])
def test_spirals(classes, turns):
    """In polar coordinates: the angle is 2 pi (arm / arms + turns radius), the density even over the disc."""
    data = make("spirals", classes=classes, turns=turns)
    radius = np.hypot(*data.inputs.T)
    angle = np.arctan2(data.inputs[:, 1], data.inputs[:, 0])
    turned = np.exp(1j * (angle - 2 * np.pi * (data.targets / classes + turns * radius)))
    assert np.abs(turned - 1).max() < 1e-9
    assert_uniform(radius**2, 0.01, 1)
    assert len(data.classes) == classes


@pytest.mark.parametrize("factor", [0.3, 0.8])
def test_circles(factor):
    """Radius 1 outside, `factor` inside, all around."""
    data = make("circles", factor=factor)
    assert data.classes == ["outer", "inner"]
    assert np.abs(np.hypot(*data.inputs.T) - np.where(data.targets == 1, factor, 1)).max() < 1e-12
    for ring in (0, 1):
        x1, x2 = data.inputs[data.targets == ring].T
        assert_uniform(np.arctan2(x2, x1), -np.pi, np.pi)


def test_moons():
    """On the half circles of scikit-learn's make_moons, from end to end."""
    data = make("moons")
    dense, labels = make_moons(20_000, shuffle=False)
    for moon in (0, 1):
        points, curve = data.inputs[data.targets == moon], dense[labels == moon]
        centre = [0, 0] if moon == 0 else [1, 0.5]
        x1, x2 = (points - centre).T
        assert np.abs(np.hypot(x1, x2) - 1).max() < 1e-12
        assert (x2 >= 0).all() if moon == 0 else (x2 <= 0).all()
        assert_uniform(np.arctan2(np.abs(x2), x1), 0, np.pi)
        assert np.abs(points.min(0) - curve.min(0)).max() < 5e-3
        assert np.abs(points.max(0) - curve.max(0)).max() < 5e-3


def grade(inputs: np.ndarray) -> np.ndarray:
    return 100 / (1 + np.exp(-(0.4 * (inputs[:, 0] - 5) + 0.1 * (inputs[:, 1] - 20))))


def test_passfail():
    """Whole lectures 0 to 10, hours from 0 to 40; the grade by its formula, and 50 passes."""
    graded, judged = make("grade"), make("pass")
    assert graded.features == ["lectures", "hours"] and judged.classes == ["fail", "pass"]
    lectures, counts = np.unique(graded.inputs[:, 0], return_counts=True)
    assert lectures.tolist() == list(range(11))
    assert np.abs(counts - ROWS / 11).max() < 5 * np.sqrt(ROWS / 11)
    assert_uniform(graded.inputs[:, 1], 0, 40)
    assert np.allclose(graded.targets[:, 0], grade(graded.inputs), rtol=1e-12)
    assert np.array_equal(graded.inputs, judged.inputs)
    assert np.array_equal(judged.targets, graded.targets[:, 0] >= 50)


def test_passfail_by_hand():
    """Half of everything is a grade of 50; all lectures and hours 98.2."""
    assert grade(np.array([[5.0, 20.0]]))[0] == 50
    assert grade(np.array([[10.0, 40.0]]))[0] == pytest.approx(98.2, abs=0.01)


def test_noise_of_the_grade():
    """In points, cut off at 0 and 100; pass or fail is judged by the grade as it came out."""
    graded, judged = make("grade", noise=5.0), make("pass", noise=5.0)
    wanted = grade(graded.inputs)
    inside = (wanted > 25) & (wanted < 75)
    assert stats.kstest((graded.targets[:, 0] - wanted)[inside] / 5, "norm").pvalue > 1e-4
    assert graded.targets.min() >= 0 and graded.targets.max() <= 100
    assert np.array_equal(judged.targets, graded.targets[:, 0] >= 50)
    assert (judged.targets != (wanted >= 50)).any()


@pytest.mark.parametrize("periods", [0.5, 1.0, 4.0])
def test_sine(periods):
    """y = sin x, x even over that many periods around zero."""
    data = make("sine", periods=periods)
    assert np.abs(data.targets[:, 0] - np.sin(data.inputs[:, 0])).max() < 1e-15
    assert_uniform(data.inputs[:, 0], -np.pi * periods, np.pi * periods)


def test_noise_of_the_sine():
    """The deviation of y; x stays."""
    clean, noisy = make("sine"), make("sine", noise=0.2)
    assert np.array_equal(clean.inputs, noisy.inputs)
    assert stats.kstest((noisy.targets - clean.targets).ravel() / 0.2, "norm").pvalue > 1e-4


@pytest.mark.parametrize("bits", [2, 6, 64])
def test_parity(bits):
    """Is the number of ones odd? Each bit a fair coin, which alone tells nothing."""
    data = make("parity", bits=bits)
    assert data.classes == ["even", "odd"]
    assert set(np.unique(data.inputs)) == {0, 1}
    assert np.array_equal(data.targets, np.bitwise_xor.reduce(data.inputs.astype(int), axis=1))
    assert np.abs(data.inputs.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(ROWS)
    assert np.abs([np.corrcoef(column, data.targets)[0, 1] for column in data.inputs.T]).max() < 5 / np.sqrt(
        ROWS
    )


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_noise_of_parity(noise):
    """The share of labels turned over; bits stay."""
    clean, noisy = make("parity"), make("parity", noise=noise)
    assert np.array_equal(clean.inputs, noisy.inputs)
    turned = (clean.targets != noisy.targets).mean()
    assert abs(turned - noise) < 5 * np.sqrt(noise * (1 - noise) / ROWS)

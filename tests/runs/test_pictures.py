"""Pictures: their shapes, the colours at known places, and extreme inputs; NumPy's warnings are errors."""

import numpy as np
import pytest

from dlfound.runs import pictures
from dlfound.runs.pictures import BLUE, COLOURS, GREY, MOST_UNITS, ORANGE, SIDE, WHITE


def is_picture(image: np.ndarray) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0


def near(pixel, colour, by: float = 1.0) -> bool:
    return bool((np.abs(np.asarray(pixel, float) - np.asarray(colour, float)) <= by).all())


def darkness(pixel) -> int:
    return 3 * 255 - int(np.asarray(pixel, int).sum())


# The confusion matrix.


def cells(counts, names) -> np.ndarray:
    """Return (classes, classes, 3): the colour in the upper left of each cell, where no number is drawn."""
    image = pictures.confusion(np.array(counts), names)
    assert is_picture(image) and image.shape[0] == image.shape[1]
    cell = max(24, SIDE // len(names))
    margin = image.shape[0] - cell * len(names)
    assert margin > 0
    at = margin + cell * np.arange(len(names)) + 2
    return image[np.ix_(at, at)]


def test_a_cell_is_as_dark_as_its_share_of_the_row():
    """True classes go down, predicted ones across: 6 of 8, 2 of 8; 1 of 3, 2 of 3; all of the last row."""
    colours = cells([[6, 2, 0], [1, 2, 0], [0, 0, 500]], ["a", "b", "c"])
    for place, share in {(0, 0): 6 / 8, (0, 1): 2 / 8, (1, 0): 1 / 3, (1, 1): 2 / 3, (2, 2): 1.0}.items():
        assert near(colours[place], np.array(WHITE) + share * (np.array(BLUE) - WHITE)), place
    for place in ((0, 2), (1, 2), (2, 0), (2, 1)):
        assert near(colours[place], WHITE, 0), place
    order = [colours[place] for place in ((0, 2), (0, 1), (1, 0), (1, 1), (0, 0), (2, 2))]
    assert (np.diff([darkness(pixel) for pixel in order]) > 0).all()
    assert near(colours[2, 2], BLUE, 0)


def test_only_cells_with_rows_contain_a_number():
    """A number is drawn dark on a pale cell and white on a dark one."""
    image = pictures.confusion(np.array([[9, 1], [0, 0]]), ["no", "yes"])
    corners = image.shape[0] - 320 + 160 * np.arange(2)
    spans = [slice(corner + 3, corner + 156) for corner in corners]
    inside = {(i, k): image[spans[i], spans[k]].reshape(-1, 3) for i in range(2) for k in range(2)}
    colours = {place: {tuple(pixel) for pixel in pixels} for place, pixels in inside.items()}
    assert len(colours[1, 0]) == len(colours[1, 1]) == 1
    assert WHITE in colours[0, 0] and (0, 0, 0) in colours[0, 1]


@pytest.mark.parametrize("count", [1, 2, 10, 20, 21, 40])
def test_any_number_of_classes(count):
    """A perfect classifier gives a dark diagonal, whatever the size of a cell."""
    colours = cells(np.diag(np.arange(1, count + 1)), [str(k) for k in range(count)])
    assert all(near(colours[k, k], BLUE, 0) for k in range(count))
    assert near(colours[~np.eye(count, dtype=bool)], WHITE, 0)


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 500, "größe", "猫", "😀", "a\nb\nc", "\t", "\x00", "\x1b[31mred", "a\r\nb"]
)
def test_any_name_of_a_class(name):
    assert near(cells([[0, 0], [3, 1]], [name, "other"])[0], WHITE, 0)


def test_no_rows_and_very_many_rows():
    assert near(cells(np.zeros((3, 3), int), list("abc")), WHITE, 0)
    assert near(cells([[10**12, 0], [0, 10**15]], list("ab"))[0, 0], BLUE, 0)


# Predicted against true.


def blue(image: np.ndarray) -> np.ndarray:
    """Return (points, 2): the blue pixels as (x, y) from the lower left."""
    rows, columns = np.nonzero((image == BLUE).all(2))
    return np.c_[columns, SIDE - 1 - rows]


def test_points_are_drawn_at_their_numbers():
    """True values along x, predicted ones along y, both from the lowest of all to the highest."""
    image = pictures.scatter(np.array([0.0, 10.0, 0.0]), np.array([0.0, 10.0, 5.0]))
    assert is_picture(image) and image.shape == (SIDE, SIDE, 3)
    pixels = blue(image)
    span = SIDE - 41
    for x, y in ((0, 0), (1, 1), (0, 0.5)):
        centre = 20 + span * np.array([x, y])
        assert (np.abs(pixels - centre).max(1) <= 1).any(), (x, y)
    away = [np.abs(pixels - (20 + span * np.array(p))).max(1) > 4 for p in ((0, 0), (1, 1), (0, 0.5))]
    assert not np.all(away, 0).any()


def test_equal_values_lie_on_the_grey_line_and_larger_predictions_above_it():
    same = np.array([-3.0, 4.0])
    image = pictures.scatter(same, same)
    middle = image[SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1]
    assert near(middle.reshape(-1, 3).min(0), GREY, 0)
    pixels = blue(pictures.scatter(np.array([0.0, 9.0, 4.0]), np.array([0.0, 9.0, 8.0])))
    off = pixels[np.abs(pixels[:, 0] - pixels[:, 1]) > 6]
    assert len(off) and (off[:, 1] > off[:, 0]).all()


@pytest.mark.parametrize(
    ("true", "predicted"),
    [([5.0], [5.0]), ([5.0], [-2.0]), ([0.0] * 9, [0.0] * 9), ([1e99, -1e99], [0.0, 1e99]),
    ([1e-300] * 2, [0.0] * 2)],
    ids=["one", "one wrong", "constant", "huge", "tiny"],
)  # fmt: skip
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_few_and_extreme_numbers(true, predicted, kind):
    """Numbers beyond float32 come as float64."""
    if kind == np.float32 and np.abs(true).max() > 1e38:
        true, predicted = np.array(true) / 1e62, np.array(predicted) / 1e62
    image = pictures.scatter(np.array(true, kind), np.array(predicted, kind))
    assert is_picture(image) and len(blue(image))


# The plane.


def quarters() -> np.ndarray:
    """Return (4, 4, 3): blue at the lower left, orange at the upper left, black on the right."""
    surface = np.zeros((4, 4, 3))
    surface[:2, :2] = BLUE
    surface[2:, :2] = ORANGE
    return surface


def test_the_plane_starts_at_the_lower_left():
    """The surface is pale; the points have their full colour and a white rim."""
    points = np.array([[0.75, 0.25]])
    shades = np.array([ORANGE], float)
    image = pictures.plane(quarters(), points, shades)
    assert is_picture(image) and image.shape == (SIDE, SIDE, 3)
    assert near(image[-10, 10], (np.array(BLUE) + 255) / 2, 1)
    assert near(image[10, 10], (np.array(ORANGE) + 255) / 2, 1)
    assert near(image[10, -10], (127.5,) * 3, 1) and near(image[-10, -10], (127.5,) * 3, 1)
    x = round(0.75 * (SIDE - 1))
    y = SIDE - 1 - round(0.25 * (SIDE - 1))
    assert near(image[y, x], ORANGE, 0)
    assert (image[y - 4 : y + 5, x - 4 : x + 5] == 255).all(2).any()
    assert (image == ORANGE).all(2).sum() < 60


def test_points_in_the_corners_and_none_at_all():
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    image = pictures.plane(quarters(), corners, COLOURS[:4])
    for (x, y), colour in zip(corners.astype(int), COLOURS, strict=False):
        assert near(image[y - 1, -x], colour, 0), (x, y)
    assert is_picture(pictures.plane(np.full((1, 1, 3), 255.0), np.zeros((0, 2)), np.zeros((0, 3))))


def test_a_prediction_that_is_not_a_number_is_white():
    surface = np.full((8, 8, 3), np.nan)
    surface[:, :4] = 0
    image = pictures.plane(surface, np.zeros((0, 2)), np.zeros((0, 3)))
    assert near(image[:, -40:], WHITE, 0) and near(image[:, :40], (127.5,) * 3, 1)


# Colours.


def test_mixed_colours():
    """A sure prediction has its class's colour, a doubtful one a mixture; class 11 has the first colour."""
    assert np.array_equal(pictures.mix_colours(np.eye(10)), COLOURS)
    assert np.allclose(
        pictures.mix_colours(np.array([0.25, 0.75])), 0.25 * np.array(BLUE) + 0.75 * np.array(ORANGE)
    )
    assert pictures.mix_colours(np.full((4, 5, 3), 1 / 3)).shape == (4, 5, 3)
    many = pictures.mix_colours(np.eye(23))
    assert np.array_equal(many[10], many[0]) and np.array_equal(many[22], COLOURS[2])
    assert pictures.mix_colours(np.full(100, 0.01)).max() <= 255
    assert len(np.unique(COLOURS, axis=0)) == len(COLOURS) == 10


def test_the_ramp_goes_from_blue_to_orange():
    colours = pictures.ramp(np.array([-9.0, 2.0, 4.0, 6.0, 99.0, np.inf, -np.inf]), 2.0, 6.0)
    middle = (np.array(BLUE) + ORANGE) / 2
    assert np.allclose(colours, [BLUE, BLUE, middle, ORANGE, ORANGE, ORANGE, BLUE])
    assert pictures.ramp(np.zeros((3, 4), np.float32), 0.0, 1.0).shape == (3, 4, 3)
    assert np.allclose(pictures.ramp(np.array([7.0]), 7.0, 7.0), BLUE)


# Filters.


def tile(image: np.ndarray, k: int, high: int, wide: int) -> np.ndarray:
    """Return the k-th tile without its rim; a row has at most eight."""
    row, column = divmod(k, 8)
    return image[row * high + 1 : (row + 1) * high - 1, column * wide + 1 : (column + 1) * wide - 1]


def test_a_weight_of_zero_is_grey_and_the_largest_is_black_or_white():
    """Each unit is a tile, scaled by its own largest weight; the first row of pixels is on top."""
    weights = np.zeros((2, 1, 2, 3))
    weights[0, 0] = [[0, 2, -1], [1, 0, -2]]
    weights[1, 0, 0, 0] = -1e-5
    image = pictures.filters(weights)
    zoom = 24 // 3
    assert is_picture(image) and image.shape == (2 * zoom + 2, 2 * (3 * zoom + 2), 3)
    first = tile(image, 0, 2 * zoom + 2, 3 * zoom + 2)[zoom // 2 :: zoom, zoom // 2 :: zoom]
    expected = 127.5 + 127.5 * weights[0, 0] / 2
    assert np.abs(first.astype(float) - expected[..., None]).max() <= 0.5
    second = tile(image, 1, 2 * zoom + 2, 3 * zoom + 2)
    assert (second[:zoom, :zoom] == 0).all() and near(second[-1, -1], (127.5,) * 3)
    assert (image[0] == 255).all() and (image[:, 0] == 255).all() and (image[-1] == 255).all()


def test_filters_in_colour():
    """The pixels show the weights of red, green and blue."""
    weights = np.zeros((3, 3, 4, 4))
    for k in range(3):
        weights[k, k] = 1
    image = pictures.filters(weights)
    high = 4 * 6 + 2
    for k in range(3):
        pixel = np.full(3, 127.5)
        pixel[k] = 255
        assert near(tile(image, k, high, high), pixel, 0.5), k


@pytest.mark.parametrize("units", [1, 7, 8, 9, MOST_UNITS, MOST_UNITS + 1, 300])
def test_a_row_has_eight_tiles_and_the_rest_of_the_last_row_is_white(units):
    image = pictures.filters(np.ones((units, 1, 8, 8)))
    shown = min(units, 64)
    side = 8 * 3 + 2
    assert image.shape == (-(-shown // 8) * side, min(8, shown) * side, 3)
    assert (image == 255).all()
    image = pictures.filters(-np.ones((units, 1, 8, 8)))
    black = (image == 0).all(2).sum()
    assert black == shown * 24 * 24


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (5, 3, 1, 1), (2, 1, 1, 50), (2, 1, 50, 1), (70, 3, 32, 32)])
@pytest.mark.parametrize("scale", [0.0, 1e-38, 1.0, 1e38])
def test_filters_of_any_shape_and_size(shape, scale):
    """Few pixels are enlarged; many are never reduced."""
    rng = np.random.default_rng(0)
    image = pictures.filters((scale * rng.uniform(-1, 1, shape)).astype(np.float32))
    assert is_picture(image) and image.shape[0] >= shape[2] + 2 and image.shape[1] >= shape[3] + 2
    if scale == 0:
        assert set(np.unique(image)) <= {127, 128, 255}

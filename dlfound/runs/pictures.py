"""Pictures for TensorBoard, drawn from arrays: (height, width, 3) bytes. Few words and no axes: cheap to make."""

from collections.abc import Sequence

import numpy as np

from dlfound.errors import printable

BLUE, ORANGE, GREY, WHITE = (31, 119, 180), (255, 127, 14), (128, 128, 128), (255, 255, 255)
COLOURS = np.array(
    [BLUE, ORANGE, (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194),
     GREY, (188, 189, 34), (23, 190, 207)], dtype=np.float64,
)  # fmt: skip
SIDE = 320  # pixels of a square picture
MOST_CLASSES = 40  # cells with numbers need their place
MOST_UNITS = 64


def confusion(counts: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """A cell for each pair of classes, darker the larger its share of the row; rows are the true classes."""
    from PIL import Image, ImageDraw, ImageFont

    cell = max(24, SIDE // len(classes))
    font = ImageFont.load_default(min(16, cell // 3))
    names = [printable(name)[:9] for name in classes]  # a line break has no place in a label
    margin, size = 24 + round(max(font.getlength(name) for name in names)), cell * len(classes)
    image = Image.new("RGB", (margin + size, margin + size), WHITE)
    draw, shares = ImageDraw.Draw(image), counts / np.maximum(counts.sum(1, keepdims=True), 1)
    draw.text((2, 2), "true \\ predicted", fill=GREY)
    for i, name in enumerate(names):
        draw.text((margin - 4, margin + i * cell + cell // 2), name, fill=0, anchor="rm", font=font)
        draw.text(
            (margin + i * cell + cell // 2, margin - 4),
            name[: max(3, cell // 8)],
            fill=0,
            anchor="mb",
            font=font,
        )
        for k, count in enumerate(counts[i]):
            left, top = margin + k * cell, margin + i * cell
            shade = WHITE + shares[i, k] * (np.array(BLUE) - WHITE)
            draw.rectangle((left, top, left + cell - 2, top + cell - 2), fill=tuple(shade.astype(int)))
            if count:
                ink, middle = WHITE if shares[i, k] > 0.5 else 0, (left + cell // 2, top + cell // 2)
                draw.text(middle, str(count), fill=ink, anchor="mm", font=font)
    return np.asarray(image)


def scatter(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """A point a row, true along x and predicted along y, over the line where they agree. (rows,) each."""
    from PIL import Image, ImageDraw

    low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    place = (SIDE - 41) / ((high - low) or 1)
    image = Image.new("RGB", (SIDE, SIDE), WHITE)
    draw = ImageDraw.Draw(image)
    draw.line((20, SIDE - 21, SIDE - 21, 20), fill=GREY)
    for x, y in zip(20 + (true - low) * place, SIDE - 21 - (predicted - low) * place, strict=True):
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=BLUE)
    draw.text((SIDE // 2, SIDE - 2), f"true, {low:.4g} to {high:.4g}", fill=GREY, anchor="mb")
    draw.text((4, 2), "predicted", fill=GREY)
    return np.asarray(image)


def plane(surface: np.ndarray, points: np.ndarray, shades: np.ndarray) -> np.ndarray:
    """What a net of two inputs answers all over the plane, and rows on it.

    Args:
        surface: (height, width, 3) colours of the answers, from the lowest second feature up.
        points: (rows, 2) places within the surface, from 0 to 1.
        shades: (rows, 3) the rows' colours.
    """
    from PIL import Image, ImageDraw

    pale = np.nan_to_num((surface + WHITE) / 2, nan=255)  # white where the answer is no number
    image = Image.fromarray(pale[::-1].round().astype(np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BILINEAR
    )
    draw = ImageDraw.Draw(image)
    for (x, y), shade in zip(points * (SIDE - 1), shades.round().astype(int), strict=True):
        top = SIDE - 1 - y
        draw.ellipse((x - 3, top - 3, x + 3, top + 3), fill=tuple(shade), outline=WHITE)
    return np.asarray(image)


def mixed(probabilities: np.ndarray) -> np.ndarray:
    """(..., classes) probabilities -> (..., 3) colours: each class's own, mixed by its share."""
    classes = probabilities.shape[-1]
    return probabilities @ COLOURS[np.arange(classes) % len(COLOURS)]


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(...) numbers -> (..., 3) colours, from blue (low) to orange (high)."""
    share = np.clip((values - low) / ((high - low) or 1), 0, 1)
    return mixed(np.stack([1 - share, share], -1))


def filters(weights: np.ndarray) -> np.ndarray:
    """(units, channels, height, width) incoming weights as images, a unit a tile: grey is zero, each by its largest."""
    tiles = weights[:MOST_UNITS].transpose(0, 2, 3, 1)
    tiles = tiles / np.maximum(np.abs(tiles).max((1, 2, 3), keepdims=True), 1e-30)
    tiles = np.repeat(tiles, 3, 3) if tiles.shape[3] == 1 else tiles
    zoom = max(1, 24 // max(tiles.shape[1:3]))
    tiles = np.pad(tiles.repeat(zoom, 1).repeat(zoom, 2), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    across = min(8, len(tiles))
    tiles = np.pad(tiles, ((0, -len(tiles) % across), (0, 0), (0, 0), (0, 0)), constant_values=1)
    rows, (_, high, wide, _) = len(tiles) // across, tiles.shape
    grid = (
        tiles.reshape(rows, across, high, wide, 3)
        .transpose(0, 2, 1, 3, 4)
        .reshape(rows * high, across * wide, 3)
    )
    return (127.5 + 127.5 * grid).round().astype(np.uint8)

"""Pictures of a net for TensorBoard: (height, width, 3) bytes. They are small and have no axes."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dlfound.errors import printable
from dlfound.objective.tasks import MULTILABEL, gives_probabilities
from dlfound.runs.parts import Training
from dlfound.training.layers import LayerState
from dlfound.training.loggers import Logger
from dlfound.training.metrics import outputs_of

BLUE = (31, 119, 180)
ORANGE = (255, 127, 14)
GREY = (128, 128, 128)
WHITE = (255, 255, 255)
COLOURS = np.array(
    [BLUE, ORANGE, (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194),
     GREY, (188, 189, 34), (23, 190, 207)], dtype=np.float64,
)  # fmt: skip
SIDE = 320  # pixels of a square picture
EDGE = 20  # pixels around the points of a scatter plot
MOST_CLASSES = 40  # of a confusion matrix: the numbers in the cells need room
MOST_UNITS = 64  # whose filters are drawn
POINTS = 300  # rows drawn on a picture
GRID = 100  # points along each side of a decision boundary's plane


# From a net.


def draw_net(logger: Logger, number: int, training: Training, layers: Sequence[LayerState]) -> None:
    """Draw the layers after epoch `number`, and the predictions of a net with two inputs."""
    schema = training.schema
    for layer in layers:
        logger.histogram(number, f"weights/{layer.name}", layer.weights)
        logger.histogram(number, f"gradients/{layer.name}", layer.gradient)
        logger.histogram(number, f"activations/{layer.name}", layer.activations)
    if schema["image"]:
        tiles = layers[0].weights[:MOST_UNITS].unflatten(1, schema["image"])
        logger.picture(number, "first_layer", filters(tiles.cpu().numpy()))
    columns = training.assembly.parts["train"].inputs.shape[1]
    if columns == training.assembly.network.body.inputs == 2 and schema["task"] != MULTILABEL:
        tag = "decision_boundary" if schema["classes"] else "surface"
        logger.picture(number, tag, _plane_of(training))


def draw_predictions(logger: Logger, number: int, training: Training) -> None:
    """Draw the confusion matrix, or predicted against true values, of the validation and the test rows."""
    network = training.assembly.network
    classes = training.schema["classes"]
    for part in ("val", "test"):
        rows = training.assembly.parts[part]
        outputs = outputs_of(network, rows.inputs)
        if not outputs.isfinite().all() or training.schema["task"] == MULTILABEL:
            continue  # a matrix for each label would add little to exact_match and f1_macro
        if not classes:
            predicted = network.target.inverse(outputs)[:POINTS, 0]
            image = scatter(rows.targets[:POINTS, 0].cpu().numpy(), predicted.cpu().numpy())
            logger.picture(number, f"predicted_against_true/{part}", image)
        elif len(classes) <= MOST_CLASSES:
            pairs = rows.targets * len(classes) + training.assembly.loss.classes(outputs)
            counts = torch.bincount(pairs, minlength=len(classes) ** 2).unflatten(0, (len(classes), -1))
            logger.picture(number, f"confusion/{part}", confusion(counts.cpu().numpy(), classes))


def _plane_of(training: Training) -> np.ndarray:
    """Draw the predictions over the plane of the two inputs, with training rows in their true colours."""
    network = training.assembly.network
    rows = training.assembly.parts["train"]
    x = network.ready(rows.inputs[:POINTS])
    low = x.amin(0)
    high = x.amax(0)
    margin = torch.where(high > low, 0.1 * (high - low), 1.0)
    corner = low - margin
    size = high + margin - corner
    along = torch.linspace(0, 1, GRID, device=x.device)
    grid = torch.stack(torch.meshgrid(along, along, indexing="xy"), -1).flatten(0, 1)
    outputs = outputs_of(network, corner + grid * size)
    colours, shades = _colours(training, outputs, rows.targets[:POINTS])
    return plane(colours.reshape(GRID, GRID, 3), ((x - corner) / size).cpu().numpy(), shades)


def _colours(
    training: Training, outputs: torch.Tensor, targets: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of the net's predictions, and those of the true values."""
    loss = training.assembly.loss
    if training.schema["classes"]:
        sure = torch.eye(len(training.schema["classes"]), dtype=torch.float64, device=targets.device)
        shares = loss.probabilities(outputs) if gives_probabilities(loss) else sure[loss.classes(outputs)]
        return mix_colours(shares.double().cpu().numpy()), mix_colours(sure[targets].cpu().numpy())
    numbers = targets[:, 0].cpu().numpy()
    span = (float(numbers.min()), float(numbers.max()))
    predicted = training.assembly.network.target.inverse(outputs)[:, 0].cpu().numpy()
    return ramp(predicted, *span), ramp(numbers, *span)


# From arrays.


def confusion(counts: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Draw a confusion matrix: rows are the true classes; a cell is darker, the larger its share of its row.

    Args:
        counts: (classes, classes).
    """
    cell = max(24, SIDE // len(classes))
    font = ImageFont.load_default(min(16, cell // 3))
    names = [printable(name)[:9] for name in classes]  # a label is one line
    margin = 24 + round(max(font.getlength(name) for name in names))
    side = margin + cell * len(classes)
    image = Image.new("RGB", (side, side), WHITE)
    draw = ImageDraw.Draw(image)
    draw.text((2, 2), "true \\ predicted", fill=GREY)
    for i, name in enumerate(names):
        middle = margin + i * cell + cell // 2
        draw.text((margin - 4, middle), name, fill=0, anchor="rm", font=font)
        draw.text((middle, margin - 4), name[: max(3, cell // 8)], fill=0, anchor="mb", font=font)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for (i, k), share in np.ndenumerate(shares):
        left = margin + k * cell
        top = margin + i * cell
        shade = WHITE + share * (np.array(BLUE) - WHITE)
        draw.rectangle((left, top, left + cell - 2, top + cell - 2), fill=tuple(shade.astype(int)))
        if counts[i, k]:
            ink = WHITE if share > 0.5 else 0
            middle = (left + cell // 2, top + cell // 2)
            draw.text(middle, str(counts[i, k]), fill=ink, anchor="mm", font=font)
    return np.asarray(image)


def scatter(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Draw a point per row, true values along x and predicted ones along y, and the line of equal values.

    Args:
        true, predicted: (rows,).
    """
    low = float(min(true.min(), predicted.min()))
    high = float(max(true.max(), predicted.max()))
    far = SIDE - EDGE - 1
    scale = (far - EDGE) / ((high - low) or 1)
    image = Image.new("RGB", (SIDE, SIDE), WHITE)
    draw = ImageDraw.Draw(image)
    draw.line((EDGE, far, far, EDGE), fill=GREY)
    for x, y in zip(EDGE + (true - low) * scale, far - (predicted - low) * scale, strict=True):
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=BLUE)
    draw.text((SIDE // 2, SIDE - 2), f"true, {low:.4g} to {high:.4g}", fill=GREY, anchor="mb")
    draw.text((4, 2), "predicted", fill=GREY)
    return np.asarray(image)


def plane(surface: np.ndarray, points: np.ndarray, shades: np.ndarray) -> np.ndarray:
    """Draw the predictions of a net with two inputs over the plane of its inputs, with rows as points.

    Args:
        surface: (height, width, 3) colours of the predictions; the first line has the lowest second input.
        points: (rows, 2) positions in the plane, from 0 to 1.
        shades: (rows, 3) colours of the points.
    """
    pale = np.nan_to_num((surface + WHITE) / 2, nan=255)  # white if the prediction is not a number
    pixels = Image.fromarray(pale[::-1].round().astype(np.uint8))
    image = pixels.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for (x, y), shade in zip(points * (SIDE - 1), shades.round().astype(int), strict=True):
        top = SIDE - 1 - y
        draw.ellipse((x - 3, top - 3, x + 3, top + 3), fill=tuple(shade), outline=WHITE)
    return np.asarray(image)


def mix_colours(probabilities: np.ndarray) -> np.ndarray:
    """Mix the colours of the classes: (..., classes) probabilities -> (..., 3) colours."""
    classes = probabilities.shape[-1]
    return probabilities @ COLOURS[np.arange(classes) % len(COLOURS)]


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Turn numbers (...) into colours (..., 3), from blue (low) to orange (high)."""
    share = np.clip((values - low) / ((high - low) or 1), 0, 1)
    return mix_colours(np.stack([1 - share, share], -1))


def filters(weights: np.ndarray) -> np.ndarray:
    """Draw the incoming weights of each unit as a tile: grey is zero, black and white are its largest weight.

    Args:
        weights: (units, channels, height, width), with one channel or three.
    """
    tiles = weights[:MOST_UNITS].transpose(0, 2, 3, 1)
    tiles = tiles / np.maximum(np.abs(tiles).max((1, 2, 3), keepdims=True), 1e-30)
    if tiles.shape[3] == 1:
        tiles = np.repeat(tiles, 3, 3)
    zoom = max(1, 24 // max(tiles.shape[1:3]))
    tiles = tiles.repeat(zoom, 1).repeat(zoom, 2)
    tiles = np.pad(tiles, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)  # a white rim
    across = min(8, len(tiles))
    tiles = np.pad(tiles, ((0, -len(tiles) % across), (0, 0), (0, 0), (0, 0)), constant_values=1)
    _, high, wide, _ = tiles.shape
    lines = tiles.reshape(-1, across, high, wide, 3).transpose(0, 2, 1, 3, 4)
    return (127.5 + 127.5 * lines.reshape(-1, across * wide, 3)).round().astype(np.uint8)

"""The pictures of a sweep show what its files contain; a folder that is not a sweep is refused."""

import json

import numpy as np
import pytest

from dlfound.errors import Error
from dlfound.reports.pictures import curves, draw, history, importances, read_sweep, settings

SPACE = {
    "optim": "choice(adam,sgd)",
    "optim.lr": "tag(log,interval(0.001,0.1))",
    "model.hidden": "choice([8],[16,16])",
}
ROWS = [
    ("0", "done", "sgd", "0.01", "[8]", "0.5"),
    ("1", "done", "adam", "0.05", "[16,16]", "0.25"),
    ("2", "failed", "adam", "0.02", "[8]", ""),
    ("3", "done", "adam", "0.002", "", "0.75"),
    ("4", "pruned", "sgd", "0.003", "[8]", "0.9"),
]


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path, ROWS, "loss", False)


def write_sweep(path, rows, monitor, growing):
    lines = [",".join(["trial", "state", *SPACE, f"val_{monitor}", "folder"])]
    lines += [",".join([*(f'"{cell}"' for cell in row), f"trials/{row[0]}"]) for row in rows]
    (path / "trials.csv").write_text("\n".join(lines) + "\n")
    shares = {"optim.lr": 0.9, "optim": 0.1}
    report = {"monitor": monitor, "growing": growing, "space": SPACE, "importances": shares}
    (path / "report.json").write_text(json.dumps(report))
    for row in rows:
        run = path / "trials" / row[0]
        run.mkdir(parents=True, exist_ok=True)
        epochs = [json.dumps({"epoch": i + 1, "val": {monitor: 1 / (i + 1)}}) for i in range(int(row[0]) + 1)]
        (run / "metrics.jsonl").write_text("\n".join(epochs) + "\n")
    return path


def points(axes, index=0):
    return np.asarray(axes.collections[index].get_offsets())


def test_settings_are_drawn_against_the_metric(sweep):
    optim, lr, hidden = settings(read_sweep(sweep)).axes
    assert [t.get_text() for t in optim.get_xticklabels()] == ["adam", "sgd"]
    assert [t.get_text() for t in hidden.get_xticklabels()] == ["[8]", "[16,16]"]
    assert lr.get_xscale() == "log" and optim.get_xscale() == "linear"
    assert points(lr).tolist() == [[0.01, 0.5], [0.05, 0.25], [0.002, 0.75]]
    assert points(lr, 1).tolist() == [[0.05, 0.25]] and len(points(hidden)) == 2
    assert points(optim)[:, 0].tolist() == [1.0, -0.25, 0.25]  # two trials with adam, side by side


def test_unsuccessful_trials_are_marked_at_the_top(tmp_path):
    rows = [*ROWS, ("5", "diverged", "rmsprop", "0.1", "[8]", "0.1")]
    figure = settings(read_sweep(write_sweep(tmp_path, rows, "loss", False)))
    optim, lr, _ = figure.axes
    (cross,) = lr.lines
    assert cross.get_xdata().tolist() == [0.02, 0.1] and cross.get_ydata().tolist() == [1.0, 1.0]
    assert "rmsprop" in [t.get_text() for t in optim.get_xticklabels()] and lr.get_xlim()[1] > 0.1
    assert {t.get_text() for t in figure.legends[0].get_texts()} == {"best", "diverged or failed"}


@pytest.mark.parametrize(
    ("growing", "steps", "best"), [(False, [0.5, 0.25, 0.25, 0.25], "1"), (True, [0.5, 0.5, 0.75, 0.75], "3")]
)
def test_the_best_value_so_far_and_the_curves_of_the_best(growing, steps, best, tmp_path):
    sweep = read_sweep(write_sweep(tmp_path, ROWS, "accuracy" if growing else "loss", growing))
    (axes,) = history(sweep).axes
    assert axes.lines[0].get_ydata().tolist() == steps and axes.lines[0].get_xdata().tolist() == [0, 1, 3, 4]
    (axes,) = curves(sweep).axes
    assert axes.lines[0].get_label() == f"trial {best}" and len(axes.lines) == 3
    assert axes.lines[0].get_ydata().tolist() == [1 / (i + 1) for i in range(int(best) + 1)]


def test_importances_are_bars(sweep):
    (axes,) = importances(read_sweep(sweep)).axes
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.9]


def test_pictures_are_written(sweep, tmp_path):
    (tmp_path / "out").mkdir()
    files = draw(sweep, tmp_path / "out")
    assert [path.name for path in files] == ["settings.png", "importances.png", "history.png", "curves.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)


def test_a_single_result_is_enough(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path, [ROWS[0]], "loss", False))
    assert all(drawing(sweep) for drawing in (settings, importances, history, curves))


def test_nothing_is_drawn_without_a_result(tmp_path):
    assert draw(write_sweep(tmp_path, [ROWS[2]], "loss", False), tmp_path) == []


@pytest.mark.parametrize("text", ["{", "{}", "[]", "null"])
def test_a_folder_that_is_no_sweep_is_refused(text, sweep):
    (sweep / "report.json").write_text(text)
    with pytest.raises(Error) as caught:
        read_sweep(sweep)
    assert caught.value.code == 4

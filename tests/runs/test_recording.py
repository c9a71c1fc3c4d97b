"""What a run writes down, read back with TensorBoard's own reader: curves, histograms, pictures, settings."""

import io
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

import dlfound
from dlfound.options.configure import configure
from dlfound.runs import pictures
from dlfound.runs.record import moments
from dlfound.runs.train import load_data

STEADY = ["early_stopping=none", "lr_decay=none"]
WIDE = ["initializer=normal", "initializer.std=1"]  # some pre-activations lie beyond 2.2
FEW_ROWS = ["data.rows=300", "train.batch_size=full"]  # 210 to train on: the sample is all of them
FOUR = np.random.default_rng(0).standard_normal((420, 4))

RUNS = {
    "digits": [*STEADY, "model.hidden=[24,8]", "train.epochs=12"],
    "moons": [
        *STEADY,
        "data=moons",
        "activation=tanh",
        *WIDE,
        "model.hidden=[16]",
        "optim.lr=0.005",
        "train.epochs=9",
    ],
    "spirals": [*STEADY, "data=spirals", "model.hidden=[32]", "optim.lr=0.01", "train.epochs=15"],
    "grade": [
        *STEADY,
        "data=passfail",
        "data.target=grade",
        "model.hidden=[8]",
        "optim.lr=0.01",
        "train.epochs=9",
    ],
    "sine": [*STEADY, "data=sine", "model=perceptron", "train.epochs=2"],
    "circles": [*STEADY, "data=circles", *FEW_ROWS, "optim=sgd", "model.hidden=[8,6]", "train.epochs=3"],
    "untouched": [*STEADY, "data=circles", *FEW_ROWS, "optim=sgd", "optim.lr=1e-30", "train.epochs=1"],
    "stopped": ["data=passfail"],
    "many classes": [*STEADY, "model.hidden=[8]", "train.epochs=2"],
}
HIDDEN = {"digits": 2, "moons": 1, "spirals": 1, "grade": 1, "sine": 0, "circles": 2}
DATA = {"many classes": (FOUR, [f"class {k % 42}" for k in range(420)])}


@cache
def trained(name: str):
    """A run and its events."""
    run = dlfound.open_run(dlfound.train(RUNS[name], data=DATA.get(name)).path.resolve())
    return run, read(run.path)


def read(folder: Path) -> EventAccumulator:
    """All that is in the event files, nothing left out."""
    everything = dict.fromkeys(("scalars", "histograms", "images", "tensors", "compressedHistograms"), 0)
    return EventAccumulator(str(folder / "tensorboard"), size_guidance=everything).Reload()


def lines(run, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (run.path / name).read_text().splitlines()]


def curve(events: EventAccumulator, tag: str) -> list[float]:
    return [point.value for point in events.Scalars(tag)]


def scalars(events: EventAccumulator) -> set[str]:
    """The curves, without what came out."""
    return {tag for tag in events.Tags()["scalars"] if not tag.startswith("Final/")}


def drawn(events: EventAccumulator, tag: str, which: int = -1) -> np.ndarray:
    """A picture, decoded."""
    return np.asarray(Image.open(io.BytesIO(events.Images(tag)[which].encoded_image_string)))


# Curves.


@pytest.mark.parametrize("name", HIDDEN)
def test_every_curve_has_a_point_an_epoch_and_there_are_no_others(name):
    run, events = trained(name)
    layers, measured = [f"layer{i + 1}" for i in range(HIDDEN[name])], lines(run)[0]
    expected = {f"{metric}/{part}" for part in ("train", "val") for metric in measured[part]}
    expected |= {"lr", "gradient_norm/all", "seconds/train", "seconds/val"}
    expected |= {
        f"{what}/{layer}" for what in ("gradient_norm", "update_to_weight") for layer in [*layers, "output"]
    }
    expected |= {f"{what}/{layer}" for what in ("zero", "dead") for layer in layers}
    expected |= {
        f"saturated/{layer}" for layer in layers if name == "moons"
    }  # ReLU has no flat end but its zeros
    assert scalars(events) == expected
    for tag in expected:
        assert [point.step for point in events.Scalars(tag)] == list(
            range(1, run.report["epochs_run"] + 1)
        ), tag
        assert all(math.isfinite(value) for value in curve(events, tag)), tag


@pytest.mark.parametrize("name", ["digits", "grade", "stopped"])
def test_curves_are_what_metrics_jsonl_says(name):
    run, events = trained(name)
    written, times = lines(run), lines(run, "timing.jsonl")
    assert curve(events, "lr") == pytest.approx([line["lr"] for line in written], rel=1e-6)
    for part in ("train", "val"):
        assert curve(events, f"seconds/{part}") == pytest.approx(
            [line["seconds"][part] for line in times], rel=1e-6
        )
        for metric in written[0][part]:
            expected = [line[part][metric] for line in written]
            assert curve(events, f"{metric}/{part}") == pytest.approx(expected, rel=1e-6), metric


def sample(run) -> tuple[torch.Tensor, torch.Tensor]:
    """The first 256 training rows as the net takes them, and their classes."""
    data = load_data(run.config)
    rows = data.parts["train"][:256]
    return run.model.preprocessing(torch.from_numpy(data.inputs[rows])), torch.from_numpy(data.targets[rows])


@pytest.mark.parametrize(("name", "g"), [("digits", torch.relu), ("moons", torch.tanh)])
def test_the_layers_curves_end_at_the_saved_nets_numbers(name, g):
    """By torch alone, from the weights of the last epoch, which is the best: shares, and norms of gradients."""
    run, events = trained(name)
    assert run.report["best_epoch"] == run.report["epochs_run"]
    (h, c), found = sample(run), {}
    for i, layer in enumerate(run.model.body.hidden, 1):
        a = layer.linear(h)
        h = g(a)
        found |= {f"zero/layer{i}": (h == 0).float().mean(), f"dead/layer{i}": (h == 0).all(0).float().mean()}
        found |= {f"saturated/layer{i}": (a.abs() > 2.2).float().mean()} if name == "moons" else {}
    o, losses = run.model.body.output(h), torch.nn.functional
    if name == "moons":
        losses.binary_cross_entropy_with_logits(o[:, 0], c.float()).backward()
    else:
        losses.cross_entropy(o, c).backward()
    for i, layer in enumerate([*(layer.linear for layer in run.model.body.hidden), run.model.body.output], 1):
        tag = "output" if layer is run.model.body.output else f"layer{i}"
        found[f"gradient_norm/{tag}"] = layer.weight.grad.norm()
    for tag, value in found.items():
        assert curve(events, tag)[-1] == pytest.approx(value.item(), rel=1e-3, abs=1e-7), tag
    assert found["zero/layer1"] > 0.1 if name == "digits" else found["saturated/layer1"] > 0.01


def test_updates_are_the_rate_times_the_gradient():
    """Plain descent on all rows: what one curve says of an epoch follows from the others at the one before."""
    run, events = trained("circles")
    lr = run.config["optim"]["lr"]
    for layer in ("layer1", "layer2", "output"):
        squares = {h.step: h.histogram_value.sum_squares for h in events.Histograms(f"weights/{layer}")}
        norms, ratios = curve(events, f"gradient_norm/{layer}"), curve(events, f"update_to_weight/{layer}")
        for number in (2, 3):
            expected = lr * norms[number - 2] / math.sqrt(squares[number - 1])
            assert ratios[number - 1] == pytest.approx(expected, rel=1e-4), (layer, number)


def test_the_gradients_norm_is_that_over_all_parameters():
    run, events = trained("untouched")
    x, c = sample(run)
    assert len(x) == 210
    torch.nn.functional.binary_cross_entropy_with_logits(run.model.body(x)[:, 0], c.float()).backward()
    norm = math.sqrt(sum(p.grad.double().square().sum().item() for p in run.model.parameters()))
    assert curve(events, "gradient_norm/all") == [pytest.approx(norm, rel=1e-4)]


def test_what_is_undefined_leaves_a_gap():
    """One validation row has no ranking; weights that were zero have no ratio at first."""
    words = [
        "data=moons",
        "data.rows=10",
        "data.split=[0.8,0.1,0.1]",
        "model=perceptron",
        "initializer=zeros",
    ]
    run = dlfound.train([*STEADY, *words, "train.epochs=3"])
    events = read(run.path)
    assert "auroc/val" not in scalars(events) and "Final/auroc/val" not in events.Tags()["scalars"]
    assert [point.step for point in events.Scalars("update_to_weight/output")] == [2, 3]
    assert [point.step for point in events.Scalars("loss/val")] == [1, 2, 3]


# Moments, histograms.


@pytest.mark.parametrize(
    "epochs", [*range(1, 40), *(round(10 ** (k / 7)) for k in range(12, 43)), 999_999, 10**6]
)
def test_moments(epochs):
    """At most ten, 0, 1 and the last among them, none beyond, further and further apart."""
    found = sorted(moments(epochs))
    assert len(found) <= 10 and found[:2] == [0, 1] and found[-1] == epochs
    assert all(isinstance(number, int) for number in found)
    if epochs >= 100:
        steps = np.diff(found[2:])
        assert len(found) >= 8 and (np.diff(steps) >= 0).all()


@pytest.mark.parametrize("name", ["digits", "moons", "circles", "stopped", "sine"])
def test_histograms_are_drawn_at_the_moments(name):
    """Three of each layer; a run that stops early has those up to its end."""
    run, events = trained(name)
    expected = sorted(m for m in moments(run.config["train"]["epochs"]) if m <= run.report["epochs_run"])
    assert 2 < len(expected) <= 10
    layers = [*(f"layer{i + 1}" for i in range(len(run.model.body.hidden))), "output"]
    tags = {f"{what}/{layer}" for what in ("weights", "gradients", "activations") for layer in layers}
    assert set(events.Tags()["histograms"]) == tags
    for tag in tags:
        assert [h.step for h in events.Histograms(tag)] == expected, tag


@pytest.mark.parametrize("name", ["digits", "moons", "circles", "untouched"])
def test_each_weight_is_counted_once(name):
    """The counts add up, at every moment; those of activations to the sample's rows times the units."""
    run, events = trained(name)
    rows = min(256, run.schema["split"]["train"])
    for i, layer in enumerate([*(layer.linear for layer in run.model.body.hidden), run.model.body.output], 1):
        units, inputs = layer.weight.shape
        tag = "output" if layer is run.model.body.output else f"layer{i}"
        for what, count in (
            ("weights", units * inputs),
            ("gradients", units * inputs),
            ("activations", rows * units),
        ):
            for h in (event.histogram_value for event in events.Histograms(f"{what}/{tag}")):
                assert sum(h.bucket) == h.num == count
                assert (np.diff(h.bucket_limit) > 0).all() and h.bucket_limit[-1] == pytest.approx(h.max)


def test_a_histogram_is_that_of_the_saved_weights():
    """The last one, against NumPy; single values may fall on the other side of an edge."""
    run, events = trained("digits")
    w = run.model.body.hidden[0].linear.weight.detach().double().numpy().ravel()
    h = events.Histograms("weights/layer1")[-1].histogram_value
    found, expected = (h.min, h.max, h.sum, h.sum_squares), (w.min(), w.max(), w.sum(), (w**2).sum())
    assert found == pytest.approx(expected, rel=1e-5)
    counts, edges = np.histogram(w, len(h.bucket))
    assert h.bucket_limit == pytest.approx(edges[1:], rel=1e-5, abs=1e-6)
    assert np.abs(np.cumsum(counts) - np.cumsum(h.bucket)).max() <= 1


def test_equal_weights_are_one_bar():
    run = dlfound.train([*STEADY, "initializer=constant", "initializer.value=0.25", "train.epochs=1"])
    h = read(run.path).Histograms("weights/layer1")[0].histogram_value
    assert sorted(h.bucket)[-1] == h.num == run.model.body.hidden[0].linear.weight.numel()
    assert sum(count > 0 for count in h.bucket) == 1
    limits, at = np.array([h.min, *h.bucket_limit]), int(np.argmax(h.bucket))
    assert (np.diff(limits) > 0).all() and limits[at] <= 0.25 <= limits[at + 1]


# Pictures.


@pytest.mark.parametrize(
    ("name", "moving", "last"),
    [
        ("digits", {"first_layer"}, "confusion"),
        ("moons", {"decision_boundary"}, "confusion"),
        ("spirals", {"decision_boundary"}, "confusion"),
        ("grade", {"surface"}, "predicted_against_true"),
        ("sine", set(), "predicted_against_true"),
        ("many classes", set(), ""),
    ],
)
def test_what_is_drawn_depends_on_the_data(name, moving, last):
    """Weights and boundaries at the moments; the answers for validation and test rows at the end."""
    run, events = trained(name)
    answers = {f"{last}/val", f"{last}/test"} if last else set()
    assert set(events.Tags()["images"]) == moving | answers
    for tag in moving:
        assert [image.step for image in events.Images(tag)] == sorted(moments(run.config["train"]["epochs"]))
    for tag in answers:
        (image,) = events.Images(tag)
        assert image.step >= run.report["epochs_run"]


@pytest.mark.parametrize("name", ["digits", "moons", "spirals"])
def test_the_confusion_matrix_is_scikit_learns(name):
    """Of the test rows, from the saved net's predictions."""
    run, events = trained(name)
    data, classes = load_data(run.config), run.schema["classes"]
    rows = data.parts["test"]
    true = np.array(classes)[data.targets[rows]]
    counts = confusion_matrix(true, run.predict(data.inputs[rows]), labels=classes)
    assert counts.sum() == len(rows) and (counts != counts.T).any()
    assert np.array_equal(drawn(events, "confusion/test"), pictures.confusion(counts, classes))


@pytest.mark.parametrize("name", ["grade", "sine"])
def test_predicted_against_true(name):
    """In the target's own unit."""
    run, events = trained(name)
    data = load_data(run.config)
    rows = data.parts["test"]
    expected = pictures.scatter(data.targets[rows][:, 0], run.predict(data.inputs[rows]))
    differ = (drawn(events, "predicted_against_true/test") != expected).any(2).mean()
    assert differ < 0.002  # a point on the border between two pixels


def test_the_first_layer_is_seen_as_images():
    run, events = trained("digits")
    w = run.model.body.hidden[0].linear.weight.detach().numpy().reshape(24, 1, 8, 8)
    assert np.array_equal(drawn(events, "first_layer"), pictures.filters(w))
    assert not np.array_equal(drawn(events, "first_layer", 0), drawn(events, "first_layer"))


@pytest.mark.parametrize("name", ["moons", "spirals"])
def test_the_decision_boundary_is_the_saved_nets(name):
    """At random places the pale colour is that of the class which the net predicts there, where it is sure of it."""
    run, events = trained(name)
    image, data = drawn(events, "decision_boundary").astype(float), load_data(run.config)
    near = data.inputs[data.parts["train"][:300]]
    low, high = near.min(0), near.max(0)
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    places = np.random.default_rng(0).uniform(0.02, 0.98, (4000, 2))
    apart = [np.abs((near - low) / (high - low) - place).max(1).min() > 0.02 for place in places]
    places = places[np.array(apart)]  # not under a point
    pixels = image[np.round((1 - places[:, 1]) * 319).astype(int), np.round(places[:, 0] * 319).astype(int)]
    classes = run.schema["classes"]
    pale = (pictures.COLOURS[: len(classes)] + 255) / 2
    seen = np.array(classes)[np.square(pixels[:, None] - pale).sum(2).argmin(1)]
    rows = low + places * (high - low)
    sure = run.probabilities(rows).max(1) > 0.9
    assert (seen == run.predict(rows))[sure].mean() > 0.99
    assert len(set(seen)) == len(classes) and sure.sum() > 500


def test_training_rows_lie_on_the_boundary_in_their_own_colour():
    run, events = trained("spirals")
    image, data = drawn(events, "decision_boundary"), load_data(run.config)
    rows = data.parts["train"][:300]
    near = data.inputs[rows]
    low, high = near.min(0), near.max(0)
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    x, y = np.round((near - low) / (high - low) * 319).astype(int).T
    own = (image[319 - y, x] == pictures.COLOURS[data.targets[rows]]).all(1)
    assert own.mean() > 0.8  # the others are covered by later ones


def test_the_surface_goes_from_blue_to_orange():
    """Who attends and works gets the better grade: the upper right is more orange than the lower left."""
    _, events = trained("grade")
    image = drawn(events, "surface").astype(float)
    redness = image[..., 0] - image[..., 2]
    assert redness[:40, -40:].mean() > redness[-40:, :40].mean() + 100


# Settings, charts, texts.


def plugin(events: EventAccumulator, tag: str):
    content = events.summary_metadata[tag].plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_settings_and_results_stand_in_the_runs_own_file():
    """Every setting by the name that sets it; the final metrics as the report has them; no run beside the run."""
    run, events = trained("digits")
    (file,) = (run.path / "tensorboard").iterdir()
    assert file.is_file()
    start = plugin(events, "_hparams_/session_start_info").session_start_info
    found = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
    assert found["optim"] == "adam" and found["optim.lr"] == 0.001 and found["train.epochs"] == 12
    assert (
        found["model.hidden"] == "[24, 8]"
        and found["initializer"] == "he_normal"
        and found["loss"] == "cross_entropy"
    )
    settings = {f"{node}.{name}" for node, of in run.config.tree.items() for name in of}
    settings -= {"run.dir", "run.name"}
    assert set(found) == {setting.removesuffix(".name") for setting in settings}
    assert configure([f"{name}={found[name]}" for name in ("activation", "optim", "optim.lr", "run.seed")])
    assert plugin(events, "_hparams_/session_end_info").HasField("session_end_info")
    for part in ("val", "test"):
        for metric in ("loss", "accuracy"):
            (point,) = events.Scalars(f"Final/{metric}/{part}")
            assert point.value == pytest.approx(run.report[part][metric], rel=1e-6)
            assert point.step >= 12


def test_the_monitors_result_is_among_the_final_ones():
    run = dlfound.train([*STEADY, "train.monitor=f1_macro", "model.hidden=[8]", "train.epochs=1"])
    final = {tag for tag in read(run.path).Tags()["scalars"] if tag.startswith("Final/")}
    assert final == {
        f"Final/{m}/{part}" for m in ("loss", "accuracy", "f1_macro") for part in ("val", "test")
    }


def charts(events: EventAccumulator) -> dict[str, dict[str, list[str]]]:
    """Page "custom scalars": section -> chart -> curves."""
    (tensor,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    return {
        part.title: {chart.title: list(chart.multiline.tag) for chart in part.chart}
        for part in layout.category
    }


@pytest.mark.parametrize("name", ["digits", "moons", "grade", "sine"])
def test_training_and_validation_share_a_chart(name):
    """So do the layers; every curve that a chart names exists."""
    run, events = trained(name)
    found, measured = charts(events), lines(run)[0]
    assert found["metrics"]["loss"] == ["loss/train", "loss/val"]
    assert set(found["metrics"]) == set(measured["val"])
    for metric, tags in found["metrics"].items():
        assert tags == [f"{metric}/{part}" for part in ("train", "val") if metric in measured[part]]
    layers = [*(f"layer{i + 1}" for i in range(HIDDEN[name])), "output"]
    assert found["layers"]["update_to_weight"] == [f"update_to_weight/{layer}" for layer in layers]
    assert ("zero" in found["layers"]) == (HIDDEN[name] > 0) and ("saturated" in found["layers"]) == (
        name == "moons"
    )
    assert {tag for part in found.values() for tags in part.values() for tag in tags} <= scalars(events)


def test_the_configuration_stands_there_as_text():
    run, events = trained("digits")
    (text,) = events.Tensors("configuration/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    saved = (run.path / "config.yaml").read_text().splitlines()
    told = [line.removeprefix("    ") for line in shown.splitlines()]
    assert told == [line for line in saved if not line.startswith("#")]
    (net,) = events.Tensors("net/text_summary")
    assert "in_features=64, out_features=24" in net.tensor_proto.string_val[0].decode()


# Without it.


@pytest.mark.parametrize(
    "words",
    [
        ["batchnorm=batch", "dropout=standard", "dropout.input=0.1", "lr_decay=cosine"],
        ["data=moons", "optim=lbfgs"],
        ["data=passfail", "data.target=grade", "optim.lr=0.3"],
        ["data=spirals", "initializer=constant", "optim=muon"],
    ],
    ids=["noise", "lbfgs", "numbers", "warnings"],
)
def test_a_logger_changes_nothing(words):
    """The same weights and metrics to the bit, and the same warnings; without one there is no folder for it."""
    quick = ["early_stopping=none", "lr_decay=none", "model.hidden=[8]", "train.epochs=4", *words]
    loud, silent = (dlfound.train([*quick, f"logger={name}"]) for name in ("tensorboard", "none"))
    for name in ("model.safetensors", "metrics.jsonl", "schema.json"):
        assert (loud.path / name).read_bytes() == (silent.path / name).read_bytes(), name
    assert loud.report["warnings"] == silent.report["warnings"]
    assert loud.report["test"] == silent.report["test"]
    assert (loud.path / "tensorboard").is_dir() and not (silent.path / "tensorboard").exists()


@pytest.mark.parametrize("names", [("a\nb", "c\td"), ("größe", "猫 😀"), ("", "x" * 99)])
def test_any_names_of_classes_can_be_drawn(names):
    words = [*STEADY, "model.hidden=[4]", "train.epochs=1"]
    run = dlfound.train(words, data=(FOUR, [names[int(row[0] > 0)] for row in FOUR]))
    assert drawn(read(run.path), "confusion/test").ndim == 3


def test_a_plane_of_a_feature_that_does_not_vary():
    """Its rows lie along the middle."""
    words, rows = [*STEADY, "model.hidden=[4]", "train.epochs=1"], np.c_[FOUR[:, 0], np.zeros(420)]
    image = drawn(read(dlfound.train(words, data=(rows, FOUR[:, 0] > 0)).path), "decision_boundary")
    places = [np.nonzero((image == colour).all(2)) for colour in (pictures.BLUE, pictures.ORANGE)]
    assert all(len(y) and y.min() >= 155 and y.max() <= 164 for y, _ in places)
    assert places[0][1].mean() + 50 < places[1][1].mean()

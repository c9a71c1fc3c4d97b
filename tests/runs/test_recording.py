"""What a run records, read with TensorBoard's own reader: curves, histograms, pictures, settings."""

import io
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix
from support.run_files import lines_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

import dlfound
from dlfound.options.configure import configure
from dlfound.runs import pictures
from dlfound.runs.record import moments
from dlfound.runs.train import load_data

STEADY = ["early_stopping=none", "lr_decay=none"]
WIDE = ["initializer=normal", "initializer.std=1"]  # some pre-activations exceed 2.2
FEW_ROWS = ["data.rows=300", "train.batch_size=full"]  # 210 training rows: the sample contains all of them
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
    """Return a run, trained once for all tests, and its events."""
    run = dlfound.open_run(dlfound.train(RUNS[name], data=DATA.get(name)).path.resolve())
    return run, read(run.path)


def read(folder: Path) -> EventAccumulator:
    """Read everything in the event files."""
    everything = dict.fromkeys(("scalars", "histograms", "images", "tensors", "compressedHistograms"), 0)
    return EventAccumulator(str(folder / "tensorboard"), size_guidance=everything).Reload()


def curve(events: EventAccumulator, tag: str) -> list[float]:
    return [point.value for point in events.Scalars(tag)]


def scalars(events: EventAccumulator) -> set[str]:
    """Return the names of the curves, without those of the final results."""
    return {tag for tag in events.Tags()["scalars"] if not tag.startswith("Final/")}


def drawn(events: EventAccumulator, tag: str, which: int = -1) -> np.ndarray:
    """Decode a picture."""
    return np.asarray(Image.open(io.BytesIO(events.Images(tag)[which].encoded_image_string)))


# Curves.


@pytest.mark.parametrize("name", HIDDEN)
def test_every_curve_has_one_point_per_epoch_and_there_are_no_others(name):
    run, events = trained(name)
    layers = [f"layer{i + 1}" for i in range(HIDDEN[name])]
    measured = lines_of(run.path)[0]
    expected = {f"{metric}/{part}" for part in ("train", "val") for metric in measured[part]}
    expected |= {"lr", "gradient_norm/all", "seconds/train", "seconds/val"}
    both = ("gradient_norm", "update_to_weight")
    expected |= {f"{quantity}/{layer}" for quantity in both for layer in [*layers, "output"]}
    expected |= {f"{quantity}/{layer}" for quantity in ("zero", "dead") for layer in layers}
    if name == "moons":  # the zeros of ReLU do not count as saturated
        expected |= {f"saturated/{layer}" for layer in layers}
    assert scalars(events) == expected
    for tag in expected:
        steps = [point.step for point in events.Scalars(tag)]
        assert steps == list(range(1, run.report["epochs_run"] + 1)), tag
        assert all(math.isfinite(value) for value in curve(events, tag)), tag


@pytest.mark.parametrize("name", ["digits", "grade", "stopped"])
def test_curves_agree_with_metrics_jsonl_and_timing_jsonl(name):
    run, events = trained(name)
    written = lines_of(run.path)
    times = lines_of(run.path, "timing.jsonl")
    assert curve(events, "lr") == pytest.approx([line["lr"] for line in written], rel=1e-6)
    for part in ("train", "val"):
        seconds = [line["seconds"][part] for line in times]
        assert curve(events, f"seconds/{part}") == pytest.approx(seconds, rel=1e-6)
        for metric in written[0][part]:
            expected = [line[part][metric] for line in written]
            assert curve(events, f"{metric}/{part}") == pytest.approx(expected, rel=1e-6), metric


def sample(run) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first 256 training rows as the net's inputs, and their classes."""
    data = load_data(run.config)
    rows = data.parts["train"][:256]
    return run.model.preprocessing(torch.from_numpy(data.inputs[rows])), torch.from_numpy(data.targets[rows])


@pytest.mark.parametrize(("name", "g"), [("digits", torch.relu), ("moons", torch.tanh)])
def test_the_curves_of_the_layers_end_at_the_numbers_of_the_saved_net(name, g):
    """Computed by torch from the weights of the last epoch, which is the best one: shares and norms."""
    run, events = trained(name)
    assert run.report["best_epoch"] == run.report["epochs_run"]
    h, c = sample(run)
    expected = {}
    for i, layer in enumerate(run.model.body.hidden, 1):
        a = layer.linear(h)
        h = g(a)
        expected[f"zero/layer{i}"] = (h == 0).float().mean()
        expected[f"dead/layer{i}"] = (h == 0).all(0).float().mean()
        if name == "moons":
            expected[f"saturated/layer{i}"] = (a.abs() > 2.2).float().mean()
    o = run.model.body.output(h)
    losses = torch.nn.functional
    if name == "moons":
        losses.binary_cross_entropy_with_logits(o[:, 0], c.float()).backward()
    else:
        losses.cross_entropy(o, c).backward()
    for tag, layer in layers_of(run).items():
        expected[f"gradient_norm/{tag}"] = layer.weight.grad.norm()
    for tag, value in expected.items():
        assert curve(events, tag)[-1] == pytest.approx(value.item(), rel=1e-3, abs=1e-7), tag
    assert expected["zero/layer1"] > 0.1 if name == "digits" else expected["saturated/layer1"] > 0.01


def layers_of(run) -> dict[str, torch.nn.Linear]:
    """Return the linear layers of a run's net by the names that curves and histograms use."""
    body = run.model.body
    hidden = {f"layer{i}": layer.linear for i, layer in enumerate(body.hidden, 1)}
    return {**hidden, "output": body.output}


def test_updates_are_the_rate_times_the_gradient():
    """Gradient descent on all rows: an epoch's ratio follows from the other curves of the epoch before."""
    run, events = trained("circles")
    lr = run.config["optim"]["lr"]
    for layer in ("layer1", "layer2", "output"):
        squares = {h.step: h.histogram_value.sum_squares for h in events.Histograms(f"weights/{layer}")}
        norms = curve(events, f"gradient_norm/{layer}")
        ratios = curve(events, f"update_to_weight/{layer}")
        for number in (2, 3):
            expected = lr * norms[number - 2] / math.sqrt(squares[number - 1])
            assert ratios[number - 1] == pytest.approx(expected, rel=1e-4), (layer, number)


def test_the_gradient_norm_covers_all_parameters():
    run, events = trained("untouched")
    x, c = sample(run)
    assert len(x) == 210
    torch.nn.functional.binary_cross_entropy_with_logits(run.model.body(x)[:, 0], c.float()).backward()
    norm = math.sqrt(sum(p.grad.double().square().sum().item() for p in run.model.parameters()))
    assert curve(events, "gradient_norm/all") == [pytest.approx(norm, rel=1e-4)]


def test_an_undefined_value_leaves_a_gap():
    """A single validation row has no ranking; weights that are zero at the start have no ratio at first."""
    rows = ["data=moons", "data.rows=10", "data.split=[0.8,0.1,0.1]"]
    words = [*rows, "model=perceptron", "initializer=zeros"]
    run = dlfound.train([*STEADY, *words, "train.epochs=3"])
    events = read(run.path)
    assert "auroc/val" not in scalars(events) and "Final/auroc/val" not in events.Tags()["scalars"]
    assert [point.step for point in events.Scalars("update_to_weight/output")] == [2, 3]
    assert [point.step for point in events.Scalars("loss/val")] == [1, 2, 3]


# Moments, histograms.


def test_moments_are_at_most_ten_and_further_and_further_apart():
    """The epochs 0, 1 and the last one are among them."""
    many = [*range(1, 40), *(round(10 ** (k / 7)) for k in range(12, 43)), 999_999, 10**6]
    for epochs in many:
        numbers = sorted(moments(epochs))
        assert len(numbers) <= 10 and numbers[:2] == [0, 1] and numbers[-1] == epochs
        assert all(isinstance(number, int) for number in numbers)
        if epochs >= 100:
            steps = np.diff(numbers[2:])
            assert len(numbers) >= 8 and (np.diff(steps) >= 0).all(), epochs


@pytest.mark.parametrize("name", ["digits", "moons", "circles", "stopped", "sine"])
def test_histograms_are_drawn_at_the_moments(name):
    """Three for each layer; a run that stops early has those up to its end."""
    run, events = trained(name)
    expected = sorted(m for m in moments(run.config["train"]["epochs"]) if m <= run.report["epochs_run"])
    assert 2 < len(expected) <= 10
    kinds = ("weights", "gradients", "activations")
    tags = {f"{kind}/{layer}" for kind in kinds for layer in layers_of(run)}
    assert set(events.Tags()["histograms"]) == tags
    for tag in tags:
        assert [h.step for h in events.Histograms(tag)] == expected, tag


@pytest.mark.parametrize("name", ["digits", "moons", "circles", "untouched"])
def test_each_weight_is_counted_once(name):
    """At every moment the counts add up to the weights; those of activations to sampled rows times units."""
    run, events = trained(name)
    rows = min(256, run.schema["split"]["train"])
    for tag, layer in layers_of(run).items():
        units, inputs = layer.weight.shape
        counts = {"weights": units * inputs, "gradients": units * inputs, "activations": rows * units}
        for kind, count in counts.items():
            for event in events.Histograms(f"{kind}/{tag}"):
                h = event.histogram_value
                assert sum(h.bucket) == h.num == count
                assert (np.diff(h.bucket_limit) > 0).all() and h.bucket_limit[-1] == pytest.approx(h.max)


def test_the_last_histogram_is_that_of_the_saved_weights():
    """Against NumPy; single values may fall on the other side of an edge."""
    run, events = trained("digits")
    w = run.model.body.hidden[0].linear.weight.detach().double().numpy().ravel()
    h = events.Histograms("weights/layer1")[-1].histogram_value
    expected = (w.min(), w.max(), w.sum(), (w**2).sum())
    assert (h.min, h.max, h.sum, h.sum_squares) == pytest.approx(expected, rel=1e-5)
    counts, edges = np.histogram(w, len(h.bucket))
    assert h.bucket_limit == pytest.approx(edges[1:], rel=1e-5, abs=1e-6)
    assert np.abs(np.cumsum(counts) - np.cumsum(h.bucket)).max() <= 1


def test_equal_weights_are_one_bar():
    run = dlfound.train([*STEADY, "initializer=constant", "initializer.value=0.25", "train.epochs=1"])
    h = read(run.path).Histograms("weights/layer1")[0].histogram_value
    assert sorted(h.bucket)[-1] == h.num == run.model.body.hidden[0].linear.weight.numel()
    assert sum(count > 0 for count in h.bucket) == 1
    limits = np.array([h.min, *h.bucket_limit])
    at = int(np.argmax(h.bucket))
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
def test_the_data_decide_which_pictures_are_drawn(name, moving, last):
    """Weights and boundaries at the moments; predictions for validation and test rows at the end."""
    run, events = trained(name)
    final = {f"{last}/val", f"{last}/test"} if last else set()
    assert set(events.Tags()["images"]) == moving | final
    for tag in moving:
        assert [image.step for image in events.Images(tag)] == sorted(moments(run.config["train"]["epochs"]))
    for tag in final:
        (image,) = events.Images(tag)
        assert image.step >= run.report["epochs_run"]


@pytest.mark.parametrize("name", ["digits", "moons", "spirals"])
def test_the_confusion_matrix_agrees_with_scikit_learn(name):
    """For the test rows, from the saved net's predictions."""
    run, events = trained(name)
    data = load_data(run.config)
    classes = run.schema["classes"]
    rows = data.parts["test"]
    true = np.array(classes)[data.targets[rows]]
    counts = confusion_matrix(true, run.predict(data.inputs[rows]), labels=classes)
    assert counts.sum() == len(rows) and (counts != counts.T).any()
    assert np.array_equal(drawn(events, "confusion/test"), pictures.confusion(counts, classes))


@pytest.mark.parametrize("name", ["grade", "sine"])
def test_predicted_and_true_values_are_drawn_in_the_unit_of_the_target(name):
    run, events = trained(name)
    data = load_data(run.config)
    rows = data.parts["test"]
    expected = pictures.scatter(data.targets[rows][:, 0], run.predict(data.inputs[rows]))
    differ = (drawn(events, "predicted_against_true/test") != expected).any(2).mean()
    assert differ < 0.002  # a point may lie on the border between two pixels


def test_the_weights_of_the_first_layer_are_drawn_as_images():
    run, events = trained("digits")
    w = run.model.body.hidden[0].linear.weight.detach().numpy().reshape(24, 1, 8, 8)
    assert np.array_equal(drawn(events, "first_layer"), pictures.filters(w))
    assert not np.array_equal(drawn(events, "first_layer", 0), drawn(events, "first_layer"))


@pytest.mark.parametrize("name", ["moons", "spirals"])
def test_the_decision_boundary_is_that_of_the_saved_net(name):
    """At random places, the pale colour is that of the predicted class wherever the net is sure."""
    run, events = trained(name)
    image = drawn(events, "decision_boundary").astype(float)
    near, low, high = plane_of(run)
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


def plane_of(run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the training rows that are drawn as points, and two corners of the plane around them."""
    data = load_data(run.config)
    near = data.inputs[data.parts["train"][:300]]
    margin = 0.1 * (near.max(0) - near.min(0))
    return near, near.min(0) - margin, near.max(0) + margin


def test_training_rows_are_points_of_their_own_colour_on_the_boundary():
    run, events = trained("spirals")
    image = drawn(events, "decision_boundary")
    near, low, high = plane_of(run)
    x, y = np.round((near - low) / (high - low) * 319).astype(int).T
    data = load_data(run.config)
    targets = data.targets[data.parts["train"][:300]]
    own = (image[319 - y, x] == pictures.COLOURS[targets]).all(1)
    assert own.mean() > 0.8  # later points cover the others


def test_the_surface_goes_from_blue_to_orange():
    """The grade grows with both inputs: the upper right is more orange than the lower left."""
    _, events = trained("grade")
    image = drawn(events, "surface").astype(float)
    redness = image[..., 0] - image[..., 2]
    assert redness[:40, -40:].mean() > redness[-40:, :40].mean() + 100


# Settings, charts, texts.


def plugin(events: EventAccumulator, tag: str):
    content = events.summary_metadata[tag].plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_settings_and_results_are_in_the_single_event_file_of_the_run():
    """Every setting under its name, and the final metrics of the report."""
    run, events = trained("digits")
    (file,) = (run.path / "tensorboard").iterdir()
    assert file.is_file()
    start = plugin(events, "_hparams_/session_start_info").session_start_info
    values = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
    assert values["optim"] == "adam" and values["optim.lr"] == 0.001 and values["train.epochs"] == 12
    assert values["model.hidden"] == "[24, 8]"
    assert values["initializer"] == "he_normal" and values["loss"] == "cross_entropy"
    settings = {f"{node}.{name}" for node, of in run.config.tree.items() for name in of}
    settings -= {"run.dir", "run.name"}
    assert set(values) == {setting.removesuffix(".name") for setting in settings}
    assert configure([f"{name}={values[name]}" for name in ("activation", "optim", "optim.lr", "run.seed")])
    assert plugin(events, "_hparams_/session_end_info").HasField("session_end_info")
    for part in ("val", "test"):
        for metric in ("loss", "accuracy"):
            (point,) = events.Scalars(f"Final/{metric}/{part}")
            assert point.value == pytest.approx(run.report[part][metric], rel=1e-6)
            assert point.step >= 12


def test_the_final_results_contain_the_monitor():
    run = dlfound.train([*STEADY, "train.monitor=f1_macro", "model.hidden=[8]", "train.epochs=1"])
    final = {tag for tag in read(run.path).Tags()["scalars"] if tag.startswith("Final/")}
    metrics = ("loss", "accuracy", "f1_macro")
    assert final == {f"Final/{metric}/{part}" for metric in metrics for part in ("val", "test")}


def charts(events: EventAccumulator) -> dict[str, dict[str, list[str]]]:
    """Return section -> chart -> curves of the page "custom scalars"."""
    (tensor,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    return {
        part.title: {chart.title: list(chart.multiline.tag) for chart in part.chart}
        for part in layout.category
    }


@pytest.mark.parametrize("name", ["digits", "moons", "grade", "sine"])
def test_training_and_validation_share_a_chart_and_so_do_the_layers(name):
    """Every curve that a chart names exists."""
    run, events = trained(name)
    sections = charts(events)
    measured = lines_of(run.path)[0]
    assert sections["metrics"]["loss"] == ["loss/train", "loss/val"]
    assert set(sections["metrics"]) == set(measured["val"])
    for metric, tags in sections["metrics"].items():
        assert tags == [f"{metric}/{part}" for part in ("train", "val") if metric in measured[part]]
    ratios = [f"update_to_weight/{layer}" for layer in layers_of(run)]
    assert sections["layers"]["update_to_weight"] == ratios
    assert ("zero" in sections["layers"]) == (HIDDEN[name] > 0)
    assert ("saturated" in sections["layers"]) == (name == "moons")
    named = {tag for charts in sections.values() for tags in charts.values() for tag in tags}
    assert named <= scalars(events)


def test_the_configuration_and_the_net_are_shown_as_text():
    run, events = trained("digits")
    (text,) = events.Tensors("configuration/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    saved = (run.path / "config.yaml").read_text().splitlines()
    lines = [line.removeprefix("    ") for line in shown.splitlines()]
    assert lines == [line for line in saved if not line.startswith("#")]
    (net,) = events.Tensors("net/text_summary")
    assert "in_features=64, out_features=24" in net.tensor_proto.string_val[0].decode()


# Without a logger, and with unusual data.


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
    """Weights, metrics and warnings are the same to the bit; without a logger there is no folder for it."""
    quick = ["early_stopping=none", "lr_decay=none", "model.hidden=[8]", "train.epochs=4", *words]
    loud, silent = (dlfound.train([*quick, f"logger={name}"]) for name in ("tensorboard", "none"))
    for name in ("model.safetensors", "metrics.jsonl", "schema.json"):
        assert (loud.path / name).read_bytes() == (silent.path / name).read_bytes(), name
    assert loud.report["warnings"] == silent.report["warnings"]
    assert loud.report["test"] == silent.report["test"]
    assert (loud.path / "tensorboard").is_dir() and not (silent.path / "tensorboard").exists()


def test_any_names_of_classes_can_be_drawn():
    words = [*STEADY, "model.hidden=[4]", "train.epochs=1"]
    for names in [("a\nb", "c\td"), ("größe", "猫 😀"), ("", "x" * 99)]:
        run = dlfound.train(words, data=(FOUR, [names[int(row[0] > 0)] for row in FOUR]))
        assert drawn(read(run.path), "confusion/test").ndim == 3


def test_a_constant_feature_puts_all_points_on_the_middle_line():
    words = [*STEADY, "model.hidden=[4]", "train.epochs=1"]
    rows = np.c_[FOUR[:, 0], np.zeros(420)]
    image = drawn(read(dlfound.train(words, data=(rows, FOUR[:, 0] > 0)).path), "decision_boundary")
    places = [np.nonzero((image == colour).all(2)) for colour in (pictures.BLUE, pictures.ORANGE)]
    assert all(len(y) and y.min() >= 155 and y.max() <= 164 for y, _ in places)
    assert places[0][1].mean() + 50 < places[1][1].mean()

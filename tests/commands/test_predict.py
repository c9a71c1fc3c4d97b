"""`dlfound predict`: images and arrays through a run's net, to CSV, compared with the arrays' own outputs."""

import contextlib
import csv
import io
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlfound
from dlfound.cli import main
from dlfound.config import catalog as options
from dlfound.data.digits import digits
from dlfound.data.image_folder import image_folder

QUICK = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "model.hidden=[8]", "logger=none"]
BOTH = ["file", "class", "probability"]


def said(capsys, *words, code=0):
    """Standard output and standard error of a command that ends with `code`."""
    assert main(["predict", *map(str, words)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err and (code == 0 or out == "")
    return out, err


def table(text):
    """The columns of a CSV, by their names."""
    lines = list(csv.reader(io.StringIO(text)))
    return dict(zip(lines[0], map(list, zip(*lines[1:], strict=True)), strict=True))


def floats(column):
    return np.array(column, np.float32)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A trained run for each of several data sets."""
    folder = tmp_path_factory.mktemp("runs")
    words = {"digits": ["data=digits", "train.epochs=4"], "moons": ["data=moons"], "sine": ["data=sine"]}
    words["hinge"] = ["data=moons", "loss=hinge"]
    return {name: dlfound.train([*QUICK, *more, f"run.dir={folder / name}"]) for name, more in words.items()}


@pytest.fixture(scope="module")
def rows():
    """Forty of the digits as the data hold them."""
    return digits(seed=0, split=[0.7, 0.15, 0.15]).inputs[100:140]


@pytest.fixture
def scans(tmp_path, rows):
    """The same digits as PNGs of 0 to 255, in two folders, with a file that is no image."""
    for number, row in enumerate(rows):
        folder = tmp_path / "scans" / ("a" if number < 20 else "b/c")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(row.reshape(8, 8) * (255 / 16)).astype(np.uint8)).save(
            folder / f"{number:02}.PNG"
        )
    (tmp_path / "scans" / "notes.txt").write_text("mine")
    return Path("scans")


def colours(folder, size=(9, 7)):
    """Images of several formats, modes and sizes in a folder for each of three classes."""
    rng = np.random.default_rng(0)
    for number in range(36):
        kind = folder / ("red", "green", "blue")[number % 3]
        kind.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 90, (size[1] + number % 4, size[0], 3))
        pixels[..., number % 3] += 150
        image = Image.fromarray(pixels.astype(np.uint8))
        name = kind / f"{number:02}.{('png', 'jpg', 'bmp', 'webp')[number % 4]}"
        image.convert("P" if name.suffix == ".png" else "RGB").save(name)
    return folder


@pytest.fixture
def painted(tmp_path):
    """A folder of colour images, and a run that was trained on it."""
    folder = colours(tmp_path / "images")
    words = ["data=image_folder", f"data.path={folder}", "data.size=6", "train.batch_size=8", "run.threads=2"]
    return folder, dlfound.train([*QUICK, *words, "run.dir=painted"])


# ---- images


def test_digits_saved_as_images_are_predicted_as_the_digits_themselves(runs, rows, scans, capsys):
    out, err = said(capsys, runs["digits"].path, scans)
    predictions = table(out)
    assert list(predictions) == BOTH and err == "dlfound: skipped 1 file that is no image\n"
    assert predictions["file"] == [f"scans/{'a' if n < 20 else 'b/c'}/{n:02}.PNG" for n in range(40)]
    assert predictions["class"] == list(runs["digits"].predict(rows))
    probabilities = runs["digits"].probabilities(rows)
    assert (floats(predictions["probability"]) == probabilities.max(1)).all()
    one = table(said(capsys, runs["digits"].path, scans / "b" / "c" / "33.PNG")[0])
    assert one["class"] == [predictions["class"][33]] and one["file"] == ["scans/b/c/33.PNG"]
    assert floats(one["probability"]) == runs["digits"].probabilities(rows[33:34]).max()
    every = table(said(capsys, runs["digits"].path, scans, "--probabilities")[0])
    assert list(every) == [*BOTH, *(f"probability_{digit}" for digit in range(10))]
    shares = floats([every[f"probability_{digit}"] for digit in range(10)]).T
    assert (shares == probabilities).all()


def test_the_images_of_a_training_give_its_own_predictions(painted, capsys):
    folder, run = painted
    predictions = table(said(capsys, run.path, folder, "--probabilities")[0])
    data = image_folder(path=str(folder), size=6, seed=0, split=[0.7, 0.15, 0.15])
    assert predictions["class"] == list(run.predict(data.inputs)) and len(set(predictions["class"])) > 1
    shares = floats([predictions[f"probability_{name}"] for name in ("blue", "green", "red")]).T
    assert (shares == run.probabilities(data.inputs)).all()
    test = data.parts["test"]
    right = np.mean(np.array(predictions["class"])[test] == np.array(data.classes)[data.targets[test]])
    assert right == run.report["test"]["accuracy"]


def test_an_image_is_brought_to_the_runs_size_and_colours(painted, runs, tmp_path, capsys):
    rng = np.random.default_rng(1)
    big = Image.fromarray(rng.integers(0, 256, (50, 31, 4), dtype=np.uint8))
    colour, grey = Image.fromarray(np.asarray(big)[..., :3]), big.convert("L")
    by_hand = np.asarray(colour.resize((6, 6), Image.Resampling.BILINEAR)).transpose(2, 0, 1).reshape(1, -1)
    for number, image in enumerate((big, colour)):  # what lies behind a transparent picture is looked at
        image.save(tmp_path / f"{number}.png")
        out, _ = said(capsys, painted[1].path, f"{number}.png", "--probabilities")
        assert (floats(out.split(",")[-3:]) == painted[1].probabilities(by_hand)[0]).all()
    small = np.asarray(grey.resize((8, 8), Image.Resampling.BILINEAR)).astype(float)
    grey.save(tmp_path / "grey.tif")
    out, _ = said(capsys, runs["digits"].path, "grey.tif", "--probabilities")
    expected = runs["digits"].probabilities(np.rint(small.reshape(1, -1) * 16 / 255))
    assert (floats(out.split(",")[-10:]) == expected[0]).all()
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "deep.png")  # 65,536 levels
    deep, _ = said(capsys, runs["digits"].path, "deep.png", "--probabilities")
    assert deep.split(",")[-10:] == out.split(",")[-10:]


def test_negatives_are_reported_and_inverted(runs, rows, tmp_path, capsys):
    Image.fromarray(np.rint(255 - rows[0].reshape(8, 8) * (255 / 16)).astype(np.uint8)).save(
        tmp_path / "photo.png"
    )
    out, err = said(capsys, runs["digits"].path, "photo.png")
    assert "1 of 1 images look like negatives" in err and "try --invert" in err
    turned, err = said(capsys, runs["digits"].path, "photo.png", "--invert", "--probabilities")
    assert err == "" and (floats(turned.split(",")[-10:]) == runs["digits"].probabilities(rows[:1])[0]).all()
    np.save("rows.npy", rows)
    out, err = said(capsys, runs["digits"].path, "rows.npy")
    assert err == ""
    assert "40 of 40" in said(capsys, runs["digits"].path, "rows.npy", "--invert")[1]
    np.save("rows.npy", 16 - rows)
    again, err = said(capsys, runs["digits"].path, "rows.npy", "--invert")
    assert again == out and err == ""


def test_images_without_contrast_are_reported(runs, rows, tmp_path, capsys):
    Image.fromarray(rows[0].reshape(8, 8)).save(tmp_path / "raw.png")  # 0 to 16, where a PNG goes to 255
    assert (
        "1 of 1 images have hardly any contrast: pixels must span 0 to 255"
        in said(capsys, runs["digits"].path, "raw.png")[1]
    )
    np.save("unit.npy", rows / 255)
    assert (
        "40 of 40 images have hardly any contrast: pixels must span 0 to 16"
        in said(capsys, runs["digits"].path, "unit.npy")[1]
    )


def test_slightly_brighter_or_paler_images_are_not_reported(tmp_path, capsys):
    def board(mean, contrast):
        return Image.fromarray((mean + contrast * (-1) ** np.indices((4, 4)).sum(0)).astype(np.uint8))

    for number in range(12):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        board((100, 120)[number % 2], 60).save(folder / f"{number}.png")
    words = ["data=image_folder", "data.path=images", "data.size=4", "run.dir=grey"]
    dlfound.train([*QUICK, *words])
    for mean, contrast in ((110, 60), (136, 60), (110, 15)):
        board(mean, contrast).save("image.png")
        assert said(capsys, "grey", "image.png")[1] == "", (mean, contrast)


# ---- arrays


def test_arrays_give_the_predictions_of_a_program(runs, capsys):
    x = np.random.default_rng(0).standard_normal((9000, 2))
    np.save("x.npy", x)
    predictions = table(said(capsys, runs["moons"].path, "x.npy")[0])
    assert list(predictions) == ["row", "class", "probability"] and predictions["row"] == [
        str(row) for row in range(9000)
    ]
    assert predictions["class"] == list(runs["moons"].predict(x)) and len(set(predictions["class"])) == 2
    assert (floats(predictions["probability"]) == runs["moons"].probabilities(x).max(1)).all()


def test_every_layout_of_an_array_is_read(runs, capsys):
    x = np.arange(12.0).reshape(6, 2) / 10
    np.save("x.npy", x)
    expected, _ = said(capsys, runs["moons"].path, "x.npy")
    same = {"f.npy": np.asfortranarray(x), "big.npy": x.astype(">f8")}
    for name, array in same.items():
        np.save(name, array)
        assert said(capsys, runs["moons"].path, name)[0] == expected, name
    np.savez("one.npz", rows=np.asfortranarray(x))
    np.savez_compressed("two.npz", X=x, y=x[:, 0])
    for name in ("one.npz", "two.npz"):
        assert said(capsys, runs["moons"].path, name)[0] == expected, name
    np.save("row.npy", x[0])
    assert said(capsys, runs["moons"].path, "row.npy")[0].splitlines() == expected.splitlines()[:2]


def test_arrays_of_images_may_have_their_channels_first_or_last(painted, runs, rows, capsys):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 6), dtype=np.uint8)
    expected = painted[1].probabilities(images.reshape(5, -1))
    for shaped in (images, images.transpose(0, 2, 3, 1), images.reshape(5, -1), images.astype(float)):
        np.save("x.npy", shaped)
        out, _ = said(capsys, painted[1].path, "x.npy", "--probabilities")
        assert (floats([line.split(",")[3:] for line in out.splitlines()[1:]]) == expected).all(), (
            shaped.shape
        )
        assert (painted[1].probabilities(shaped) == expected).all()
    expected = painted[1].probabilities(images[:1].reshape(1, -1))
    for one in (images[0], images[0].transpose(1, 2, 0), images[0].ravel()):
        np.save("x.npy", one)
        out, _ = said(capsys, painted[1].path, "x.npy", "--probabilities")
        assert (floats(out.splitlines()[1].split(",")[3:]) == expected[0]).all()
    for shaped in (rows, rows.reshape(-1, 8, 8), rows.reshape(-1, 8, 8, 1), rows[0].reshape(8, 8)):
        np.save("x.npy", shaped)
        predictions = table(said(capsys, runs["digits"].path, "x.npy")[0])["class"]
        assert predictions == list(runs["digits"].predict(rows))[: len(predictions)] and len(predictions) in (
            1,
            40,
        )


def test_numbers_are_in_the_targets_unit(runs, capsys):
    x = np.linspace(-3, 3, 7)[:, None]
    np.save("x.npy", x)
    predictions = table(said(capsys, runs["sine"].path, "x.npy")[0])
    assert list(predictions) == ["row", "y1"]
    assert [float(y) for y in predictions["y1"]] == runs["sine"].predict(x).tolist()
    two = dlfound.train(QUICK, data=(np.repeat(x, 5, 0), np.repeat(np.hstack([x, 100 + x]), 5, 0) + 0.5))
    predictions = table(said(capsys, two.path, "x.npy")[0])
    assert list(predictions) == ["row", "y1", "y2"]
    numbers = np.array([predictions["y1"], predictions["y2"]], float).T
    assert (numbers == two.predict(x)).all()


# ---- where it goes


def test_out_holds_what_standard_output_would(runs, scans, capsys):
    expected, _ = said(capsys, runs["digits"].path, scans)
    Path("p.csv").write_text("old")
    os.symlink("p.csv", "link.csv")
    for name in ("p.csv", "link.csv", "new.csv"):
        out, err = said(capsys, runs["digits"].path, scans, "--out", name)
        assert out == "" and err.endswith(f"dlfound: 40 predictions in {name}\n")
        assert Path(name).read_text() == expected
    assert Path("link.csv").is_symlink() and sorted(os.listdir()) == ["link.csv", "new.csv", "p.csv", "scans"]


def test_a_failure_leaves_the_file_as_it_was(runs, scans, capsys):
    Path("p.csv").write_text("old")
    (scans / "b" / "99.png").write_bytes(b"\x89PNG no more")
    said(capsys, runs["digits"].path, scans, "--out", "p.csv", code=3)
    assert Path("p.csv").read_text() == "old" and sorted(os.listdir()) == ["p.csv", "scans"]
    os.mkdir("folder")
    for place in ("folder", "nowhere/p.csv", "x" * 300):
        assert "cannot write" in said(capsys, runs["digits"].path, scans, "--out", place, code=6)[1]
    np.save("x.npy", np.zeros((1, 2)))
    assert (
        "is the file that is read" in said(capsys, runs["moons"].path, "x.npy", "--out", "./x.npy", code=2)[1]
    )


def test_a_pipe_is_written_into_and_stays(runs, capsys):
    np.save("x.npy", np.zeros((1, 2)))
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    said(capsys, runs["moons"].path, "x.npy", "--out", "pipe")
    assert os.read(reader, 1000).startswith(b"row,class,probability\n0,")
    os.close(reader)
    assert Path("pipe").is_fifo()


def test_who_reads_may_have_enough(runs):
    np.save("x.npy", np.zeros((20_000, 2)))
    line = (
        f"{sys.executable} -m dlfound predict {runs['moons'].path} x.npy | head -1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)
    assert done.stdout == "row,class,probability\n0\n" and done.stderr == ""


def test_help_and_a_missing_file_do_without_torch():
    code = "import sys; from dlfound.cli import main; print(main(sys.argv[1:]))"
    code += "; assert 'torch._C' not in sys.modules"
    for words, end in ((["predict", "--help"], "0"), (["predict", "latest", "nowhere.png"], "3")):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 and done.stdout.split()[-1] == end, done.stderr


# ---- names from strangers


def read_terminal(keeper):
    """Everything that was written to a terminal which is closed by now."""
    shown = b""
    with contextlib.suppress(OSError):  # the end of the terminal
        while piece := os.read(keeper, 1000):
            shown += piece
    os.close(keeper)
    return shown.decode()


def test_what_a_spreadsheet_takes_for_a_formula_is_quoted(capsys):
    x = np.array([[0.0], [1.0]] * 10)
    run = dlfound.train(["train.epochs=30", "early_stopping=none"], data=(x, ["=1+1", "two"] * 10))
    np.save("x.npy", x[:2])
    out, _ = said(capsys, run.path, "x.npy", "--probabilities")
    lines = out.splitlines()
    assert lines[0] == '"row","class","probability","probability_=1+1","probability_two"'
    assert lines[1].startswith('0,"=1+1",0.') and lines[2].startswith('1,"two",0.')


def test_odd_names_of_files_survive_and_a_terminal_is_spared(runs, scans, monkeypatch, capsys):
    os.rename(scans / "a" / "00.PNG", 'scans/a/x\n\x1b[31m",.png')
    os.rename(scans / "a" / "01.PNG", b"scans/a/\xff.png")
    said(capsys, runs["digits"].path, scans / "a", "--out", "p.csv")
    names = table(Path("p.csv").read_bytes().decode())["file"]
    assert names[-2:] == ['scans/a/x\n\x1b[31m",.png', "scans/a/\\udcff.png"]
    keeper, terminal = os.openpty()
    with open(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["predict", str(runs["digits"].path), 'scans/a/x\n\x1b[31m",.png']) == 0
    monkeypatch.undo()
    shown = read_terminal(keeper)
    assert '"scans/a/x\\n\\x1b[31m"",.png"' in shown and "\x1b" not in shown


# ---- runs


def test_a_loss_without_probabilities(runs, capsys):
    x = np.random.default_rng(0).standard_normal((5, 2))
    np.save("x.npy", x)
    out, err = said(capsys, runs["hinge"].path, "x.npy")
    assert table(out) == {"row": list("01234"), "class": list(runs["hinge"].predict(x))}
    assert "loss=hinge gives scores" in err
    for name, reason in (("hinge", "scores"), ("sine", "regression")):
        assert reason in said(capsys, runs[name].path, "x.npy", "--probabilities", code=2)[1]
    assert "--invert is for images" in said(capsys, runs["moons"].path, "x.npy", "--invert", code=2)[1]


@pytest.mark.parametrize("gone", ["report.json", "model.safetensors", "schema.json"])
def test_an_unfinished_run_is_refused(gone, capsys):
    run = dlfound.train([*QUICK, "data=moons"])
    (run.path / gone).unlink()
    np.save("x.npy", np.zeros((1, 2)))
    assert gone in said(capsys, "latest", "x.npy", code=4)[1]


def test_a_run_that_diverged_is_reported(capsys):
    words = ["data=moons", "optim=sgd", "optim.lr=1e30", *QUICK, "run.dir=here"]
    assert main(["train", *words]) == 5
    capsys.readouterr()
    np.save("x.npy", np.zeros((1, 2)))
    assert "here ended as diverged" in said(capsys, "here", "x.npy")[1]


def test_options_of_ones_own(monkeypatch, capsys):
    def forget():
        monkeypatch.setattr(options, "_registered", {})

    file = "import dlfound, torch\ndlfound.register('activation', 'mine', torch.nn.Softsign)\n"
    Path("mine.py").write_text(file)
    np.save("x.npy", np.zeros((3, 2)))
    forget()
    assert main(["train", "--with", "mine.py", "activation=mine", "data=moons", *QUICK, "run.dir=here"]) == 0
    forget()
    capsys.readouterr()
    assert "mine" in said(capsys, "here", "x.npy", code=4)[1]
    forget()
    assert len(said(capsys, "here", "x.npy", "--with", "mine.py")[0].splitlines()) == 4


# ---- files that are refused


def bitmap(width, height):
    """The head of a BMP of that size."""
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def cut_image():
    content = io.BytesIO()
    Image.effect_noise((9, 9), 50).save(content, "PNG")
    return content.getvalue()[:-30]


def objects(name):
    np.save(name, np.array([[{}, 1]], dtype=object))


def damaged(name):
    np.save(name, np.zeros((5, 2)))
    Path(name).write_bytes(Path(name).read_bytes()[:-1])


REFUSED = {
    "x.csv": (lambda name: Path(name).write_text("a,b\n1,2\n"), 3, "was not trained on a table"),
    "x.pkl": (lambda name: Path(name).write_bytes(pickle.dumps(1)), 7, "can run code"),
    "x.pt": (lambda name: Path(name).write_bytes(b""), 7, "can run code"),
    "objects.npy": (objects, 7, "Python objects"),
    "objects.npz": (lambda name: np.savez(name, X=np.array([None])), 7, "Python objects"),
    "pickled.npy": (lambda name: Path(name).write_bytes(pickle.dumps(1)), 3, "no array of NumPy"),
    "empty.npy": (lambda name: Path(name).write_bytes(b""), 3, "no array of NumPy"),
    "cut.npy": (damaged, 3, "(5, 2) = 80 bytes, it has 79"),
    "text.npy": (lambda name: np.save(name, [["a", "b"]]), 3, "holds <U1, not numbers"),
    "shape.npy": (lambda name: np.save(name, np.zeros((4, 3))), 3, "shape (4, 3); the run takes (rows, 2)"),
    "cube.npy": (lambda name: np.save(name, np.zeros((4, 1, 2))), 3, "shape (4, 1, 2)"),
    "number.npy": (lambda name: np.save(name, 3.0), 3, "shape ()"),
    "none.npy": (lambda name: np.save(name, np.zeros((0, 2))), 3, "no rows"),
    "nan.npy": (lambda name: np.save(name, [[0, 1], [2, np.nan], [np.inf, 3]]), 3, "row 1 holds"),
    "huge.npy": (lambda name: np.save(name, [[1e300, 0]]), 3, "far beyond"),
    "cut.npz": (lambda name: Path(name).write_bytes(b"PK\3\4"), 3, "cannot be read: File is not a zip"),
    "many.npz": (lambda name: np.savez(name, a=[1], b=[2]), 3, "2 arrays: a, b"),
    "folder.npy": (os.mkdir, 3, "holds no images"),
    "nowhere.npy": (lambda name: None, 3, "no such file"),
    "pipe.npy": (os.mkfifo, 3, "no plain file"),
    "image.png": (
        lambda name: Image.new("L", (3, 3)).save(name),
        3,
        "arrays with 2 columns (.npy or .npz), not images",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_arrays(name, runs, capsys):
    make, code, reason = REFUSED[name]
    make(name)
    err = said(capsys, runs["moons"].path, name, code=code)[1]
    assert reason in err and name in err.replace("rows hold", name) and len(err.splitlines()) == 2


def test_a_row_far_down_that_is_no_number_is_named(runs, capsys):
    x = np.zeros((9000, 2))
    x[8500, 1] = np.nan
    np.save("x.npy", x)
    assert "row 8500 holds" in said(capsys, runs["moons"].path, "x.npy", code=3)[1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot identify"), (cut_image(), "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "cannot identify"),
        (bitmap(10_000, 10_000), "decompression bomb"), (bitmap(20_000, 20_000), "decompression bomb"),
    ],
)  # fmt: skip
def test_refused_images(content, reason, runs, scans, capsys):
    (scans / "b" / "bad.png").write_bytes(content)
    for words in (["scans/b/bad.png"], ["scans"]):
        err = said(capsys, runs["digits"].path, *words, code=3)[1]
        assert "scans/b/bad.png cannot be read as an image" in err and reason in err


def test_a_link_to_nowhere_is_counted(runs, scans, capsys):
    (scans / "a" / "gone").symlink_to("nowhere")
    assert "skipped 2 files that are no images" in said(capsys, runs["digits"].path, scans)[1]
    (scans / "a" / "gone.png").symlink_to("nowhere")
    assert "scans/a/gone.png cannot be read" in said(capsys, runs["digits"].path, scans, code=3)[1]

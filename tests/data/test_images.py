"""Image sources: MNIST's own files, and what is said of damaged ones (FAULTS D37); folders of images."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dlfound
from dlfound.cli import main
from dlfound.data.idx import read_idx
from dlfound.data.images import PARTS, fashion_mnist

QUICK = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "model.hidden=[16]", "logger=none"]


def idx(array: np.ndarray) -> bytes:
    """The format by hand: two zero bytes, the type, the number of dimensions, each size, the values."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small(tmp_path):
    """A small set in FashionMNIST's layout; returns its root, and the arrays in it."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, (60, 5, 4), dtype=np.uint8), rng.integers(0, 10, 60, dtype=np.uint8),
        rng.integers(0, 256, (20, 5, 4), dtype=np.uint8), rng.integers(0, 10, 20, dtype=np.uint8),
    ]  # fmt: skip
    raw = tmp_path / "root" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in zip(PARTS, arrays, strict=True):
        (raw / name).write_bytes(idx(array))
    return tmp_path / "root", arrays


def fashion(root, capsys, *words):
    code = main(["train", "data=fashion_mnist", f"data.root={root}", *QUICK, "--json", *words])
    return code, *capsys.readouterr()


def test_the_test_set_stays_apart_and_pixels_stay_bytes(small):
    root, (train, train_labels, test, test_labels) = small
    data = fashion_mnist(root=str(root), seed=0, split=[0.9, 0.1])
    assert data.inputs.dtype == np.uint8 and data.image == (1, 5, 4)
    np.testing.assert_array_equal(data.inputs[data.parts["test"]], test.reshape(20, 20))
    np.testing.assert_array_equal(data.targets[data.parts["test"]], test_labels)
    assert (len(data.parts["train"]), len(data.parts["val"])) == (54, 6)
    rows = np.concatenate([data.parts["train"], data.parts["val"]])
    assert sorted(rows) == list(range(60))
    np.testing.assert_array_equal(data.inputs[rows], train.reshape(60, 20)[rows])
    np.testing.assert_array_equal(data.targets[rows], train_labels[rows])


def test_seed_and_split_move_rows_between_training_and_validation(small):
    root, _ = small
    prints = {
        fashion_mnist(root=str(root), seed=seed, split=split).fingerprint()
        for seed, split in ((0, [0.9, 0.1]), (1, [0.9, 0.1]), (0, [0.8, 0.2]))
    }
    assert len(prints) == 3


def test_compressed_files_are_the_same(small, capsys):
    root, _ = small
    _, plain, _ = fashion(root, capsys)
    for name in PARTS:
        file = root / "FashionMNIST" / "raw" / name
        file.with_name(f"{name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    code, packed, _ = fashion(root, capsys)
    assert code == 0
    assert json.loads(packed)["data"]["fingerprint"] == json.loads(plain)["data"]["fingerprint"]
    assert json.loads(packed)["test"] == json.loads(plain)["test"]


def test_eval_and_predictions_of_images(small, capsys):
    root, (_, _, test, test_labels) = small
    run = dlfound.train(["data=fashion_mnist", f"data.root={root}", *QUICK, "batchnorm=batch"])
    assert main(["eval", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"] == run.report["test"]
    right = run.predict(test) == np.array(run.schema["classes"])[test_labels]
    assert right.mean() == pytest.approx(run.report["test"]["accuracy"])
    mean = run.model.preprocessing.mean
    assert (mean == mean[0]).all()  # one mean a channel, not one a pixel


DAMAGES = {
    "magic": (0, lambda b: b"\x89PNG" + b[4:], "no IDX file"),
    "type": (0, lambda b: b[:2] + b"\x0d" + b[3:], "type 0x0d"),
    "dimensions": (0, lambda b: b[:3] + b"\x01" + b[4:], "1 dimensions"),
    "cut": (0, lambda b: b[:-7], "header says 60x5x4 = 1200 bytes, file has 1193"),
    "longer": (2, lambda b: b + b"x", "file has 401"),
    "huge sizes": (
        0,
        lambda b: b[:4] + struct.pack(">3I", 2**31, 2**31, 4) + b[16:],
        "says 2147483648x2147483648x4",
    ),
    "no rows": (0, lambda b: idx(np.zeros((0, 5, 4), np.uint8)), "no rows"),
    "header cut": (0, lambda b: b[:9], "no IDX file"),
    "empty": (1, lambda b: b"", "no IDX file (it begins with nothing)"),
    "counts": (1, lambda b: idx(np.zeros(59, np.uint8)), "59 labels for the 60 images"),
    "label": (3, lambda b: b[:-1] + b"\x0a", "label 10 in row 19; the classes are 0 to 9"),
    "other size": (2, lambda b: idx(np.zeros((20, 4, 4), np.uint8)), "images of (4, 4)"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_told_with_exit_code_3(small, damage, capsys):
    root, _ = small
    number, harm, words = DAMAGES[damage]
    file = root / "FashionMNIST" / "raw" / PARTS[number]
    file.write_bytes(harm(file.read_bytes()))
    code, out, err = fashion(root, capsys)
    assert (code, out) == (3, "")
    assert words in err and PARTS[number] in err and "fix:" in err
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda b: b[: len(b) // 2], "ends early"),
        (lambda b: b[:40] + bytes([b[40] ^ 8]) + b[41:], "damaged"),
        (lambda b: b[:-6] + bytes([b[-6] ^ 1]) + b[-5:], "damaged"),
        (lambda b: b"not compressed", "damaged"),
    ],
    ids=["cut", "bit in the data", "bit in the checksum", "no gzip"],
)
def test_damaged_compressed_files(tmp_path, harm, words):
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (50, 8), dtype=np.uint8)), mtime=0)
    file = tmp_path / "some-idx.gz"
    file.write_bytes(harm(whole))
    with pytest.raises(dlfound.Error) as caught:
        read_idx(file, 2)
    assert caught.value.code == 3 and words in str(caught.value) and str(file) in str(caught.value)


def test_a_compressed_file_is_unpacked_no_further_than_its_header_says(tmp_path):
    """What is damaged lies far behind the header, or behind what it promises: it is not reached."""
    file, rows = tmp_path / "some-idx.gz", idx(np.zeros((50, 8), np.uint8))
    rest = gzip.compress(bytes(5_000_000))[:-9]  # ends early
    for head, words in {
        rows: "header says 50x8 = 400 bytes, file has 401 or more",
        rows[:4]
        + struct.pack(">2I", 2**31, 2): "header says 2147483648x2 = 4294967296 bytes, more than 2048 MB",
        b"\0\0\x0d" + rows[3:]: "type 0x0d",
    }.items():
        file.write_bytes(gzip.compress(head) + rest)
        with pytest.raises(dlfound.Error, match=words) as caught:
            read_idx(file, 2)
        assert caught.value.code == 3
    file.write_bytes(gzip.compress(rows) + rest[:9])
    with pytest.raises(dlfound.Error, match="ends early"):
        read_idx(file, 2)


def test_without_network_the_message_says_which_files_go_where(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(
        "http_proxy", "http://127.0.0.1:9"
    )  # nobody listens there: the same with and without a network
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for data, files in (("mnist", PARTS), ("fashion_mnist", PARTS), ("cifar10", ["cifar-10-batches-py"])):
        assert main(["train", f"data={data}", f"data.root={tmp_path / data}"]) == 3
        err = capsys.readouterr().err
        assert "cannot be fetched" in err and str(tmp_path / data) in err
        assert all(name in err for name in files)


def test_mnist_itself(data_root, tmp_path, capsys):
    """Facts about MNIST that everyone can look up."""
    from dlfound.data.images import mnist

    data = mnist(root=str(data_root), seed=0, split=[0.9, 0.1])
    assert data.inputs.shape == (70000, 784) and data.image == (1, 28, 28)
    assert np.bincount(data.targets[:60000]).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert data.targets[60000:60010].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    pixels = data.inputs[:60000] / 255
    assert pixels.mean() == pytest.approx(0.1307, abs=1e-4) and pixels.std() == pytest.approx(
        0.3081, abs=1e-4
    )
    assert main(["train", "data=mnist", f"data.root={data_root}", *QUICK, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["accuracy"] > 0.9


def test_cifar10_is_read_channel_by_channel(tmp_path, monkeypatch):
    """A small set in CIFAR-10's own layout, with its digests in place of those that torchvision knows."""
    import hashlib
    import pickle

    from torchvision.datasets import CIFAR10

    from dlfound.data.images import cifar10

    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    batches = {
        n: (rng.integers(0, 256, (20, 3072), dtype=np.uint8), rng.integers(0, 10, 20).tolist()) for n in names
    }
    for name, (pixels, labels) in batches.items():
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    digests = {f.name: hashlib.md5(f.read_bytes()).hexdigest() for f in folder.iterdir()}
    monkeypatch.setattr(CIFAR10, "train_list", [[n, digests[n]] for n in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", digests["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": digests["batches.meta"]})
    data = cifar10(root=str(tmp_path), seed=0, split=[0.9, 0.1])
    assert data.image == (3, 32, 32) and data.classes[:2] == ["airplane", "automobile"]
    np.testing.assert_array_equal(
        data.inputs[data.parts["test"]], batches["test_batch"][0]
    )  # red, green, blue planes
    assert data.targets[data.parts["test"]].tolist() == batches["test_batch"][1]
    assert {name: len(rows) for name, rows in data.parts.items()} == {"train": 90, "val": 10, "test": 20}
    damaged = folder / "data_batch_3"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(dlfound.Error) as caught:  # never unpickled: its digest is wrong
        cifar10(root=str(tmp_path), seed=0, split=[0.9, 0.1])
    assert caught.value.code == 3


def paint(folder: Path, name: str, colour, size=(9, 7), mode="RGB"):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(folder / name)


def test_a_folder_of_colour_images(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for i in range(30):
        paint(tmp_path / "red", f"{i}.png", (200 + int(rng.integers(50)), 20, 20), size=(8 + i % 3, 12))
        paint(tmp_path / "blue", f"{i}.jpg", (20, 20, 200 + int(rng.integers(50))))
    words = [f"data.path={tmp_path}", "data.size=6", *QUICK, "train.epochs=30", "train.batch_size=8"]
    assert main(["train", "data=image_folder", *words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["data"]["features"] == 3 * 6 * 6 and report["data"]["rows"] == 60
    assert report["task"] == "binary" and report["test"]["accuracy"] == 1


def test_grey_images_have_one_channel_and_mixed_ones_three(tmp_path):
    from dlfound.data.image_folder import image_folder

    for i in range(5):
        paint(tmp_path / "a", f"{i}.png", 10 * i, mode="L")
        paint(tmp_path / "b", f"{i}.png", 200, mode="L")
    grey = image_folder(path=str(tmp_path), size=4, seed=0, split=[0.6, 0.2, 0.2])
    assert grey.image == (1, 4, 4) and grey.classes == ["a", "b"]
    assert grey.inputs[:5, 0].tolist() == [0, 10, 20, 30, 40]
    paint(tmp_path / "b", "9.png", (1, 2, 3))
    mixed = image_folder(path=str(tmp_path), size=4, seed=0, split=[0.6, 0.2, 0.2])
    assert mixed.image == (3, 4, 4)
    assert mixed.inputs[-1].reshape(3, 16)[:, 0].tolist() == [1, 2, 3]


def test_every_setting_of_a_folder_matters(tmp_path):
    from dlfound.data.image_folder import image_folder

    for i in range(6):
        paint(tmp_path / "a", f"{i}.png", 40 * i, mode="L")
        paint(tmp_path / "b", f"{i}.png", 40 * i + 20, mode="L")
    base = {"path": str(tmp_path), "size": 4, "seed": 0, "split": [0.6, 0.2, 0.2]}
    turned = ({}, {"size": 5}, {"seed": 1}, {"split": [0.4, 0.3, 0.3]})
    assert len({image_folder(**{**base, **change}).fingerprint() for change in turned}) == 4


def test_bad_image_folders(tmp_path, capsys):
    def told(path):
        assert main(["train", "data=image_folder", f"data.path={path}"]) == 3
        return capsys.readouterr().err

    assert "is not a folder" in told(tmp_path / "nowhere")
    assert "fix:" in told(tmp_path)
    paint(tmp_path / "only", "1.png", (1, 2, 3))
    assert "single class (only)" in told(tmp_path)
    (tmp_path / "other").mkdir()
    assert "other" in told(tmp_path)
    (tmp_path / "other" / "2.png").write_bytes(b"\x89PNG no more")
    assert "2.png cannot be read as an image" in told(tmp_path)


def test_bytes_are_normalised_as_floats_are(small):
    """One net, the same pixels as bytes and as floats: the same outputs."""
    root, (_, _, test, _) = small
    run = dlfound.train(["data=fashion_mnist", f"data.root={root}", *QUICK])
    rows = torch.tensor(test.reshape(20, 20))
    network = run.model
    with torch.inference_mode():
        assert torch.equal(network(rows), network(rows.double()))
        assert torch.equal(network.ready(rows), network.preprocessing(rows.float()))

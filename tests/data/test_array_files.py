"""`data=arrays` from files of NumPy: the same as from Python; and what is wrong with them, in two lines."""

import json
from pathlib import Path

import numpy as np
import pytest

import dlfound
from dlfound.cli import main

QUICK = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "model.hidden=[4]", "logger=none"]


def drawn(kind="classes", rows=40):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    score = x @ [1, -2, 0.5]
    return x, {
        "classes": (score > 0).astype(int),
        "numbers": score,
        "words": np.where(score > 0, "up", "down"),
    }[kind]


def refused(capsys, *words, code=3):
    assert main(["train", "data=arrays", *QUICK, *words]) == code
    out, err = capsys.readouterr()
    assert (
        out == "" and len(err.splitlines()) == 2 and "Traceback" not in err and not Path("outputs").exists()
    )
    return err


@pytest.mark.parametrize("kind", ["classes", "numbers", "words"])
def test_files_train_what_python_hands_over(kind, capsys):
    """To the bit, from .npz and from two .npy, in either order of memory; measured again from the files alone."""
    x, y = drawn(kind)
    np.savez("x.npz", X=x, y=y, other=x)
    np.save("x.npy", np.asfortranarray(x))
    np.save("y.npy", y)
    whole = dlfound.train(QUICK, data=(x, y))
    for words in (["data.path=x.npz"], ["data.path=x.npy", "data.target_path=y.npy"]):
        run = dlfound.train(["data=arrays", *QUICK, *words])
        assert (run.path / "model.safetensors").read_bytes() == (
            whole.path / "model.safetensors"
        ).read_bytes()
        assert run.schema == whole.schema and run.report["task"] == (
            "regression" if kind == "numbers" else "binary"
        )
        assert main(["eval", str(run.path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["test"] == run.report["test"]
    assert main(["eval", str(whole.path)]) == 3
    assert "was trained on arrays of a Python program" in capsys.readouterr().err
    with pytest.raises(dlfound.Error, match="was handed over"):
        dlfound.train(["data.path=x.npz", *QUICK], data=(x, y))


def test_the_task_can_be_told(capsys):
    x, y = drawn()
    np.savez("x.npz", X=x, y=y)
    run = dlfound.train(["data=arrays", "data.path=x.npz", "data.task=regression", *QUICK])
    assert run.report["task"] == "regression"
    np.savez("x.npz", X=x, y=np.stack([y, 2 * y], 1))
    assert dlfound.train(["data=arrays", "data.path=x.npz", *QUICK]).report["task"] == "regression"
    assert "give one class a row" in refused_once(capsys, "data.path=x.npz", "data.task=classification")


def refused_once(capsys, *words):
    """The same where a run stands already."""
    assert main(["train", "data=arrays", *QUICK, *words]) == 3
    return capsys.readouterr().err


def test_arrays_that_are_refused(capsys):
    x, y = drawn()
    np.save("x.npy", x)
    np.save("y.npy", y)
    np.save("short.npy", y[:-1])
    np.save("gap.npy", np.where(np.arange(40)[:, None] == 7, np.nan, x))
    np.save("text.npy", x.astype(str))
    np.save("one.npy", np.zeros(40, int))
    np.save("none.npy", x[:0])
    np.savez("x.npz", a=x, b=y)
    Path("cut.npy").write_bytes(Path("x.npy").read_bytes()[:-9])
    Path("odd.npy").write_bytes(b"\x93NUMPY\x09\x00junk")
    Path("cut.npz").write_bytes(Path("x.npz").read_bytes()[:-40])
    Path("x.csv").write_text("a,y\n1,2\n")
    target = "data.target_path=y.npy"
    for words, said in {
        ("data.path=none.npz",): "data file 'none.npz' not found",
        ("data.path=x.npy", "data.target_path=none"): "data file 'none' not found",
        ("data.path=x.npy", "data.target_path=short.npy"): "X has shape (40, 3) and y (39,)",
        ("data.path=gap.npy", target): "X has 3 missing, infinite or huge values (first in row 7)",
        ("data.path=text.npy", target): "text.npy holds <U",
        ("data.path=x.npy", "data.target_path=one.npy"): "y has a single class (0); nothing to learn",
        ("data.path=none.npy", target): "none.npy has shape (0, 3): it holds no rows",
        ("data.path=x.npz",): "x.npz holds 2 arrays: a, b",
        ("data.path=cut.npy", target): "cut.npy: its header says (40, 3) = 960 bytes, it has 951",
        ("data.path=odd.npy", target): "odd.npy is no array of NumPy, or a damaged one",
        ("data.path=cut.npz",): "cut.npz cannot be read",
    }.items():
        assert said in refused(capsys, *words), words
    assert "x.npy holds no y" in refused(capsys, "data.path=x.npy", code=2)
    assert "data=arrays has no arrays" in refused(capsys, code=2)
    said = refused(capsys, "data.path=x.csv", code=2)
    assert "x.csv is a table" in said and "data=table data.path=x.csv" in said


def test_a_header_that_claims_more_than_there_is(capsys):
    """Sizes are compared before anything is taken: no memory for 2^62 bytes is asked for."""
    head = np.lib.format.header_data_from_array_1_0(np.zeros((1, 3)))
    with open("x.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {**head, "shape": (2**61, 3)})
        file.write(bytes(24))
    np.save("y.npy", np.arange(3))
    assert "its header says" in refused(capsys, "data.path=x.npy", "data.target_path=y.npy")

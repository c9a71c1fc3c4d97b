"""`dlfound eval` and opened runs: everything again from the folder alone."""

import json
import shutil

import numpy as np
import pytest

import dlfound
from dlfound.cli import main

QUICK = ["train.epochs=3", "early_stopping=none", "lr_decay=none", "model.hidden=[16]"]
SETTINGS = [
    ["data=digits", "batchnorm=batch", "dropout=standard"],
    ["data=xor", "loss=cross_entropy"],
    ["data=moons", "constraint=max_norm", "run.threads=2"],
    ["data=passfail", "data.target=grade", "regularizer=l2"],
    ["data=spirals", "model=perceptron", "~"],
]


@pytest.mark.parametrize("words", SETTINGS, ids=" ".join)
def test_eval_agrees_to_the_last_digit(words, capsys):
    quick = QUICK[:-1] if "~" in words else QUICK
    run = dlfound.train([*quick, *(w for w in words if w != "~")])
    assert main(["eval", str(run.path), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == {part: run.report[part] for part in ("train", "val", "test")}


def test_run_may_be_a_name_or_latest(capsys):
    first = dlfound.train([*QUICK, "run.name=one"])
    second = dlfound.train([*QUICK, "run.name=two", "data=moons"])
    for word, run in (("one", first), ("two", second), ("latest", second), (first.path.name, first)):
        assert main(["eval", word]) == 0
        assert capsys.readouterr().out.strip().endswith(str(run.path))


def test_a_moved_folder_still_works(tmp_path, capsys):
    run = dlfound.train(QUICK)
    shutil.move(run.path, tmp_path / "elsewhere")
    assert main(["eval", str(tmp_path / "elsewhere"), "--json"]) == 0
    assert (
        json.loads(capsys.readouterr().out)["test"] == dlfound.open_run(tmp_path / "elsewhere").report["test"]
    )


def test_a_run_that_is_not_there_names_those_that_are(capsys):
    dlfound.train([*QUICK, "run.name=one"])
    assert main(["eval", "oen"]) == 4
    assert "one" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "wrong sizes", "gone"])
def test_damaged_weights_are_refused(damage, capsys):
    run = dlfound.train(QUICK)
    weights = run.path / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "gone":
        weights.unlink()
    else:
        other = dlfound.train([*QUICK, "model.hidden=[17]"])
        shutil.copy(other.path / "model.safetensors", weights)
    assert main(["eval", str(run.path)]) == 4
    assert "model.safetensors" in capsys.readouterr().err


def test_changed_data_are_noticed(capsys):
    run = dlfound.train(QUICK)
    schema = json.loads((run.path / "schema.json").read_text())
    schema["fingerprint"] = "0" * 64
    (run.path / "schema.json").write_text(json.dumps(schema))
    assert main(["eval", str(run.path)]) == 3
    assert "not those" in capsys.readouterr().err


def test_predictions_are_classes_by_name_and_numbers_in_their_unit():
    run = dlfound.train(["data=passfail", "train.epochs=20"])
    assert set(run.predict([[10, 40], [0, 0]])) <= {"pass", "fail"}
    assert list(run.predict([[10, 40], [0, 0]])) == ["pass", "fail"]
    assert run.probabilities([[10, 40]]).sum() == pytest.approx(1)
    grade = dlfound.train(["data=passfail", "data.target=grade", "train.epochs=40"])
    assert grade.predict([[5, 20]]) == pytest.approx([50], abs=6)  # the formula's own middle


def test_predict_refuses_other_shapes():
    run = dlfound.train(["data=moons", *QUICK])
    for rows in ([[1.0]], [1.0, 2.0], [[np.nan, 1.0]], [["a", "b"]]):
        with pytest.raises(dlfound.Error) as caught:
            run.predict(rows)
        assert caught.value.code == 3

"""`dlfound eval` and opened runs: everything follows from the run's folder."""

import json
import os
import shutil

import numpy as np
import pytest

import dlfound
from dlfound.cli import main

QUICK = ["train.epochs=3", "early_stopping=none", "lr_decay=none", "logger=none"]
SETTINGS = [
    ["data=digits", "batchnorm=batch", "dropout=standard", "model.hidden=[16]"],
    ["data=xor", "loss=cross_entropy", "model.hidden=[16]"],
    ["data=moons", "constraint=max_norm", "run.threads=2", "model.hidden=[16]"],
    ["data=passfail", "data.target=grade", "regularizer=l2", "model.hidden=[16]"],
    ["data=spirals", "model=perceptron"],
]


@pytest.mark.parametrize("words", SETTINGS, ids=lambda words: words[0])
def test_eval_agrees_with_the_training_to_the_last_digit(words, capsys):
    run = dlfound.train([*QUICK, *words])
    assert main(["eval", str(run.path), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics == {part: run.report[part] for part in ("train", "val", "test")}


def test_run_is_a_name_a_folder_or_latest(trained, capsys):
    trained.copy("sine", "outputs/one/1")
    trained.copy("adam", "outputs/two/2")
    os.utime("outputs/two/2/config.yaml")  # the run that began last
    for word, folder in (("one", "one/1"), ("two", "two/2"), ("latest", "two/2"), ("1", "one/1")):
        assert main(["eval", word]) == 0
        assert capsys.readouterr().out.strip().endswith(f"outputs/{folder}")


def test_a_moved_folder_still_works(trained, tmp_path, capsys):
    trained.copy("adam")
    shutil.move("mine", tmp_path / "elsewhere")
    assert main(["eval", str(tmp_path / "elsewhere"), "--json"]) == 0
    report = dlfound.open_run(tmp_path / "elsewhere").report
    assert json.loads(capsys.readouterr().out)["test"] == report["test"]


def test_a_wrong_name_is_answered_with_the_existing_names(trained, capsys):
    trained.copy("adam", "outputs/one/1")
    assert main(["eval", "oen"]) == 4
    assert "one of: one" in capsys.readouterr().err


def test_an_unfinished_run_is_refused_with_the_command_that_resumes_it(trained, capsys):
    (trained.copy("adam", "my run") / "DONE").unlink()
    assert main(["eval", "my run"]) == 4
    err = capsys.readouterr().err
    assert "my run is unfinished" in err and "dlfound train 'resume=my run'" in err


def test_damaged_weights_are_refused(trained, capsys):
    whole = (trained.path("adam") / "model.safetensors").read_bytes()
    weights = trained.copy("adam") / "model.safetensors"
    other = (trained.path("momentum") / "model.safetensors").read_bytes()  # of a wider net
    for content in (whole[:-100], other, None):
        weights.unlink() if content is None else weights.write_bytes(content)
        assert main(["eval", "mine"]) == 4
        assert "model.safetensors" in capsys.readouterr().err


def test_changed_data_are_noticed(trained, capsys):
    schema = trained.copy("adam") / "schema.json"
    schema.write_text(json.dumps(json.loads(schema.read_text()) | {"fingerprint": "0" * 64}))
    assert main(["eval", "mine"]) == 3
    assert "the data are not those that mine was trained on" in capsys.readouterr().err


def test_predictions_are_class_names_or_numbers_in_their_unit():
    run = dlfound.train(["data=passfail", "train.epochs=20", "logger=none"])
    assert list(run.predict([[10, 40], [0, 0]])) == ["pass", "fail"]
    assert run.probabilities([[10, 40]]).sum() == pytest.approx(1)
    grade = dlfound.train(["data=passfail", "data.target=grade", "train.epochs=40", "logger=none"])
    assert grade.predict([[5, 20]]) == pytest.approx([50], abs=6)  # the middle of the formula's range


def test_predict_refuses_rows_of_another_shape(trained):
    run = dlfound.open_run(trained.path("adam"))
    for rows in ([[1.0]], [1.0, 2.0], [[np.nan, 1.0]], [["a", "b"]]):
        with pytest.raises(dlfound.Error) as caught:
            run.predict(rows)
        assert caught.value.code == 3

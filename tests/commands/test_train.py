"""`dlfound train`: the command, its standard output, its folder."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from support.run_files import all_files, lines_of, report_of
from support.trained import DIGITS, MOONS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dlfound
from dlfound.cli import main
from dlfound.objective.tasks import METRICS

QUICK = [*DIGITS, "logger=none"]


def train(capsys, *words, code=0):
    """Train with the command; return its output and its messages."""
    assert main(["train", *words]) == code
    return capsys.readouterr()


def train_json(capsys, *words):
    """Train with the command; return the report that it prints."""
    return json.loads(train(capsys, *words, "--json").out)


def folder_in(out: str) -> Path:
    """Return the folder in the last line of the output."""
    return Path(out.strip().splitlines()[-1])


# The folder.


def test_a_run_leaves_the_promised_folder(capsys):
    out, err = train(capsys, *DIGITS)
    folder = folder_in(out)
    assert folder.parts[:2] == ("outputs", "digits")
    names = """config.yaml report.json metrics.jsonl timing.jsonl log.txt schema.json model.safetensors
        tensorboard DONE checkpoints .lock"""
    assert {path.name for path in folder.iterdir()} == set(names.split())
    assert (folder / "DONE").read_bytes() == b""
    assert err == ""  # without a terminal there is no progress bar, and notes go to log.txt only


def test_the_report_contains_the_promised_fields(trained, capsys):
    report = train_json(capsys, *QUICK)
    promised = """format status warnings stopped_by task monitor epochs_run best_epoch train val test
        parameters seconds samples_per_second device precision threads seed versions command data"""
    assert set(promised.split()) <= set(report)
    assert (report["status"], report["stopped_by"], report["epochs_run"]) == ("done", "epochs", 3)
    assert report["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert set(report["test"]) == set(METRICS["multiclass"])
    assert report["data"]["rows"] == 1797 and report["data"]["classes"] == 10
    assert report["seconds"]["total"] > report["seconds"]["train"] > 0
    assert report["test"] == report_of(trained.path("digits"))["test"]  # with curves, from Python


def test_metrics_have_one_object_per_epoch_and_no_times(trained):
    lines = lines_of(trained.path("digits"))
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert list(line) == ["epoch", "lr", "train", "val"]
        assert line["lr"] == 0.001
        assert all(math.isfinite(v) for part in ("train", "val") for v in line[part].values())
    best = min(lines, key=lambda line: line["val"]["loss"])
    report = report_of(trained.path("digits"))
    assert report["best_epoch"] == best["epoch"]
    assert report["val"] == pytest.approx(best["val"], rel=1e-12)


def test_config_yaml_is_plain_and_complete(trained):
    tree = yaml.safe_load((trained.path("digits") / "config.yaml").read_text())
    assert tree["optim"] == {"name": "adam", "lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8}
    assert tree["initializer"]["name"] == "he_normal" and tree["loss"]["name"] == "cross_entropy"
    assert tree["run"]["name"] == "digits" and tree["train"]["batch_size"] == 8


def test_the_weights_have_the_names_and_shapes_of_the_net(trained):
    weights = load_file(trained.path("digits") / "model.safetensors")
    assert weights["body.hidden.0.linear.weight"].shape == (16, 64)
    assert weights["body.output.bias"].shape == (10,)
    assert weights["preprocessing.mean"].shape == (64,)


def test_curves_go_to_tensorboard_unless_there_is_no_logger(trained):
    events = EventAccumulator(str(trained.path("digits") / "tensorboard")).Reload()
    validated = {f"{name}/val" for name in METRICS["multiclass"]}
    assert {"loss/train", "accuracy/train", "lr", *validated} <= set(events.Tags()["scalars"])
    losses = [line["val"]["loss"] for line in lines_of(trained.path("digits"))]
    assert [event.value for event in events.Scalars("loss/val")] == pytest.approx(losses, rel=1e-6)
    assert not (trained.path("adam") / "tensorboard").exists()


def test_names_of_folders_may_contain_any_character(tmp_path, capsys):
    for name in ["with blank", "quo'te", "a=b", "größe", "x" * 200]:
        word = f"run.dir='{tmp_path / name}'".replace("quo't", r"quo\'t")
        train(capsys, *MOONS, word)
        assert (tmp_path / name / "DONE").exists()


def test_run_name_is_the_name_of_the_folder_above(capsys):
    folder = folder_in(train(capsys, *MOONS, "run.name=my run").out)
    assert folder.parts[:2] == ("outputs", "my run")
    assert yaml.safe_load((folder / "config.yaml").read_text())["run"]["name"] == "my run"


# The same bytes.


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(capsys):
    words = [*QUICK, "dropout=standard", "batchnorm=batch", "train.batch_size=32"]
    folders = [folder_in(train(capsys, *words, f"run.seed={seed}").out) for seed in (0, 0, 1)]
    for name in ("metrics.jsonl", "model.safetensors", "schema.json"):
        first, again, other = ((folder / name).read_bytes() for folder in folders)
        assert first == again, name
        assert (first == other) == (name == "schema.json"), name


def test_another_process_gives_the_same_bytes():
    words = [*QUICK, "run.threads=1"]
    command = [sys.executable, "-m", "dlfound", "train", *words, "run.dir=there"]
    subprocess.run(command, check=True, capture_output=True)
    dlfound.train([*words, "run.dir=here"])
    for name in ("metrics.jsonl", "model.safetensors"):
        assert Path("here", name).read_bytes() == Path("there", name).read_bytes(), name


# A folder that exists.


def test_a_finished_folder_is_left_as_it_is(trained, capsys):
    trained.copy("digits")
    before = all_files("mine")
    _, err = train(capsys, *DIGITS, "run.dir=mine")
    assert "mine holds a finished run; dlfound leaves it as it is" in err
    assert all_files("mine") == before


def test_an_unfinished_folder_is_resumed_unless_the_configuration_differs(trained, capsys):
    folder = trained.copy("digits")
    (folder / "DONE").unlink()
    _, err = train(capsys, *DIGITS, "run.dir=mine", "optim.lr=0.5", code=4)
    assert "another configuration" in err
    train(capsys, *DIGITS, "run.dir=mine")
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (folder / name).read_bytes() == (trained.path("digits") / name).read_bytes()
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss/val")] == [1, 2, 3]


def test_a_folder_with_other_files_is_refused(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert "other files" in train(capsys, *MOONS, f"run.dir={tmp_path}", code=4).err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_file_in_the_way_is_an_error_before_the_data_are_read(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    words = ["data=mnist", "data.root=nowhere", f"run.dir={tmp_path / 'file' / 'run'}"]
    assert "is not a folder" in train(capsys, *words, code=6).err


def test_a_net_that_does_not_fit_the_memory_is_refused_before_it_is_made(capsys):
    _, err = train(capsys, "model.hidden=[65536,65536,65536,65536,65536,65536]", code=6)
    assert "21,479,030,784 parameters" in err and "GB" in err and "model.hidden" in err
    assert not Path("outputs").exists()


# Numbers.


def test_a_divergence_ends_with_code_5_and_a_valid_report(capsys):
    out, err = train(capsys, *QUICK, "optim=sgd", "optim.lr=1e6", "train.batch_size=64", code=5)
    assert "error[numeric]" in err and "step" in err and "fix: try a smaller learning rate" in err
    report = report_of(folder_in(out))
    assert report["status"] == "diverged" and report["error"]["what"]
    assert (folder_in(out) / "model.safetensors").exists()


@pytest.mark.parametrize("optim", ["sgd", "adam", "rmsprop", "adagrad", "muon"])
def test_a_rate_near_the_smallest_number_works(optim):
    run = dlfound.train([*MOONS, f"optim={optim}", "optim.lr=1e-38"])
    report = report_of(run.path)
    assert report["status"] == "done" and None not in report["test"].values()
    weights = load_file(run.path / "model.safetensors").values()
    assert all(tensor.isfinite().all() for tensor in weights)


def test_subnormal_inputs_and_targets_work():
    tiny = [[i * 1e-40, i * 1e-45] for i in range(60)]
    for targets in ([i % 2 for i in range(60)], [i * 1e-42 for i in range(60)]):
        words = ["train.epochs=3", "early_stopping=none", "lr_decay=none", "logger=none"]
        run = dlfound.train(words, data=(tiny, targets))
        assert run.report["status"] == "done" and run.report["test"]["loss"] is not None
        assert all(tensor.isfinite().all() for tensor in run.model.state_dict().values())


# Settings.


def test_a_setting_that_can_never_act_is_a_warning(capsys):
    out, err = train(capsys, "data=moons", "logger=none", "train.epochs=4", "--json")
    assert "lr_decay.patience=3 can never act in 4 epochs" in err
    assert "early_stopping.look_ahead=10 can never act" in err
    assert len(json.loads(out)["warnings"]) == 2


def test_validation_is_reported_under_exact_and_running_statistics():
    report = dlfound.train([*MOONS, "batchnorm=batch"]).report
    assert report["val"]["loss"] != report["val_running_statistics"]["loss"]
    running = dlfound.train([*MOONS, "batchnorm=batch", "batchnorm.statistics=running"]).report
    assert "val_running_statistics" not in running


def test_the_monitor_selects_the_best_epoch():
    words = ["train.epochs=15", "early_stopping=none", "train.monitor=accuracy", "logger=none"]
    run = dlfound.train(words)
    best = max(lines_of(run.path), key=lambda line: line["val"]["accuracy"])  # the first of equal ones
    assert run.report["best_epoch"] == best["epoch"]


def test_a_batch_larger_than_the_data_is_reduced():
    reports = [dlfound.train([*QUICK, f"train.batch_size={size}"]).report for size in ("100000", "full")]
    assert [report["batch_size"] for report in reports] == [1257, 1257]
    assert reports[0]["test"] == reports[1]["test"]


def test_settings_that_do_not_fit_the_task_are_refused_once_the_data_are_read():
    rows = np.arange(40.0).reshape(20, 2)
    for words in (["loss=cross_entropy"], ["train.monitor=accuracy"]):
        with pytest.raises(dlfound.Error) as caught:
            dlfound.train(words, data=(rows, rows[:, 0]))
        assert caught.value.code == 2 and "regression" in str(caught.value)


def test_the_experiments_show_what_they_claim():
    sine = dlfound.train(["experiment=sine_approximation", "logger=none"]).report["test"]
    assert sine["rmse"] < 0.02  # universal approximation
    spirals = ["experiment=spirals_depth", "logger=none", "train.epochs=60"]
    deep = dlfound.train(spirals).report["test"]
    flat = dlfound.train([*spirals, "model=perceptron"]).report["test"]
    assert deep["accuracy"] > 0.98 and flat["accuracy"] < 0.65

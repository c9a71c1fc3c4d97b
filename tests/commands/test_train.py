"""`dlfound train`: the command, its standard output, its folder."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dlfound
from dlfound.cli import main
from dlfound.objective.tasks import METRICS

QUICK = ["train.epochs=3", "early_stopping=none", "lr_decay=none", "model.hidden=[16]", "train.batch_size=8"]


def run_folder(out: str):
    """The folder that the last line of standard output names."""
    return Path(out.strip().splitlines()[-1])


def test_a_run_leaves_the_promised_folder(capsys):
    assert main(["train", *QUICK]) == 0
    out, err = capsys.readouterr()
    folder = run_folder(out)
    assert folder.parts[:2] == ("outputs", "digits")
    names = """config.yaml report.json metrics.jsonl timing.jsonl log.txt schema.json model.safetensors tensorboard DONE
        checkpoints .lock"""
    assert {p.name for p in folder.iterdir()} == set(names.split())
    assert (folder / "DONE").read_bytes() == b""
    assert err == ""  # no terminal: progress and notes stay away


def test_the_report_holds_what_design_promises(capsys):
    main(["train", *QUICK, "--json"])
    report = json.loads(capsys.readouterr().out)
    promised = """format status warnings stopped_by task monitor epochs_run best_epoch train val test parameters seconds
        samples_per_second device precision threads seed versions command data"""
    for key in promised.split():
        assert key in report, key
    assert (report["status"], report["stopped_by"], report["epochs_run"]) == ("done", "epochs", 3)
    assert report["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert set(report["test"]) == set(METRICS["multiclass"])
    assert report["data"]["rows"] == 1797 and report["data"]["classes"] == 10
    assert report["seconds"]["total"] > report["seconds"]["train"] > 0


def test_metrics_have_one_object_an_epoch_and_no_times(capsys):
    main(["train", *QUICK])
    folder = run_folder(capsys.readouterr().out)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert list(line) == ["epoch", "lr", "train", "val"]
        assert line["lr"] == 0.001
        assert all(math.isfinite(v) for part in ("train", "val") for v in line[part].values())
    best = min(lines, key=lambda line: line["val"]["loss"])
    report = json.loads((folder / "report.json").read_text())
    assert report["best_epoch"] == best["epoch"]
    assert report["val"] == pytest.approx(best["val"], rel=1e-12)


def test_config_yaml_is_plain_and_complete(capsys):
    main(["train", *QUICK, "run.name=my run"])
    tree = yaml.safe_load((run_folder(capsys.readouterr().out) / "config.yaml").read_text())
    assert tree["optim"] == {"name": "adam", "lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8}
    assert tree["initializer"]["name"] == "he_normal" and tree["loss"]["name"] == "cross_entropy"
    assert tree["run"]["name"] == "my run"


def test_weights_are_the_nets_own_tensors(capsys):
    main(["train", *QUICK])
    weights = load_file(run_folder(capsys.readouterr().out) / "model.safetensors")
    assert weights["body.hidden.0.linear.weight"].shape == (16, 64)
    assert weights["body.output.bias"].shape == (10,)
    assert weights["preprocessing.mean"].shape == (64,)


def test_same_seed_same_bytes_another_seed_not(capsys):
    folders = []
    for seed in (0, 0, 1):
        main(["train", *QUICK, "dropout=standard", "batchnorm=batch", f"run.seed={seed}"])
        folders.append(run_folder(capsys.readouterr().out))
    for name in ("metrics.jsonl", "model.safetensors", "schema.json"):
        first, again, other = ((folder / name).read_bytes() for folder in folders)
        assert first == again, name
        assert (first == other) == (name == "schema.json"), name


def test_same_bytes_in_another_process(tmp_path):
    for name in ("a", "b"):
        command = [
            sys.executable,
            "-m",
            "dlfound",
            "train",
            *QUICK,
            "run.threads=1",
            f"run.dir={tmp_path / name}",
        ]
        subprocess.run(command, check=True, capture_output=True)
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_finished_folder_is_left_as_it_is(tmp_path, capsys):
    command = ["train", *QUICK, f"run.dir={tmp_path / 'mine'}"]
    assert main(command) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "mine").rglob("*") if p.is_file()}
    assert main(command) == 0
    assert "finished run" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (tmp_path / "mine").rglob("*") if p.is_file()} == before


def test_an_unfinished_folder_goes_on_or_is_refused(tmp_path, capsys):
    folder = tmp_path / "mine"
    command = ["train", *QUICK, f"run.dir={folder}"]
    main(command)
    weights, metrics = (folder / "model.safetensors").read_bytes(), (folder / "metrics.jsonl").read_bytes()
    (folder / "DONE").unlink()
    assert main([*command, "optim.lr=0.5"]) == 4
    assert "another configuration" in capsys.readouterr().err
    assert main(command) == 0
    assert (folder / "model.safetensors").read_bytes() == weights
    assert (folder / "metrics.jsonl").read_bytes() == metrics
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("loss/val")] == [1, 2, 3]


def test_a_folder_with_other_files_is_refused(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert main(["train", *QUICK, f"run.dir={tmp_path}"]) == 4
    assert "other files" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_a_file_in_the_way_is_told_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", f"run.dir={tmp_path / 'file' / 'run'}"]) == 6
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["with blank", "quo'te", "a=b", "größe", "x" * 200])
def test_odd_folder_names_work(tmp_path, name, capsys):
    assert main(["train", *QUICK, f"run.dir='{tmp_path / name}'".replace("quo't", r"quo\'t")]) == 0
    assert (tmp_path / name / "DONE").exists()


def test_divergence_ends_with_5_and_finite_json(capsys):
    assert main(["train", *QUICK, "optim=sgd", "optim.lr=1e6", "train.batch_size=64"]) == 5
    out, err = capsys.readouterr()
    assert "error[numeric]" in err and "step" in err and "fix: try a smaller learning rate" in err
    report = json.loads((run_folder(out) / "report.json").read_text(), parse_constant=pytest.fail)
    assert report["status"] == "diverged" and report["error"]["what"]
    assert (run_folder(out) / "model.safetensors").exists()


@pytest.mark.parametrize("optim", ["sgd", "adam", "rmsprop", "adagrad", "muon"])
def test_a_rate_near_the_smallest_number(optim, capsys):
    assert main(["train", *QUICK, f"optim={optim}", "optim.lr=1e-38", "train.epochs=3"]) == 0
    folder = run_folder(capsys.readouterr().out)
    report = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    assert report["status"] == "done" and None not in report["test"].values()
    assert all(tensor.isfinite().all() for tensor in load_file(folder / "model.safetensors").values())


def test_inputs_and_targets_below_the_normal_numbers():
    tiny = [[i * 1e-40, i * 1e-45] for i in range(60)]
    for answers in ([i % 2 for i in range(60)], [i * 1e-42 for i in range(60)]):
        run = dlfound.train(["train.epochs=3", "early_stopping=none", "lr_decay=none"], data=(tiny, answers))
        assert run.report["status"] == "done" and run.report["test"]["loss"] is not None
        assert all(tensor.isfinite().all() for tensor in run.model.state_dict().values())


def test_what_can_never_act_is_a_warning(capsys):
    assert main(["train", "train.epochs=4", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "lr_decay.patience=3 can never act in 4 epochs" in err
    assert "early_stopping.look_ahead=10 can never act" in err
    assert len(json.loads(out)["warnings"]) == 2


def test_batch_statistics_are_reported_under_both(capsys):
    main(["train", *QUICK, "batchnorm=batch", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["val"]["loss"] != report["val_running_statistics"]["loss"]
    main(["train", *QUICK, "batchnorm=batch", "batchnorm.statistics=running", "--json"])
    assert "val_running_statistics" not in json.loads(capsys.readouterr().out)


def test_the_monitor_decides_what_is_best(capsys):
    main(["train", "train.epochs=15", "early_stopping=none", "train.monitor=accuracy"])
    folder = run_folder(capsys.readouterr().out)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: line["val"]["accuracy"])  # the first of the highest: strictly best
    assert json.loads((folder / "report.json").read_text())["best_epoch"] == best["epoch"]


def test_curves_reach_tensorboard(capsys):
    main(["train", *QUICK])
    folder = run_folder(capsys.readouterr().out)
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    validated = {f"{name}/val" for name in METRICS["multiclass"]}
    assert {"loss/train", "accuracy/train", "lr", *validated} <= set(events.Tags()["scalars"])
    written = [
        json.loads(line)["val"]["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert [e.value for e in events.Scalars("loss/val")] == pytest.approx(written, rel=1e-6)
    main(["train", *QUICK, "logger=none"])
    assert not (run_folder(capsys.readouterr().out) / "tensorboard").exists()


def test_a_batch_larger_than_the_data_is_told_and_cut(capsys):
    main(["train", *QUICK, "train.batch_size=100000", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["batch_size"] == 1257
    main(["train", *QUICK, "train.batch_size=full", "--json"])
    assert json.loads(capsys.readouterr().out)["test"] == report["test"]


def test_what_the_data_decide_is_checked_after_they_are_read():
    import numpy as np

    rows = np.arange(40.0).reshape(20, 2)
    for words in (["loss=cross_entropy"], ["train.monitor=accuracy"]):
        with pytest.raises(dlfound.Error) as caught:
            dlfound.train(words, data=(rows, rows[:, 0]))
        assert caught.value.code == 2 and "regression" in str(caught.value)


def test_experiments_show_what_they_claim(capsys):
    main(["train", "experiment=sine_approximation", "--json"])
    assert json.loads(capsys.readouterr().out)["test"]["rmse"] < 0.02  # universal approximation
    main(["train", "experiment=spirals_depth", "train.epochs=60", "--json"])
    deep = json.loads(capsys.readouterr().out)["test"]["accuracy"]
    main(["train", "experiment=spirals_depth", "model=perceptron", "--json"])
    flat = json.loads(capsys.readouterr().out)["test"]["accuracy"]
    assert deep > 0.98 and flat < 0.65


def test_a_net_that_cannot_fit_is_refused_before_it_is_made(capsys):
    assert main(["train", "model.hidden=[65536,65536,65536,65536,65536,65536]"]) == 6
    err = capsys.readouterr().err
    assert "21,479,030,784 parameters" in err and "GB" in err and "model.hidden" in err
    assert not Path("outputs").exists()

"""The search methods, pruners and repetitions of `dlfound sweep`, and what a failure does to a sweep."""

import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets  # noqa: F401 (forked workers then need not import it)
from PIL import Image
from support.sweeps import HUGE, LR, RUN, compare, report, states, sweep, table, without_times

import dlfound
from dlfound.cli import main
from dlfound.sweeps.plan import make_plan


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Save time: only the sweep that the tests share draws its pictures."""
    monkeypatch.setattr("dlfound.reports.pictures.draw", lambda path, out: [])


# ---- methods


def test_a_grid_has_every_combination_once():
    decays = ["lr_decay=none,cosine", "lr_decay.final_lr=0,0.001"]
    sweep("optim=sgd,adam", *decays, "search=grid", "train.epochs=1")
    combinations = Counter((row["optim"], row["lr_decay"], row["lr_decay.final_lr"]) for row in table())
    assert combinations == Counter(
        (optim, *decay)
        for optim in ("sgd", "adam")
        for decay in (("none", ""), ("cosine", "0"), ("cosine", "0.001"))
    )


@pytest.mark.parametrize("method", ["sobol", "tpe", "gp"])
def test_methods_draw_the_same_after_an_interruption(method):
    words = [LR, "model.hidden=[8],[4]", f"search={method}", "search.startup=2", "search.workers=1"]
    sweep(*words, "search.trials=4", "run.dir=whole")
    sweep(*words, "search.trials=3")
    sweep(*words, "search.trials=4")
    assert without_times(table()) == without_times(table("whole"))
    assert len({(row["optim.lr"], row["model.hidden"]) for row in table()}) >= 3


def test_repeats_and_folds_give_mean_and_spread(capsys):
    output = sweep("optim.lr=0.01,0.1", "search=grid", "search.repeats=2", "search.folds=3")
    assert " ± " in output.stdout
    for row in table():
        runs = [dlfound.open_run(path) for path in sorted(Path("sweep", row["folder"]).iterdir())]
        order = [(run.config["run"]["seed"], run.config["train"]["fold"]) for run in runs]
        assert order == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
        fingerprints = [run.report["data"]["fingerprint"] for run in runs]
        assert fingerprints[:3] == fingerprints[3:] and len(set(fingerprints)) == 3  # repeats share the folds
        assert {run.schema["split"]["test"] for run in runs} == {18}
        losses = [run.report["val"]["loss"] for run in runs]
        mean = sum(losses) / 6
        deviation = (sum((loss - mean) ** 2 for loss in losses) / 5) ** 0.5
        assert float(row["val_loss"]) == pytest.approx(mean, rel=1e-12)
        assert float(row["val_loss_std"]) == pytest.approx(deviation, rel=1e-9)
    rows = sorted(compare(capsys, "sweep"), key=lambda row: row["run"])
    for name in ("val_loss", "val_loss_std", "val_accuracy", "val_accuracy_std", "epochs"):
        assert [float(row[name]) for row in rows] == [float(row[name]) for row in table()]
    best = report()["best"]
    tests = [
        dlfound.open_run(path).report["test"]["loss"] for path in Path("sweep", best["folder"]).iterdir()
    ]
    assert best["test"]["loss"] == pytest.approx(sum(tests) / 6, rel=1e-12)
    assert float(rows[best["trial"]]["test_loss"]) == best["test"]["loss"]
    assert rows[1 - best["trial"]]["test_loss"] == ""
    assert main(["compare", "sweep"]) == 0
    assert "val_loss_std" in capsys.readouterr().out


def test_the_runs_of_a_trial_without_folds_or_without_repeats():
    repeats = make_plan(["search.repeats=2", "run.seed=5"]).runs
    assert repeats == [("seed5", ["run.seed=5"]), ("seed6", ["run.seed=6"])]
    folds = make_plan(["search.folds=2"]).runs
    assert folds == [(f"fold{k}", ["train.folds=2", f"train.fold={k}"]) for k in (0, 1)]
    assert make_plan([LR]).runs == [("", [])]


def test_trials_that_must_repeat_are_announced():
    plan = make_plan(["optim.lr=0.1,0.2", "search.trials=3"])
    assert "the space has only 2 configurations, so some of the 3 trials repeat" in plan.repetition_warning()
    assert make_plan(["optim.lr=0.1,0.2", "search.trials=2"]).repetition_warning() == ""
    assert make_plan([LR, "search.trials=50"]).repetition_warning() == ""
    output = sweep("optim.lr=0.1,0.2", "search.trials=3", "train.epochs=1")
    assert "warning: the space has only 2 configurations" in output.stderr


def test_changed_data_are_refused_until_they_are_restored(capsys):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Path("images", name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 255, (2, 2), dtype=np.uint8)
            Image.fromarray(pixels).save(f"images/{name}/{i:02}.png")
    run = [word for word in RUN if not word.startswith("data")]
    data = ["data=image_folder", "data.path=images", "data.size=2"]
    command = ["sweep", *run, *data, LR, "search.workers=1"]
    assert main([*command, "search.trials=2"]) == 0
    changed = Path("images/a/00.png")
    content = changed.read_bytes()
    changed.write_bytes(Path("images/b/00.png").read_bytes())
    assert main([*command, "search.trials=3"]) == 4
    assert "the data have changed since the sweep began" in capsys.readouterr().err
    assert states() == ["done", "done", "interrupted"]
    changed.write_bytes(content)
    assert main([*command, "search.trials=3"]) == 0 and states() == ["done"] * 3


# ---- pruners


@pytest.mark.parametrize(
    "words",
    [
        ["search.pruner=median", "search.startup=1"],
        ["search.pruner=asha", "search.reduction=2"],
        ["search.pruner=hyperband", "search.reduction=2"],
    ],
)
def test_a_pruned_run_is_complete_but_never_the_best(words):
    rates = "optim.lr=0.1,0.2,0.00001,0.00002,0.000001"
    common = ["train.epochs=12", "optim=adam", "search=grid", "search.workers=1", "search.min_epochs=2"]
    sweep(rates, *common, *words)
    state = {row["optim.lr"]: row["state"] for row in table()}
    assert state["0.1"] == "done" and "pruned" in state.values(), state
    for row in table():
        run = dlfound.open_run(f"sweep/{row['folder']}")
        done = row["state"] == "done"
        assert run.report["status"] == row["state"] and (run.report["epochs_run"] == 12) == done
        assert run.report["stopped_by"] == ("epochs" if done else "pruned")
        assert run.predict([[0.0, 0.5]]).shape == (1,)
    assert state[report()["best"]["values"]["optim.lr"]] == "done"


# ---- failures


def test_a_sweep_in_which_every_trial_fails():
    output = sweep(f"model.hidden={HUGE},{HUGE.replace('36]', '35]')}", "search=grid", code=5)
    assert "no trial finished; the first error: a net of" in output.stderr and report()["best"] is None
    assert "no pictures: no trial has a value to draw\n" in output.stderr
    assert not Path("sweep/pictures").exists()


def test_an_error_of_the_disk_stops_the_sweep_and_loses_no_trial():
    Path("sweep/trials").mkdir(parents=True)
    Path("sweep/trials/0001").write_text("in the way")
    words = ["optim.lr=0.01,0.1,0.2", "search=grid", "search.workers=1"]
    output = sweep(*words, code=6)
    assert "sweep/trials/0001" in output.stderr and states() == ["done", "interrupted"]
    Path("sweep/trials/0001").unlink()
    sweep(*words)
    assert states() == ["done"] * 3


def test_an_import_error_stops_the_sweep_and_loses_no_trial(monkeypatch):
    def broken(*arguments, **settings):
        raise ImportError("cannot import name 'Tensor' from partially initialized module 'torch'")

    with monkeypatch.context() as patch:
        patch.setattr("dlfound.sweeps.worker.run_training", broken)
        output = sweep("optim.lr=0.01,0.1", "search=grid", "search.workers=1", code=6)
    assert "partially initialized" in output.stderr and states() == ["interrupted"]
    sweep("optim.lr=0.01,0.1", "search=grid")
    assert states() == ["done"] * 2


def test_an_unexpected_exception_fails_its_trial_alone(monkeypatch):
    from dlfound.sweeps import worker

    real = worker.run_training

    def fails_first(config, path, *arguments, **settings):
        if path.name == "0000":
            raise ZeroDivisionError("nothing to divide by\nmore")
        return real(config, path, *arguments, **settings)

    monkeypatch.setattr(worker, "run_training", fails_first)
    sweep("optim.lr=0.01,0.1", "search=grid", "search.workers=1")
    assert (
        states() == ["failed", "done"] and table()[0]["reason"] == "ZeroDivisionError: nothing to divide by"
    )


@pytest.fixture
def small_disk(tmp_path):
    """An empty disk of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_sweep_which_resumes_once_there_is_space(small_disk):
    words = [LR, "search.trials=6", "search.workers=1", "model.hidden=[64,64]", "train.epochs=2"]
    folder = small_disk / "sweep"
    output = sweep(*words, f"run.dir={folder}", code=6)
    assert "No space left on device" in output.stderr and "Traceback" not in output.stderr
    assert len(output.stderr.splitlines()) < 30
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    sweep(*words, f"run.dir={folder}")
    sweep(*words, "run.dir=whole")
    assert [row["state"] for row in table(folder)] == ["done"] * 6
    assert [row["val_loss"] for row in table(folder)] == [row["val_loss"] for row in table("whole")]


def test_many_failures_in_a_row_end_the_sweep():
    layers = ",".join(f"[65536,65536,65536,65536,{n}]" for n in range(65500, 65510))
    words = [f"model.hidden={layers}", "search=grid", "search.max_failures=3", "search.workers=1"]
    output = sweep(*words, code=5)
    assert "the last 3 trials failed, the last one with: a net of" in output.stderr and len(table()) == 3


def test_an_error_that_concerns_all_trials_ends_the_sweep_with_its_own_code(capsys):
    words = ["data=image_folder", "data.path=nowhere", "run.dir=sweep", "search.workers=1"]
    assert main(["sweep", LR, *words]) == 3
    assert "nowhere" in capsys.readouterr().err
    assert states() == ["interrupted"] and not list(Path("sweep/trials").glob("*/*"))


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (
            ["optim.lr=tag(log,interval(0,1))", "optm=a,b", "search.trails=3"],
            ["needs a low end > 0", "'optm'", "search.trials=3?"],
        ),
        ([LR, "serach.trials=3"], ["'serach.trials'", "did you mean search.trials=3?"]),
        ([LR, "search=tep"], ["did you mean search=tpe"]),
        ([LR, "search.trials=0"], ["search.trials must be"]),
        ([LR, "search=grid"], ["a grid needs a list of values for optim.lr"]),
        ([LR, "search.trials=all"], ["search.trials=all works only with search=grid"]),
        ([LR, "search.pruner=median2"], ["search.pruner must be none or median"]),
        ([LR, "search.storage=redis://x"], ["search.storage must be journal, or an address"]),
        (
            [LR, "search.storage=postgresql://me:secret@host/db", "run.dir=null"],
            ["search.storage needs run.dir"],
        ),
        (["run.seed=1,2", "search.repeats=2"], ["search.repeats and the space both vary run.seed"]),
        (["train.fold=0,1", "search.folds=2"], ["search.folds and the space both vary train.fold"]),
        (["optim.lr=0.1"], ["nothing varies"]),
        ([LR, "resume=latest"], ["resume=latest does not apply to a sweep"]),
        (["early_stopping=lookahead", "lr_decay=plateau", "early_stopping.look_ahead=1,2"], ["lr_decay"]),
    ],
)
def test_mistakes_are_reported_before_the_first_trial(words, messages, capsys):
    assert main(["sweep", *RUN, *words]) == 2
    text = capsys.readouterr().err
    assert all(message in text for message in messages), text
    assert "secret" not in text and not Path("sweep").exists()


def test_arrays_are_refused(capsys):
    assert main(["sweep", LR, "data=arrays"]) == 2
    assert "data=arrays takes arrays from Python" in capsys.readouterr().err


def test_a_folder_with_other_files_is_refused(capsys):
    Path("sweep").mkdir()
    Path("sweep/mine.txt").write_text("mine")
    assert main(["sweep", *RUN, LR]) == 4
    assert "sweep contains other files" in capsys.readouterr().err
    Path("sweep/mine.txt").rename("sweep/config.yaml")  # as in the folder of a run
    assert main(["sweep", *RUN, LR]) == 4

"""`dlfound sweep` from outside: what is searched, what is kept, what comes out."""

import contextlib
import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import dlfound
from dlfound.cli import main
from dlfound.sweeps.plan import make_plan
from dlfound.sweeps.results import Results
from dlfound.sweeps.trials import Result, Row

RUN = [
    "data=moons", "data.rows=120", "model.hidden=[8]", "train.epochs=4", "early_stopping=none", "lr_decay=none",
    "logger=none", "run.threads=1", "run.dir=sweep",
]  # fmt: skip
LR = "optim.lr=tag(log,interval(1e-3,1e-1))"


TRIED = [("done", "0.01", 0.9), ("done", "0.095", 0.1), ("diverged", "0.098", None)]


class Done(NamedTuple):
    """What a command said."""

    stdout: str
    stderr: str


def sweep(*words, code=0, verb=("sweep",)):
    """A sweep as a person starts it; what it said."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        ended = main([*verb, *RUN, *words])
    assert ended == code, out.getvalue() + err.getvalue() + log()
    return Done(out.getvalue(), err.getvalue())


def log():
    path = Path("sweep/workers.log")
    return path.read_text() if path.exists() else ""


def table(path="sweep"):
    with Path(path, "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def report():
    return json.loads(Path("sweep/report.json").read_text())


def timeless(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """One sweep that several tests look at: its folder, and what was said."""
    folder = tmp_path_factory.mktemp("searched")
    with contextlib.chdir(folder):
        return folder, sweep(LR, "optim=adam,sgd", "search.trials=12")


@pytest.fixture
def again(searched, tmp_path):
    """A copy of it, to stand in."""
    shutil.copytree(searched[0] / "sweep", tmp_path / "sweep")
    return searched[1]


def test_every_trial_is_an_ordinary_run(again):
    rows = table()
    assert [row["trial"] for row in rows] == [str(n) for n in range(12)] and {
        row["state"] for row in rows
    } == {"done"}
    for row in rows:
        run = dlfound.open_run(f"sweep/{row['folder']}")
        assert run.config["optim"]["name"] == row["optim"] and run.config["optim"]["lr"] == float(
            row["optim.lr"]
        )
        assert run.report["val"]["loss"] == float(row["val_loss"]) and run.report["epochs_run"] == 4


def test_what_a_person_sees(again):
    lines = [line for line in again.stderr.splitlines() if " done " in line]
    assert len(lines) == 12 and "[12/12; best val loss" in lines[-1]
    best = min(table(), key=lambda row: float(row["val_loss"]))
    assert (
        f"best: trial {best['trial']}\n" in again.stdout and f"optim.lr = {best['optim.lr']}" in again.stdout
    )
    assert "what made the difference: " in again.stdout and again.stdout.endswith("\nsweep\n")
    assert again.stdout.count("test ") == 1


def test_the_best_can_be_trained_again(again, capsys):
    best = report()["best"]
    weights = Path("sweep", best["folder"], "model.safetensors").read_bytes()
    assert f"\n{best['command']}\n" in again.stdout
    for words in (shlex.split(best["command"])[1:], ["train", "--config-dir", "sweep", "experiment=best"]):
        assert main(words) == 0
        path = capsys.readouterr().out.splitlines()[-1]
        assert Path(path, "model.safetensors").read_bytes() == weights
        assert json.loads(Path(path, "report.json").read_text())["test"] == best["test"]


def test_pictures_are_drawn(again):
    assert {path.name for path in Path("sweep/pictures").iterdir()} == {
        "settings.png", "importances.png", "history.png", "curves.png",
    }  # fmt: skip


def compared(capsys, *words):
    """What compare says of sweeps, from the best on."""
    assert main(["compare", *words, "--csv"]) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


@pytest.mark.parametrize("word", ["sweep", "."])
def test_compare_shows_the_table_and_the_test_metrics_of_the_best_alone(word, again, capsys):
    found = compared(capsys, word)
    assert {Path(row["run"]).name: row["val_loss"] for row in found} == {
        Path(row["folder"]).name: row["val_loss"] for row in table()
    }
    best = report()["best"]
    assert Path(found[0]["folder"]).name == f"{best['trial']:04}"
    assert float(found[0]["test_loss"]) == best["test"]["loss"] and not any(
        row["test_loss"] for row in found[1:]
    )
    assert all(row["test_loss"] for row in compared(capsys, "sweep/trials"))
    assert main(["runs"]) == 0
    assert "trials" not in capsys.readouterr().out


def test_compare_tells_how_trials_ended_and_ranks_those_that_are_done(capsys):
    huge = "[65536,65536,65536,65536,65536]"
    sweep(f"model.hidden=[8],{huge}", "optim=sgd", "optim.lr=0.00001,1e20", "search=grid", "search.workers=1")
    Path("sweep/trials/0004.json").write_text(
        '{"number": 4, "values": {"model.hidden": "[8]"}, "result": null}'
    )
    found = compared(capsys, "sweep")
    assert [row["status"] for row in found] == ["done", "diverged", "failed", "failed", "interrupted"]
    assert [row["reason"] for row in found[:4]] == [
        row["reason"] for row in table()
    ] and "needs about" in str(found[3])
    assert found[2]["model.hidden"] == huge and set(found[0]) & {"optim", "optim.lr", "data"} == {"optim.lr"}


def test_compare_shows_repeats_by_mean_and_spread(capsys):
    sweep("optim.lr=0.01,0.1", "search=grid", "search.repeats=2", "search.folds=2")
    found, rows = sorted(compared(capsys, "sweep"), key=lambda row: row["run"]), table()
    for name in ("val_loss", "val_loss_std", "val_accuracy", "val_accuracy_std", "epochs"):
        assert [float(row[name]) for row in found] == [float(row[name]) for row in rows]
    best = report()["best"]
    assert float(found[best["trial"]]["test_loss"]) == pytest.approx(best["test"]["loss"], rel=1e-12)
    assert found[1 - best["trial"]]["test_loss"] == ""
    assert main(["compare", "sweep"]) == 0
    assert "val_loss_std" in capsys.readouterr().out


def test_the_same_command_on_a_finished_sweep_changes_nothing(again):
    before = {p: p.read_bytes() for p in Path("sweep/trials").rglob("*") if p.is_file()}
    done = sweep(LR, "optim=adam,sgd", "search.trials=12")
    assert done.stdout == again.stdout and done.stderr == ""
    assert {p: p.read_bytes() for p in Path("sweep/trials").rglob("*") if p.is_file()} == before


def test_more_trials_go_on_and_are_what_they_would_have_been(again):
    old = table()
    sweep(LR, "optim=adam,sgd", "search.trials=14", "search.workers=1")
    assert timeless(table())[:12] == timeless(old) and len(table()) == 14
    sweep(LR, "optim=adam,sgd", "search.trials=14", "run.dir=other")
    assert timeless(table()) == timeless(table("other"))


def test_another_space_is_refused(again):
    done = sweep("optim.lr=0.1,0.2", "optim=adam,sgd", "search.trials=12", code=4)
    assert "search space differs: optim.lr was tag(log,interval(0.001,0.1))" in done.stderr
    done = sweep(LR, "optim=adam,sgd", "search.trials=12", "data.noise=0.3", code=4)
    assert "search space differs: data.noise was 0.15" in done.stderr


def test_a_journal_that_is_gone_is_made_anew(again):
    old = table()
    Path("sweep/journal.log").unlink()
    done = sweep(LR, "optim=adam,sgd", "search.trials=13")
    assert "made anew from the 12 trials" in done.stderr
    assert timeless(table())[:12] == timeless(old) and len(table()) == 13


def test_a_torn_journal_is_mended(again):
    old, journal = table(), Path("sweep/journal.log")
    content = journal.read_bytes()
    journal.write_bytes(content + b'{"op_code":4,"wor')
    done = sweep(LR, "optim=adam,sgd", "search.trials=12")
    assert "removed 17 bytes of an unfinished record" in done.stderr
    assert (
        journal.read_bytes() == content
        and Path("sweep/journal.log.torn").read_bytes() == b'{"op_code":4,"wor'
    )
    assert timeless(table()) == timeless(old)


def test_a_damaged_journal_is_told(again):
    journal = Path("sweep/journal.log")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:9], b"junk\n", *lines[9:]]))
    done = sweep(LR, "optim=adam,sgd", "search.trials=12", code=4)
    assert "not a dlfound study, or damaged" in done.stderr and "set it aside" in done.stderr
    journal.rename("sweep/.aside")
    assert "made anew from the 12 trials" in sweep(LR, "optim=adam,sgd", "search.trials=12").stderr


def test_a_trial_that_ended_untold_is_not_trained_again(again):
    """As one whose process was killed between the end of its training and the word of it."""
    old, journal = table(), Path("sweep/journal.log")
    lines = journal.read_bytes().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if b'"op_code":6' in line and b'"state":1' in line]
    assert len(ends) == 12
    journal.write_bytes(b"".join(line for i, line in enumerate(lines) if i != ends[-1]))
    before = {p: p.stat().st_mtime_ns for p in Path("sweep/trials").glob("*/model.safetensors")}
    sweep(LR, "optim=adam,sgd", "search.trials=12")
    assert timeless(table()) == timeless(old)
    assert {p: p.stat().st_mtime_ns for p in Path("sweep/trials").glob("*/model.safetensors")} == before


# ---- methods


def test_a_grid_has_every_combination_once():
    sweep(
        "optim=sgd,adam",
        "lr_decay=none,cosine",
        "lr_decay.final_lr=0,0.001",
        "search=grid",
        "search.workers=1",
    )
    found = Counter((row["optim"], row["lr_decay"], row["lr_decay.final_lr"]) for row in table())
    assert found == Counter(
        (optim, *decay)
        for optim in ("sgd", "adam")
        for decay in (("none", ""), ("cosine", "0"), ("cosine", "0.001"))
    )


@pytest.mark.parametrize("method", ["sobol", "tpe", "gp"])
def test_methods_draw_the_same_after_a_pause(method):
    words = [LR, "model.hidden=[8],[4]", f"search={method}", "search.startup=2", "search.workers=1"]
    sweep(*words, "search.trials=4", "run.dir=whole")
    sweep(*words, "search.trials=3")
    sweep(*words, "search.trials=4")
    assert timeless(table()) == timeless(table("whole"))
    assert len({(row["optim.lr"], row["model.hidden"]) for row in table()}) >= 3


def test_repeats_share_the_split_and_give_mean_and_spread():
    done = sweep("optim.lr=0.01,0.1", "search=grid", "search.repeats=3", "search.trials=all")
    for row in table():
        runs = [dlfound.open_run(path) for path in sorted(Path("sweep", row["folder"]).iterdir())]
        assert [run.config["run"]["seed"] for run in runs] == [0, 1, 2]
        assert len({run.report["data"]["fingerprint"] for run in runs}) == 1
        losses = [run.report["val"]["loss"] for run in runs]
        mean = sum(losses) / 3
        assert float(row["val_loss"]) == pytest.approx(mean, rel=1e-12)
        deviation = (sum((v - mean) ** 2 for v in losses) / 2) ** 0.5
        assert float(row["val_loss_std"]) == pytest.approx(deviation, rel=1e-9)
    assert " ± " in done.stdout


def test_folds_take_turns_to_validate():
    sweep("optim.lr=0.01,0.1", "search=grid", "search.folds=3", "run.dir=folds")
    for row in table("folds"):
        runs = [dlfound.open_run(path) for path in sorted(Path("folds", row["folder"]).iterdir())]
        assert [run.config["train"]["fold"] for run in runs] == [0, 1, 2]
        assert len({run.report["data"]["fingerprint"] for run in runs}) == 3
        assert {run.schema["split"]["test"] for run in runs} == {18}
        assert {run.config["run"]["seed"] for run in runs} == {0}
        losses = [run.report["val"]["loss"] for run in runs]
        assert float(row["val_loss"]) == pytest.approx(sum(losses) / 3, rel=1e-12)


def test_fewer_trials_than_there_are_are_refused(again):
    before = Path("sweep/report.json").read_bytes()
    done = sweep(LR, "optim=adam,sgd", "search.trials=4", code=4)
    assert "sweep has 12 trials, and 4 are asked for" in done.stderr
    assert Path("sweep/report.json").read_bytes() == before


def test_trials_that_must_repeat_are_told():
    told = "the space has 2 configurations, so that trials repeat; search=grid tries each once"
    assert told in sweep("optim.lr=0.1,0.2", "search.trials=3").stderr
    assert told not in sweep("optim.lr=0.1,0.2", "search.trials=2", "run.dir=two").stderr


def test_other_data_are_refused_when_it_goes_on():
    """As a process of its own: polars, which other tests here have used, does not work behind a fork."""
    words = ["data=table", "data.path=rows.csv", "data.target=y", *RUN[2:], LR, "search.workers=1"]

    def trained(trials):
        command = [sys.executable, "-m", "dlfound", "sweep", *words, f"search.trials={trials}"]
        return subprocess.run(command, capture_output=True, text=True)

    lines = [f"{i * 37 % 101},{i % 7},{i % 2}" for i in range(60)]
    Path("rows.csv").write_text("\n".join(["a,b,y", *lines]))
    assert trained(2).returncode == 0
    Path("rows.csv").write_text("\n".join(["a,b,y", *lines[:-1], "99,99,0"]))
    done = trained(3)
    assert done.returncode == 4 and "the data are not those that the sweep began with" in done.stderr
    assert [row["state"] for row in table()] == ["done"] * 2 + ["interrupted"]
    Path("rows.csv").write_text("\n".join(["a,b,y", *lines]))
    assert trained(3).returncode == 0 and [row["state"] for row in table()] == ["done"] * 3


# ---- what goes wrong


def test_a_diverged_trial_is_told_apart_and_never_best():
    sweep("optim=sgd", "optim.lr=0.1,1e20", "search=grid", "search.workers=1")
    assert [row["state"] for row in table()] == ["done", "diverged"]
    assert "not finite" in table()[1]["reason"] and report()["best"]["trial"] == 0


def test_a_failed_trial_does_not_end_the_sweep():
    sweep("model.hidden=[8],[65536,65536,65536,65536,65536]", "search=grid", "search.workers=1")
    assert [row["state"] for row in table()] == ["done", "failed"] and "needs about" in table()[1]["reason"]


def test_where_every_trial_fails():
    done = sweep(
        "model.hidden=[65536,65536,65536,65536,65536],[65536,65536,65536,65536,65535]", "search=grid", code=5
    )
    assert "no trial finished; the first error: a net of" in done.stderr and report()["best"] is None
    assert (
        "no pictures: no trial has a value to draw\n" in done.stderr and not Path("sweep/pictures").exists()
    )


def test_trouble_of_the_disk_stops_the_sweep_and_loses_no_trial():
    Path("sweep/trials").mkdir(parents=True)
    Path("sweep/trials/0001").write_text("in the way")
    done = sweep("optim.lr=0.01,0.1,0.2", "search=grid", "search.workers=1", code=6)
    assert "0001 is no folder" in done.stderr and [row["state"] for row in table()] == ["done", "interrupted"]
    Path("sweep/trials/0001").unlink()
    sweep("optim.lr=0.01,0.1,0.2", "search=grid", "search.workers=1")
    assert [row["state"] for row in table()] == ["done"] * 3


def test_what_is_not_installed_stops_the_sweep_and_loses_no_trial(monkeypatch):
    def broken(*arguments, **settings):
        raise ImportError("cannot import name 'Tensor' from partially initialized module 'torch'")

    with monkeypatch.context() as patch:
        patch.setattr("dlfound.sweeps.worker.run_training", broken)
        done = sweep("optim.lr=0.01,0.1", "search=grid", "search.workers=1", code=6)
    assert "partially initialized" in done.stderr and [row["state"] for row in table()] == ["interrupted"]
    sweep("optim.lr=0.01,0.1", "search=grid")
    assert [row["state"] for row in table()] == ["done"] * 2


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB, on which nothing else lies."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True
    )
    if done.returncode:
        pytest.skip("no disk of one's own here: mounting needs rights that this user lacks")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_sweep_which_then_goes_on(small_disk):
    words = [
        "optim.lr=tag(log,interval(0.001,0.1))",
        "search.trials=12",
        "search.workers=1",
        "model.hidden=[64,64]",
    ]
    place = small_disk / "sweep"
    done = sweep(*words, f"run.dir={place}", code=6)
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 30
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    sweep(*words, f"run.dir={place}")
    sweep(*words, "run.dir=whole")
    assert [row["state"] for row in table(str(place))] == ["done"] * 12
    assert [row["val_loss"] for row in table(str(place))] == [row["val_loss"] for row in table("whole")]


def test_too_many_failures_in_a_row_end_it():
    words = "model.hidden=" + ",".join(f"[65536,65536,65536,65536,{n}]" for n in range(65500, 65510))
    done = sweep(words, "search=grid", "search.max_failures=3", "search.workers=1", code=5)
    assert "the last 3 trials failed" in done.stderr and len(table()) == 3


def test_what_ends_all_trials_ends_the_sweep_with_its_own_code(capsys):
    assert (
        main(["sweep", LR, "data=image_folder", "data.path=nowhere", "run.dir=sweep", "search.workers=1"])
        == 3
    )
    assert "nowhere" in capsys.readouterr().err
    assert {row["state"] for row in table()} == {"interrupted"} and not list(Path("sweep/trials").glob("*/*"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["optim.lr=tag(log,interval(0,1))", "optm=a,b", "search.trails=3"],
            ["needs a low end > 0", "'optm'", "search.trials=3?"],
        ),
        ([LR, "serach.trials=3"], ["'serach.trials'", "did you mean search.trials=3?"]),
        ([LR, "search=tep"], ["did you mean search=tpe"]),
        ([LR, "search.trials=0"], ["search.trials must be"]),
        ([LR, "search=grid"], ["a grid needs a list of values for optim.lr"]),
        ([LR, "search.trials=all"], ["search.trials=all is for search=grid"]),
        ([LR, "search.pruner=median2"], ["search.pruner must be none or median"]),
        ([LR, "search.storage=redis://x"], ["search.storage must be journal, or an address"]),
        (
            [LR, "search.storage=postgresql://me:secret@host/db", "run.dir=null"],
            ["search.storage needs run.dir"],
        ),
        (["run.seed=1,2", "search.repeats=2"], ["search.repeats varies run.seed"]),
        (["optim.lr=0.1"], ["nothing varies"]),
        ([LR, "resume=latest"], ["resume=latest is not for a sweep"]),
        (
            ["early_stopping=lookahead", "lr_decay=plateau", "early_stopping.look_ahead=1,2"],
            ["would stop before the first decay"],
        ),
    ],
)
def test_what_makes_no_sense_is_told_before_the_first_trial(words, told, capsys):
    assert main(["sweep", *RUN, *words]) == 2
    said = capsys.readouterr().err
    assert all(text in said for text in told), said
    assert "secret" not in said and not Path("sweep").exists()


def test_a_folder_with_other_things_is_refused(capsys):
    Path("sweep").mkdir()
    Path("sweep/mine.txt").write_text("mine")
    assert main(["sweep", *RUN, LR]) == 4
    assert "holds other files" in capsys.readouterr().err
    assert main(["train", *RUN[:-1], "run.dir=run"]) == 0
    assert main(["sweep", *RUN[:-1], "run.dir=run", LR]) == 4


def test_train_m_is_the_same(searched):
    sweep(LR, "optim=adam,sgd", "search.trials=12", verb=("train", "-m"))
    assert timeless(table()) == timeless(table(searched[0] / "sweep"))


def test_cfg_shows_the_space_and_trains_nothing(capsys):
    assert main(["sweep", *RUN, LR, "search=tpe", "--cfg"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (
        shown["optim.lr"] == "tag(log,interval(0.001,0.1))"
        and shown["search"] == "tpe"
        and shown["data"] == "moons"
    )
    assert not Path("sweep").exists()


def test_json_is_the_report():
    done = sweep("optim.lr=0.01,0.1", "search=grid", "--json")
    assert json.loads(done.stdout) == report()


def test_an_experiment_holds_a_space():
    Path("mine/experiment").mkdir(parents=True)
    space = "# @package _global_\nspace:\n  optim.lr: 0.01,0.1,0.2\nsearch:\n  name: grid\nmodel:\n  hidden: [4]\n"
    Path("mine/experiment/rates.yaml").write_text(space)
    words = [w for w in RUN if not w.startswith("model.")]
    assert main(["sweep", "--config-dir", "mine", "experiment=rates", *words]) == 0
    assert [row["optim.lr"] for row in table()] == ["0.01", "0.1", "0.2"]
    assert main(["train", "--config-dir", "mine", "experiment=rates"]) == 2
    assert main(["train", "--config-dir", "sweep", "experiment=best", "run.name=again"]) == 0
    assert dlfound.open_run("again").config["model"]["hidden"] == [4]


def test_a_best_value_on_the_edge_is_told():
    done = sweep("optim=sgd", "optim.lr=range(0.0001,0.0004,0.0001)", "search=grid")
    assert re.search(
        r"the best optim\.lr \(0\.0003\) lies at the upper end of .*: search higher", done.stderr
    )


def test_a_best_value_near_the_edge_with_worse_ones_beyond_is_none():
    rows = [
        Row(n, state, {"optim.lr": lr}, Result(state, value)) for n, (state, lr, value) in enumerate(TRIED)
    ]
    plan = make_plan([LR])
    told = [Results(plan, rows[:count], "loss", {}).warnings() for count in (2, 3)]
    assert "search higher" in told[0][0] and told[1] == []


def test_a_budget_of_seconds():
    done = sweep(LR, "search.trials=100000", "search.seconds=1", "train.epochs=40")
    assert re.search(r"\d+ of 100000 trials in the time given; the same command goes on", done.stderr)
    assert 0 < len(table()) < 1000 and report()["status"] == "unfinished"


# ---- pruners


@pytest.mark.parametrize(
    "words",
    [
        ["search.pruner=median", "search.startup=1", "search.min_epochs=2"],
        ["search.pruner=asha", "search.min_epochs=2", "search.reduction=2"],
        ["search.pruner=hyperband", "search.min_epochs=2", "search.reduction=2"],
    ],
)
def test_a_pruned_run_is_whole_and_never_best(words):
    rates = "optim.lr=0.1,0.2,0.00001,0.00002,0.000001"
    sweep(
        "train.epochs=12", rates, "optim=adam", "search=grid", "search.workers=1", "search.trials=5", *words
    )
    states = {row["optim.lr"]: row["state"] for row in table()}
    assert states["0.1"] == "done" and "pruned" in states.values(), states
    for row in table():
        run = dlfound.open_run(f"sweep/{row['folder']}")
        assert run.report["status"] == row["state"] and (run.report["epochs_run"] == 12) == (
            row["state"] == "done"
        )
        assert run.report["stopped_by"] == ("epochs" if row["state"] == "done" else "pruned")
        assert run.predict([[0.0, 0.5]]).shape == (1,)
    assert states[report()["best"]["values"]["optim.lr"]] == "done"

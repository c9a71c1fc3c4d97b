"""`dlfound sweep` as a user sees it: what it stores and prints, how it resumes, and what compare shows."""

import contextlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torchvision.datasets  # noqa: F401 (forked workers then need not import it)
import yaml
from support.sweeps import HUGE, LR, RUN, SEARCHED, compare, report, states, sweep, table, without_times

import dlfound
from dlfound.cli import main
from dlfound.sweeps.folder import Result
from dlfound.sweeps.plan import make_plan
from dlfound.sweeps.results import Results, edge_warnings
from dlfound.sweeps.trials import TrialRecord


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A sweep that several tests examine: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("searched")
    with contextlib.chdir(folder):
        return folder, sweep(*SEARCHED)


@pytest.fixture
def copy(searched, tmp_path):
    """A copy of that sweep in the current folder; gives what it printed."""
    shutil.copytree(searched[0] / "sweep", tmp_path / "sweep")
    return searched[1]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Save time: only the sweep that the tests share draws its pictures."""
    monkeypatch.setattr("dlfound.reports.pictures.draw", lambda path, out: [])


def test_every_trial_is_an_ordinary_run(copy):
    rows = table()
    assert [row["trial"] for row in rows] == [str(n) for n in range(12)] and states() == ["done"] * 12
    for row in rows[:3]:
        run = dlfound.open_run(f"sweep/{row['folder']}")
        optim = run.config["optim"]
        assert optim["name"] == row["optim"] and optim["lr"] == float(row["optim.lr"])
        assert run.report["val"]["loss"] == float(row["val_loss"]) and run.report["epochs_run"] == 4


def test_what_a_user_sees(copy):
    lines = [line for line in copy.stderr.splitlines() if " done " in line]
    assert len(lines) == 12 and "[12/12; best val loss" in lines[-1]
    best = min(table(), key=lambda row: float(row["val_loss"]))
    assert f"best: trial {best['trial']}\n" in copy.stdout and f"optim.lr = {best['optim.lr']}" in copy.stdout
    assert "importance of the settings: optim" in copy.stdout and copy.stdout.endswith("\nsweep\n")
    assert copy.stdout.count("test ") == 1


def test_the_best_configuration_can_be_trained_again(copy, capsys):
    best = report()["best"]
    weights = Path("sweep", best["folder"], "model.safetensors").read_bytes()
    assert f"\n  {best['command']}\n" in copy.stdout
    for words in (shlex.split(best["command"])[1:], ["train", "--config-dir", "sweep", "experiment=best"]):
        assert main(words) == 0
        path = capsys.readouterr().out.splitlines()[-1]
        assert Path(path, "model.safetensors").read_bytes() == weights
        assert json.loads(Path(path, "report.json").read_text())["test"] == best["test"]


def test_pictures_are_drawn(copy):
    assert {path.name for path in Path("sweep/pictures").iterdir()} == {
        "settings.png", "importances.png", "history.png", "curves.png",
    }  # fmt: skip


# ---- compare


@pytest.mark.parametrize("word", ["sweep", "."])
def test_compare_shows_all_trials_and_only_the_test_metrics_of_the_best(word, copy, capsys):
    rows = compare(capsys, word)
    assert {Path(row["run"]).name: row["val_loss"] for row in rows} == {
        Path(row["folder"]).name: row["val_loss"] for row in table()
    }
    best = report()["best"]
    assert Path(rows[0]["folder"]).name == f"{best['trial']:04}"
    assert float(rows[0]["test_loss"]) == best["test"]["loss"]
    assert not any(row["test_loss"] for row in rows[1:])


def test_a_trial_is_compared_as_a_run_by_its_own_path(copy, capsys):
    assert all(row["test_loss"] for row in compare(capsys, "sweep/trials"))
    assert main(["runs"]) == 0
    assert "trials" not in capsys.readouterr().out


def test_trials_that_diverge_or_fail_do_not_end_the_sweep(capsys):
    sweep(f"model.hidden=[8],{HUGE}", "optim=sgd", "optim.lr=0.00001,1e20", "search=grid", "search.workers=1")
    assert states() == ["done", "diverged", "failed", "failed"] and report()["best"]["trial"] == 0
    assert "not finite" in table()[1]["reason"] and "needs about" in table()[3]["reason"]
    Path("sweep/trials/0004.json").write_text(
        '{"number": 4, "values": {"model.hidden": "[8]"}, "result": null}'
    )
    rows = compare(capsys, "sweep")
    assert [row["status"] for row in rows] == ["done", "diverged", "failed", "failed", "interrupted"]
    assert [row["reason"] for row in rows[:4]] == [row["reason"] for row in table()]
    assert rows[2]["model.hidden"] == HUGE and set(rows[0]) & {"optim", "optim.lr", "data"} == {"optim.lr"}


# ---- resuming


def trial_files():
    return {path: path.read_bytes() for path in Path("sweep/trials").rglob("*") if path.is_file()}


def test_a_finished_sweep_is_left_as_it_is(copy):
    before = trial_files()
    again = sweep(*SEARCHED)
    assert again.stdout == copy.stdout and again.stderr == ""
    assert trial_files() == before


def test_further_trials_do_not_depend_on_the_interruption(copy):
    old = table()
    sweep(LR, "optim=adam,sgd", "search.trials=14", "search.workers=1")
    assert without_times(table())[:12] == without_times(old) and len(table()) == 14
    sweep(LR, "optim=adam,sgd", "search.trials=14", "run.dir=other", verb=("train", "-m"))
    assert without_times(table()) == without_times(table("other"))


def test_a_different_sweep_in_the_same_folder_is_refused(copy):
    before = Path("sweep/report.json").read_bytes()
    output = sweep("optim.lr=0.1,0.2", "optim=adam,sgd", "search.trials=12", code=4)
    assert "search space differs: optim.lr was tag(log,interval(0.001,0.1))" in output.stderr
    output = sweep(*SEARCHED, "data.noise=0.3", code=4)
    assert "search space differs: data.noise was 0.15" in output.stderr
    output = sweep(*SEARCHED, "search.trials=4", code=4)
    assert "sweep already has 12 trials, more than search.trials=4" in output.stderr
    assert Path("sweep/report.json").read_bytes() == before


def test_a_missing_journal_is_rebuilt(copy):
    old = table()
    Path("sweep/journal.log").unlink()
    output = sweep(LR, "optim=adam,sgd", "search.trials=13")
    assert "rebuilt it from the 12 trials" in output.stderr
    assert without_times(table())[:12] == without_times(old) and len(table()) == 13


def test_a_torn_journal_is_repaired(copy):
    old = table()
    journal = Path("sweep/journal.log")
    content = journal.read_bytes()
    journal.write_bytes(content + b'{"op_code":4,"wor')
    assert "removed 17 bytes of an unfinished record" in sweep(*SEARCHED).stderr
    assert journal.read_bytes() == content
    assert Path("sweep/journal.log.torn").read_bytes() == b'{"op_code":4,"wor'
    assert without_times(table()) == without_times(old)


def test_a_damaged_journal_is_reported_and_can_be_rebuilt(copy):
    journal = Path("sweep/journal.log")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:9], b"junk\n", *lines[9:]]))
    output = sweep(*SEARCHED, code=4)
    assert "not a dlfound study, or is damaged" in output.stderr and "move it away" in output.stderr
    journal.rename("sweep/.damaged")
    assert "rebuilt it from the 12 trials" in sweep(*SEARCHED).stderr


def test_a_finished_run_whose_result_was_not_recorded_is_not_trained_again(copy):
    """Its process was killed between the end of the training and the record in the journal."""
    old = table()
    journal = Path("sweep/journal.log")
    lines = journal.read_bytes().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if b'"op_code":6' in line and b'"state":1' in line]
    assert len(ends) == 12
    journal.write_bytes(b"".join(line for i, line in enumerate(lines) if i != ends[-1]))
    before = {p: p.stat().st_mtime_ns for p in Path("sweep/trials").glob("*/model.safetensors")}
    sweep(*SEARCHED)
    assert without_times(table()) == without_times(old)
    assert {p: p.stat().st_mtime_ns for p in Path("sweep/trials").glob("*/model.safetensors")} == before


# ---- output


def test_cfg_prints_the_space_and_trains_nothing(capsys):
    assert main(["sweep", *RUN, LR, "search=tpe", "--cfg"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["optim.lr"] == "tag(log,interval(0.001,0.1))"
    assert shown["search"] == "tpe" and shown["data"] == "moons"
    assert not Path("sweep").exists()


def test_json_prints_the_report():
    output = sweep("optim.lr=0.01,0.1", "search=grid", "train.epochs=1", "--json")
    assert json.loads(output.stdout) == report()


def test_an_experiment_file_may_contain_a_space():
    Path("mine/experiment").mkdir(parents=True)
    space = "space:\n  optim.lr: 0.01,0.1,0.2\nsearch:\n  name: grid\nmodel:\n  hidden: [4]\n"
    Path("mine/experiment/rates.yaml").write_text(f"# @package _global_\n{space}")
    words = [w for w in RUN if not w.startswith("model.")]
    assert main(["sweep", "--config-dir", "mine", "experiment=rates", *words]) == 0
    assert [row["optim.lr"] for row in table()] == ["0.01", "0.1", "0.2"]
    assert main(["train", "--config-dir", "mine", "experiment=rates"]) == 2
    assert main(["train", "--config-dir", "sweep", "experiment=best", "run.name=again"]) == 0
    assert dlfound.open_run("again").config["model"]["hidden"] == [4]


def test_a_best_value_at_the_end_of_its_range_causes_a_warning():
    output = sweep("optim=sgd", "optim.lr=range(0.0001,0.0004,0.0001)", "search=grid")
    warning = r"the best optim\.lr \(0\.0003\) lies at the upper end of its range: search higher"
    assert re.search(warning, output.stderr)


@pytest.mark.parametrize(
    ("space", "values", "warns"),
    [
        (LR, [("done", "0.01", 0.9), ("done", "0.095", 0.1)], True),
        (LR, [("done", "0.095", 0.1), ("diverged", "0.098", None)], False),  # a value beyond was worse
        (LR, [("done", "0.05", 0.1)], False),
        ("train.batch_size=1,2,4", [("done", "1", 0.1)], False),  # 0 is not a batch size
        ("train.batch_size=1,2,4", [("done", "4", 0.1)], True),
    ],
)
def test_the_warning_needs_a_valid_value_beyond_the_end_that_was_not_tried(space, values, warns):
    plan = make_plan([space])
    key = plan.space.dimensions[0].key
    records = [
        TrialRecord(number, state, {key: text}, Result(state, value))
        for number, (state, text, value) in enumerate(values)
    ]
    assert bool(edge_warnings(Results(plan, records, {}))) == warns


def test_a_budget_of_seconds():
    output = sweep(LR, "search.trials=100000", "search.seconds=1", "train.epochs=40")
    message = (
        r"search.seconds is over after \d+ of 100000 trials; rerun the command with run.dir=sweep to resume"
    )
    assert re.search(message, output.stderr)
    assert 0 < len(table()) < 1000 and report()["status"] == "unfinished"

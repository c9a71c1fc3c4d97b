"""`dlfound runs`, against the folders themselves."""

import json
import os
import time
from pathlib import Path

import pytest
from support.run_files import lines_of, report_of

from dlfound.cli import main
from dlfound.commands import runs
from dlfound.runs.durable import locked

MINUTE = 60
HOUR = 3600
DAY = 86400


@pytest.fixture
def put(trained):
    """Call it with a kind of run, a place below outputs/ and an age in seconds; it copies the run there."""

    def copy(kind, place, age):
        path = Path("outputs", place)
        path.parent.mkdir(parents=True, exist_ok=True)
        trained.copy(kind, path)
        set_age(path, age)
        return path

    return copy


def set_age(path, age):
    os.utime(path / "config.yaml", (time.time() - age,) * 2)


def list_text(capsys, *words, code=0):
    """Return the output of a command that ends with this code, and its messages."""
    assert main(["runs", *map(str, words)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err and all(c.isprintable() or c == "\n" for c in out + err)
    return out, err


def list_json(capsys, *words):
    out, err = list_text(capsys, *words, "--json")
    assert err == ""
    return json.loads(out, parse_constant=pytest.fail)


def test_many_runs_are_read_by_several_processes(put, capsys, monkeypatch):
    for number in range(9):
        put("adam" if number % 2 else "sine", f"some/{number}", age=100 * (9 - number))
    alone = list_text(capsys)
    monkeypatch.setattr(runs, "MANY", 5)
    assert list_text(capsys) == alone and alone[0].count("\n") == 10


def test_json_contains_what_the_folders_contain_and_the_newest_run_comes_last(put, capsys):
    old = put("adam", "moons/one", age=3 * DAY + HOUR)
    new = put("sine", "sine/two", age=2 * HOUR + MINUTE)
    rows = list_json(capsys)
    assert [row["folder"] for row in rows] == [str(old), str(new)]
    metrics = (("loss", "accuracy"), ("r2", "rmse"))
    for row, path, (monitor, metric) in zip(rows, (old, new), metrics, strict=True):
        report = report_of(path)
        assert (row["name"], row["status"], row["epochs"]) == (path.parent.name, "done", 2)
        assert row[f"val_{monitor}"] == report["val"][monitor]
        assert row[f"test_{metric}"] == report["test"][metric]
        assert row["size"] == sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    assert (rows[0]["val_r2"], rows[0]["test_rmse"], rows[1]["val_loss"]) == (None, None, None)
    assert 3 * DAY + HOUR <= rows[0]["age"] < 3 * DAY + 2 * HOUR


def test_the_table_contains_what_json_contains(put, capsys):
    put("adam", "moons/one", age=3 * DAY + HOUR)
    put("adam", "mine", age=2 * HOUR + MINUTE)
    out, err = list_text(capsys)
    head, *lines = [line.split() for line in out.splitlines()]
    assert err == ""
    assert head == ["name", "folder", "status", "val_loss", "test_accuracy", "epochs", "age", "size"]
    expected = ((["moons", "one"], "3 d"), (["mine", "mine"], "2 h"))
    for line, row, (name, age) in zip(lines, list_json(capsys), expected, strict=True):
        assert line[:3] == [*name, "done"] and line[5] == "2" and " ".join(line[6:8]) == age
        assert float(line[3]) == pytest.approx(row["val_loss"], rel=1e-3)
        assert float(line[4]) == pytest.approx(row["test_accuracy"], rel=1e-3)
        assert line[8:] == [f"{row['size'] / 1000:.3g}", "kB"]


def test_ages_have_a_unit(put, capsys):
    path = put("adam", "moons/one", age=0)
    ages = {
        30 * MINUTE + 20: "30 min",
        119 * MINUTE: "119 min",
        47 * HOUR: "47 h",
        400 * DAY + 1: "400 d",
        -DAY: "0 s",  # the clock was set back
    }
    for age, shown in ages.items():
        set_age(path, age)
        assert f" {shown} " in list_text(capsys)[0], age


def test_sizes_have_a_unit_and_links_are_not_followed(put, trained, capsys):
    run = put("adam", "moons/one", age=0)
    (run / "deep").mkdir()
    (run / "deep" / "up").symlink_to("/")
    (run / "deep" / "link").symlink_to(trained.path("adam") / "report.json")
    files = [Path(folder, name) for folder, _, names in os.walk(run) for name in names]
    links = sum((run / "deep" / name).lstat().st_size for name in ("link", "up"))
    small = list_json(capsys)[0]["size"]
    assert small == links + sum(path.stat().st_size for path in files if not path.is_symlink())
    for more, shown in ((0, "kB"), (2_100_000, "2.1"), (5_340_000_000, "5.34 GB")):
        with (run / "deep" / "file").open("wb") as file:
            file.truncate(more)
        assert shown in list_text(capsys)[0]
        assert list_json(capsys)[0]["size"] == small + more


def test_names_select_runs(put, capsys):
    for place, age in (("a/1", 30), ("a/2", 10), ("b/3", 20)):
        put("adam", place, age)
    selections = [(["a"], "12"), (["b", "a"], "132"), (["latest"], "2"), (["outputs/b"], "3"), ([], "132")]
    for words, folders in selections:
        assert "".join(row["folder"][-1] for row in list_json(capsys, *words)) == folders
    out, err = list_text(capsys, "c", code=4)
    assert out == ""
    assert err == "dlfound: error[run]: c is not a run\n  fix: name a path, latest, or one of: a, b\n"


def test_an_empty_folder_is_answered_with_the_command_to_begin_with(capsys):
    message = "dlfound: there are no runs below outputs/ yet; train one with: dlfound train\n"
    assert list_text(capsys) == ("", message)
    assert json.loads(list_text(capsys, "--json")[0]) == []
    Path("outputs/x").mkdir(parents=True)
    assert "dlfound train" in list_text(capsys)[1]
    assert "train one first" in list_text(capsys, "digits", code=4)[1]


def test_the_status_tells_finished_running_unfinished_and_damaged_runs_apart(put, capsys):
    killed = put("adam", "a/killed", age=50)
    (killed / "DONE").unlink()
    begun = put("adam", "a/begun", age=40)
    for name in ("DONE", "metrics.jsonl"):
        (begun / name).unlink()
    (put("adam", "a/damaged", age=30) / "report.json").write_text("{")
    empty = put("adam", "a/empty", age=20)
    (empty / "DONE").unlink()
    (empty / "config.yaml").write_text("")
    set_age(empty, 20)
    put("diverged", "a/wild", age=10)
    rows = {row["folder"].rpartition("/")[2]: row for row in list_json(capsys)}
    states = {name: row["status"] for name, row in rows.items()}
    assert states == {
        "killed": "unfinished", "begun": "unfinished", "damaged": "damaged", "empty": "damaged",
        "wild": "diverged",
    }  # fmt: skip
    losses = [line["val"]["loss"] for line in lines_of(killed)]
    assert rows["killed"]["val_loss"] == min(losses) and rows["killed"]["epochs"] == len(losses) == 2
    assert rows["begun"]["epochs"] == 0 and rows["begun"]["val_loss"] is None is rows["damaged"]["epochs"]
    assert list_text(capsys)[0].count("damaged") == 3
    with locked(killed):
        assert [row["status"] for row in list_json(capsys)] == ["running", *list(states.values())[1:]]


def test_values_of_any_kind_are_shown_and_never_interpreted(put, capsys):
    run = put("adam", "a/1", age=0)
    strange = {
        "status": "\x1b[31mdone",
        "monitor": "x\ny",
        "val": {"x\ny": 1},
        "test": {"accuracy": [1]},
        "epochs_run": {},
    }
    (run / "report.json").write_text(json.dumps(strange))
    os.rename(run, b"outputs/a/\xff\x1b[31m")
    assert "\\x1b[31mdone" in list_text(capsys)[0] and "val_x\\ny" in list_text(capsys)[0]
    (row,) = list_json(capsys)
    assert row["test_accuracy"] is None is row["epochs"] and row["val_x\\ny"] == 1
    other = {"status": "x", "monitor": ["a"], "val": {"loss": 2}}
    (Path(row["folder"]) / "report.json").write_text(json.dumps(other))
    assert list_json(capsys)[0]["val_loss"] == 2

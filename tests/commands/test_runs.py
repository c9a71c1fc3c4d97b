"""`dlfound runs`, against the folders themselves."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

import dlfound
from dlfound.cli import main
from dlfound.commands import runs
from dlfound.runs.lock import locked

QUICK = [
    "train.epochs=2",
    "early_stopping=none",
    "lr_decay=none",
    "model.hidden=[8]",
    "logger=none",
    "data=moons",
]
MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs: classes, and numbers watched by their R2."""
    folder = tmp_path_factory.mktemp("trained")
    dlfound.train([*QUICK, f"run.dir={folder / 'moons'}"])
    dlfound.train([*QUICK, "data=sine", "train.monitor=r2", f"run.dir={folder / 'sine'}"])
    return folder


def put(source, place, ago):
    """A copy of a run below outputs/, begun so many seconds ago."""
    path = Path(shutil.copytree(source, Path("outputs") / place))
    os.utime(path / "config.yaml", (time.time() - ago,) * 2)
    return path


def said(capsys, *words, code=0):
    assert main(["runs", *map(str, words)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err and all(c.isprintable() or c == "\n" for c in out + err)
    return out, err


def listed(capsys, *words):
    out, err = said(capsys, *words, "--json")
    assert err == ""
    return json.loads(out, parse_constant=pytest.fail)


def test_many_are_read_by_several_processes(trained, capsys, monkeypatch):
    for number in range(9):
        put(trained / ("moons" if number % 2 else "sine"), f"some/{number}", ago=100 * (9 - number))
    alone = said(capsys)
    monkeypatch.setattr(runs, "MANY", 5)
    assert said(capsys) == alone and alone[0].count("\n") == 10


def test_what_is_there_the_newest_last(trained, capsys):
    old = put(trained / "moons", "moons/one", ago=3 * DAY + HOUR)
    new = put(trained / "sine", "sine/two", ago=2 * HOUR + MINUTE)
    found = listed(capsys)
    assert [row["folder"] for row in found] == [str(old), str(new)]
    for row, path, monitor, metric in zip(
        found, (old, new), ("loss", "r2"), ("accuracy", "rmse"), strict=True
    ):
        report = json.loads((path / "report.json").read_text())
        assert (row["name"], row["status"], row["epochs"]) == (path.parent.name, "done", 2)
        assert row[f"val_{monitor}"] == report["val"][monitor]
        assert row[f"test_{metric}"] == report["test"][metric]
        assert row["size"] == sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    assert (found[0]["val_r2"], found[0]["test_rmse"], found[1]["val_loss"]) == (None, None, None)
    assert 3 * DAY + HOUR <= found[0]["age"] < 3 * DAY + 2 * HOUR


def test_the_table(trained, capsys):
    put(trained / "moons", "moons/one", ago=3 * DAY + HOUR)
    put(trained / "moons", "mine", ago=2 * HOUR + MINUTE)
    out, err = said(capsys)
    head, *lines = [line.split() for line in out.splitlines()]
    assert (
        head == ["name", "folder", "status", "val_loss", "test_accuracy", "epochs", "age", "size"]
        and err == ""
    )
    found = listed(capsys)
    for line, row, name, age in zip(
        lines, found, (["moons", "one"], ["mine", "mine"]), ("3 d", "2 h"), strict=True
    ):
        assert line[:3] == [*name, "done"] and line[5] == "2" and " ".join(line[6:8]) == age
        assert float(line[3]) == pytest.approx(row["val_loss"], rel=1e-3)
        assert float(line[4]) == pytest.approx(row["test_accuracy"], rel=1e-3)
        assert line[8:] == [f"{row['size'] / 1000:.3g}", "kB"]


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (30 * MINUTE + 20, "30 min"),
        (119 * MINUTE, "119 min"),
        (47 * HOUR, "47 h"),
        (400 * DAY + 1, "400 d"),
        (-DAY, "0 s"),
    ],
)
def test_ages(ago, shown, trained, capsys):
    put(trained / "moons", "moons/one", ago)
    assert f" {shown} " in said(capsys)[0]


@pytest.mark.parametrize(
    ("more", "shown"), [(0, "kB"), (2_100_000, "2.1"), (5_340_000_000, "5.34 GB")], ids=["kB", "MB", "GB"]
)
def test_sizes(more, shown, trained, capsys):
    run = put(trained / "moons", "moons/one", ago=0)
    (run / "deep").mkdir()
    (run / "deep" / "up").symlink_to("/")
    (run / "deep" / "link").symlink_to(trained / "moons" / "report.json")
    small = listed(capsys)[0]["size"]
    with (run / "deep" / "file").open("wb") as file:
        file.truncate(more)
    assert shown in said(capsys)[0]
    links = sum((run / "deep" / name).lstat().st_size for name in ("link", "up"))
    assert listed(capsys)[0]["size"] == small + more
    files = [Path(folder, name) for folder, _, names in os.walk(run) for name in names]  # follows no links
    assert small == links + sum(p.stat().st_size for p in files if not p.is_symlink()) - more


def test_names_choose(trained, capsys):
    for place, ago in (("a/1", 30), ("a/2", 10), ("b/3", 20)):
        put(trained / "moons", place, ago)
    for words, names in [
        (["a"], "12"),
        (["b", "a"], "132"),
        (["latest"], "2"),
        (["outputs/b"], "3"),
        ([], "132"),
    ]:
        assert "".join(row["folder"][-1] for row in listed(capsys, *words)) == names
    out, err = said(capsys, "c", code=4)
    assert (
        out == "" and err == "dlfound: error[run]: c is not a run\n  fix: a path, latest, or one of: a, b\n"
    )


def test_an_empty_place_says_how_to_begin(capsys):
    assert said(capsys) == ("", "dlfound: there are no runs below outputs/ yet; begin with: dlfound train\n")
    assert json.loads(said(capsys, "--json")[0]) == []
    Path("outputs/x").mkdir(parents=True)
    assert "dlfound train" in said(capsys)[1]
    assert "train one first" in said(capsys, "digits", code=4)[1]


def test_the_state_of_each(trained, capsys):
    going_on = put(trained / "moons", "a/going_on", ago=40)
    (going_on / "DONE").unlink()
    begun = put(going_on, "a/begun", ago=30)
    (begun / "metrics.jsonl").unlink()
    damaged = put(trained / "moons", "a/damaged", ago=20)
    (damaged / "report.json").write_text("{")
    empty = put(begun, "a/empty", ago=10)
    (empty / "config.yaml").write_text("")
    with pytest.raises(dlfound.Error):
        dlfound.train([*QUICK, "optim=sgd", "optim.lr=1e25", "run.dir=outputs/a/wild"])
    found = {row["folder"].rpartition("/")[2]: row for row in listed(capsys)}
    states = {name: row["status"] for name, row in found.items()}
    assert states == {
        "going_on": "unfinished", "begun": "unfinished", "damaged": "damaged", "empty": "damaged", "wild": "diverged",
    }  # fmt: skip
    losses = [
        json.loads(line)["val"]["loss"] for line in (going_on / "metrics.jsonl").read_text().splitlines()
    ]
    assert found["going_on"]["val_loss"] == min(losses) and found["going_on"]["epochs"] == len(losses) == 2
    assert found["begun"]["epochs"] == 0 and found["begun"]["val_loss"] is None is found["damaged"]["epochs"]
    assert said(capsys)[0].count("damaged") == 3
    with locked(going_on):
        assert [row["status"] for row in listed(capsys)] == ["running", *list(states.values())[1:]]


def test_content_of_any_kind(trained, capsys):
    run = put(trained / "moons", "a/1", ago=0)
    strange = {
        "status": "\x1b[31mdone",
        "monitor": "x\ny",
        "val": {"x\ny": 1},
        "test": {"accuracy": [1]},
        "epochs_run": {},
    }
    (run / "report.json").write_text(json.dumps(strange))
    os.rename(run, b"outputs/a/\xff\x1b[31m")
    assert "\\x1b[31mdone" in said(capsys)[0] and "val_x\\ny" in said(capsys)[0]
    (row,) = listed(capsys)
    (Path(row["folder"]) / "report.json").write_text(
        json.dumps({"status": "x", "monitor": ["a"], "val": {"loss": 2}})
    )
    assert listed(capsys)[0]["val_loss"] == 2
    assert row["test_accuracy"] is None is row["epochs"] and row["val_x\\ny"] == 1

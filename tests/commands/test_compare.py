"""`dlfound compare`, against the runs' files as json and yaml read them."""

import csv
import fcntl
import io
import json
import os
import pty
import shutil
import struct
import termios
from pathlib import Path

import pytest
import yaml
from support.run_files import report_of

from dlfound.cli import main

RUNS = ("adam", "momentum", "dropout", "sine")


@pytest.fixture(scope="module")
def four(trained, tmp_path_factory):
    """A folder of four runs, which must not be changed."""
    folder = tmp_path_factory.mktemp("four")
    for name in RUNS:
        trained.copy(name, folder / name)
    return folder


@pytest.fixture
def moons(four):
    """Three runs below outputs/moons, begun in the order of RUNS."""
    for name in ("adam", "momentum", "dropout"):
        shutil.copytree(four / name, f"outputs/moons/{name}")
    return Path("outputs/moons")


def compare(capsys, *words, code=0):
    """Return the output of a command that ends with this code, and its messages."""
    assert main(["compare", *map(str, words)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err and all(c.isprintable() or c == "\n" for c in out + err)
    return out, err


def read_table(text):
    """Return column -> text for each line of a table."""
    head, *lines = [line.split() for line in text.splitlines()]
    assert all(len(line) == len(head) for line in lines)
    return [dict(zip(head, line, strict=True)) for line in lines]


def read_csv(capsys, *words):
    out, err = compare(capsys, *words, "--csv")
    assert err == ""
    return list(csv.DictReader(io.StringIO(out)))


def read_json(capsys, *words):
    return json.loads(compare(capsys, *words, "--json")[0], parse_constant=pytest.fail)


def settings_of(path):
    """Read every setting with another reader of YAML."""
    tree = yaml.safe_load((Path(path) / "config.yaml").read_text())
    return {f"{node}.{key}": v for node, s in tree.items() if node != "format" for key, v in s.items()}


def change_config(path, change):
    """Change the tree of a run's config.yaml."""
    file = Path(path) / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    change(tree)
    file.write_text(yaml.safe_dump(tree, sort_keys=False))


def change_report(path, changes):
    (Path(path) / "report.json").write_text(json.dumps(report_of(path) | changes))


# Content.


def test_csv_and_json_contain_what_the_files_contain(four, capsys):
    rows = read_csv(capsys, four)
    objects = read_json(capsys, four)
    assert {row["run"] for row in rows} == set(RUNS) == {row["run"] for row in objects}
    settings = [settings_of(four / name) for name in RUNS]
    differ = {k for s in settings for k in s if any(o.get(k, "absent") != s[k] for o in settings)}
    differ = {k.removesuffix(".name") for k in differ - {"run.dir", "run.name"}}
    assert {"optim", "optim.lr", "optim.betas", "model.hidden", "data", "dropout", "dropout.hidden"} <= differ
    for row, same in zip(rows, objects, strict=True):
        path = Path(row["folder"])
        report = report_of(path)
        measured = {f"{part}_{m}": v for part in ("train", "val", "test") for m, v in report[part].items()}
        results = {
            "epochs": report["epochs_run"],
            "best_epoch": report["best_epoch"],
            "seconds": report["seconds"]["total"],
        }
        assert path == four / row["run"] and row["status"] == report["status"] == same["status"]
        for name, value in (measured | results).items():
            assert float(row[name]) == value == same[name]
        own = settings_of(path)
        for name in differ:
            value = own.get(f"{name}.name", own.get(name))
            assert same[name] == value
            assert row[name] == ("" if value is None else str(value).replace(" ", ""))
        shown = {column for column in row if "." in column or column in ("optim", "data", "dropout")}
        assert set(row) == set(same) and shown <= differ
        assert all(row[c] == "" and same[c] is None for c in row if c[:4] == "val_" and c not in measured)


def test_the_table_shows_what_differs_with_the_best_run_first(moons, capsys):
    out, err = compare(capsys, "moons")
    assert err == ""
    rows = read_table(out)
    columns = ["run", "model.hidden", "dropout", "dropout.hidden", "optim", "optim.lr"]
    metrics = ["val_loss", "val_accuracy", "test_loss", "test_accuracy"]
    assert list(rows[0]) == [*columns, *metrics, "best_epoch", "epochs", "seconds"]
    losses = {name: report_of(moons / name)["val"]["loss"] for name in ("adam", "momentum", "dropout")}
    assert [row["run"] for row in rows] == sorted(losses, key=losses.get)
    by_name = {row["run"]: row for row in rows}
    assert [by_name["adam"][c] for c in columns[1:]] == ["[8]", "none", "-", "adam", "0.001"]
    assert [by_name["momentum"][c] for c in columns[1:]] == ["[16]", "none", "-", "momentum", "0.05"]
    assert [by_name["dropout"][c] for c in columns[1:]] == ["[8]", "standard", "0.2", "adam", "0.001"]
    for name, row in by_name.items():
        assert float(row["val_loss"]) == pytest.approx(losses[name], rel=1e-3)
        assert row["epochs"] == "2"


def test_equal_settings_have_no_columns(moons, capsys):
    shutil.copytree(moons / "adam", "outputs/other/adam")
    out, _ = compare(capsys, "outputs/moons/adam", "other")
    assert [row["run"] for row in read_table(out)] == ["moons/adam", "other/adam"]
    assert out.split()[:2] == ["run", "val_loss"]
    assert compare(capsys, "other")[0].split()[:2] == ["run", "val_loss"]


def test_the_seed_is_a_setting_but_the_name_and_the_folder_are_not(moons, capsys):
    for seed in (1, 2):
        path = shutil.copytree(moons / "adam", f"outputs/seeds/{seed}")
        own = {"name": f"other{seed}", "dir": f"there/{seed}", "seed": seed}
        change_config(path, lambda tree, own=own: tree["run"].update(own))
    rows = read_table(compare(capsys, "seeds", "moons/adam")[0])
    assert {row["run.seed"] for row in rows} == {"0", "1", "2"}
    assert list(rows[0])[:3] == ["run", "run.seed", "val_loss"]


def test_a_metric_is_sorted_best_first_and_anything_else_smallest_first(four, capsys):
    """A run without a value comes last."""
    signs = {
        "test_accuracy": -1, "test_r2": -1, "val_loss": 1, "train_loss": 1, "optim.lr": 1, "seconds": 1,
    }  # fmt: skip
    for column, sign in signs.items():
        shutil.copytree(four, "outputs/all")
        part, _, metric = column.partition("_")
        for number, name in enumerate(RUNS):  # values that differ, in no order
            values = report_of(f"outputs/all/{name}").get(part, {})
            if metric and metric in values:
                change_report(f"outputs/all/{name}", {part: values | {metric: (number * 7) % 5 / 5}})
        cells = [row[column] for row in read_csv(capsys, "all", "--sort", column)]
        numbers = [float(cell) for cell in cells if cell]
        assert len(numbers) >= 1 and numbers == sorted(numbers, key=lambda v, sign=sign: sign * v), column
        assert cells[len(numbers) :] == [""] * (len(cells) - len(numbers)), column
        shutil.rmtree("outputs/all")


def test_words_and_lists_are_sorted_too(moons, capsys):
    def column(name):
        return [row[name] for row in read_csv(capsys, "moons", "--sort", name)]

    assert column("optim") == ["adam", "adam", "momentum"]
    assert column("model.hidden") == ["[8]", "[8]", "[16]"]
    read_csv(capsys, "moons", "--sort", "train.epochs")  # equal in all runs: not a column, but no mistake


def test_an_unknown_column_is_answered_with_the_nearest(moons, capsys):
    for word, near in (("test_acuracy", "test_accuracy"), ("optim_lr", "optim.lr"), ("", "")):
        out, err = compare(capsys, "moons", "--sort", word, code=2)
        assert out == "" and len(err.splitlines()) == 2
        assert f"no column {word!r}" in err and f"did you mean --sort {near}" in err


def test_a_run_named_twice_is_shown_once(moons, capsys):
    shutil.copytree(moons / "adam", "outputs/other/last")
    os.utime("outputs/other/last/config.yaml")
    several = ["moons/adam", "latest", "outputs"]
    for words, count in [(["moons"], 3), (["outputs"], 4), (["latest"], 1), (several, 4)]:
        assert len(read_csv(capsys, *words)) == count
    assert compare(capsys, "moons", "nope", code=4)[1].startswith(
        "dlfound: error[run]: nope is not a run\n  fix: "
    )
    assert compare(capsys, "latest", "--csv", "--json", code=2)[0] == ""
    assert compare(capsys, code=2)[0] == ""


def test_metrics_of_other_tasks_are_dashes(four, capsys):
    rows = {row["run"]: row for row in read_table(compare(capsys, four)[0])}
    assert rows["sine"]["test_accuracy"] == "-" == rows["adam"]["test_rmse"]
    assert float(rows["sine"]["val_r2"]) == pytest.approx(report_of(four / "sine")["val"]["r2"], rel=1e-3)
    assert rows["sine"]["train.monitor"] == "r2" and rows["adam"]["train.monitor"] == "auto"
    assert "status" not in rows["adam"]


def test_default_settings_of_different_options_are_shown_only_if_they_differ(moons, capsys):
    conf = Path(__file__).parents[2] / "conf" / "optim"
    nodes = {name: yaml.safe_load((conf / f"{name}.yaml").read_text()) for name in ("adam", "sgd")}
    nodes["none"] = {}  # an option without a learning rate
    for name, (option, node) in zip(("adam", "momentum", "dropout"), nodes.items(), strict=True):
        other = {"name": option, **node}
        change_config(moons / name, lambda tree, other=other: tree.update(optim=other))
    rows = {row["optim"]: row for row in read_table(compare(capsys, "moons")[0])}
    rates = {option: node.get("lr") for option, node in nodes.items()}
    assert rates["adam"] != rates["sgd"]
    assert [rows[option]["optim.lr"] for option in nodes] == [str(rates["adam"]), str(rates["sgd"]), "-"]
    assert "optim.betas" not in rows["adam"]


def test_the_monitored_metric_is_always_shown(moons, capsys):
    for number, name in enumerate(("adam", "dropout")):
        report = report_of(moons / name)
        more = {"val": report["val"] | {"auc": number}, "test": report["test"] | {"auc": 0.5, "other": 1}}
        change_report(moons / name, {"monitor": "auc", **more})
    rows = read_table(compare(capsys, "moons")[0])
    assert [row["run"] for row in rows if row["val_auc"] != "-"] == ["adam", "dropout"]  # lower is better
    assert rows[2]["test_auc"] == "-" and "test_other" not in rows[0]


def test_unfinished_and_diverged_runs_come_last_with_their_status(moons, trained, capsys):
    trained.copy("diverged", moons / "wild")
    killed = Path(shutil.copytree(moons / "adam", moons / "killed"))
    (killed / "DONE").unlink()
    losses = {1: 3.0, 2: 0.001, 3: 2}
    lines = [{"epoch": e, "train": {}, "val": {"loss": v, "accuracy": 0.5}} for e, v in losses.items()]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (killed / "metrics.jsonl").write_text(text + '{"epoch": 4, "tra')
    begun = Path(shutil.copytree(killed, moons / "begun"))
    (begun / "metrics.jsonl").unlink()
    rows = read_table(compare(capsys, "moons")[0])
    assert [row["status"] == "done" for row in rows] == [True] * 3 + [False] * 3
    assert rows[3]["run"] == "killed"  # the best of the others, and better than all that are done
    by_name = {row["run"]: row for row in rows}
    columns = ("status", "val_loss", "epochs", "best_epoch", "test_loss", "seconds")
    assert [rows[3][c] for c in columns] == ["unfinished", "0.001000", "3", "2", "-", "-"]
    assert (by_name["begun"]["status"], by_name["begun"]["val_loss"]) == ("unfinished", "-")
    assert by_name["wild"]["status"] == "diverged" == report_of(moons / "wild")["status"]


# Files that anyone may have written.


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def link_nowhere(path):
    path.unlink()
    path.symlink_to("no")


DAMAGES = {
    "a cut report": lambda run: cut(run / "report.json"),
    "no report": lambda run: (run / "report.json").unlink(),
    "a report that is a list": lambda run: (run / "report.json").write_text("[]"),
    "a report without a status": lambda run: (run / "report.json").write_text('{"val": {"loss": 1}}'),
    "a status that is a number": lambda run: change_report(run, {"status": 3}),
    "a cut configuration": lambda run: (run / "config.yaml").write_text("format: 1\noptim: {"),
    "a configuration of another program": lambda run: (run / "config.yaml").write_text("name: web\n"),
    "a newer configuration": lambda run: (run / "config.yaml").write_text("format: 2\n"),
    "a configuration of bytes": lambda run: (run / "config.yaml").write_bytes(b"\xff\x00"),
    "a report that links nowhere": lambda run: link_nowhere(run / "report.json"),
}


def test_a_damaged_run_is_reported_and_left_out(moons, four, capsys):
    for name, damage in DAMAGES.items():
        damage(moons / "momentum")
        out, err = compare(capsys, "moons", "--csv")
        assert {row["run"] for row in csv.DictReader(io.StringIO(out))} == {"adam", "dropout"}, name
        assert err.startswith("dlfound: left out: outputs/moons/momentum") and err.count("\n") == 1, name
        out, err = compare(capsys, "outputs/moons/momentum", code=4)
        assert out == "" and "none of these runs can be read" in err, name
        shutil.rmtree(moons / "momentum")
        shutil.copytree(four / "momentum", moons / "momentum")


def test_values_of_any_kind_are_shown_and_never_interpreted(moons, capsys):
    strange = {
        "status": "done\x1b[31m", "monitor": ["loss"], "val": [1],
        "test": {"loss": True, "accuracy": "x", "a\nb": 1e999},
        "train": {"loss": 10**400, "accuracy": float("nan")},
        "seconds": 3, "best_epoch": {}, "epochs_run": "two",
    }  # fmt: skip
    change_report(moons / "adam", strange)
    text = "format: 1\noptim:\n  name: [x]\n  lr: 1e999\n  odd: {deep: [1, .nan]}\n  nothing: null\n"
    text += 'status:\n  name: "a\\e[31m"\nval_loss:\n  name: x\nrun: 3\n'
    text += '"no\\nde":\n  name: "=1"\nseconds: {name: 1}\n'
    (moons / "adam" / "config.yaml").write_text(text)
    out, err = compare(capsys, "moons")
    assert err == "" and "done\\x1b[31m" in out and len(out.splitlines()) == 4
    rows = {row["run"]: row for row in read_csv(capsys, "moons")}
    assert rows["adam"]["test_loss"] == rows["adam"]["train_loss"] == rows["adam"]["epochs"] == ""
    assert rows["adam"]["optim"] == '["x"]' and rows["adam"]["optim.nothing"] == "null"
    assert {row["optim.nothing"] for row in rows.values()} == {"null", ""}
    assert {row["run"]: row["optim.lr"] for row in read_json(capsys, "moons")}["adam"] is None
    for column in rows["adam"]:
        read_csv(capsys, "moons", "--sort", column)


def test_a_name_cannot_write_to_the_terminal(moons, capsys):
    os.rename(moons / "adam", os.fsencode(moons) + b"/a\x1b[31m\n\xff")
    out, err = compare(capsys, "moons")
    assert err == "" and "a\\x1b[31m\\n\\udcff" in out
    read_csv(capsys, "moons")
    assert len(read_json(capsys, "moons")) == 3


# In a terminal.


@pytest.fixture
def in_terminal(forked):
    """Call it with a width and words: what a terminal of this width shows, and the messages."""

    def run(columns, *words):
        reader, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        child = forked.start(*words, stdout=terminal, env={"COLUMNS": None, "LINES": None})
        os.close(terminal)
        shown = b""
        while part := read_terminal(reader):
            shown += part
        os.close(reader)
        done = child.wait()
        assert done.returncode == 0
        return shown.decode().replace("\r\n", "\n"), done.stderr

    return run


def read_terminal(reader):
    """Read from a terminal; empty once the other end is closed, which Linux reports as an error."""
    try:
        return os.read(reader, 4096)
    except OSError:
        return b""


@pytest.fixture
def long_names(moons):
    """The three runs in folders with names as dlfound gives them."""
    for number, run in enumerate(sorted(moons.iterdir())):
        run.rename(moons / f"2026-11-2{number}_14-37-39-d790")
    return moons


def test_a_table_fits_its_terminal(long_names, in_terminal, capsys):
    whole, _ = compare(capsys, "moons")
    widest = max(map(len, whole.splitlines()))
    assert in_terminal(widest, "compare", "moons") == (whole, "")
    names = [row["run"] for row in read_table(whole)]
    for columns in (widest - 1, widest - 5, 100, 60, 35):
        shown, err = in_terminal(columns, "compare", "moons")
        assert max(map(len, shown.splitlines())) <= columns
        rows = read_table(shown)
        assert len({row["run"] for row in rows}) == 3
        for row, name in zip(rows, names, strict=True):
            assert name.endswith(row["run"].removeprefix("...")) and (row["run"] != name or columns <= 100)
        left_out = len(read_table(whole)[0]) - len(rows[0])
        message = (
            f"dlfound: {left_out} of 13 columns left out to fit the terminal; --csv prints all of them\n"
        )
        assert err == (message if left_out else "")
        assert (left_out > 0) == (columns <= 100) and "val_loss" in rows[0]


def test_a_list_fits_its_terminal(long_names, in_terminal):
    for columns in (120, 80, 50):
        shown, err = in_terminal(columns, "runs")
        assert max(map(len, shown.splitlines())) <= columns
        assert "2026-11-20_14-37-39-d790" in shown and ("left out" in err) == (columns < 90)
        assert ("epochs" in shown, "age" in shown) == (columns > 80, columns >= 80)


def test_long_values_are_cut_in_a_terminal_only(long_names, in_terminal, capsys):
    run = sorted(long_names.iterdir())[0]
    change_config(run, lambda tree: tree["model"].update(hidden=[1000 + i for i in range(30)]))
    assert ",1029]" in compare(capsys, "moons")[0]
    shown, _ = in_terminal(200, "compare", "moons")
    assert "[1000,1001" in shown and ",1029]" not in shown and max(map(len, shown.splitlines())) <= 200
    alone, _ = in_terminal(17, "compare", str(run))
    assert len(read_table(alone)[0]["run"]) >= 8 and max(map(len, alone.splitlines())) <= 17


def test_numbers_are_written_alike_in_every_table():
    """Four significant digits; from 10,000 on whole numbers."""
    from dlfound.commands.text_table import result_table

    numbers = {"a": 0.123456, "b": 12345.6, "c": None, "d": 1e12, "e": 2.0}
    head, line = result_table({"test": numbers}).splitlines()
    assert head.split() == [*numbers] and line.split() == [
        "test",
        "0.1235",
        "12,346",
        "-",
        "1.000e+12",
        "2.000",
    ]
    assert head.index("a") == line.index("0.1235") + 5  # aligned to the right

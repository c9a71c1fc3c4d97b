"""`dlfound compare`, against the runs' own files as json and yaml read them."""

import csv
import fcntl
import io
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml

import dlfound
from dlfound.cli import main

QUICK = [
    "train.epochs=2",
    "early_stopping=none",
    "lr_decay=none",
    "model.hidden=[8]",
    "logger=none",
    "data=moons",
]
RUNS = {
    "adam": ["optim=adam"],
    "momentum": ["optim=momentum", "optim.lr=0.05", "model.hidden=[16]"],
    "dropout": ["dropout=standard", "dropout.hidden=0.2"],
    "sine": ["data=sine", "train.monitor=r2"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of four runs."""
    folder = tmp_path_factory.mktemp("trained")
    for name, words in RUNS.items():
        dlfound.train([*QUICK, *words, f"run.dir={folder / name}"])
    return folder


@pytest.fixture
def moons(trained):
    """Three runs below outputs/moons, begun in the order of RUNS."""
    for name in ("adam", "momentum", "dropout"):
        shutil.copytree(trained / name, f"outputs/moons/{name}")
    return Path("outputs/moons")


def said(capsys, *words, code=0):
    assert main(["compare", *map(str, words)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err and all(c.isprintable() or c == "\n" for c in out + err)
    return out, err


def table(text):
    """Column -> text of each line."""
    head, *lines = [line.split() for line in text.splitlines()]
    assert all(len(line) == len(head) for line in lines)
    return [dict(zip(head, line, strict=True)) for line in lines]


def rows(capsys, *words):
    out, err = said(capsys, *words, "--csv")
    assert err == ""
    return list(csv.DictReader(io.StringIO(out)))


def report(path):
    return json.loads((Path(path) / "report.json").read_text())


def settings(path):
    """Every setting, as another reader of YAML finds it."""
    tree = yaml.safe_load((Path(path) / "config.yaml").read_text())
    return {
        f"{node}.{key}": v for node, found in tree.items() if node != "format" for key, v in found.items()
    }


def rewrite(path, change):
    """Change a run's report."""
    changed = report(path) | change
    (Path(path) / "report.json").write_text(json.dumps(changed))


def test_csv_and_json_hold_what_stands_in_the_files(trained, capsys):
    found = rows(capsys, trained)
    objects = json.loads(said(capsys, trained, "--json")[0], parse_constant=pytest.fail)
    assert {row["run"] for row in found} == set(RUNS) == {row["run"] for row in objects}
    all_settings = [settings(trained / name) for name in RUNS]
    differ = {k for s in all_settings for k in s if any(o.get(k, "absent") != s[k] for o in all_settings)}
    differ = {k.removesuffix(".name") for k in differ - {"run.dir", "run.name"}}
    assert {"optim", "optim.lr", "optim.betas", "model.hidden", "data", "dropout", "dropout.hidden"} <= differ
    for row, same in zip(found, objects, strict=True):
        path = Path(row["folder"])
        told, own = report(path), settings(path)
        measured = {f"{part}_{m}": v for part in ("train", "val", "test") for m, v in told[part].items()}
        results = {
            "epochs": told["epochs_run"],
            "best_epoch": told["best_epoch"],
            "seconds": told["seconds"]["total"],
        }
        assert path == trained / row["run"] and row["status"] == told["status"] == same["status"]
        for name, value in (measured | results).items():
            assert float(row[name]) == value == same[name]
        for name in differ:
            value = own.get(f"{name}.name", own.get(name))
            assert same[name] == value
            assert row[name] == ("" if value is None else str(value).replace(" ", ""))
        assert (
            set(row) == set(same)
            and {c for c in row if "." in c or c in ("optim", "data", "dropout")} <= differ
        )
        assert all(row[c] == "" and same[c] is None for c in row if c[:4] == "val_" and c not in measured)


def test_the_table_shows_what_differs_and_the_best_first(moons, capsys):
    out, err = said(capsys, "moons")
    assert err == ""
    found = table(out)
    columns = ["run", "model.hidden", "dropout", "dropout.hidden", "optim", "optim.lr"]
    metrics = ["val_loss", "val_accuracy", "test_loss", "test_accuracy"]
    assert list(found[0]) == [*columns, *metrics, "best_epoch", "epochs", "seconds"]
    losses = {name: report(moons / name)["val"]["loss"] for name in ("adam", "momentum", "dropout")}
    assert [row["run"] for row in found] == sorted(losses, key=losses.get)
    by_name = {row["run"]: row for row in found}
    assert [by_name["adam"][c] for c in columns[1:]] == ["[8]", "none", "-", "adam", "0.001"]
    assert [by_name["momentum"][c] for c in columns[1:]] == ["[16]", "none", "-", "momentum", "0.05"]
    assert [by_name["dropout"][c] for c in columns[1:]] == ["[8]", "standard", "0.2", "adam", "0.001"]
    for name, row in by_name.items():
        assert float(row["val_loss"]) == pytest.approx(losses[name], rel=1e-3)
        assert row["epochs"] == "2"


def test_runs_of_the_same_settings_have_no_columns_of_settings(moons, capsys):
    shutil.copytree(moons / "adam", "outputs/other/adam")
    out, _ = said(capsys, "outputs/moons/adam", "other")
    assert [row["run"] for row in table(out)] == ["moons/adam", "other/adam"]
    assert out.split()[:2] == ["run", "val_loss"]
    assert said(capsys, "other")[0].split()[:2] == ["run", "val_loss"]


def test_a_seed_is_a_setting_and_a_name_is_none(moons, capsys):
    for seed in (1, 2):
        file = Path(shutil.copytree(moons / "adam", f"outputs/seeds/{seed}"), "config.yaml")
        tree = yaml.safe_load(file.read_text())
        tree["run"] |= {"name": f"other{seed}", "dir": f"there/{seed}", "seed": seed}
        file.write_text(yaml.safe_dump(tree, sort_keys=False))
    found = table(said(capsys, "seeds", "moons/adam")[0])
    assert {row["run.seed"] for row in found} == {"0", "1", "2"}
    assert list(found[0])[:3] == ["run", "run.seed", "val_loss"]


@pytest.mark.parametrize(
    ("column", "sign"),
    [
        ("test_accuracy", -1),
        ("val_loss", 1),
        ("train_loss", 1),
        ("optim.lr", 1),
        ("seconds", 1),
        ("test_r2", -1),
    ],
)
def test_sorted_by_a_column_the_best_first_and_absent_ones_last(column, sign, trained, capsys):
    shutil.copytree(trained, "outputs/all")
    for number, name in enumerate(RUNS):  # all different, in no order
        part, _, metric = column.partition("_")
        if metric and metric in report(f"outputs/all/{name}")[part]:
            rewrite(
                f"outputs/all/{name}",
                {part: report(f"outputs/all/{name}")[part] | {metric: (number * 7) % 5 / 5}},
            )
    found = [row[column] for row in rows(capsys, "all", "--sort", column)]
    numbers = [float(text) for text in found if text]
    assert len(numbers) >= 1 and numbers == sorted(numbers, key=lambda v: sign * v)
    assert found[len(numbers) :] == [""] * (len(found) - len(numbers))


def test_sorted_by_words_and_lists(moons, capsys):
    assert [row["optim"] for row in rows(capsys, "moons", "--sort", "optim")] == ["adam", "adam", "momentum"]
    assert [row["model.hidden"] for row in rows(capsys, "moons", "--sort", "model.hidden")] == [
        "[8]",
        "[8]",
        "[16]",
    ]
    rows(capsys, "moons", "--sort", "train.epochs")  # the same in all: no column, and no mistake


@pytest.mark.parametrize(
    ("word", "near"), [("test_acuracy", "test_accuracy"), ("optim_lr", "optim.lr"), ("", "")]
)
def test_a_column_that_is_none(word, near, moons, capsys):
    out, err = said(capsys, "moons", "--sort", word, code=2)
    assert (
        out == "" and len(err.splitlines()) == 2 and f"no column {word!r}" in err and f"--sort {near}" in err
    )


def test_runs_by_name_folder_and_path_each_once(moons, capsys):
    shutil.copytree(moons / "adam", "outputs/other/last")
    os.utime("outputs/other/last/config.yaml")
    for words, count in [
        (["moons"], 3),
        (["outputs"], 4),
        (["latest"], 1),
        (["moons/adam", "latest", "outputs"], 4),
    ]:
        assert len(rows(capsys, *words)) == count
    assert said(capsys, "moons", "nope", code=4)[1].startswith(
        "dlfound: error[run]: nope is not a run\n  fix: "
    )
    assert said(capsys, "latest", "--csv", "--json", code=2)[0] == ""
    assert said(capsys, code=2)[0] == ""


def test_other_tasks_have_dashes(trained, capsys):
    found = {row["run"]: row for row in table(said(capsys, trained)[0])}
    assert found["sine"]["test_accuracy"] == "-" == found["adam"]["test_rmse"]
    assert float(found["sine"]["val_r2"]) == pytest.approx(report(trained / "sine")["val"]["r2"], rel=1e-3)
    assert found["sine"]["train.monitor"] == "r2" and found["adam"]["train.monitor"] == "auto"
    assert "status" not in found["adam"]


def test_a_setting_at_the_defaults_of_several_options_is_shown_where_they_differ(moons, capsys):
    conf = Path(__file__).parents[2] / "conf" / "optim"
    nodes = {name: yaml.safe_load((conf / f"{name}.yaml").read_text()) for name in ("adam", "sgd")}
    nodes["none"] = {}  # has no rate
    for name, (word, node) in zip(("adam", "momentum", "dropout"), nodes.items(), strict=True):
        tree = yaml.safe_load((moons / name / "config.yaml").read_text()) | {"optim": {"name": word, **node}}
        (moons / name / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    found = {row["optim"]: row for row in table(said(capsys, "moons")[0])}
    rates = {word: node.get("lr") for word, node in nodes.items()}
    assert rates["adam"] != rates["sgd"]
    assert [found[word]["optim.lr"] for word in nodes] == [str(rates["adam"]), str(rates["sgd"]), "-"]
    assert "optim.betas" not in found["adam"]


def test_the_monitored_metric_is_shown_whatever_it_is(moons, capsys):
    for number, name in enumerate(("adam", "dropout")):
        told = report(moons / name)
        more = {"val": told["val"] | {"auc": number}, "test": told["test"] | {"auc": 0.5, "other": 1}}
        rewrite(moons / name, {"monitor": "auc", **more})
    found = table(said(capsys, "moons")[0])
    assert [row["run"] for row in found if row["val_auc"] != "-"] == ["adam", "dropout"]  # less, as of a loss
    assert found[2]["test_auc"] == "-" and "test_other" not in found[0]


def test_unfinished_and_diverged_runs_say_so(moons, capsys):
    with pytest.raises(dlfound.Error):
        dlfound.train([*QUICK, "optim=sgd", "optim.lr=1e25", "run.dir=outputs/moons/wild"])
    going_on = shutil.copytree(moons / "adam", moons / "going_on")
    (going_on / "DONE").unlink()
    lines = [
        {"epoch": e, "train": {}, "val": {"loss": v, "accuracy": 0.5}}
        for e, v in [(1, 3.0), (2, 0.001), (3, 2)]
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (going_on / "metrics.jsonl").write_text(text + '{"epoch": 4, "tra')
    begun = shutil.copytree(going_on, moons / "begun")
    (begun / "metrics.jsonl").unlink()
    found = table(said(capsys, "moons")[0])
    by_name = {row["run"]: row for row in found}
    assert [row["status"] == "done" for row in found] == [True] * 3 + [
        False
    ] * 3  # however well the others look
    assert found[3] == by_name["going_on"]
    going = by_name["going_on"]
    assert (going["status"], going["val_loss"], going["epochs"]) == ("unfinished", "0.001000", "3")
    assert (going["best_epoch"], going["test_loss"], going["seconds"]) == ("2", "-", "-")
    assert (by_name["begun"]["status"], by_name["begun"]["val_loss"]) == ("unfinished", "-")
    assert by_name["wild"]["status"] == "diverged" == report(moons / "wild")["status"]


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


DAMAGES = {
    "a report that is cut": lambda run: cut(run / "report.json"),
    "no report": lambda run: (run / "report.json").unlink(),
    "a report that is a list": lambda run: (run / "report.json").write_text("[]"),
    "a report without a status": lambda run: (run / "report.json").write_text('{"val": {"loss": 1}}'),
    "a status that is a number": lambda run: rewrite(run, {"status": 3}),
    "a configuration that is cut": lambda run: (run / "config.yaml").write_text("format: 1\noptim: {"),
    "a configuration of something else": lambda run: (run / "config.yaml").write_text("name: web\n"),
    "a newer configuration": lambda run: (run / "config.yaml").write_text("format: 2\n"),
    "a configuration of bytes": lambda run: (run / "config.yaml").write_bytes(b"\xff\x00"),
    "a report that links nowhere": lambda run: [
        (run / "report.json").unlink(),
        (run / "report.json").symlink_to("no"),
    ],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_told_and_left_out(damage, moons, capsys):
    damage(moons / "momentum")
    out, err = said(capsys, "moons", "--csv")
    assert [row["run"] for row in csv.DictReader(io.StringIO(out))].count("momentum") == 0 and out.count(
        "\n"
    ) == 3
    assert err.startswith("dlfound: left out: outputs/moons/momentum") and err.count("\n") == 1
    out, err = said(capsys, "outputs/moons/momentum", code=4)
    assert out == "" and "none of these runs can be read" in err


def test_content_of_any_kind_is_shown_and_never_obeyed(moons, capsys):
    strange = {
        "status": "done\x1b[31m", "monitor": ["loss"], "val": [1],
        "test": {"loss": True, "accuracy": "x", "a\nb": 1e999},
        "train": {"loss": 10**400, "accuracy": float("nan")}, "seconds": 3, "best_epoch": {}, "epochs_run": "two",
    }  # fmt: skip
    rewrite(moons / "adam", strange)
    text = "format: 1\noptim:\n  name: [x]\n  lr: 1e999\n  odd: {deep: [1, .nan]}\n  nothing: null\n"
    text += 'status:\n  name: "a\\e[31m"\nval_loss:\n  name: x\nrun: 3\n"no\\nde":\n  name: "=1"\nseconds: {name: 1}\n'
    (moons / "adam" / "config.yaml").write_text(text)
    out, err = said(capsys, "moons")
    assert err == "" and "done\\x1b[31m" in out and len(out.splitlines()) == 4
    found = {row["run"]: row for row in rows(capsys, "moons")}
    assert found["adam"]["test_loss"] == found["adam"]["train_loss"] == found["adam"]["epochs"] == ""
    assert found["adam"]["optim"] == '["x"]' and found["adam"]["optim.nothing"] == "null"
    assert {row["optim.nothing"] for row in found.values()} == {"null", ""}
    objects = json.loads(said(capsys, "moons", "--json")[0], parse_constant=pytest.fail)
    assert {row["run"]: row["optim.lr"] for row in objects}["adam"] is None
    for column in found["adam"]:
        rows(capsys, "moons", "--sort", column)


def test_names_that_would_write_to_the_terminal(moons, capsys):
    os.rename(moons / "adam", os.fsencode(moons) + b"/a\x1b[31m\n\xff")
    out, err = said(capsys, "moons")
    assert err == "" and "a\\x1b[31m\\n\\udcff" in out
    rows(capsys, "moons")
    assert len(json.loads(said(capsys, "moons", "--json")[0])) == 3


# ---- in a terminal


def in_terminal(columns, *words):
    """What a terminal of so many columns shows, and what is said on standard error."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "dlfound", *words]
    with subprocess.Popen(
        command, stdout=end, stderr=subprocess.PIPE, stdin=end, env=env, text=True
    ) as process:
        os.close(end)
        shown = b""
        while True:
            try:
                shown += (part := os.read(terminal, 4096))
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
        err = process.stderr.read()
    os.close(terminal)
    assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n"), err


@pytest.fixture
def long_names(moons):
    """The three runs in folders named as the program does."""
    for number, run in enumerate(sorted(moons.iterdir())):
        run.rename(moons / f"2026-11-2{number}_14-37-39-d790")
    return moons


def test_a_table_fits_its_terminal(long_names, capsys):
    whole, _ = said(capsys, "moons")
    widest = max(map(len, whole.splitlines()))
    assert in_terminal(widest, "compare", "moons") == (whole, "")
    names = [row["run"] for row in table(whole)]
    for columns in (widest - 1, widest - 5, 100, 60, 35):
        shown, err = in_terminal(columns, "compare", "moons")
        assert max(map(len, shown.splitlines())) <= columns
        short = table(shown)
        assert len({row["run"] for row in short}) == 3
        for row, name in zip(short, names, strict=True):
            assert name.endswith(row["run"].removeprefix("...")) and (row["run"] != name or columns <= 100)
        left_out = len(table(whole)[0]) - len(short[0])
        told = f"dlfound: {left_out} of 13 columns left out to fit the terminal; --csv has all\n"
        assert err == (told if left_out else "")
        assert (left_out > 0) == (columns <= 100) and "val_loss" in short[0]


def test_a_listing_fits_its_terminal(long_names):
    for columns in (120, 80, 50):
        shown, err = in_terminal(columns, "runs")
        assert max(map(len, shown.splitlines())) <= columns
        assert "2026-11-20_14-37-39-d790" in shown and ("left out" in err) == (columns < 90)
        assert ("epochs" in shown, "age" in shown) == (columns > 80, columns >= 80)


def test_long_values_are_cut_in_a_terminal_only(long_names, capsys):
    file = sorted(long_names.iterdir())[0] / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    tree["model"]["hidden"] = [1000 + i for i in range(30)]
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    assert ",1029]" in said(capsys, "moons")[0]
    shown, _ = in_terminal(200, "compare", "moons")
    assert "[1000,1001" in shown and ",1029]" not in shown and max(map(len, shown.splitlines())) <= 200
    alone, _ = in_terminal(17, "compare", str(file.parent))
    assert len(table(alone)[0]["run"]) >= 8 and max(map(len, alone.splitlines())) <= 17

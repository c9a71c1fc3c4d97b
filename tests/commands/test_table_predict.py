"""What a run of a table is used for: predict, eval and Python, on new rows of any kind (FAULTS D14-D17, D39, X16)."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from support.run_files import contents
from support.stopping import train_with_stops
from support.trained import LONG

import dlfound
from dlfound.cli import main
from dlfound.errors import Code
from dlfound.runs.train import load_data
from dlfound.training.device import make_resident
from dlfound.training.metrics import outputs_of

QUICK = ["train.epochs=3", "early_stopping=none", "lr_decay=none", "model.hidden=[8]", "logger=none"]
TARGETS = {"regression": "price", "binary": "sold", "multiclass": "colour", "multilabel": "[warm,dry]"}


def people(count=120, seed=0):
    """Columns of all kinds, some cells missing."""
    rng = np.random.default_rng(seed)
    age, size = rng.normal(40, 9, count).round(2), rng.integers(1, 500, count)
    truth = np.array([True, False])
    table = {
        "age": [None if gap else a for a, gap in zip(age.tolist(), rng.random(count) < 0.1, strict=True)],
        "size": size.tolist(),
        "city": [f"c{k}" for k in rng.integers(0, 25, count)],
        "kind": rng.choice(["elm", "fir", "oak", None], count, p=[0.4, 0.3, 0.2, 0.1]).tolist(),
        "when": [str(np.datetime64("2020-01-01") + int(d)) for d in rng.integers(0, 900, count)],
        "odd": rng.choice(truth, count).tolist(),
        "name": [f"person, {k}" for k in range(count)],
        "price": (size * 3.7 + age + rng.normal(size=count)).tolist(),
        "sold": np.where(size > 240, "yes", "no").tolist(),
        "colour": (age // 10 % 3).astype(int).tolist(),
        "warm": np.where(age > 40, "w", "-").tolist(),
        "dry": rng.choice(truth, count).tolist(),
    }
    return table


def taken(columns, rows):
    return {name: [cells[row] for row in rows] for name, cells in columns.items()}


def write_csv(path, columns):
    """As pandas and most others write: True, and nothing for a missing cell."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_parquet(path, columns):
    """With types: truth values, dates, whole numbers."""
    frame = pl.DataFrame(columns, strict=False)
    frame.with_columns(pl.col("when").str.to_date()).write_parquet(path)
    return path


def without(columns, *names):
    return {name: cells for name, cells in columns.items() if name not in names}


def read_csv(text):
    lines = list(csv.reader(io.StringIO(text)))
    return dict(zip(lines[0], map(list, zip(*lines[1:], strict=True)), strict=True))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("data") / "people.csv", people())


@pytest.fixture(scope="module")
def runs(tmp_path_factory, file):
    """A trained run for each task; cities are embedded."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    others = {"price", "sold", "colour", "warm", "dry"}
    for task, target in TARGETS.items():
        drop = ",".join(sorted(others - set(target.strip("[]").split(","))))
        words = [
            "data=table",
            f"data.path={file}",
            f"data.target={target}",
            f"data.drop=[{drop}]",
            "data.one_hot=4",
        ]
        found[task] = dlfound.train([*QUICK, *words, f"run.dir={folder / task}"])
    return found


def own_outputs(run):
    """The test rows' numbers in the file, and what training's own evaluation has for them."""
    dataset = load_data(run.config)
    part = make_resident(dataset, run.model, run.loss, torch.device("cpu"))["test"]
    return dataset.parts["test"], outputs_of(run.model, part.inputs)


def predicted(capsys, run, path, *words, code=0):
    assert main(["predict", str(run.path), str(path), *words]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err and (code == 0 or (out == "" and len(err.splitlines()) == 2))
    return (read_csv(out) if code == 0 else out), err


# ---- the training's own predictions


@pytest.mark.parametrize("task", TARGETS)
def test_the_test_rows_as_a_file_give_the_trainings_own_outputs(task, runs, capsys):
    """Bit for bit: columns in another order, some more, the targets absent; CSV and Parquet; all doors of Python."""
    run, whole = runs[task], people()
    assert run.report["task"] == task and run.schema["plan"]["embedded"] != []
    rows, outputs = own_outputs(run)
    test = without(taken(whole, rows), "price", "sold", "colour", "warm", "dry")
    mixed = {"more": ["x"] * len(rows), **dict(reversed(test.items()))}
    frames = {
        "polars": pl.DataFrame(test, strict=False), "pandas": pd.read_csv(write_csv("plain.csv", test)),
        "lazy": pl.LazyFrame(test, strict=False), "dict": test,
        "arrays": {name: np.array(cells, object) for name, cells in mixed.items()},
        "dates": pd.DataFrame(mixed).assign(when=pd.to_datetime(test["when"])),
        "array": np.array([test[name] for name in run.schema["features"]], object).T,
        "list": [list(row) for row in zip(*(test[name] for name in run.schema["features"]), strict=True)],
    }  # fmt: skip
    for door, frame in frames.items():
        assert torch.equal(run.outputs(frame), outputs), door
    order = np.random.default_rng(0).permutation(len(rows))
    assert torch.equal(run.outputs(taken(whole, rows[order])), outputs[order])
    assert torch.equal(run.outputs(taken(whole, range(len(whole["age"]))))[rows], outputs)
    assert torch.equal(run.outputs(taken(whole, rows[:1])), outputs[:1])
    values = run.predict(test)
    paths = [write_csv("test.csv", test), write_csv("mixed.csv", mixed), write_parquet("test.parquet", mixed)]
    for path in paths:
        found, _ = predicted(capsys, run, path)
        if task == "regression":
            assert np.array_equal(np.array(found["price"], float), values)
            assert np.array_equal(run.model.target.inverse(outputs)[:, 0].numpy(), values)
        else:
            names = ["warm", "dry"] if task == "multilabel" else ["class"]
            assert [found[name] for name in names] == values.reshape(len(rows), -1).T.tolist()
            shares = run.loss.probabilities(outputs)
            if task == "multilabel":
                given = np.array([found["probability_warm"], found["probability_dry"]], np.float32).T
            else:
                given, shares = np.array(found["probability"], np.float32), shares.max(1).values
            assert np.array_equal(given, shares.numpy())


def test_nothing_is_learned_from_the_rows_held_out(runs, file):
    """Other numbers, gaps and categories in the test rows: the same net to the bit, and the same preprocessing."""
    whole = people()
    for task in ("regression", "binary"):
        run = runs[task]
        changed = {name: list(cells) for name, cells in whole.items()}
        for row in load_data(run.config).parts["test"]:
            changed["age"][row], changed["size"][row], changed["city"][row] = 1e6 + row, None, f"aa{row}"
            changed["price"][row] = -1e9 - row
        words = [
            f"data.{name}={json.dumps(run.config['data'][name])}" for name in ("target", "drop", "one_hot")
        ]
        other = dlfound.train(
            [*QUICK, "data=table", f"data.path={write_csv('changed.csv', changed)}", *words]
        )
        assert (other.path / "metrics.jsonl").read_bytes() == (run.path / "metrics.jsonl").read_bytes()
        for name, tensor in run.model.state_dict().items():
            if "places" not in name:  # there a place for each category that stands in the file, known or not
                assert torch.equal(tensor, other.model.state_dict()[name]), name
        assert torch.equal(run.outputs(whole), other.outputs(whole))


def test_the_report_is_what_the_predictions_come_to(runs):
    """Test metrics once more, by NumPy from what `predict` says of the test rows."""
    whole = people()
    for task, target in (("binary", "sold"), ("multiclass", "colour"), ("regression", "price")):
        run = runs[task]
        rows, _ = own_outputs(run)
        truth, found = np.array(whole[target])[rows], run.predict(taken(whole, rows))
        if task == "regression":
            assert run.report["test"]["rmse"] == pytest.approx(
                np.sqrt(np.mean((found - truth) ** 2)), rel=1e-9
            )
        else:
            assert run.report["test"]["accuracy"] == np.mean(found == truth.astype(str))
    run = runs["multilabel"]
    rows, _ = own_outputs(run)
    right = run.predict(taken(whole, rows)) == np.array([whole["warm"], whole["dry"]]).T[rows]
    assert run.report["test"]["accuracy"] == pytest.approx(right.mean(), rel=1e-12)
    assert run.report["test"]["exact_match"] == pytest.approx(right.all(1).mean(), rel=1e-12)


def test_one_row_is_predicted_as_among_others(runs):
    """To the bit."""
    for run in runs.values():
        whole = without(people(40, 1), "price")
        outputs = run.outputs(whole)
        alone = torch.cat([run.outputs(taken(whole, [row])) for row in range(40)])
        assert torch.equal(alone, outputs)


# ---- new rows that are odd


def test_new_categories_and_gaps_are_counted(runs, capsys):
    """D14: taken as unknown, or an error; the other rows' predictions stay; D6: gaps where training had none."""
    run, new = runs["binary"], people(30, 2)
    plain = run.outputs(new)
    for row in (4, 7):
        new["kind"][row], new["city"][row] = "palm", "Atlantis"
    new["size"][9], new["when"][9], new["odd"][9] = None, None, None
    write_csv("new.csv", new)
    _, err = predicted(capsys, run, "new.csv")
    assert (
        "column 'kind': 'palm' was not in training (new.csv:6), nor was 1 more cell: taken as unknown" in err
    )
    assert "column 'city': 'Atlantis' was not in training (new.csv:6)" in err
    gaps = sum(cell is None for cell in new["age"])
    kinds = sum(cell is None for cell in new["kind"])
    assert f"missing values: age {gaps}, size 1, kind {kinds}, when 1, odd 1" in err
    outputs, same = run.outputs(new), [row for row in range(30) if row not in (4, 7, 9)]
    assert torch.equal(outputs[same], plain[same]) and outputs.isfinite().all()
    both = taken(new, [4, 4])
    both["kind"], both["city"] = ["palm", "larch"], ["Atlantis", "Utopia"]
    assert torch.equal(*run.outputs(both))
    assert main(["predict", str(run.path), "new.csv", "--unseen", "error"]) == 3
    err = capsys.readouterr().err.splitlines()
    assert "column 'city': 'Atlantis' was not in training (new.csv:6)" in err[0] and len(err) == 4
    assert "'palm' was not in training" in err[2] and err[3].startswith("  fix: ")


def test_gaps_in_an_array_are_counted(tmp_path, capsys):
    """A file of NumPy's, whose rows count from 0: a code that training did not have is unknown too."""
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=60), "k": rng.integers(0, 3, 60), "y": rng.normal(size=60)}
    words = [
        "data=table",
        f"data.path={write_csv('x.csv', columns)}",
        "data.target=y",
        "data.categorical=[k]",
    ]
    run = dlfound.train([*QUICK, *words])
    np.save("new.npy", [[0.5, 1], [np.nan, 7]])
    found, err = predicted(capsys, run, "new.npy")
    assert len(found["y"]) == 2 and "missing values: a 1" in err
    assert "column 'k': '7' was not in training (new.npy:1): taken as unknown" in err


def test_columns_that_are_all_missing(runs, capsys):
    """Of no type in a file of their own: as good as any other gap."""
    run = runs["binary"]
    for name in ("age", "size", "city", "kind", "when", "odd"):
        new = {**people(8, 3), name: [None] * 8}
        found, err = predicted(capsys, run, write_csv("new.csv", new))
        assert len(found["class"]) == 8 and f"{name} 8" in err
        outputs = run.outputs(new)
        assert torch.equal(run.outputs(pd.read_csv("new.csv")), outputs)
        pl.DataFrame(new, strict=False).write_parquet("new.parquet")
        assert torch.equal(run.outputs(pl.read_parquet("new.parquet")), outputs)


def test_columns_that_are_missing_or_changed(runs, capsys):
    """D16, D17: named, in two lines."""
    run, new = runs["binary"], people(8, 3)
    _, err = predicted(capsys, run, write_csv("new.csv", without(new, "size")), code=3)
    assert "new.csv: column 'size' is missing; there are: age, city" in err
    _, err = predicted(capsys, run, write_csv("new.csv", {"age": [1, 2], "other": [3, 4]}), code=3)
    assert "5 columns are missing: 'size', 'city', 'kind', 'when', 'odd'; there are: age, other" in err
    _, err = predicted(
        capsys, run, write_csv("new.csv", {**new, "size": [1, 2, "many", 4, 5, 6, 7, 8]}), code=3
    )
    assert "new.csv:4: column 'size': 'many' is not a number, and it held numbers in training" in err
    _, err = predicted(
        capsys, run, write_csv("new.csv", {**new, "when": ["2020-01-01"] * 5 + ["soon"] * 3}), code=3
    )
    assert "new.csv:7: column 'when': 'soon' is no date like %Y-%m-%d" in err
    _, err = predicted(capsys, run, write_csv("new.csv", {**new, "age": ["inf"] + [1] * 7}), code=3)
    assert "new.csv:2: column 'age': infinite value inf" in err and "data.drop" not in err
    _, err = predicted(capsys, run, write_csv("new.csv", {**new, "kind": range(8)}), code=3)
    assert "new.csv: column 'kind' holds numbers, and it held text in training" in err and "elm" in err
    _, err = predicted(capsys, run, write_csv("new.csv", {**new, "extra": range(8), "other": range(8)}))
    assert "columns that training did not have are not used: extra, other" in err
    with pytest.raises(
        dlfound.Error, match="column 'size' holds string, not numbers, and it held numbers"
    ) as caught:
        run.predict({**new, "size": list("abcdefgh")})
    assert caught.value.code == Code.DATA
    for rows, said in {
        "shape": [[1, 2], [3, 4]], "length": {**new, "age": [1]}, "number": 5, "text": "abc", "mix": [{"age": 1}],
    }.items():  # fmt: skip
        with pytest.raises(dlfound.Error) as caught:
            run.predict(said)
        assert caught.value.code == Code.DATA, rows


def test_files_that_are_no_tables(runs, capsys):
    run = runs["binary"]
    Path("x.png").write_bytes(b"\x89PNG")
    Path("x.pkl").write_bytes(b"\x80\x04.")
    _, err = predicted(capsys, run, "x.png", code=3)
    assert "x.png: the run takes tables, not images" in err and ".csv.gz" in err
    _, err = predicted(capsys, run, "x.pkl", code=7)
    assert "refused by its type" in err
    _, err = predicted(capsys, run, "none.csv", code=3)
    assert "none.csv: no such file" in err
    _, err = predicted(capsys, run, "none*.csv", code=3)
    assert "no data file matches 'none*.csv'" in err
    write_csv("new.txt", people(8, 3))
    assert main(["predict", "x.pkl", "new.txt"]) == 7
    assert "x.pkl is refused by its type" in capsys.readouterr().err
    for number in range(2):
        write_csv(f"part{number}.csv", people(8, number))
    both, err = predicted(capsys, run, "part*.csv")
    assert both["class"] == [
        name for k in range(2) for name in predicted(capsys, run, f"part{k}.csv")[0]["class"]
    ]
    assert main(["predict", str(run.path), "part*.csv", "--out", "part1.csv"]) == 2
    assert "--out part1.csv is the file that is read" in capsys.readouterr().err
    assert len(predicted(capsys, run, "new.txt")[0]["class"]) == 8


# ---- what is written


def test_columns_stand_beside_the_predictions(runs, capsys):
    run, new = runs["binary"], {**people(8, 3), "class": list("abcdefgh"), "row": range(8), "id": ["007"] * 8}
    found, _ = predicted(
        capsys, run, write_csv("new.csv", new), "--keep", "name, row,class,id,age", "--probabilities"
    )
    assert list(found) == [
        "row_number", "name", "row", "class", "id", "age", "predicted_class", "probability",
        "probability_no", "probability_yes",
    ]  # fmt: skip
    assert found["name"] == new["name"] and found["class"] == new["class"] and found["id"] == new["id"]
    assert [None if cell == "" else float(cell) for cell in found["age"]] == new["age"]
    shares = np.array([found["probability_no"], found["probability_yes"]], np.float32).T
    assert np.array_equal(shares, run.probabilities(new))
    assert main(["predict", str(run.path), "new.csv", "--keep", "id,age", "--out", "found.parquet"]) == 0
    kept = pl.read_parquet("found.parquet")
    assert (
        kept.columns == ["row", "id", "age", "class", "probability"] and kept["age"].to_list() == new["age"]
    )
    assert kept["class"].to_list() == found["predicted_class"] and kept["id"][0] == "007"
    assert "8 predictions in found.parquet" in capsys.readouterr().err
    new["id"] = [2**53 + 2 * row + 1 for row in range(8)]
    for path in (write_csv("new.csv", new), write_parquet("new.parquet", new)):
        found, _ = predicted(capsys, run, path, "--keep", "id")
        assert found["id"] == [str(number) for number in new["id"]], path
    new["id"] = [-row for row in range(8)]
    safe, _ = predicted(capsys, run, write_csv("new.csv", new), "--keep", "id", "--excel-safe")
    assert safe["id"] == [str(-row) for row in range(8)]  # a number is no formula
    _, err = predicted(capsys, run, "new.csv", "--keep", "nome", code=2)
    assert "--keep nome: there is no such column; there are: age, size" in err


def test_predictions_go_to_a_file_whole_or_not_at_all(runs, capsys):
    run = runs["regression"]
    write_csv("new.csv", people(8, 3))
    Path("found.csv").write_text("before")
    write_csv("bad.csv", without(people(8, 3), "age"))
    for out in ("found.csv", "found.parquet"):
        assert main(["predict", str(run.path), "bad.csv", "--out", out]) == 3
    assert Path("found.csv").read_text() == "before" and not Path("found.parquet").exists()
    assert main(["predict", str(run.path), "new.csv", "--out", "found.csv"]) == 0
    assert list(read_csv(Path("found.csv").read_text())) == ["row", "price"]
    assert main(["predict", str(run.path), "new.csv", "--out", "new.csv"]) == 2
    assert "is the file that is read" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["bad.csv", "found.csv", "new.csv"]


def test_words_that_a_spreadsheet_takes_for_formulas(tmp_path, capsys):
    """X16: quoted; with --excel-safe an apostrophe before them."""
    rng, evil = np.random.default_rng(0), ["=cmd|' /C calc'!A0", "+1", "@x", "plain"]
    size = rng.integers(0, 40, 80)
    columns = {
        "size": size.tolist(),
        "kind": [evil[s // 10] for s in size],
        "note": [evil[s % 4] for s in size],
    }
    write_csv("x.csv", columns)
    run = dlfound.train([*QUICK, "data=table", "data.path=x.csv", "data.target=kind"])
    plain = read_csv(predicted_text(capsys, run))
    assert set(plain["class"]) <= set(evil) and plain["note"] == columns["note"]
    for line in predicted_text(capsys, run).splitlines()[1:]:
        assert line.split(",")[1][0] == '"'
    safe = read_csv(predicted_text(capsys, run, "--excel-safe"))
    assert safe["note"] == [word if word == "plain" else f"'{word}" for word in columns["note"]]
    assert safe["class"] == [word if word == "plain" else f"'{word}" for word in plain["class"]]


def predicted_text(capsys, run, *words):
    assert main(["predict", str(run.path), "x.csv", "--keep", "note", *words]) == 0
    return capsys.readouterr().out


def test_a_reader_that_ends_early(runs, tmp_path):
    """As `head` does: no message, and the exit code of one who was told so."""
    write_csv("new.csv", {name: cells * 300 for name, cells in people(30, 3).items()})
    program = [sys.executable, "-c", "import sys; from dlfound.cli import main; sys.exit(main())"]
    command = [*program, "predict", str(runs["binary"].path), "new.csv", "--keep", "name"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as made:
        first = made.stdout.readline()
        made.stdout.close()
        err = made.stderr.read().decode()
    assert first == b"row,name,class,probability\n" and "Error" not in err and "Traceback" not in err


# ---- measured again


def test_eval_measures_a_table_again(runs, capsys):
    for run in runs.values():
        assert main(["eval", str(run.path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {part: run.report[part] for part in found} == found and len(found) == 3


def test_eval_of_a_file(runs, capsys, file):
    """The test rows as a file have the report's test metrics; classes given as other types are found."""
    for task, run in runs.items():
        rows, _ = own_outputs(run)
        test = taken(people(), rows)
        for path in (write_csv("test.csv", test), write_parquet("test.parquet", test)):
            assert main(["eval", str(run.path), "--data", path, "--json"]) == 0
            out, err = capsys.readouterr()
            assert json.loads(out) == {"data": run.report["test"]}, (task, path)
            assert "missing values: age" in err
    run, test = runs["multiclass"], people(20, 5)
    test["colour"][3:5] = ["", ""]
    assert main(["eval", str(run.path), "--data", write_csv("new.csv", test)]) == 0
    assert "2 rows without a target dropped" in capsys.readouterr().err
    for content, said in {
        "class": ({**test, "colour": [0, 7] * 10}, "new.csv:3: class '7' of 'colour' was not in training"),
        "none": (without(test, "colour"), "target column 'colour' is missing in new.csv"),
        "empty": ({**test, "colour": [""] * 20}, "there is no row but 20 without a target"),
        "column": (without(test, "age"), "column 'age' is missing"),
    }.values():
        write_csv("new.csv", content)
        assert main(["eval", str(run.path), "--data", "new.csv"]) == 3
        out, err = capsys.readouterr()
        assert out == "" and said in err and len(err.splitlines()) == 2
    assert (
        main(
            [
                "eval",
                str(runs["regression"].path),
                "--data",
                write_csv("new.csv", {**test, "price": "x" * 20}),
            ]
        )
        == 3
    )
    assert "column 'price': 'x' is not a number" in capsys.readouterr().err


def test_codes_are_texts(capsys):
    """007 is not 7, in whatever file: a column that is called a category is not read as numbers."""
    code = [("007", "7", "07")[row % 3] for row in range(90)]
    columns = {"code": code, "y": [1.5 * len(text) + row / 1000 for row, text in enumerate(code)]}
    write_csv("x.csv", columns)
    run = dlfound.train([*QUICK, "data=table", "data.path=x.csv", "data.target=y", "data.categorical=[code]"])
    assert run.schema["columns"][0]["categories"] == ["007", "07", "7"]
    found, _ = predicted(capsys, run, "x.csv", "--keep", "code")
    assert found["code"] == code and found["y"][0] != found["y"][1] != found["y"][2]
    rows = load_data(run.config).parts["test"]
    write_csv("test.csv", taken(columns, rows))
    assert main(["eval", str(run.path), "--data", "test.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == run.report["test"]


def test_a_run_with_weights_is_measured_with_them(capsys):
    """A new file that has none is measured without; `predict` needs none."""
    for target in ("price", "colour", "[warm,dry]"):
        columns = {**people(), "w": [1 + row % 3 for row in range(120)]}
        columns = {name: columns[name] for name in ("age", "kind", "w", *target.strip("[]").split(","))}
        words = ["data=table", "data.path=x.csv", f"data.target={target}", "data.weight=w"]
        run = dlfound.train([*QUICK, *words, f"data.path={write_csv('x.csv', columns)}"])
        assert run.schema["features"] == ["age", "kind"]
        rows = load_data(run.config).parts["test"]
        measured = []
        for drop in ((), ("w",)):
            write_csv("test.csv", without(taken(columns, rows), *drop))
            assert main(["eval", str(run.path), "--data", "test.csv", "--json"]) == 0
            measured.append(json.loads(capsys.readouterr().out)["data"])
        assert measured[0] == run.report["test"] and measured[0]["loss"] != measured[1].pop("loss")
        assert {name: measured[0][name] for name in measured[1]} == measured[1]
        assert main(["eval", str(run.path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["test"] == run.report["test"]
        assert len(run.predict(without(columns, "w"))) == 120


def test_a_file_that_changed_is_told(capsys):
    """D39: eval alone, and a run that is to go on; nothing of it is changed."""
    words = [*QUICK, "data=table", "data.path=x.csv", "data.target=sold", "data.drop=[name]", "run.dir=mine"]
    write_csv("x.csv", people())
    dlfound.train(words)
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    changed = people()
    changed["size"][7] += 1
    write_csv("x.csv", changed)
    for command in (["eval", "mine"], ["train", "resume=mine", "train.epochs=5"]):
        assert main(command) == 3
        out, err = capsys.readouterr()
        assert out == "" and "data" in err and len(err.splitlines()) == 2, err
        after = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
        assert {path for path in before if before[path] != after.get(path)} <= {Path("mine/.lock")}
    allowed = ["train", "resume=mine", "train.epochs=5", "train.allow_changed=true"]
    write_csv("x.csv", taken(changed, range(100)))
    assert main(allowed) == 3
    assert "and they have other rows, columns or classes" in capsys.readouterr().err
    write_csv("x.csv", changed)
    assert main(allowed) == 0
    assert "the data have changed since step" in capsys.readouterr().err
    report = json.loads(Path("mine/report.json").read_text())
    assert report["exact"] is False and "not bit-identically" in report["warnings"][-1]
    assert main(["eval", "mine"]) == 0  # it is a run on these data now
    os.unlink("x.csv")
    assert main(["eval", "mine"]) == 3
    assert "data file 'x.csv' not found" in capsys.readouterr().err
    assert (
        main(["predict", "mine", write_csv("new.csv", people(5, 1))]) == 0
    )  # needs no file of the training's


def test_a_run_in_pieces_is_the_run_in_one(file):
    """Stopped in the midst of epochs, again and again: embeddings and weights of rows included."""
    words = [
        *LONG,
        "data=table",
        f"data.path={file}",
        "data.target=sold",
        "data.one_hot=2",
        "data.weight=size",
    ]
    whole = dlfound.train(words)
    assert whole.schema["plan"]["embedded"] == [0, 1] or len(whole.schema["plan"]["embedded"]) >= 2
    train_with_stops(words, "pieces", [7, 1, 20, 3, 4])
    assert contents(Path("pieces")) == contents(whole.path)


def test_a_table_written_in_another_way_is_read_as_the_words_say(runs, capsys):
    run, rows = runs["multiclass"], people(20, 5)
    rows["city"][3] = "Besançon"
    plain, _ = predicted(capsys, run, write_csv("new.csv", rows))
    text = Path("new.csv").read_text(encoding="utf-8")
    Path("old.csv").write_text(text.replace(",", "|"), encoding="latin-1")
    words = ["data.encoding=latin-1", "data.sep=pipe"]
    assert "set data.encoding=latin-1" in predicted(capsys, run, "old.csv", code=3)[1]
    assert predicted(capsys, run, "old.csv", *words)[0] == plain
    assert main(["eval", str(run.path), "--data", "old.csv", *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["eval", str(run.path), "--data", "new.csv", "--json"]) == 0
    assert told == json.loads(capsys.readouterr().out)
    assert (
        "unexpected argument: data.target=x" in predicted(capsys, run, "new.csv", "data.target=x", code=2)[1]
    )
    assert "data.sep must be" in predicted(capsys, run, "new.csv", "data.sep=xyz", code=2)[1]
    assert main(["eval", str(run.path), *words]) == 2
    assert "data.encoding=latin-1 needs --data FILE" in capsys.readouterr().err
    for name in ("x.xlsx", "x.JSON"):
        assert (
            f"--out {name}: a table is written as CSV or Parquet"
            in predicted(capsys, run, "new.csv", "--out", name, code=2)[1]
        )
    assert "make the folder gone first" in predicted(capsys, run, "new.csv", "--out", "gone/x.csv", code=6)[1]

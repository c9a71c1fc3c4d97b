"""`dlfound train data=table`: what is wrong with a table is told in two lines (FAULTS D, X); what is odd, in a note."""

import csv
import gzip
import io
import json
import os
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dlfound.cli import main
from dlfound.runs.resume import configure_run
from dlfound.runs.train import load_data

QUICK = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "model.hidden=[4]", "logger=none"]


def rows_of(count=40):
    """Columns of all kinds: numbers, a category, a target with classes and one with numbers."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=count).round(3), rng.integers(0, 50, count)
    return {
        "a": a.tolist(), "b": b.tolist(), "c": np.array(["elm", "fir", "oak"])[rng.integers(0, 3, count)].tolist(),
        "y": np.where(a + b / 50 > 0.5, "high", "low").tolist(), "z": (3 * a + b + rng.normal(size=count)).tolist(),
    }  # fmt: skip


def as_csv(columns, separator=","):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def put(name, content):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def told(capsys, *words, code=0, name="x.csv", target="y"):
    """Standard output and standard error of a dry run on a file."""
    usual = [f"data.path={name}", f"data.target={target}", *QUICK]
    assert main(["train", "data=table", *usual, *words, "--dry-run"]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err and not Path("outputs").exists()
    return out, err


def refused(capsys, *words, code=3, **more):
    """What a training says that is refused: two lines, and nothing is written."""
    out, err = told(capsys, *words, code=code, **more)
    lines = err.splitlines()
    assert out == "" and len(lines) == 2 and lines[0].startswith("dlfound: error["), err
    assert lines[1].startswith("  fix: ") and len(lines[1]) > 8
    return err


def schema(capsys, *words, **more):
    """How a table is understood, and what is said of it."""
    out, err = told(capsys, *words, "--json", **more)
    return json.loads(out), err


GOOD = as_csv(rows_of())
BOMB = gzip.compress(b"a,y\n" + b"1,2\n" * 2_000_000)
PACKED = gzip.compress(GOOD.encode())
FROM_LINE_2 = GOOD.split("\n", 1)[1]


def with_cell(column, row, value, good=None):
    """The good table with another cell."""
    columns = {name: list(cells) for name, cells in (good or rows_of()).items()}
    columns[column][row] = value
    return as_csv(columns)


# A row of FAULTS -> what stands in the file, settings, and what must be said.
BAD = {
    "D2 empty": ("", [], ["x.csv is empty"]),
    "D3 header only": ("a,b,y\n", [], ["x.csv has a header but no rows"]),
    "D4 one row": ("a,y\n1,2.5\n", [], ["1 row: need at least 3 to make train, val and test"]),
    "D4 two rows": ("a,y\n1,2.5\n2,3.5\n", [], ["2 rows: need at least 3 to make train, val and test"]),
    "D4 two rows of a class": ("a,y\n1,u\n2,v\n3,u\n4,v\n", [], ["no class has 3 rows", "data.split_by=random"]),
    "D5 one class": ("a,y\n1,u\n2,u\n3,u\n", [], ["target 'y' has a single class ('u'); nothing to learn"]),
    "D5 one number": ("a,y\n1,7.5\n2,7.5\n3,7.5\n", [], ["target 'y' is constant (7.5); nothing to learn"]),
    "D5 one class in training": (
        as_csv({"a": range(20), "y": ["u"] * 15 + ["v"] * 5}), ["data.split_by=order"],
        ["all training rows have the class 'u' of 'y'; nothing to learn", "data.split_by=stratified"],
    ),
    "D6 missing": (
        with_cell("b", 3, " NA "), ["data.missing=error"], ["column 'b': 1 missing value (first at x.csv:5)"],
    ),
    "D6 all missing": ("a,b,y\n,1,u\n2,,v\n", ["data.missing=drop"], ["no row but 2 with a missing value"]),
    "D7 infinite": (with_cell("a", 5, "inf"), [], ["x.csv:7: column 'a': infinite value inf", "data.drop=[a]"]),
    "D7 1e400": (with_cell("a", 5, "1e400"), [], ["x.csv:7: column 'a': infinite value 1e400"]),
    "D7 in the target": (with_cell("z", 5, "inf"), ["data.target=z"], ["x.csv:7: column 'z': infinite value inf"]),
    "D9 all constant": ("a,b,y\n" + "1,x,u\n1,x,v\n" * 9, [], ["no usable feature column: 'a' is constant (1.0)"]),
    "D9 all rare": (as_csv({"c": [f"k{k}" for k in range(10)], "y": [0, 1] * 5}), [], [
        "no usable feature column", "data.rare=1",
    ]),
    "D9 none": ("y\n" + "u\nv\n" * 9, [], ["no usable feature column"]),
    "D10 no target": (GOOD, ["data.target=yy"], [
        "target column 'yy' not in header; columns: a, b, c, y, z", "did you mean data.target=y?",
    ]),
    "D10 no group": (GOOD, ["data.group=A"], ["group column 'A' not in header", "did you mean data.group=a?"]),
    "D10 no weight": (GOOD, ["data.weight=bb"], ["weight column 'bb' not in header", "data.weight=b?"]),
    "D10 no such to drop": (GOOD, ["data.drop=[bb]"], ["drop column 'bb' not in header", "data.drop=b?"]),
    "D10 two roles": (GOOD, ["data.drop=[b]", "data.weight=b"], ["'b' is named by data.weight and by data.drop"]),
    "D11 text among numbers": (with_cell("a", 1, "x"), ["data.numeric=[a]"], [
        "x.csv:3: column 'a': 'x' is not a number", "data.categorical=[a]",
    ]),
    "D11 a word among numbers": (with_cell("b", 7, "none yet"), [], [
        "x.csv:9: column 'b': 'none yet' is not a number, as 39 of 40 cells are",
        "data.na if it means missing, or data.categorical=[b], or data.drop=[b]",
    ]),
    "D11 a word among dates": (
        as_csv({"d": [f"2024-01-{k + 1:02}" for k in range(28)] + ["soon"] + ["2024-02-01"] * 9, "y": [0, 1] * 19}), [],
        ["x.csv:30: column 'd': 'soon' is not a date, as 37 of 38 cells are", "data.categorical=[d]"],
    ),
    "D11 a word among the target's numbers": (
        as_csv({"a": range(60), "y": [k + 0.5 for k in range(59)] + ["?!"]}), [],
        ["x.csv:61: column 'y': '?!' is not a number, as 59 of 60 cells are", "data.na if it means missing"],
    ),
    "D32 a comma among points": (with_cell("b", 1, "1,5"), [], [
        "x.csv:3: column 'b': '1,5' is not a number",
    ]),
    "D12 not exact": (with_cell("b", 2, "9007199254740993"), [], [
        "x.csv:4: column 'b': 9007199254740993 loses precision as float",
        "drop it (data.drop=[b]) or mark it categorical (data.categorical=[b])",
    ]),
    "D12 classes": ("a,y\n" + "1,9007199254740993\n2,9007199254740995\n" * 9, [], ["column 'y'", "loses precision"]),
    "D18 twice": ("a,y,a\n1,2,3\n", [], ["x.csv:1: duplicate column name 'a' (columns 1 and 3)"]),
    "D19 no name": ("a, ,y\n1,2,3\n", [], ["x.csv:1: column 2 has no name"]),
    "D20 no header": (FROM_LINE_2, [], ["x.csv:1: first line looks like data", "data.header=false"]),
    "D21 short": ("a,b,y\n1,2,3\n4,5\n", [], ["x.csv:3: 2 fields, header has 3"]),
    "D21 long": ("a,b,y\n1,2,3\n4,5,6,7\n", [], ["x.csv:3: 4 fields, header has 3"]),
    "D24 UTF-16": (GOOD.encode("utf-16"), [], ["x.csv looks like UTF-16", "data.encoding=utf-16"]),
    "D24 UTF-32": (GOOD.encode("utf-32"), [], ["x.csv looks like UTF-32", "data.encoding=utf-32"]),
    "D25 Latin-1": ("a,y\n1,é\n".encode("latin-1"), [], ["x.csv:2: not UTF-8 (byte 0xe9)", "data.encoding=latin-1"]),
    "D28 quote": ('a,y\n1,"x\n2,3\n', [], ["x.csv:2: quote opened here is never closed"]),
    "D29 NUL": (b"a,y\n1,2\n3,\0\n", [], ["x.csv is not text (byte 0x00 at 10)"]),
    "D29 PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), [], ["x.csv is not text (byte 0x00 at 8)"]),
    "D30 long cell": ("a,y\n1,2\n1," + "x" * 1_100_000 + "\n", [], ["x.csv:3: field larger than 1 MB"]),
    "D31 two fit": ("a,b;y\n1,2;3\n", [], ["comma and semicolon stand in", "data.sep=comma or data.sep=semicolon"]),
    "D32 decimal comma": (with_cell("a", 1, "1,5"), ["data.numeric=[a]"], [
        "x.csv:3: column 'a': '1,5' is not a number", "thousands or decimal comma", "data.decimal=comma, or",
    ]),
    "D32 thousands": (as_csv({"a": [f"1,{k:03}.50" for k in range(60)], "y": ["u", "v"] * 30}), [], [
        "x.csv:2: column 'a': '1,000.50' is not a number (looks like a thousands or decimal comma)",
    ]),
    "D32 thousands in the target": (as_csv({"a": range(60), "y": [f"1,{k:03}" for k in range(60)]}), [], [
        "x.csv:2: column 'y': '1,000' is not a number (looks like a thousands or decimal comma)",
    ]),
    "D32 points for thousands": (as_csv({"a": [f"1.{k:03},5" for k in range(60)], "y": ["u", "v"] * 30}, ";"), [], [
        "x.csv:2: column 'a': '1.000,5' is not a number (looks like a thousands or decimal comma",
    ]),
    "D32 few": (as_csv({"a": ["0,5", "1,5", "2,5"] * 10, "y": ["u", "v"] * 15}), [], [
        "x.csv:2: column 'a': '0,5' is not a number (looks like", "data.categorical=[a]",
    ]),
    "D33 columns": (GOOD, ["data.max_columns=4"], ["x.csv:1: 5 columns exceed data.max_columns (4)"]),
    "D34 cut": (PACKED[:-20], [], ["x.csv.gz: compressed file ends early"]),
    "D34 checksum": (PACKED[:-8] + b"abcd" + PACKED[-4:], [], ["x.csv.gz: checksum mismatch"]),
    "D34 not gzip": (GOOD, [], ["x.csv.gz: not a gzip file"]),
    "D34 junk": (PACKED + b"junk", [], ["x.csv.gz: junk after end"]),
    "D35 bomb": (BOMB, ["data.max_bytes=1000000"], ["more than 1,000,000 bytes after decompression (data.max_bytes)"]),
    "D36 no Parquet": (GOOD, [], ["x.parquet: damaged (it begins with"]),
    "D42 text for numbers": (GOOD, ["data.task=regression"], [
        "x.csv:2: column 'y': 'high' is not a number, as a regression needs", "data.task=classification",
    ]),
    "D42 numbers for classes": (
        as_csv({"a": range(60), "y": [k + 0.5 for k in range(60)]}), ["data.task=classification"],
        ["target 'y' has 60 distinct numbers, some of them no whole ones", "data.task=regression"],
    ),
    "D42 names for classes": (
        as_csv({"a": range(60), "y": [f"n{k}" for k in range(60)]}), [],
        ["target 'y' has 60 different values in 60 rows: hardly classes"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_is_refused(case, capsys):
    content, words, parts = BAD[case]
    name = {"D34": "x.csv.gz", "D35": "x.csv.gz", "D36": "x.parquet"}.get(case[:3], "x.csv")
    err = refused(capsys, *words, name=put(name, content))
    assert err.startswith("dlfound: error[data]") and [part for part in parts if part not in err] == [], err


# ---- files of other kinds (D1, D36, D38, X14, X15)


def test_a_path_that_is_no_table(capsys, tmp_path):
    os.mkdir("folder.csv")
    os.symlink("nowhere.csv", "link.csv")
    put("file.csv", GOOD)
    for name, said in {
        "none.csv": f"data file 'none.csv' not found (looked in {tmp_path})",
        "*.csv.gz": "no data file matches '*.csv.gz'",
        "folder.csv": "'folder.csv' is a folder",
        "link.csv": "'link.csv' not found (the link leads nowhere)",
        "file.csv/x.csv": "cannot read 'file.csv/x.csv': Not a directory",
        "/dev/null": "'/dev/null' is no plain file",
    }.items():
        assert said in refused(capsys, name=name)
    assert "val_path" not in refused(capsys, "data.val_path=none.csv", name="file.csv")


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".pt", ".pt2", ".joblib", ".feather"])
def test_files_that_can_run_code_are_refused_by_their_type(suffix, capsys):
    """Not even opened; as data, and for prediction."""
    put("x" + suffix, b"\x80\x04cposix\nsystem\n(S'touch owned'\ntR.")
    for words in (["data=table", "data.target=y"], ["data=arrays"]):
        assert main(["train", *words, f"data.path=x{suffix}"]) == 7
        out, err = capsys.readouterr()
        assert out == "" and "refused by its type" in err and len(err.splitlines()) == 2
    assert not Path("owned").exists() and not Path("outputs").exists()


def test_arrays_of_python_objects_are_refused(capsys):
    np.save("X.npy", np.array([[1, "a"], [2, None]], object), allow_pickle=True)
    np.savez("x.npz", X=np.zeros((3, 2)), y=np.array([1, None, "a"], object))
    for words in (["data.path=X.npy", "data.target_path=X.npy"], ["data.path=x.npz"]):
        assert main(["train", "data=arrays", *words]) == 7
        out, err = capsys.readouterr()
        assert (
            out == ""
            and "holds Python objects: such a file can run code" in err
            and len(err.splitlines()) == 2
        )


def test_parquet_of_other_types_is_refused(capsys):
    for kind, values in {"list": [[1]] * 9, "struct": [{"u": 1}] * 9, "binary": [b"a"] * 9}.items():
        pl.DataFrame({"a": values, "y": range(9)}).write_parquet("x.parquet")
        assert f"column 'a' has type {kind}" in refused(capsys, name="x.parquet")
    pl.DataFrame({"a": [], "y": []}, schema={"a": pl.Float64, "y": pl.Float64}).write_parquet("x.parquet")
    assert "x.parquet has no rows" in refused(capsys, name="x.parquet")
    pl.DataFrame({"a": np.zeros(100_000), "y": np.zeros(100_000)}).write_parquet("x.parquet")
    said = refused(capsys, "data.max_bytes=1000000", name="x.parquet")
    assert "100,000 rows of 2 columns: more than 1,000,000 bytes in memory (data.max_bytes)" in said


def test_a_name_cannot_write_to_the_terminal(capsys):
    put("x.csv", GOOD.replace("fir", "fir\x1b[31m").replace("b,", "b\x1b]0;x\x07,", 1))
    said = refused(capsys, "data.drop=['b\x1b']")
    assert "\x1b" not in said
    out, err = told(capsys)
    assert "\x1b" not in out + err and "fir\\x1b[31m" in out


# ---- what is odd is told, and trained on


def told_of(capsys, content, *words, **more):
    """What is said of a table that can be trained on."""
    put("x.csv", content)
    return told(capsys, *words, **more)[1]


def test_columns_that_tell_nothing_are_dropped(capsys):
    """Constant (D8), empty, and texts that are nearly all different (D13); each can be kept or named."""
    columns = {
        **rows_of(), "one": [3] * 40, "none": [""] * 40, "name": [f"n {k}" for k in range(40)],
        "half": [f"h{k % 20}" for k in range(40)],
    }  # fmt: skip
    err = told_of(capsys, as_csv(columns))
    assert "warning: column 'one' is constant (3.0): dropped" in err
    assert "warning: column 'none' is empty: dropped" in err
    assert (
        "column 'name' has 40 different texts in 40 rows: dropped (data.categorical=[name] keeps it)" in err
    )
    found, _ = schema(capsys)
    assert found["features"] == ["a", "b", "c", "z", "half"]
    assert schema(capsys, "data.categorical=[name]")[0]["features"] == ["a", "b", "c", "z", "name", "half"]
    assert schema(capsys, "data.drop=[half,one,a]")[0]["features"] == ["b", "c", "z"]


def test_what_is_said_can_be_pasted(capsys):
    """A name of any kind, from the message into the next command."""
    for name in ("my name", 'a,"b"', "it's É", "null"):
        put("x.csv", as_csv({**rows_of(), name: [f"n {k}" for k in range(40)]}))
        _, err = told(capsys)
        (paste,) = shlex.split(err.split(" rows: dropped (")[1].split(" keeps it)")[0])
        assert schema(capsys, paste)[0]["features"][-1] == name
    said = refused(capsys, "data.drop=[x]")
    put("x.csv", as_csv({**rows_of(), "median price": range(40)}))
    said = refused(capsys, "data.target='median  prize'")
    (paste,) = shlex.split(said.split("did you mean ")[1].split("?")[0])
    assert schema(capsys, paste)[0]["targets"] == ["median price"]


def test_missing_values_are_counted_filled_or_dropped(capsys):
    """D6: the words for missing, and what becomes of the cells."""
    columns = rows_of()
    columns["a"][0:4] = ["", "NA", "?", "nan"]
    columns["c"][2:5] = ["null", "", "elm"]
    err = told_of(capsys, as_csv(columns))
    assert "missing values: a 4, c 2" in err
    found, _ = schema(capsys)
    assert found["rows"] == 40 and found["plan"]["flagged"] == [0]
    assert (
        "5 rows" not in err and "4 rows with a missing value dropped" in told(capsys, "data.missing=drop")[1]
    )
    assert schema(capsys, "data.missing=drop")[0]["rows"] == 36
    assert "column 'a': 4 missing values (first at x.csv:2)" in told(capsys, "data.missing=error", code=3)[1]
    columns = rows_of()
    columns["b"][:2] = [-999, -999.0]
    columns["c"][0] = "no idea"
    err = told_of(capsys, as_csv(columns), "data.na=[-999,no idea]")
    assert "missing values: b 2, c 1" in err


def test_rows_without_a_target_are_dropped_and_counted(capsys):
    err = told_of(capsys, with_cell("y", 3, ""))
    assert "1 row without y dropped" in err and schema(capsys)[0]["rows"] == 39
    columns = rows_of()
    columns["y"][:2], columns["z"][1:4] = ["", "?"], ["", "NA", ""]
    columns["w"] = ["yes", "no"] * 20
    put("x.csv", as_csv(columns))
    found, err = schema(capsys, "data.target=[y,w]", "data.drop=[z]")
    assert found["rows"] == 38 and "2 rows without y or w dropped" in err


def test_blank_lines_separators_and_signs_are_told(capsys):
    """D22, D31, D32."""
    assert "x.csv: 2 blank lines skipped" in told_of(capsys, GOOD.replace("\n", "\n\n", 1) + "\n")
    for sign, name in {";": "semicolon", "\t": "tab", "|": "pipe"}.items():
        err = told_of(capsys, as_csv(rows_of(), sign))
        assert f"x.csv: the separator is a {name} (data.sep)" in err
        assert "separator" not in told(capsys, f"data.sep={name}")[1]
    german = as_csv(
        {name: [str(v).replace(".", ",") for v in cells] for name, cells in rows_of().items()}, ";"
    )
    assert "the decimal sign is a comma, as in 0,126 (data.decimal)" in told_of(capsys, german)
    plain, _ = schema(capsys)
    assert schema(capsys, "data.decimal=comma", "data.sep=semicolon")[0] == plain
    put("x.csv", GOOD)
    assert schema(capsys)[0] == plain


def test_the_same_table_however_it_is_written(capsys):
    """D23, D26: marks, line ends, encodings, packed or not, in parts; Parquet too."""
    plain = as_csv(rows_of()).replace("elm", "orme é")
    put("x.csv", plain)
    wanted, _ = schema(capsys)
    spelled = {
        "mark.csv": plain.encode("utf-8-sig"),
        "crlf.csv": plain.replace("\n", "\r\n"),
        "cr.csv": plain.replace("\n", "\r"),
        "end.csv": plain[:-1],
        "quoted.csv": "\n".join(
            ",".join(f'"{cell}"' for cell in line.split(",")) for line in plain.splitlines()
        ),
        "x.csv.gz": gzip.compress(plain.encode()),
    }
    for name, content in spelled.items():
        assert schema(capsys, name=put(name, content))[0] == wanted, name
    for encoding in ("latin-1", "utf-16", "utf-32-be"):
        put("other.csv", plain.encode(encoding))
        assert schema(capsys, f"data.encoding={encoding}", name="other.csv")[0] == wanted
    lines = plain.splitlines(keepends=True)
    put("part1.csv", "".join(lines[:20]))
    put("part2.csv", "".join([lines[0], *lines[20:]]))
    assert schema(capsys, name="part*.csv")[0] == wanted
    pl.read_csv("x.csv").write_parquet("x.parquet")
    assert schema(capsys, name="x.parquet")[0] == wanted


def test_columns_by_number(capsys):
    """D20: no header."""
    put("x.csv", FROM_LINE_2)
    found, _ = schema(capsys, "data.header=false", "data.categorical=[1]", "data.drop=[0]", target="3")
    assert found["features"] == ["1", "2", "4"] and found["classes"] == ["high", "low"]
    assert [column["kind"] for column in found["columns"]] == ["category", "category", "number"]
    assert (
        "target column 'y' not in header; columns: 0, 1, 2, 3, 4"
        in told(capsys, "data.header=false", code=3)[1]
    )


def test_many_columns(capsys):
    """D33: ten thousand and more; or the setting that stops it."""
    rng = np.random.default_rng(0)
    head = ",".join([*(f"c{k}" for k in range(10_000)), "y"])
    body = "\n".join(",".join(map(str, [*rng.integers(0, 9, 10_000), row % 2])) for row in range(6))
    put("x.csv", f"{head}\n{body}\n")
    assert len(schema(capsys, "data.scale=standard")[0]["features"]) > 9_500
    assert (
        "10,001 columns exceed data.max_columns (10,000)" in told(capsys, "data.max_columns=10000", code=3)[1]
    )


def test_leaks_and_repeats_are_warned_of(capsys):
    """D40, D41."""
    columns = rows_of()
    columns["copy"] = columns["y"]
    columns["code"] = [{"high": 7, "low": 2}[y] for y in columns["y"]]
    err = told_of(capsys, as_csv(columns))
    assert (
        "warning: column 'copy' equals the target 'y'" in err and "column 'code' equals the target 'y'" in err
    )
    assert err.count("equals the target") == 2
    columns = rows_of()
    columns["copy"] = columns["z"]
    err = told_of(capsys, as_csv(columns), target="z")
    assert "warning: column 'copy' equals the target 'z'" in err and err.count("equals the target") == 1
    many = {"k": [f"k{row % 150}" for row in range(600)], "y": [f"c{row % 150}" for row in range(600)]}
    assert "column 'k' equals the target 'y'" in told_of(capsys, as_csv(many))
    many["k"][7] = "k8"
    assert "equals the target" not in told_of(capsys, as_csv(many))
    twice = {name: cells * 2 for name, cells in rows_of().items()}
    put("x.csv", as_csv(twice))
    found, err = schema(capsys, "data.split_by=order", target="z")
    assert found["split"] == {"train": 56, "val": 12, "test": 12}
    assert (
        "12 of 12 validation rows stand in training too" in err
        and "12 of 12 test rows stand in training" in err
    )
    assert "stand in training" not in told_of(capsys, GOOD)


def test_classes_that_are_rare_or_never_seen_are_told(capsys):
    """D5: kept in training; or, where the rows are split otherwise, absent from it."""
    columns = rows_of()
    columns["y"][5:7] = ["mid", "mid"]
    err = told_of(capsys, as_csv(columns))
    assert "class 'mid' has 2 rows, too few for val and test: kept in training" in err
    columns["y"][5:7], columns["y"][-2:] = ["low", "high"], ["mid", "mid"]
    err = told_of(capsys, as_csv(columns), "data.split_by=order")
    assert "warning: no training row has the class mid" in err
    columns["y"][-2:], columns["y"][3] = ["low", "high"], "mid"
    err = told_of(capsys, as_csv(columns), "data.split_by=order")
    assert "no validation row has the class mid" in err and "no test row has the class mid" in err
    columns["y"] = [f"c{row % 10}" for row in range(40)]
    err = told_of(capsys, as_csv(columns), "data.split=[0.8,0.1,0.1]")
    assert "val has 25% of the rows, not 10%" in err and "test has 25% of the rows, not 10%" in err


def test_texts_of_which_nothing_is_learnt_are_warned_of(capsys):
    columns = {**rows_of(), "id": [f"n{k}" for k in range(40)]}
    put("x.csv", as_csv(columns))
    err = told(capsys, "data.categorical=[id]")[1]
    assert "warning: column 'id': none of its 40 texts stands in 2 training rows (data.rare)" in err
    assert "nothing is learnt" not in told(capsys, "data.categorical=[id]", "data.rare=1")[1]


def test_numbers_among_words_are_told(capsys):
    """A column that is taken as text though most of it are numbers."""
    said = (
        "x.csv:3: column 'n': 'unknown' is not a number, as 32 of 40 cells are: the column is taken as text"
    )
    columns = {**rows_of(), "n": ["unknown" if k % 5 == 1 else k % 30 + 0.5 for k in range(40)]}
    assert said in told_of(capsys, as_csv(columns))
    assert "taken as text" not in told_of(capsys, as_csv(columns), "data.categorical=[n]")
    columns["n"] = [f"{k % 7}" if k != 3 else "x" for k in range(40)]
    assert "'x' is not a number, as 39 of 40 cells are: the column is taken as text" in told_of(
        capsys, as_csv(columns)
    )


# ---- types, targets, splits


def test_dates_are_numbers(capsys):
    """In several forms, told; those that can be read in two ways are text; a time stamp counts days as a date does."""
    days = [f"2024-{1 + k % 12:02}-{1 + k % 28:02}" for k in range(40)]
    parts = [day.split("-") for day in days]
    forms = {
        "%Y-%m-%d": days,
        "%d.%m.%Y": [f"{d}.{m}.{y}" for y, m, d in parts],
        "%m/%d/%Y": [f"{m}/{d}/{y}" for y, m, d in parts],
        "%Y-%m-%d %H:%M:%S%.f": [f"{day} 00:00:00" for day in days],
        "%Y-%m-%dT%H:%M:%S%.f%:z": [f"{day}T02:00:00+02:00" for day in days],
        "%Y-%m-%dT%H:%M:%S%.fZ": [f"{day}T00:00:00.000Z" for day in days],
    }
    numbers = {}
    for form, cells in forms.items():
        put("x.csv", as_csv({**rows_of(), "when": cells}))
        numbers[form] = numbers_of("x.csv", "when")
    pl.read_csv("x.csv").with_columns(pl.Series("when", days).str.to_date()).write_parquet("x.parquet")
    numbers["parquet"] = numbers_of("x.parquet", "when")
    assert "column 'when' holds dates (%Y-%m-%dT%H:%M:%S%.fZ)" in told(capsys)[1]
    wanted = [(np.datetime64(day) - np.datetime64("1970-01-01")).astype(int) for day in days]
    assert all(found == wanted for found in numbers.values())
    odd = [f"{1 + k % 12:02}/{1 + k % 11:02}/2024" for k in range(40)]
    err = told_of(capsys, as_csv({**rows_of(), "when": odd}))
    assert "column 'when' could hold dates of the form %d/%m/%Y or %m/%d/%Y: taken as text" in err
    found, _ = schema(capsys, "data.categorical=[when]")
    assert found["columns"][-1]["kind"] == "category"


def numbers_of(name, column):
    """The numbers that stand for a column."""
    dataset = load_data(configure_run(["data=table", f"data.path={name}", "data.target=y"], [])[0])
    return dataset.inputs[:, dataset.features.index(column)].tolist()


def test_types_can_be_overruled(capsys):
    put("x.csv", GOOD)
    found, _ = schema(capsys, "data.categorical=[b]", "data.drop=[z]")
    assert [column["kind"] for column in found["columns"]] == ["number", "category", "category"]
    truths = pl.DataFrame({**rows_of(), "t": [True, False] * 20})
    truths.write_parquet("x.parquet")
    assert schema(capsys, name="x.parquet")[0]["columns"][-1]["categories"] == ["false", "true"]
    assert schema(capsys, "data.numeric=[t]", name="x.parquet")[0]["columns"][-1]["kind"] == "number"


@pytest.mark.parametrize(
    ("cells", "words", "task", "classes"),
    [
        (["u", "v"], [], "binary", ["u", "v"]),
        (["u", "v", "w"], [], "multiclass", ["u", "v", "w"]),
        ([True, False], [], "binary", ["False", "True"]),
        ([3, 1, 2], [], "multiclass", ["1", "2", "3"]),
        (range(10), [], "multiclass", [str(k) for k in range(10)]),
        (range(11), [], "regression", []),
        ([1.5, 2, 3], [], "regression", []),
        ([1.5, 2.0, 3], ["data.task=classification"], "multiclass", ["1.5", "2.0", "3.0"]),
        (range(11), ["data.task=classification"], "multiclass", [str(k) for k in range(11)]),
        ([0, 1], ["data.task=regression"], "regression", []),
        (["01", "1"], ["data.categorical=[t]"], "binary", ["01", "1"]),
    ],
)
def test_the_task_follows_from_the_target(cells, words, task, classes, capsys):
    put("x.csv", as_csv({**rows_of(44), "t": (list(cells) * 44)[:44]}))
    found, _ = schema(capsys, *words, target="t")
    assert (found["task"], found["classes"]) == (task, classes)


def test_several_targets(capsys):
    columns = {**rows_of(), "s": ["yes", "no"] * 20, "t": [0, 0, 1, 1] * 10}
    put("x.csv", as_csv(columns))
    found, _ = schema(capsys, target="[a,z]")
    assert (found["task"], found["targets"], found["features"]) == (
        "regression",
        ["a", "z"],
        ["b", "c", "y", "s", "t"],
    )
    found, _ = schema(capsys, target="[s,t]")
    assert (found["task"], found["labels"]) == ("multilabel", [["no", "yes"], ["0", "1"]])
    assert schema(capsys, "data.task=regression", target="[a,t]")[0]["task"] == "regression"
    said = refused(capsys, target="[a,s]")
    assert "target 'a' has 40 values, and 's' holds text" in said or "and 's' holds text" in said
    assert "target 'c' has 3 classes: of several" in refused(
        capsys, "data.task=classification", target="[c,s]"
    )
    assert "target 'c' has 3 values" in refused(capsys, target="[s,c]")


def test_how_rows_are_split(capsys):
    """Groups stay whole; files of their own for validation and test; data.seed alone decides."""
    columns = {**rows_of(60), "g": [f"g{k // 4}" for k in range(60)]}
    put("x.csv", as_csv(columns))
    data = {}
    for words in (["data.group=g"], ["data.split_by=random"], ["data.split_by=order"], []):
        for more in ([], ["run.seed=5"], ["data.seed=3"]):
            dataset = load_data(
                configure_run(["data=table", "data.path=x.csv", "data.target=y", *words, *more], [])[0]
            )
            data[(*words, *more)] = dataset
        first, again, other = (
            data[(*words, *more)].fingerprint() for more in ([], ["run.seed=5"], ["data.seed=3"])
        )
        assert first == again and (first != other or words == ["data.split_by=order"])
    groups = np.array(columns["g"])
    parts = [set(groups[rows]) for rows in data["data.group=g",].parts.values()]
    assert sum(map(len, parts)) == 15 and "g" not in data["data.group=g",].features
    shares = [np.mean(data[()].targets[rows]) for rows in data[()].parts.values()]
    assert max(shares) - min(shares) < 0.1
    long = {**columns, "g": [f"9007199254740{992 + k // 4}" for k in range(60)]}
    put("long.csv", as_csv(long))
    dataset = load_data(
        configure_run(["data=table", "data.path=long.csv", "data.target=y", "data.group=g"], [])[0]
    )
    assert len(np.unique(dataset.groups)) == 15  # as floats, two and two would be one


def test_files_of_their_own_to_validate_and_test_on(capsys):
    whole = rows_of(90)
    cuts = {"x.csv": slice(0, 60), "val.csv": slice(60, 75), "test.csv": slice(75, 90)}
    for name, rows in cuts.items():
        put(name, as_csv({key: cells[rows] for key, cells in whole.items()}))
    found, _ = schema(capsys, "data.val_path=val.csv", "data.test_path=test.csv")
    assert found["split"] == {"train": 60, "val": 15, "test": 15}
    found, _ = schema(capsys, "data.test_path=test.csv", "data.split=[0.6,0.2,0.2]")
    assert found["split"] == {"train": 45, "val": 15, "test": 15}
    put("val.csv", as_csv({**rows_of(15), "c": ["birch"] + ["elm"] * 14}))
    err = told(capsys, "data.val_path=val.csv")[1]
    assert "column 'c': 'birch' was not in training (val.csv:2): taken as unknown" in err
    put("val.csv", GOOD.replace("b,", "B,", 1))
    assert "column 'b' is missing" in told(capsys, "data.val_path=val.csv", code=3)[1]
    put("val.csv", GOOD.replace("y,", "Y,", 1))
    assert (
        "val.csv: column 'y' is missing; there are: a, b, c, Y, z"
        in told(capsys, "data.val_path=val.csv", code=3)[1]
    )
    put("val.csv", GOOD.replace("low", "lower"))
    assert schema(capsys, "data.val_path=val.csv")[0]["classes"] == ["high", "low", "lower"]
    assert "no training row has the class lower" in told(capsys, "data.val_path=val.csv")[1]


def test_folds_of_a_table(capsys):
    put("x.csv", GOOD)
    parts, whole = (
        [],
        load_data(configure_run(["data=table", "data.path=x.csv", "data.target=y"], [])[0]).parts,
    )
    for fold in range(4):
        words = ["data=table", "data.path=x.csv", "data.target=y", "train.folds=4", f"train.fold={fold}"]
        parts.append(load_data(configure_run(words, [])[0]).parts)
        assert np.array_equal(parts[-1]["test"], whole["test"])
    validated = np.concatenate([one["val"] for one in parts])
    assert sorted(validated) == sorted(np.concatenate([whole["train"], whole["val"]]))
    said = refused(capsys, "train.folds=4", "data.split_by=order")
    assert "rows in the order of time: they cannot be dealt to folds" in said and "train.folds=0" in said
    put("val.csv", GOOD)
    assert "validation rows in a file of their own" in refused(
        capsys, "train.folds=4", "data.val_path=val.csv"
    )
    assert "rows cannot be cut in 40 folds" in refused(capsys, "train.folds=40")
    _, err = told(capsys, "train.folds=4", "train.fold=4", code=2)
    assert "train.fold=4 must be below train.folds=4" in err


def test_weights_that_are_refused(capsys):
    for cells, said in {
        "x": "weight column 'w' holds string",
        -1: "x.csv:2: weight column 'w' holds no number >= 0",
        "": "x.csv:2: weight column 'w' holds no number >= 0",
        "inf": "x.csv:2: weight column 'w' holds no number >= 0",
    }.items():
        put("x.csv", as_csv({**rows_of(), "w": [cells, *[1] * 39]}))
        assert said in refused(capsys, "data.weight=w"), cells
    put("x.csv", as_csv({**rows_of(), "w": [0] * 40}))
    assert "weight column 'w' holds only 0" in refused(capsys, "data.weight=w")
    put("x.csv", as_csv({**rows_of(), "w": [1] * 28 + [0] * 6 + [1] * 6}))
    said = refused(capsys, "data.weight=w", "data.split_by=order")
    assert "weight column 'w' holds only 0 in the validation rows" in said
    put("x.csv", as_csv({**rows_of(), "w": [0, 2] * 20}))
    assert "w" not in schema(capsys, "data.weight=w")[0]["features"]


# ---- a dry run


def test_a_dry_run_shows_a_line_a_column(capsys):
    columns = {**rows_of(), "name": [f"n{k}" for k in range(40)], "k": [f"k{k % 12}" for k in range(40)]}
    columns["b"][3] = ""
    put("x.csv", as_csv(columns))
    columns |= {"g": [k % 20 for k in range(40)], "w": [1] * 40, "no": [1] * 40}
    put("x.csv", as_csv(columns))
    out, err = told(capsys, "data.rare=1", "data.weight=w", "data.drop=[no,g]")
    lines = out.splitlines()
    assert lines[:3] == [
        "table: 40 rows (train 28, val 6, test 6), 5 inputs",
        f"binary of y (high: {columns['y'].count('high')}, low: {columns['y'].count('low')})",
        lines[2],
    ]
    found = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[3:-1]}
    a, c = np.array(columns["a"]), columns["c"]
    assert found["a"] == f"number 0 {a.min():.6g} .. {np.median(a):.6g} .. {a.max():.6g} number"
    assert found["b"].startswith("number 1 ") and found["b"].endswith(" number and flag")
    common = sorted(set(c), key=lambda name: (-c.count(name), name))
    assert found["c"] == f"category 0 {', '.join(f'{name} {c.count(name)}' for name in common)} one-hot of 3"
    assert (
        found["k"] == "category 0 k0 4, k1 4, k2 4, 9 more embedding of 8 (1 rare)"
    )  # no training row has it
    assert [found[name] for name in ("y", "w", "no", "g")] == ["target", "weight", "left out", "left out"]
    assert found["name"] == "dropped has 40 different texts"
    assert lines[-1] == "net: 15-4-1; nothing was trained"  # 3 numbers, 1 flag, 3 kinds, 8 of the embedding
    assert "missing values: b 1" in err

"""`dlfound train data=table`: what is wrong with a table is told in two lines (FAULTS D, X); what is odd, in a note."""

import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from dlfound.cli import main

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
        "x.csv:3: column 'a': '1,5' is not a number", "thousands or decimal comma; data.decimal=comma",
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

"""Tables from files, strictly: each case of damaged or odd input (FAULTS D), and the same table as another reader's."""

import csv
import gzip
import os
import re
import runpy
import struct
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dlfound.data import table_csv, table_rows, table_text
from dlfound.data.tables import read_table
from dlfound.errors import Code, Error

PROVE = runpy.run_path(str(Path(__file__).parents[2] / "tests" / "proofs" / "files.py"))
NA, NUMBER, drawn_table, oracle = (PROVE[name] for name in ("NA", "NUMBER", "drawn_table", "oracle"))


def read(path, **settings):
    usual = {
        "sep": None, "decimal": None, "header": None, "encoding": "utf-8", "na": NA, "text": [],
        "max_bytes": 1 << 30, "max_columns": 10_000,
    }  # fmt: skip
    return read_table(path, **{**usual, **settings})


def table(tmp_path, content, name="x.csv", **settings):
    """The table of a file with that content."""
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read(name, **settings)


def columns(table):
    return {column.name: column.to_list() for column in table.frame.iter_columns()}


def fault(tmp_path, content, *parts, name="x.csv", code=Code.DATA, **settings):
    """What is said of a file with that content; every part stands in it."""
    with pytest.raises(Error) as caught:
        table(tmp_path, content, name, **settings)
    (problem,) = caught.value.problems
    said = f"{problem.what}\n{problem.fix}"
    assert caught.value.code == code and problem.fix
    assert [part for part in parts if part not in said] == [], said
    return said


@pytest.fixture(params=[0, 1 << 16], ids=["anywhere", "at a line's end"])
def megabytes(request, monkeypatch):
    """Files are read in pieces of 1 MB, cut where they may be, or behind a line."""
    monkeypatch.setattr(table_text, "CHUNK", 1 << 20)
    monkeypatch.setattr(table_rows, "CHUNK", 1 << 20)
    monkeypatch.setattr(table_text, "SOON", request.param)


# ---- files (D1, D2, D3, D29, D34, D35, X14)


def test_a_file_that_is_not_there(tmp_path):
    for path, part in [
        ("none.csv", "data file 'none.csv' not found (looked in "),
        ("*.csv", "no data file matches"),
    ]:
        with pytest.raises(Error, match=re.escape(part)) as caught:
            read(path)
        assert caught.value.code == Code.DATA
    os.symlink("nowhere.csv", "link.csv")
    with pytest.raises(Error, match=r"'link.csv' not found \(the link leads nowhere\)"):
        read("link.csv")
    os.mkdir("folder.csv")
    with pytest.raises(Error, match="is a folder"):
        read("folder.csv")
    os.mkfifo("pipe.csv")
    with pytest.raises(Error, match="is no plain file"):
        read("pipe.csv")
    with pytest.raises(Error, match=r"cannot read 'a.*b': embedded null byte"):
        read("a\0b")


def test_empty_files_and_files_of_a_header(tmp_path):
    fault(tmp_path, "", "x.csv is empty")
    fault(tmp_path, gzip.compress(b""), "x.csv.gz is empty", name="x.csv.gz")
    fault(tmp_path, "\n\n  \n", "x.csv holds only blank lines")
    fault(tmp_path, "a,b\n", "x.csv has a header but no rows")
    fault(tmp_path, "a,b\n\n\n", "x.csv has a header but no rows")
    assert columns(table(tmp_path, "a,b\n1,2")) == {"a": [1.0], "b": [2.0]}


def test_refused_types(tmp_path):
    for suffix in (".pkl", ".pt2", ".joblib", ".feather"):
        fault(tmp_path, "a,b\n1,2\n", "refused by its type", name="x" + suffix, code=Code.UNSAFE)
    fault(tmp_path, "PK", "files of type .xlsx are not read", name="x.xlsx")


def test_bytes_that_are_no_text(tmp_path, megabytes):
    fault(tmp_path, b"a,b\n1,2\nfoo\0,bar\n", "x.csv is not text (byte 0x00 at 11)")
    fault(
        tmp_path, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), "x.csv is not text (byte 0x00 at 8)"
    )
    fault(tmp_path, b"a\n" + b"1\n" * 3_000_000 + b"\0\n", "x.csv is not text (byte 0x00 at 6000002)")
    fault(tmp_path, gzip.compress(b"a,b\n1,2\n"), "packed by gzip")


def test_compressed_files(tmp_path):
    content = "a,b\n" + "".join(f"{row},{row / 7}\n" for row in range(5000))
    packed, name = gzip.compress(content.encode()), "x.csv.gz"
    plain = table(tmp_path, content)
    assert table(tmp_path, packed, name).frame.equals(plain.frame)
    halves = gzip.compress(content[:999].encode()) + gzip.compress(content[999:].encode())
    assert table(tmp_path, halves + bytes(600), name).frame.equals(plain.frame)
    for end in (1, 5, 8, 9, 100, len(packed) // 2, len(packed) - 3):
        fault(
            tmp_path,
            packed[:-end],
            "x.csv.gz: compressed file ends early" if end < len(packed) - 3 else "",
            name=name,
        )
    fault(tmp_path, packed[:-8] + b"abcd" + packed[-4:], "x.csv.gz: checksum mismatch", name=name)
    fault(tmp_path, packed + b"junk", "x.csv.gz: junk after end", name=name)
    fault(tmp_path, packed + GZIP_HEAD, "x.csv.gz: compressed file ends early", name=name)
    fault(tmp_path, content, "x.csv.gz: not a gzip file", name=name)
    fault(
        tmp_path, packed[:40] + b"\xff" * 40 + packed[80:], "x.csv.gz: compressed data are damaged", name=name
    )


def test_a_compressed_file_that_ends_within_the_sample(tmp_path):
    """What guesses the form reads ahead, and meets the fault first: it must not be lost with that."""
    packed = gzip.compress("".join(f"{row};{row / 7}\n" for row in range(-1, 90)).encode(), mtime=0)
    for end in (1, 8, 9, 20, 60):
        fault(tmp_path, packed[:-end], "ends early", name="x.csv.gz", header=False)
    fault(tmp_path, packed + b"junk", "junk after end", name="x.csv.gz", header=False)
    second = gzip.compress(b"1;\xe9\n") + gzip.compress(b"2;3\n")
    fault(tmp_path, packed + second, "x.csv.gz:92: not UTF-8", name="x.csv.gz", header=False)


GZIP_HEAD = gzip.compress(b"abc")[:10]


def test_a_bomb_stops_at_the_limit(tmp_path):
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 5_000_000)
    said = "x.csv.gz: more than 1,000,000 bytes after decompression (data.max_bytes)"
    for end in (b"", bytes(9)):  # zeros may pad the end; the size that the file states is not found then
        fault(tmp_path, bomb + end, said, name="x.csv.gz", max_bytes=1_000_000)
    odd = gzip.compress(b"a,b\n1,2,3\n" + b"1,2\n" * 5_000_000)
    fault(tmp_path, odd, said, name="x.csv.gz", max_bytes=1_000_000)  # before a row is looked at
    forged = [odd[:-4] + struct.pack("<I", size) for size in (7, (1 << 32) - 1)]
    for packed in (forged[0], *(gzip.compress(b"a,b\n") + one for one in forged)):
        fault(tmp_path, packed, "x.csv.gz", name="x.csv.gz", max_bytes=1_000_000)
    small = gzip.compress(b"a,b\n1,2\n")
    wrong = small[:-4] + struct.pack("<I", (1 << 32) - 1)
    fault(tmp_path, wrong, "x.csv.gz: checksum mismatch", name="x.csv.gz", max_bytes=1_000_000)
    fault(tmp_path, small[:-2], "x.csv.gz: compressed file ends early", name="x.csv.gz", max_bytes=1000)
    assert table(tmp_path, small + gzip.compress(b"3,4\n"), "x.csv.gz", max_bytes=1000).frame.height == 2
    fault(tmp_path, "a,b\n1,2\n", "x.csv: more than 7 bytes (data.max_bytes)", max_bytes=7)
    assert table(tmp_path, "a,b\n1,2\n", max_bytes=8).frame.height == 1


# ---- text (D23 to D26)


def test_marks_and_other_encodings(tmp_path):
    content = "a,b\n1,é\n2,日本\n"
    plain = columns(table(tmp_path, content))
    assert plain == {"a": [1.0, 2.0], "b": ["é", "日本"]}
    assert columns(table(tmp_path, content.encode("utf-8-sig"))) == plain
    for encoding in ("utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        wide = ("name,other\n" + "12,34\n" * 20).encode(encoding)
        asked = encoding if len(encoding) > 6 else encoding[:6]
        fault(tmp_path, wide, f"x.csv looks like {asked.upper()}", f"data.encoding={asked}")
        assert columns(table(tmp_path, content.encode(encoding), encoding=encoding)) == plain
    assert columns(table(tmp_path, "a;b\né;ü\n".encode("cp1252"), encoding="cp1252")) == {
        "a": ["é"],
        "b": ["ü"],
    }


def test_bytes_of_another_encoding(tmp_path, megabytes):
    fault(tmp_path, "a,b\n1,é\n".encode("latin-1"), "x.csv:2: not UTF-8 (byte 0xe9)", "data.encoding=latin-1")
    fault(tmp_path, b"a\r\r\n1\r\n2\r\xff", "x.csv:5: not UTF-8 (byte 0xff)")
    fault(tmp_path, b"a\n" + b"1\n" * 3_000_000 + b"\xe9\n", "x.csv:3000002: not UTF-8 (byte 0xe9)")
    fault(tmp_path, "a\né".encode()[:-1], "not UTF-8 (byte 0xc3 at the end")
    fault(tmp_path, "a\n1\né\n", "x.csv:3: not ASCII", encoding="ascii")
    for odd in ("nonsense", "rot13", "zlib", "a\0b"):
        fault(tmp_path, "a\n1\n", "is no encoding", encoding=odd, code=Code.CONFIG)


def test_a_character_across_two_pieces(tmp_path, megabytes):
    for pad in range(4):
        content = "a\n" + "x" * pad + "\n" + "éééééééé\n" * 300_000
        cells = table(tmp_path, content, max_bytes=1 << 26).frame["a"]
        assert cells.len() == 300_000 + (pad > 0) and (cells[1:] == "éééééééé").all()


@pytest.mark.parametrize("end", ["\r\n", "\r", "mixed"])
def test_line_ends(tmp_path, megabytes, end):
    lines = ["a,b", *(f'{row},"u ""v"",\nw{row}"' for row in range(400_000))]
    plain = table(tmp_path, "\n".join(lines))
    if end == "mixed":
        content = "".join(line + ("\n", "\r\n", "\r")[number % 3] for number, line in enumerate(lines))
    else:
        content = end.join(lines).replace(",\nw", f",{end}w")
    other = table(tmp_path, content)
    assert other.frame.equals(plain.frame) and plain.frame["b"][399_999] == 'u "v",\nw399999'
    assert other.place_of(399_999) == plain.place_of(399_999) == "x.csv:800000"


# ---- rows (D21, D22, D27, D28, D30)


def test_ragged_rows(tmp_path):
    fault(tmp_path, "a,b,c\n1,2,3\n4,5\n", "x.csv:3: 2 fields, header has 3")
    fault(tmp_path, "a,b,c\n1,2,3\n4,5,6,7\n", "x.csv:3: 4 fields, header has 3")
    fault(tmp_path, "a,b,c\n1,2,3\n4,5,6,\n", "x.csv:3: 4 fields")
    fault(tmp_path, "a,b,c\n1,2,3\n\n4,5\n6,7,8,9\n", "x.csv:4: 2 fields, header has 3")
    fault(tmp_path, "a,b,c\n1,2,3\n4,5,6,7\n8,9\n", "x.csv:3: 4 fields, header has 3")
    fault(tmp_path, 'a,b,c\n"1\n1",2,3\n4,"5"\n', "x.csv:4: 2 fields, header has 3")
    fault(tmp_path, "a\n1\n2,3\n", "x.csv:3: 2 fields, header has 1")
    fault(tmp_path, "1,2\n3\n", "x.csv:2: 1 field, header has 2", header=False)


@pytest.mark.parametrize(
    "row", ["1,2", "1,2,3,4", "1,2\n1,2,3,4", "1,2,3,4\n1,2", '"1",2', "1,2,3,,\n1", "x,y"]
)
def test_a_ragged_row_far_in(tmp_path, megabytes, row):
    before, after = "1,2,3\n" * 900_000, "4,5,6\n" * 1000
    fault(tmp_path, f"a,b,c\n{before}{row}\n{after}", "x.csv:900002: ", "header has 3", max_bytes=1 << 30)


def test_rows_that_are_right_only_in_sum(tmp_path):
    (tmp_path / "x.csv").write_text("a,b,c\n1,2,3\n4,5,6,7\n8,9\n")
    text = table_text.Text(Path("x.csv"), "utf-8", 1 << 20)
    blocks = table_rows.Blocks(
        text, table_csv.read_form(text, sep=None, decimal=None, header=None, max_columns=9)
    )
    block = next(iter(blocks))
    assert block.rows == 3 and not block.exact
    with pytest.raises(Error, match=r"x.csv:3: 4 fields, header has 3"):
        blocks.check(block)


def test_of_two_faults_the_first_is_told(tmp_path, megabytes):
    """The second stands in a piece that is read while the first one is parsed."""
    content = "a,b,c\n" + "1,2,3\n" * 9 + "4,5,6,7\n8,9\n" + "1,2,3\n" * 300_000 + "\0\n"
    threads = threading.active_count()
    fault(tmp_path, content, "x.csv:11: 4 fields, header has 3")
    assert threading.active_count() == threads


def test_blank_lines(tmp_path):
    read = table(tmp_path, "\n\na,b\n1,2\n\n  \n3,4\n\n\n")
    assert columns(read) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert "x.csv: 4 blank lines skipped" in read.notes
    assert [read.place_of(row) for row in (0, 1)] == ["x.csv:4", "x.csv:7"]
    single = table(tmp_path, 'a\n1\n\n""\n2\n')
    assert columns(single) == {"a": [1.0, None, 2.0]} and single.place_of(2) == "x.csv:5"


BLANK_LINES = ["", " ", "\t", " \u00a0", "\ufeff", "  \u00a0 "]


def with_blank_lines(rng, content):
    """Some lines more, which are blank or nearly so; where they stand within quotes they belong to a cell."""
    lines = content.split("\n")
    for _ in range(int(rng.integers(1, 9))):
        some = [str(rng.choice(BLANK_LINES))] * int(rng.integers(1, 4))
        place = int(rng.integers(len(lines)))
        lines[place:place] = some
    return "\n".join(lines)


def test_blank_lines_anywhere_are_those_of_pythons_csv_module(tmp_path, pieces):
    rng = np.random.default_rng(3)
    for _ in range(60):
        content, separator, encoding = drawn_table(rng)
        text = with_blank_lines(rng, content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n"))
        try:
            wanted = oracle(text.encode("utf-8"), separator, "utf-8")
        except ValueError:  # a tab is two cells where it separates
            fault(tmp_path, text, "x.csv:", sep=separator, decimal=".")
            continue
        assert columns(table(tmp_path, text, sep=separator, decimal=".")) == wanted, text


@pytest.mark.parametrize("rows", ["1,2", '1,"2"', '"1\n",2'], ids=["plain", "quotes", "lines in quotes"])
@pytest.mark.parametrize("blank", ["", " ", "\u00a0\t"])
def test_lines_are_counted_across_blank_ones(tmp_path, pieces, rows, blank):
    """As the csv module counts them, to which a piece that holds a quote out of place is left."""
    content = f"{blank}\na,b\n" + "".join(f"{rows}\n" + f"{blank}\n" * (row % 3) for row in range(30))
    found, slow = (
        table(tmp_path, content),
        table(tmp_path, content.replace("1", ' "1"') if rows == "1,2" else content),
    )
    places, line = [], 3
    for row in range(30):
        places.append(f"x.csv:{line}")
        line += 1 + rows.count("\n") + row % 3
    assert [found.place_of(row) for row in range(30)] == [slow.place_of(row) for row in range(30)] == places
    assert "x.csv: 30 blank lines skipped" in found.notes and columns(found)["b"] == [2.0] * 30
    fault(tmp_path, content + "1,2,3\n", f"x.csv:{line}: 3 fields, header has 2")


@pytest.mark.parametrize("names", ["a,b", "a"])
def test_millions_of_blank_lines(tmp_path, names):
    row = names.replace("a", "1").replace("b", "x")
    many = 3_000_000
    for content in (
        f"{names}\n{row}\n{row}\n" + "\n" * many,
        f"{names}\n" + "\r" * many + f"{row}\n{row}\n",
        f"{names}\n{row}\n" + " \n" * many + f"{row}\n",
    ):
        found = table(tmp_path, gzip.compress(content.encode(), 1), "x.csv.gz")
        assert f"x.csv.gz: {many} blank lines skipped" in found.notes and found.frame.height == 2
        assert found.place_of(1) == f"x.csv.gz:{len(content.rstrip().splitlines())}"
    found = table(tmp_path, "\n" * many + f"{names}\n{row}\n")
    assert found.notes == [] and found.place_of(0) == f"x.csv:{many + 2}"


SPECTRUM = {
    "comma_in_quotes": ('first,last,city\nJohn,Doe,"Bonn, Rhein"\n', {"city": ["Bonn, Rhein"]}),
    "empty": ('a,b,c\n1,"",""\n2,3,4\n', {"a": [1, 2], "b": [None, 3], "c": [None, 4]}),
    "escaped_quotes": ('a,b\n1,"ha ""ha"" ha"\n3,4\n', {"a": [1, 3], "b": ['ha "ha" ha', "4"]}),
    "json": ('key,val\n1,"{""type"": ""Point"", ""at"": [1, 0]}"\n', {"val": ['{"type": "Point", "at": [1, 0]}']}),
    "newlines": ('a,b,c\n1,2,3\n"Once \nupon",5,6\n7,8,9\n', {"a": ["1", "Once \nupon", "7"], "c": [3, 6, 9]}),
    "quotes_and_newlines": ('a,b\n1,"ha\n""ha""\nha"\n3,4\n', {"b": ['ha\n"ha"\nha', "4"]}),
    "only_quotes": ('a,b\n"""","""""",\n', None),
    "pairs": ('a,b\n"""",""""""\n', {"a": ['"'], "b": ['""']}),
    "one_column": ('"a"\n"x, y"\n"z"\n', {"a": ["x, y", "z"]}),
    "quoted_header": ('"a b","c,d"\n1,2\n', {"a b": [1], "c,d": [2]}),
    "quoted_numbers": ('a,b\n"1","2.5"\n"3","4"\n', {"a": [1, 3], "b": [2.5, 4]}),
    "utf8": ("a,b,c\n1,2,3\n4,5,ʤ\n", {"c": ["3", "ʤ"]}),
    "blank_before_quote": ('a, b\n1, "x, y"\n2, z\n', {"a": [1, 2], "b": ["x, y", "z"]}),
    "quote_within": ('a,b\n5" pipe,1\n6" pipe,2\n', {"a": ['5" pipe', '6" pipe'], "b": [1, 2]}),
    "crlf_quoted": ('a,b\r\n"x\r\ny",1\r\n', {"a": ["x\ny"], "b": [1]}),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECTRUM)
def test_quotes(tmp_path, name):
    content, wanted = SPECTRUM[name]
    if wanted is None:
        fault(tmp_path, content, "fields, header has")
    else:
        found = columns(table(tmp_path, content))
        assert {key: found[key] for key in wanted} == wanted


def test_quotes_out_of_place(tmp_path, megabytes):
    fault(tmp_path, 'a,b\n1,"x\n2,3\n', "x.csv:2: quote opened here is never closed")
    fault(tmp_path, 'a,b\n"p\nq","x\n2,3\n', "x.csv:3: quote opened here is never closed")
    fault(tmp_path, 'a,b\n1,"x\n2,"y"\n', "x.csv:2: text goes on after a closing quote (in line 3)")
    fault(tmp_path, 'a,b\n1,2\n3,"x"y\n', "x.csv:3: text goes on after a closing quote")
    fault(tmp_path, '"a,b\n1,2\n', "x.csv:1: quote opened here is never closed")
    fault(
        tmp_path, 'a,b\n1,"x\n' + "2,3\n" * 900_000, "x.csv:2: field larger than 1 MB (is its quote closed?)"
    )


def test_long_cells_and_lines(tmp_path, megabytes):
    long = "x" * (1 << 20)
    assert table(tmp_path, f"a,b\n1,{long}\n").frame["b"][0] == long
    fault(tmp_path, "a,b\n1,2\n1,2\n1,2\n" + f"1,{long}x\n" + "1,2\n" * 9, "x.csv:5: field larger than 1 MB")
    fault(
        tmp_path, "a,b\n" + "1,2\n" * 99 + "1," * 8_000_000 + "\n", "x.csv:101: 8000001 fields, header has 2"
    )
    fault(tmp_path, "y" * 20_000_000, "x.csv:1: a line of more than 16 MB")


# ---- the header (D18 to D20, D33)


def test_headers(tmp_path):
    fault(tmp_path, "a,b,a\n1,2,3\n", "x.csv:1: duplicate column name 'a' (columns 1 and 3)")
    fault(tmp_path, "a, a\n1,2\n", "duplicate column name 'a' (columns 1 and 2)")
    for head in ("a,,c", "a,  ,c", 'a,"",c'):
        fault(tmp_path, f"{head}\n1,2,3\n", "x.csv:1: column 2 has no name")
    for head in ("1,2,3", "5.1,3.5,setosa", "-1,x,y", "1,,2", "0,1"):
        fault(tmp_path, f"{head}\n{head}\n", "x.csv:1: first line looks like data", "data.header=false")
    years = table(tmp_path, "2025,2026\n1,2\n", header=True)
    assert years.columns == ["2025", "2026"] and "by the first line" in years.notes[0]
    fault(tmp_path, "1,,2\n1,,2\n", "x.csv:1: column 2 has no name", header=True)
    spaced = table(tmp_path, " a ,b\t\n1,2\n")
    assert spaced.columns == ["a", "b"] and "x.csv: blanks around column names are stripped" in spaced.notes
    counted = table(tmp_path, "0,1,2\n5,6,7\n")
    assert counted.columns == ["0", "1", "2"] and "by the first line" in counted.notes[0]
    assert columns(table(tmp_path, "5,x\n6,y\n", header=False)) == {"0": [5.0, 6.0], "1": ["x", "y"]}
    evil = fault(tmp_path, "a\x1b[31m,a\x1b[31m\n1,2\n", "duplicate column name")
    assert "\x1b" not in evil


def test_many_columns(tmp_path):
    head, row = ",".join(f"c{n}" for n in range(20_000)), ",".join(str(n) for n in range(20_000))
    fault(tmp_path, f"{head}\n{row}\n", "x.csv:1: 20,000 columns exceed data.max_columns (10,000)")
    frame = table(tmp_path, f"{head}\n{row}\n{row}\n", max_columns=20_000).frame
    assert frame.row(1) == tuple(range(20_000))
    assert columns(table(tmp_path, "a\n1\n2\n")) == {"a": [1.0, 2.0]}


# ---- signs (D31, D32)


def test_separators(tmp_path):
    for sign, name in {",": None, ";": "semicolon", "\t": "tab", "|": "pipe"}.items():
        read = table(tmp_path, f'a{sign}b\n1{sign}"x{sign}y"\n')
        assert columns(read) == {"a": [1.0], "b": [f"x{sign}y"]}
        assert read.notes == ([f"x.csv: the separator is a {name} (data.sep)"] if name else [])
    fault(tmp_path, "a,b;c\n1,2;3\n", "comma and semicolon stand in the first line", "data.sep")
    assert columns(table(tmp_path, "a,b;c\n1,2;3\n", sep=";", decimal=".")) == {"a,b": ["1,2"], "c": [3.0]}
    assert columns(table(tmp_path, "a b\n1 2\n", sep=" ")) == {"a": [1.0], "b": [2.0]}
    for odd in (",,", "", '"', "\n", "a", "é"):
        fault(tmp_path, "a,b\n1,2\n", "is no separator", sep=odd, code=Code.CONFIG)
    fault(tmp_path, "a,b\n1,2\n", "are both ','", sep=",", decimal=",", code=Code.CONFIG)


def test_decimal_commas(tmp_path):
    read = table(tmp_path, "a;b\n1,5;x\n-2,25;y\n;z\n")
    assert columns(read) == {"a": [1.5, -2.25, None], "b": ["x", "y", "z"]} and read.decimal == ","
    assert "x.csv: the decimal sign is a comma, as in 1,5 (data.decimal)" in read.notes
    mixed = table(tmp_path, "a;b\n1,5;2.5\n")
    assert columns(mixed) == {"a": ["1,5"], "b": [2.5]} and mixed.decimal == "."
    assert "x.csv:2: column 'a': '1,5' is not a number" in mixed.others["a"].what
    assert "data.decimal=comma" in mixed.others["a"].fix
    thousands = table(tmp_path, 'a,b\n"1,234",2\n')
    assert "thousands or decimal comma" in thousands.others["a"].what
    german = table(tmp_path, "a;b\n1.234,5;1\n2.345;1,5\n", decimal=",")
    assert columns(german) == {"a": ["1.234,5", "2.345"], "b": [1.0, 1.5]}
    assert "thousands" in german.others["a"].what and "data.decimal" not in german.others["a"].fix


# ---- cells (D6, D7, D11, D12)


def test_missing_words_and_blanks(tmp_path):
    read = table(tmp_path, "a,b,c\n 1 ,x, NA \n?,\u00a0y ,\nnan,NA,null\n4, ,NaN\n")
    assert columns(read) == {"a": [1, None, None, 4], "b": ["x", "y", None, None], "c": [None] * 4}
    kept = table(tmp_path, "a,b\n1,NA\nNA,x\n", na=[])
    assert columns(kept) == {"a": ["1", "NA"], "b": ["NA", "x"]}


def test_infinite_and_huge_numbers(tmp_path):
    for word in ("inf", "-Infinity", "1e400", " inf"):
        read = table(tmp_path, f"a,b\n1,2\n{word},3\n")
        assert read.problems["a"].what == f"x.csv:3: column 'a': infinite value {word.strip()}"
        assert list(read.problems) == ["a"]
    for word in ("9007199254740993", "-9007199254740993", "12345678901234567890", "0009007199254740993"):
        read = table(tmp_path, f"id,b\n1,2\n5,1e300\n{word},9007199254740992\n")
        assert read.problems["id"].what == f"x.csv:4: column 'id': {word} loses precision as float"
        assert list(read.problems) == ["id"]
        assert table(tmp_path, f"id,b\n1,2\n{word},3\n", text=["id"]).frame["id"].to_list() == ["1", word]


def test_what_is_a_number(tmp_path):
    numbers = "1 +1 -1 1. .5 1.5 1e5 1E+05 +.5e-3 007 1e-400 123456789012345678901234567890.5"
    others = "1_0 0x1 1e 1e+ - . e5 +-1 --1 1d5 1f 1,5 \u0661 1e5. infin true 1L 1.2.3 $1 1% 12:30 2024-01-01"
    words = [*numbers.split(), *others.split()]
    for word in words:
        cell = table(tmp_path, f"a\tb\n{word}\t0\n", sep="\t", decimal=".").frame["a"][0]
        assert cell == (float(word) if NUMBER.fullmatch(word) else word), word
        pointed = word.replace(".", ",") if "," not in word else word.replace(",", ".")
        cell = table(tmp_path, f"a\tb\n{pointed}\t0\n", sep="\t", decimal=",").frame["a"][0]
        assert cell == (float(word) if NUMBER.fullmatch(word) else pointed), pointed


def test_text_that_comes_late(tmp_path, megabytes):
    content = "a,b\n" + "".join(f"0{row % 7}.50,{row}\n" for row in range(700_000)) + "x,1\n"
    read = table(tmp_path, content)
    assert (
        read.frame["a"][0] == "00.50" and read.frame["a"][-1] == "x" and read.frame["b"].dtype == pl.Float64
    )
    assert read.others["a"].what == "x.csv:700002: column 'a': 'x' is not a number"
    assert read.place_of(700_000) == "x.csv:700002" and read.frame.height == 700_001


# ---- several files


def test_several_files(tmp_path):
    for number, content in enumerate(["a,b\n1,x\n", "b;a\ny;2\n\nz;3\n", 'b,a\n"w",q\n']):
        (tmp_path / f"part{number}.csv").write_text(content)
    read_ = read("part[01].csv")
    assert columns(read_) == {"a": [1.0, 2.0, 3.0], "b": ["x", "y", "z"]}
    assert [read_.place_of(row) for row in range(3)] == ["part0.csv:2", "part1.csv:2", "part1.csv:4"]
    assert columns(read(["part0.csv", "part2.csv"])) == {"a": ["1", "q"], "b": ["x", "w"]}
    (tmp_path / "part3.csv").write_text("a,c\n1,2\n")
    with pytest.raises(Error, match=r"part3.csv has no column 'b', but part0.csv has"):
        read("part*.csv")
    (tmp_path / "part3.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(Error, match=r"part0.csv has no column 'c', but part3.csv has"):
        read("part*.csv")


# ---- Parquet (D36)


def test_parquet(tmp_path):
    frame = pl.DataFrame({
        "whole": [1, 2, None], "small": pl.Series([1, 2, 3], dtype=pl.UInt8), "real": [1.5, float("nan"), None],
        "half": pl.Series([1.5, 2, 3], dtype=pl.Float32), "text": [" x ", "NA", ""], "truth": [True, None, False],
        "kind": pl.Series(["u", "v", "u"], dtype=pl.Categorical), "none": [None, None, None],
        "day": pl.Series([1, 2, 3]).cast(pl.Date), "time": pl.Series([1, 2, 3]).cast(pl.Datetime("us")),
    })  # fmt: skip
    frame.write_parquet("x.parquet")
    table = read("x.parquet")
    assert columns(table) == {
        **columns(type("T", (), {"frame": frame})), "real": [1.5, None, None], "text": ["x", None, None],
    }  # fmt: skip
    assert table.frame.schema["whole"] == pl.Int64 and table.frame.schema["half"] == pl.Float64
    assert table.place_of(2) == "x.parquet:3" and table.problems == {}
    assert read("x.parquet", text=["whole"]).frame["whole"].to_list() == ["1", "2", None]
    both = read(["x.parquet", "x.parquet"])
    assert both.frame.height == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"data_page_version": "2.0", "write_page_checksum": True},
        {"write_page_index": True, "row_group_size": 100, "compression": "none"},
        {"use_dictionary": False, "column_encoding": {"x": "BYTE_STREAM_SPLIT"}, "store_schema": False},
        {"data_page_size": 64, "write_statistics": False, "compression": "gzip"},
        {"version": "1.0", "compression": "lz4"},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_parquet_of_all_kinds(settings):
    long = [f"{'long' * 2000}{i % 3}" for i in range(300)]  # the header of a page may hold its largest value
    frame = pl.DataFrame({"x": np.arange(300.0), "n": [None, *range(299)], "word": long})
    pq.write_table(frame.to_arrow(), "x.parquet", **settings)
    assert read("x.parquet").frame.equals(frame)


def test_what_parquet_says_of_itself_is_read_strictly(tmp_path):
    pq.write_table(pl.DataFrame({"a": np.arange(9.0)}).to_arrow(), "x.parquet")
    sound = (tmp_path / "x.parquet").read_bytes()
    fault(tmp_path, sound.replace(b"parquet-cpp", b"parquet\xff\xffpp"), "invalid utf8", name="x.parquet")


def test_parquet_that_is_refused(tmp_path):
    odd = {"list": [[1], [2]], "struct": [{"u": 1}, {"u": 2}], "bytes": [b"a", b"b"]}
    for name, values in odd.items():
        pl.DataFrame({"n": [1, 2], name: values}).write_parquet("x.parquet")
        with pytest.raises(
            Error, match=f"x.parquet: column '{name}' has type .*, only numbers, strings"
        ) as caught:
            read("x.parquet")
        assert caught.value.code == Code.DATA
    pl.DataFrame({"d": pl.Series(["1.5"]).cast(pl.Decimal(10, 2))}).write_parquet("x.parquet")
    with pytest.raises(Error, match="has type decimal"):
        read("x.parquet")
    pl.DataFrame({"a": []}, schema={"a": pl.Float64}).write_parquet("x.parquet")
    with pytest.raises(Error, match=r"x\.parquet has no rows"):
        read("x.parquet")
    pl.DataFrame({"a": np.zeros(1_000_000)}).write_parquet("x.parquet")
    with pytest.raises(
        Error, match=r"1,000,000 rows of 1 columns: more than 5,000,000 bytes .*data.max_bytes"
    ):
        read("x.parquet", max_bytes=5_000_000)
    pl.DataFrame({"a": [1, 2**53 + 1], "b": [1.0, float("-inf")]}).write_parquet("x.parquet")
    problems = read("x.parquet").problems
    assert problems["a"].what == "x.parquet:2: column 'a': 9007199254740993 loses precision as float"
    assert problems["b"].what == "x.parquet:2: column 'b': infinite value -inf"


TEXT_PAGES = {
    "dictionary": {},
    "plain": {"use_dictionary": False},
    "delta": {"use_dictionary": False, "column_encoding": {"c": "DELTA_BYTE_ARRAY"}},
    "lengths": {"use_dictionary": False, "column_encoding": {"c": "DELTA_LENGTH_BYTE_ARRAY"}},
}


@pytest.mark.parametrize("pages", TEXT_PAGES)
def test_parquet_of_a_few_bytes_and_much_text(tmp_path, pages, monkeypatch):
    """What a page holds once counts as often as there are cells of it, and before it is written out."""
    long = "é" * 25_000
    bomb = pa.table({"a": range(600), "c": [long, long[:-1]] * 300, "y": ["p", "q"] * 300})
    pq.write_table(bomb, "x.parquet", compression="zstd", row_group_size=400, **TEXT_PAGES[pages])
    assert (tmp_path / "x.parquet").stat().st_size < 12_000
    assert read("x.parquet", max_bytes=31_000_000).frame.equals(pl.from_arrow(bomb))
    monkeypatch.setattr(
        pl, "from_arrow", lambda table: pytest.fail() if table.num_rows else pl.DataFrame(NO_ROWS)
    )
    with pytest.raises(
        Error, match=r"x\.parquet: .* bytes of (cells|pages).*: more than 29,000,000 .*data.max_bytes"
    ):
        read("x.parquet", max_bytes=29_000_000)


NO_ROWS = {
    "a": pl.Series([], dtype=pl.Int64),
    "c": pl.Series([], dtype=pl.String),
    "y": pl.Series([], dtype=pl.String),
}


@pytest.mark.parametrize("pages", TEXT_PAGES)
def test_parquet_with_a_long_cell(tmp_path, pages):
    cells = ["x"] * 900 + ["y" * (1 << 20), None, "é" * ((1 << 20) + 1)]
    for count, row_group_size in ((902, 500), (903, 500), (903, 5000)):
        content = {"a": range(count), "c": cells[:count]}
        pq.write_table(pa.table(content), "x.parquet", row_group_size=row_group_size, **TEXT_PAGES[pages])
        if count == 902:
            assert columns(read("x.parquet"))["c"] == cells[:count]
            continue
        with pytest.raises(Error, match=r"x\.parquet:903: field larger than 1 MB"):
            read("x.parquet")


@pytest.mark.parametrize("pages", TEXT_PAGES)
@pytest.mark.parametrize("kind", ["string", "large_string", "string_view"])
def test_parquet_of_each_type_of_text(tmp_path, pages, kind):
    words = pa.array(["a", None, "bé"], kind)
    pq.write_table(
        pa.table({"c": words, "d": words.cast("string").dictionary_encode()}),
        "x.parquet",
        **TEXT_PAGES[pages],
    )
    assert columns(read("x.parquet")) == {"c": ["a", None, "bé"], "d": ["a", None, "bé"]}


def test_parquet_with_a_thousand_million_rows(tmp_path):
    """Equal cells take no room in a file, and what describes a file can tell anything."""
    with pq.ParquetWriter("x.parquet", pa.schema([("a", pa.null())]), compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(pa.table({"a": pa.nulls(10_000_000)}), row_group_size=10_000_000)
    assert (tmp_path / "x.parquet").stat().st_size < 300_000
    with pytest.raises(Error, match=r"100,000,000 rows of 1 columns: more than 400,000,000 bytes"):
        read("x.parquet", max_bytes=400_000_000)
    pq.write_table(pa.table({"a": [1.5] * 9}), "x.parquet", store_schema=False, write_statistics=False)
    sound = (tmp_path / "x.parquet").read_bytes()
    length = int.from_bytes(sound[-8:-4], "little")
    head, footer = sound[: -8 - length], sound[-8 - length : -8]
    nine, many = (
        b"\x16\x12",
        b"\x16" + bytes([0x80, 0xA8, 0xD6, 0xB9, 0x07]),
    )  # 9 and 10^9, as Thrift packs them
    places = [place for place in range(length) if footer.startswith(nine, place)]
    forged = [footer[:place] + many + footer[place + 2 :] for place in places]
    rows, values, of_group = (head + one + struct.pack("<I", len(one)) + b"PAR1" for one in forged)
    fault(tmp_path, rows, "x.parquet: 1,000,000,000 rows of 1 columns: more than", name="x.parquet")
    assert columns(table(tmp_path, values, "x.parquet")) == {"a": [1.5] * 9}  # no more values than pages hold
    fault(tmp_path, of_group, "x.parquet: damaged (its parts have not the 9 rows", name="x.parquet")


def test_parquet_that_is_damaged(tmp_path, capfd):
    pl.DataFrame({"a": np.arange(999.0), "b": ["x", "y", "z"] * 333}).write_parquet("x.parquet")
    sound = (tmp_path / "x.parquet").read_bytes()
    long = sound[:-8] + struct.pack("<I", 1 << 31) + b"PAR1"
    for damaged in (
        sound[:-1],
        sound[:-100],
        sound[1:],
        b"PAR1",
        sound[:4] + sound[-8:],
        long,
        b"a,b\n1,2\n",
    ):
        fault(tmp_path, damaged, "x.parquet: damaged (", name="x.parquet")
    fault(tmp_path, b"", "x.parquet is empty", name="x.parquet")
    rng, ends = np.random.default_rng(0), {"error": 0, "read": 0}
    for _ in range(12):
        bad = bytearray(sound)
        bad[int(rng.integers(4, len(sound) - 8))] ^= 1 << int(rng.integers(8))
        (tmp_path / "x.parquet").write_bytes(bad)
        try:
            read("x.parquet")
            ends["read"] += 1
        except Error as error:
            assert error.code == Code.DATA
            ends["error"] += 1
    assert ends["error"] > 2
    assert capfd.readouterr().err == ""


# ---- real tables, counted by Python's csv module


@pytest.mark.parametrize("name", ["titanic.csv", "housing.csv"])
def test_real_tables(data_root, name):
    table = read(data_root / name)
    with (data_root / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert table.frame.height == len(rows) and table.columns == list(rows[0])
    for column in table.frame.iter_columns():
        cells = [row[column.name].strip() for row in rows]
        assert column.null_count() == cells.count("")
        numbers = column.dtype == pl.Float64
        assert column.to_list() == [(float(cell) if numbers else cell) if cell else None for cell in cells]
    texts = {key for key, dtype in table.frame.schema.items() if dtype == pl.String}
    assert texts == (
        {"Name", "Sex", "Ticket", "Cabin", "Embarked"} if name[0] == "t" else {"ocean_proximity"}
    )


# ---- an oracle: Python's csv module over generated tables


@pytest.fixture(params=[None, 1, 64])
def pieces(request, monkeypatch):
    """Files are read in pieces of so many bytes, so that all there is stands at the border of two somewhere."""
    if request.param:
        monkeypatch.setattr(table_text, "HEAD", max(4, request.param))
        monkeypatch.setattr(table_text, "CHUNK", request.param)
        monkeypatch.setattr(table_rows, "CHUNK", request.param)
        monkeypatch.setattr(table_text, "SOON", 0)
        monkeypatch.setattr(table_rows, "BYTES_A_COLUMN", 1)


def test_the_same_table_as_pythons_csv_module(tmp_path, pieces):
    rng = np.random.default_rng(1)
    for _ in range(60):
        content, separator, encoding = drawn_table(rng)
        found = table(tmp_path, content, sep=separator, decimal=".", encoding=encoding)
        assert columns(found) == oracle(content, separator, encoding), content


def test_the_form_is_guessed_as_it_was_written(tmp_path):
    rng, guessed = np.random.default_rng(2), 0
    for _ in range(150):
        content, separator, encoding = drawn_table(rng)
        try:
            found = table(tmp_path, content, encoding=encoding)
        except Error as error:
            assert "data.sep" in error.problems[0].fix, content
            continue
        guessed += 1
        if found.decimal == ".":
            assert columns(found) == oracle(content, separator, encoding), content
    assert guessed > 130


def test_damaged_bytes_are_an_error_or_the_same_table(tmp_path, pieces):
    ends = PROVE["read_batch"]("csv", 1, 0, 60) + PROVE["read_batch"]("gz", 1, 0, 20)
    assert ends["same"] > 15 and ends["error"] > 15 and ends["strict"] < 5


def test_damage_that_aborts_the_library(tmp_path):
    assert PROVE["read_batch"]("parquet", 5, 148, 149) == {"error": 1}  # it asks for 2^61 bytes


@pytest.mark.parametrize("kind", ["parquet", "idx", "npy"])
def test_damaged_files_of_other_kinds(tmp_path, capfd, kind):
    count = 12 if kind == "parquet" else 50
    ends = PROVE["read_batch"](kind, 1, 0, count)
    assert count / 4 < ends["error"] < count
    assert capfd.readouterr().err == ""

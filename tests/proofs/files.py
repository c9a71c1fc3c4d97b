"""Files of data with damaged bytes: an error in words or the table that another reader finds, never a crash.

CSV and CSV.gz are compared with Python's csv module, IDX and npy with a few lines of NumPy, Parquet with polars' own
reader (in a process of its own: some damaged pages end it). A changed number in a page without checksum is no error for
any reader; in half of the Parquet files pages have checksums, and there nothing may change. Each batch of files is read
in a process of its own, which must end well and without a word on standard error.

python tests/proofs files                     2,000 files of each kind
python tests/proofs files --count 150 --kinds csv gz
"""

import argparse
import csv
import gzip
import io
import json
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from dlfound.data.files import find_reader
from dlfound.data.idx import read_idx
from dlfound.data.tables import read_table
from dlfound.errors import Code, Error

NA = ["NA", "?", "null", "nan", "NaN"]
BLANKS = " \t\u00a0\ufeff"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
LIMITS = {"max_bytes": 1 << 26, "max_columns": 10_000, "na": NA, "text": []}
BATCH = 250
SECOND = """
import json, sys
import polars as pl
frame = pl.read_parquet(sys.argv[1], glob=False, hive_partitioning=False)
texts, floats = pl.col(pl.String), pl.col(pl.Float64)
blanks = " \\t\\u00a0\\ufeff"
frame = frame.with_columns(floats.fill_nan(None), texts.str.strip_chars(blanks).replace({"": None}))
print(json.dumps({c.name: [str(v) for v in c.to_list()] for c in frame.iter_columns()}))
"""


def main(argv: Sequence[str]) -> int:
    """Read damaged files of each kind; returns 1 if one was read wrongly or broke the reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", help="KIND:FIRST:LAST, in this process")
    words = parser.parse_args(argv)
    if words.batch:
        kind, first, last = words.batch.split(":")
        print(*read_batch(kind, words.seed, int(first), int(last)).elements())
        return 0
    wrong = sum(prove(kind, words.count, words.seed) for kind in words.kinds)
    print("all files: an error in words, or what another reader finds" if not wrong else f"{wrong} WRONG")
    return int(wrong > 0)


def prove(kind: str, count: int, seed: int) -> int:
    """Prints how so many files of a kind end; how many end wrongly."""
    ends, wrong = Counter(), 0
    for first in range(0, count, BATCH):
        batch = f"{kind}:{first}:{min(count, first + BATCH)}"
        command = [sys.executable, str(Path(__file__).parent), "files", "--seed", str(seed), "--batch", batch]
        done = subprocess.run(command, capture_output=True, text=True)
        ends.update(done.stdout.split())
        if done.returncode or done.stderr:
            wrong += 1
            print(f"WRONG {batch} ended with {done.returncode}\n{done.stderr[-2000:]}")
    print(f"{kind}: {dict(ends)}")
    return wrong


def read_batch(kind: str, seed: int, first: int, last: int) -> Counter:
    """How the files of these numbers end; raises AssertionError where one is read wrongly."""
    ends = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, last):
            ends[KINDS[kind](np.random.default_rng([seed, number]), Path(folder))] += 1
    return ends


# ---- damage


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """One to three bytes are changed, put in or left out, a piece is moved, or the end is cut."""
    bad = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place, kind = int(rng.integers(len(bad))), int(rng.integers(6))
        if kind == 0:
            bad[place] ^= 1 << int(rng.integers(8))
        elif kind == 1 and len(bad) > 20:
            del bad[max(20, place) :]
        elif kind == 2:
            other = int(rng.integers(len(bad)))
            bad[place : place + 5] = bad[other : other + 5]
        else:
            bad[place : place + int(rng.integers(2))] = bytes(
                [int(rng.choice([*b'"",;\n\r \0\xff1a', 0xE9]))]
            )
    return bytes(bad)


# ---- CSV


def drawn_table(rng: np.random.Generator) -> tuple[bytes, str, str]:
    """(content, separator, encoding) of some table with quotes, blanks, line ends and words of all kinds."""
    separator, end = rng.choice([",", ";", "\t", "|"]), rng.choice(["\n", "\r\n", "\r"])
    encoding = rng.choice(["utf-8", "utf-8-sig", "latin-1", "utf-16"])
    width, height = int(rng.integers(1, 6)), int(rng.integers(1, 30))
    kinds = rng.choice(["number", "word", "wild", "gaps"], width)
    out = io.StringIO()
    writer = csv.writer(
        out, delimiter=str(separator), lineterminator="\n", quoting=int(rng.choice([0, 0, 1]))
    )
    writer.writerow([f"c{number}" for number in range(width)])
    writer.writerows([[str(_cell(rng, kind)) for kind in kinds] for _ in range(height)])
    return out.getvalue().replace("\n", str(end)).encode(str(encoding)), str(separator), str(encoding)


def _cell(rng: np.random.Generator, kind: str) -> str:
    texts = ["x", 'q"u', "a, b", "c; d", "l1\nl2", "tab\there", "bär|", "'", '""', "#z", " pad ", "NA", "1"]
    choices = {
        "number": [f"{rng.normal():.4g}", str(rng.integers(-99, 99)), "1e3", ".5"],
        "gaps": ["", "NA", "?", " 7 ", "8.25", "nan"],
        "wild": texts,
        "word": ["red", "blue", "green"],
    }
    return rng.choice(choices[kind])


def oracle(content: bytes, separator: str, encoding: str) -> dict[str, list[Any]]:
    """The table as Python's csv module cuts it, with our rules for cells written down once more.

    Raises:
        ValueError, csv.Error: it is none.
    """
    text = content.decode("utf-8-sig" if encoding == "utf-8" else encoding).removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    rows = list(_rows(text, separator))
    if "\0" in text or len({len(row) for row in rows}) != 1 or len(rows) < 2:
        raise ValueError
    found = {name: _values(cells) for name, *cells in zip(*rows, strict=True)}
    if len(found) != len(rows[0]) or "" in found:
        raise ValueError
    return found


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    lines, before = text.split("\n"), 0
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True, skipinitialspace=True)
    for row in reader:
        blank = reader.line_num == before + 1 and not lines[before].strip(BLANKS.replace(separator, ""))
        before = reader.line_num
        if not blank:
            yield [cell.strip(BLANKS) for cell in row]


def _values(cells: list[str]) -> list[Any]:
    values = [None if cell in ("", *NA) else cell for cell in cells]
    if all(v is None or NUMBER.fullmatch(v) or INFINITE.fullmatch(v) for v in values):
        return [None if v is None else float(v) for v in values]
    return values


def check_csv(rng: np.random.Generator, folder: Path) -> str:
    """A damaged CSV file is an error, or the table of the csv module."""
    content, separator, encoding = drawn_table(rng)
    bad = damaged(rng, content)
    return _compare_csv(bad, bad, folder / "x.csv", separator, encoding)


def check_gz(rng: np.random.Generator, folder: Path) -> str:
    """A damaged file of gzip is an error, or the table that Python's gzip unpacks."""
    content, separator, encoding = drawn_table(rng)
    bad = damaged(rng, gzip.compress(content, mtime=0))
    try:
        unpacked = gzip.decompress(bad)
    except Exception:  # whatever it raises: no table
        unpacked = b""
    return _compare_csv(bad, unpacked, folder / "x.csv.gz", separator, encoding)


def _compare_csv(content: bytes, plain: bytes, file: Path, separator: str, encoding: str) -> str:
    file.write_bytes(content)
    try:
        wanted = oracle(plain, separator, encoding)
    except (ValueError, csv.Error):
        wanted = None
    try:
        table = read_table(file, sep=separator, decimal=".", header=None, encoding=encoding, **LIMITS)
    except Error as error:
        assert error.code == Code.DATA
        return "error" if wanted is None else "strict"  # strict: the csv module lets it pass
    assert {c.name: c.to_list() for c in table.frame.iter_columns()} == wanted, content
    return "same"


# ---- other kinds


def check_parquet(rng: np.random.Generator, folder: Path) -> str:
    """A damaged Parquet file is an error, or the table that another reader finds; with checksums the one written."""
    rows, file, summed = int(rng.integers(1, 400)), folder / "x.parquet", bool(rng.random() < 0.5)
    frame = pl.DataFrame({
        "a": rng.standard_normal(rows), "b": rng.integers(0, 9, rows), "c": rng.choice(["x", "yy", "zzz"], rows),
        "d": rng.random(rows) < 0.5,
    })  # fmt: skip
    out, codec = io.BytesIO(), str(rng.choice(["zstd", "none", "snappy", "gzip"]))
    pq.write_table(frame.to_arrow(), out, compression=codec, write_page_checksum=summed)
    file.write_bytes(damaged(rng, out.getvalue()))
    try:
        table = read_table(file, sep=None, decimal=None, header=None, encoding="utf-8", **LIMITS)
    except Error as error:
        assert error.code == Code.DATA
        return "error"
    if table.frame.equals(frame):
        return "same"
    assert not summed or table.columns != frame.columns, file.read_bytes()  # names stand in no page
    done = subprocess.run(
        [sys.executable, "-c", SECOND, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stderr, file.read_bytes())
    assert json.loads(done.stdout) == json.loads(_as_json(table.frame)), file.read_bytes()
    return "polars"


def _as_json(frame: pl.DataFrame) -> str:
    return json.dumps({c.name: [str(v) for v in c.to_list()] for c in frame.iter_columns()})


def check_idx(rng: np.random.Generator, folder: Path) -> str:
    """A damaged IDX file is an error, or the bytes behind a header that is right."""
    shape = tuple(int(size) for size in rng.integers(1, 6, 3))
    bad = damaged(rng, bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape) + rng.bytes(int(np.prod(shape))))
    file = folder / "x-idx3-ubyte"
    file.write_bytes(bad)
    stated = struct.unpack(">3I", bad[4:16]) if len(bad) >= 16 and bad[:4] == bytes([0, 0, 8, 3]) else (0,)
    sound = 0 < stated[0] * stated[-1] * stated[len(stated) // 2] == len(bad) - 16
    try:
        found = read_idx(file, 3)
    except Error as error:
        assert error.code == Code.DATA and not sound
        return "error"
    assert sound and found.shape == stated and found.tobytes() == bad[16:]
    return "same"


def check_npy(rng: np.random.Generator, folder: Path) -> str:
    """A damaged .npy is an error, or the array that NumPy loads."""
    array, out = rng.standard_normal((int(rng.integers(1, 20)), 3)), io.BytesIO()
    np.save(out, array)
    bad, file = damaged(rng, out.getvalue()), folder / "x.npy"
    file.write_bytes(bad)
    try:
        rows = find_reader(file)(
            file, {"features": ["0", "1", "2"], "columns": [], "image": None}, {"name": "arrays"}
        )
        found = rows.read(0, len(rows.names))
    except Error as error:
        assert error.code in (Code.DATA, Code.UNSAFE)
        return "error"
    wanted = np.load(io.BytesIO(bad), allow_pickle=False)
    np.testing.assert_array_equal(found, wanted.reshape(found.shape))
    return "same"


KINDS = {"csv": check_csv, "gz": check_gz, "parquet": check_parquet, "idx": check_idx, "npy": check_npy}

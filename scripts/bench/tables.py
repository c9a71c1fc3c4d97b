"""What reading a table costs: `python scripts/bench/tables.py read [--rows 1000000 --columns 30 --rounds 3]`.

A CSV of numbers is written; in processes of their own, in turns, polars' own read_csv reads it, and the reader of this
package, strict checks included, up to a tensor of float32. Told are the best times, their ratio, and the peak of memory
over the idle process (which has read a small table) as a multiple of the float32 table.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from dlfound.data.tables import Table, read_table

SETTINGS = {
    "sep": None, "decimal": None, "header": True, "encoding": "utf-8", "na": ["NA", "?", "null", "nan", "NaN"],
    "text": [], "max_bytes": 1 << 34, "max_columns": 100_000,
}  # fmt: skip
TIME, MEMORY = 2.0, 3.5  # what is allowed: times of polars, times of the float32 table


def main() -> None:
    """Runs the part that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["read", "once"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", type=Path, help="once: the table")
    parser.add_argument("--reader", choices=["polars", "ours"], help="once: who reads it")
    words = parser.parse_args()
    if words.part == "once":
        once(words.file, words.reader)
    else:
        sys.exit(compare(words.rows, words.columns, words.rounds))


def compare(rows: int, columns: int, rounds: int) -> int:
    """Prints both readers' time and memory; 1 where a bound is broken."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "table.csv")
        write(file, rows, columns)
        table = rows * columns * 4
        print(f"{rows:,} rows x {columns:,} numbers: {file.stat().st_size / 1e6:.0f} MB of CSV")
        measured = {"polars": [], "ours": []}
        for _ in range(rounds):
            for reader, values in measured.items():
                command = [sys.executable, __file__, "once", "--file", str(file), "--reader", reader]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                values.append((float(said[0]), int(said[1]) / table))
    (polars, _), (ours, memory) = (min(values) for values in measured.values())
    memory = max(peak for _, peak in measured["ours"])
    print(f"polars read_csv {polars:.2f} s; to float32 {ours:.2f} s = {ours / polars:.2f} x (at most {TIME})")
    print(f"peak over the idle process {memory:.2f} x the float32 table (at most {MEMORY})")
    return int(ours / polars > TIME or memory > MEMORY)


def write(file: Path, rows: int, columns: int) -> None:
    """A CSV of float32 numbers, the same every time."""
    rng = np.random.default_rng(0)
    names = [f"x{column}" for column in range(columns)]
    with file.open("wb") as out:
        for start in range(0, rows, 100_000):
            piece = rng.standard_normal((min(100_000, rows - start), columns)).astype(np.float32)
            pl.DataFrame(piece, schema=names).write_csv(out, include_header=start == 0)


def once(file: Path, reader: str) -> None:
    """Prints seconds and bytes that one reading takes in this process."""
    warm()
    idle, start = status("VmRSS"), time.perf_counter()
    if reader == "polars":
        pl.read_csv(file)
    else:
        tensor(read_table(file, **SETTINGS))
    print(time.perf_counter() - start, status("VmHWM") - idle)


def warm() -> None:
    """Reads a small table with both: code is loaded then, which is no cost of a table."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "small.csv")
        write(file, 10, 2)
        pl.read_csv(file)
        tensor(read_table(file, **SETTINGS))


def tensor(table: Table) -> torch.Tensor:
    """All columns as float32, a missing number as NaN."""
    values = np.empty((table.frame.height, table.frame.width), np.float32)
    for number, column in enumerate(table.frame.iter_columns()):
        values[:, number] = column.to_numpy()
    return torch.from_numpy(values)


def status(key: str) -> int:
    """Bytes of memory of this process, as Linux counts them."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()

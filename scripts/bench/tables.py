"""What reading a table costs, and how well nets learn from two real ones.

python scripts/bench/tables.py read [--rows 1000000 --columns 30 --rounds 3]

    A CSV of numbers is written; in processes of their own, in turns, polars' own read_csv reads it, and the reader of
    this package, strict checks included, up to a tensor of float32. Told are the best times, their ratio, and the peak
    of memory over the idle process (which has read a small table) as a multiple of the float32 table.

python scripts/bench/tables.py score --data FOLDER [--words data.scale=standard ...]

    housing.csv (test RMSE, three splits) and titanic.csv (test accuracy, five splits) of that folder, with all settings
    left as they are but the split, against scikit-learn's MLP of the same size behind its usual pipeline, on the same
    rows.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import dlfound
from dlfound.data.tables import Table, read_table
from dlfound.runs.train import load_data

SETTINGS = {
    "sep": None, "decimal": None, "header": None, "encoding": "utf-8", "na": ["NA", "?", "null", "nan", "NaN"],
    "text": [], "max_bytes": 1 << 34, "max_columns": 100_000,
}  # fmt: skip
TABLES = {  # target, metric, bound, splits, settings
    "housing.csv": ("median_house_value", "rmse", 51_500, 3, ["data.split=[0.68,0.12,0.2]"]),
    "titanic.csv": ("Survived", "accuracy", 0.79, 5, []),
}
ROWS = 10_000  # turned from columns into rows at once: they fit a cache
TIME, MEMORY = 2.0, 3.5  # what is allowed: times of polars, times of the float32 table


def main() -> None:
    """Runs the part that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["read", "once", "score"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", type=Path, help="once: the table")
    parser.add_argument("--reader", choices=["polars", "ours"], help="once: who reads it")
    parser.add_argument("--data", type=Path, help="score: the folder of both tables")
    parser.add_argument("--words", nargs="*", default=[], help="score: settings to try")
    words = parser.parse_args()
    if words.part == "score":
        sys.exit(score(words.data, words.words))
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


def score(folder: Path, words: list[str]) -> int:
    """Prints both programs' results on both tables; 1 where a bound is broken."""
    torch.set_num_threads(1)
    broken = 0
    for name, (target, metric, bound, seeds, more) in TABLES.items():
        ours, theirs = [], []
        with tempfile.TemporaryDirectory() as place:
            for seed in range(seeds):
                base = ["data=table", f"data.path={folder.resolve() / name}", f"data.target={target}", *more]
                where = [f"run.dir={place}/{seed}", "run.threads=1", "logger=none"]
                run = dlfound.train([*base, f"data.seed={seed}", *where, *words])
                ours.append(run.report["test"][metric])
                theirs.append(peer(folder / name, target, load_data(run.config).parts, metric))
        mean, other = statistics.mean(ours), statistics.mean(theirs)
        sign = 1 if metric == "rmse" else -1
        broken |= sign * mean > sign * bound or sign * mean > sign * other
        listed = ", ".join(f"{value:.4g}" for value in ours)
        print(f"{name}: test {metric} {mean:.5g} ({listed}); bound {bound:g}; scikit-learn's MLP {other:.5g}")
    return int(broken)


def peer(file: Path, target: str, parts: dict[str, np.ndarray], metric: str) -> float:
    """The same metric of scikit-learn's MLP: medians, deviations, categories of at most 20 texts as 0 and 1."""
    frame = pl.read_csv(file)
    texts = [c for c in frame.columns if frame.schema[c] == pl.String and frame[c].n_unique() <= 20]
    numbers = [c for c in frame.columns if frame.schema[c].is_numeric() and c != target]
    frame = frame.with_columns(pl.col(texts).fill_null("missing"))
    prepare = ColumnTransformer([
        ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        ("texts", OneHotEncoder(handle_unknown="ignore"), texts),
    ])  # fmt: skip
    settings = {"hidden_layer_sizes": (256, 256), "early_stopping": True, "random_state": 0, "max_iter": 500}
    learn, test = np.concatenate([parts["train"], parts["val"]]), parts["test"]
    x, y = frame.drop(target), frame[target].to_numpy()
    if metric == "rmse":
        net = TransformedTargetRegressor(MLPRegressor(**settings), transformer=StandardScaler())
        predicted = make_pipeline(prepare, net).fit(x[learn], y[learn]).predict(x[test])
        return float(np.sqrt(np.mean((predicted - y[test]) ** 2)))
    return float(
        make_pipeline(prepare, MLPClassifier(**settings)).fit(x[learn], y[learn]).score(x[test], y[test])
    )


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
    """All columns as float32 (rows, columns), a row in one piece; a missing number as NaN."""
    values = np.empty((table.frame.height, table.frame.width), np.float32)
    for start in range(0, len(values), ROWS):
        values[start : start + ROWS] = table.frame[start : start + ROWS].to_numpy()
    return torch.from_numpy(values)


def status(key: str) -> int:
    """Bytes of memory of this process, as Linux counts them."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()

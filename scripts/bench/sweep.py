"""What a sweep costs beside its trainings, and against as many calls of `dlfound train`. Digits, ten epochs each.

python scripts/bench/sweep.py              64 trials with two workers, then the same 64 configurations one call each
python scripts/bench/sweep.py --calls 8    fewer calls, counted up
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPACE = ["optim=adam,sgd", "optim.lr=tag(log,interval(1e-4,1e-1))", "model.hidden=choice([32],[64],[64,64])"]
SPACE += ["train.epochs=10", "early_stopping=none", "lr_decay=none", "run.threads=1"]
TRIALS = 64


def timed(*words: str) -> float:
    """Seconds of a whole command."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dlfound", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


def more_than_training(sweep: Path) -> float:
    """Seconds that a trial takes beside its training, as a median: from when it was taken to when it was settled."""
    import optuna

    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(sweep / "journal.log"))
    )
    (study,) = storage.get_all_studies()
    more = []
    for trial in storage.get_all_trials(study._study_id):
        report = json.loads((sweep / "trials" / f"{trial.number:04}" / "report.json").read_text())
        more.append(trial.duration.total_seconds() - report["seconds"]["train"])
    return statistics.median(more)


def command() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=TRIALS)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        fixed = [word for word in SPACE if "," not in word]
        timed("train", *fixed)  # fills the disk's cache
        swept = timed(
            "sweep", *SPACE, f"search.trials={TRIALS}", f"search.workers={args.workers}", "run.dir=sweep"
        )
        with open("sweep/trials.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        calls = []
        for row in rows[: args.calls]:
            values = [f"{key}={row[key]}" for key in ("optim", "optim.lr", "model.hidden")]
            calls.append(timed("train", *fixed, *values))
        called = sum(calls) * TRIALS / len(calls)
        print(f"{TRIALS} trials with {args.workers} workers: {swept:.1f} s; {TRIALS} calls: {called:.1f} s")
        more = more_than_training(Path("sweep"))
        print(f"{called / swept:.1f} times; beside its training a trial costs {more:.3f} s")


if __name__ == "__main__":
    command()

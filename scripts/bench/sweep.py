"""Measure what a sweep costs besides training, and compare it with one `dlfound train` per configuration.

The data are digits, with ten epochs per trial.

python scripts/bench/sweep.py              64 trials with two workers, then a command per configuration
python scripts/bench/sweep.py --calls 8    run only 8 of these commands and extrapolate
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

FIXED = ["train.epochs=10", "early_stopping=none", "lr_decay=none", "run.threads=1"]
SPACE = ["optim=adam,sgd", "optim.lr=tag(log,interval(1e-4,1e-1))", "model.hidden=choice([32],[64],[64,64])"]
TRIALS = 64


def duration(*words: str) -> float:
    """Run a command; returns its duration in seconds."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "dlfound", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


def overhead(sweep: Path) -> float:
    """The median, over trials, of the seconds from claim to result that are not training."""
    import optuna

    journal = optuna.storages.journal.JournalFileBackend(str(sweep / "journal.log"))
    storage = optuna.storages.JournalStorage(journal)
    (study,) = storage.get_all_studies()
    seconds = []
    for trial in storage.get_all_trials(study._study_id):
        report = json.loads((sweep / "trials" / f"{trial.number:04}" / "report.json").read_text())
        seconds.append(trial.duration.total_seconds() - report["seconds"]["train"])
    return statistics.median(seconds)


def main() -> None:
    """Measure and print."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--calls", type=int, default=TRIALS)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        duration("train", *FIXED)  # fills the disk cache
        search = [f"search.trials={TRIALS}", f"search.workers={args.workers}", "run.dir=sweep"]
        together = duration("sweep", *FIXED, *SPACE, *search)
        with open("sweep/trials.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        calls = []
        for row in rows[: args.calls]:
            values = [f"{key}={row[key]}" for key in ("optim", "optim.lr", "model.hidden")]
            calls.append(duration("train", *FIXED, *values))
        apart = sum(calls) * TRIALS / len(calls)
        print(f"{TRIALS} trials with {args.workers} workers: {together:.1f} s")
        print(f"{TRIALS} commands: {apart:.1f} s, {apart / together:.1f} times as long")
        print(f"besides training, a trial takes {overhead(Path('sweep')):.3f} s")


if __name__ == "__main__":
    main()

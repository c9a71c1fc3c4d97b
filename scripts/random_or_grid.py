"""The lecture's claim (minute 34): of two settings one matters; then random search finds a better net than a grid.

A grid of 16 tries four values of the setting that matters, random search 16. Each is repeated with other seeds: of the
data, of the nets, of what is drawn, and of the range, which nobody knows beforehand: five decades of the learning rate,
from somewhere near 1e-5 on, the same for both. The best net by validation loss is the one that counts.

python scripts/random_or_grid.py                     20 repetitions
python scripts/random_or_grid.py --repetitions 3
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile

# The learning rate matters, from far too small to far too large; Adam's epsilon, at these sizes, does not.
RUN = [
    "data=spirals",
    "data.rows=600",
    "model.hidden=[32]",
    "train.epochs=20",
    "early_stopping=none",
    "lr_decay=none",
]
RUN += ["logger=none", "run.threads=1"]
SIDE, DECADES = 4, 5


def spaces(seed: int) -> dict[str, list[str]]:
    """The words of both searches, over the same range."""
    low = 10 ** (-5.5 + random.Random(seed).random())
    high = low * 10**DECADES
    rates = ",".join(f"{low * 10 ** (DECADES * i / (SIDE - 1)):.6g}" for i in range(SIDE))
    draws = [f"optim.lr=tag(log,interval({low:.6g},{high:.6g}))", "optim.eps=tag(log,interval(1e-10,1e-7))"]
    return {
        "grid": [f"optim.lr={rates}", "optim.eps=1e-10,1e-9,1e-8,1e-7", "search=grid"],
        "random": [*draws, f"search.trials={SIDE**2}"],
    }


def best(words: list[str], seed: int) -> dict[str, float]:
    """Validation and test loss of the best net of a sweep."""
    seeds = [f"data.seed={seed}", f"run.seed={seed}", f"search.seed={seed}"]
    command = [sys.executable, "-m", "dlfound", "sweep", *RUN, *words, *seeds, "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["best"]
    return {
        "val": found["val"]["loss"],
        "test": found["test"]["loss"],
        "lr": float(found["values"]["optim.lr"]),
    }


def command() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=20)
    args = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"grid": [], "random": []}
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        for seed in range(args.repetitions):
            for method, words in spaces(seed).items():
                found[method].append(best(words, seed))
            told = "  ".join(
                f"{m} val {f[-1]['val']:.4f} test {f[-1]['test']:.4f} lr {f[-1]['lr']:.2g}"
                for m, f in found.items()
            )
            print(f"{seed:3}  {told}", flush=True)
    for part in ("val", "test"):
        medians = {method: statistics.median(f[part] for f in runs) for method, runs in found.items()}
        wins = sum(r[part] < g[part] for g, r in zip(found["grid"], found["random"], strict=True))
        told = ", ".join(f"{method} {value:.4f}" for method, value in medians.items())
        print(
            f"median {part} loss of the best of {SIDE**2}: {told}; random ahead in {wins} of {args.repetitions}"
        )


if __name__ == "__main__":
    command()

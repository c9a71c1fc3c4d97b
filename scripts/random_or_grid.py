"""Test the lecture's claim (minute 34): if only one of two settings matters, random search beats a grid.

A grid of 16 trials tries four values of the setting that matters; random search tries 16. Each repetition has
other seeds for the data, the weights and the draws. It also has another range of learning rates, since nobody
knows the right range beforehand: five decades from about 1e-5, the same for both methods. The result of a
method is its model with the lowest validation loss.

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

# The learning rate matters, from far too small to far too large; Adam's epsilon of this size does not.
RUN = [
    "data=spirals", "data.rows=600", "model.hidden=[32]", "train.epochs=20", "early_stopping=none",
    "lr_decay=none", "logger=none", "run.threads=1",
]  # fmt: skip
SIDE = 4  # values of each setting in the grid
DECADES = 5


def spaces(seed: int) -> dict[str, list[str]]:
    """The overrides of both methods, over the same range."""
    low = 10 ** (-5.5 + random.Random(seed).random())
    high = low * 10**DECADES
    rates = ",".join(f"{low * 10 ** (DECADES * i / (SIDE - 1)):.6g}" for i in range(SIDE))
    intervals = [
        f"optim.lr=tag(log,interval({low:.6g},{high:.6g}))",
        "optim.eps=tag(log,interval(1e-10,1e-7))",
    ]
    return {
        "grid": [f"optim.lr={rates}", "optim.eps=1e-10,1e-9,1e-8,1e-7", "search=grid"],
        "random": [*intervals, f"search.trials={SIDE**2}"],
    }


def best_trial(overrides: list[str], seed: int) -> dict[str, float]:
    """Run a sweep; returns the losses and the learning rate of its best trial."""
    seeds = [f"data.seed={seed}", f"run.seed={seed}", f"search.seed={seed}"]
    command = [sys.executable, "-m", "dlfound", "sweep", *RUN, *overrides, *seeds, "--json"]
    best = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["best"]
    return {"val": best["val"]["loss"], "test": best["test"]["loss"], "lr": float(best["values"]["optim.lr"])}


def main() -> None:
    """Compare both methods and print."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--repetitions", type=int, default=20)
    args = parser.parse_args()
    trials: dict[str, list[dict[str, float]]] = {"grid": [], "random": []}
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        for seed in range(args.repetitions):
            cells = []
            for method, overrides in spaces(seed).items():
                best = best_trial(overrides, seed)
                trials[method].append(best)
                cells.append(f"{method} val {best['val']:.4f} test {best['test']:.4f} lr {best['lr']:.2g}")
            print(f"{seed:3}  {'  '.join(cells)}", flush=True)
    for part in ("val", "test"):
        losses = {method: [best[part] for best in found] for method, found in trials.items()}
        medians = ", ".join(f"{method} {statistics.median(found):.4f}" for method, found in losses.items())
        wins = sum(r < g for g, r in zip(losses["grid"], losses["random"], strict=True))
        print(f"median {part} loss of the best of {SIDE**2} trials: {medians}")
        print(f"  random search is better in {wins} of {args.repetitions} repetitions")


if __name__ == "__main__":
    main()

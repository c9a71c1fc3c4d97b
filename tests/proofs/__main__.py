"""Run a proof: python tests/proofs NAME [options]. Without a name, list them; `all` runs each in full."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)  # proofs is a package in tests/


class Proof(NamedTuple):
    """A proof.

    Attributes:
        summary: what it does.
        minutes: of the full proof on two cores.
        full: the options of each run of the full proof.
    """

    summary: str
    minutes: int
    full: tuple[str, ...] = ("",)


PROOFS = {
    "kills": Proof(
        "kill runs at random moments and resume them; leave out parts of a resume, which must be noticed",
        60,
        ("--kills 1000", "--real 60", "--mutate --most 400"),
    ),
    "crash_points": Proof("kill a run or let the disk fail at each of its calls; cut the power", 30),
    "damage": Proof("damage checkpoints, or write invalid ones", 10),
    "sweeps": Proof(
        "kill the processes of a sweep at random moments",
        15,
        ("--kills 60", "--kills 60 --storage sqlite", "--kills 30 --workers 1 --search tpe",
         "--kills 30 --commands 2"),
    ),
    "check": Proof("plant faults that `dlfound check` must find, and check sound settings", 60),
    "files": Proof("damage data files, and compare what dlfound reads with other readers", 10),
}  # fmt: skip


def main(argv: list[str]) -> int:
    """List the proofs, or run one or all of them; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__)
        for name, proof in PROOFS.items():
            print(f"  {name:<14}{proof.summary} (in full about {proof.minutes} min)")
        return 0
    name = argv[0]
    if name == "all":
        return run_all()
    if name not in PROOFS:
        print(f"no proof {name!r}; choose from: {', '.join([*PROOFS, 'all'])}", file=sys.stderr)
        return 2
    from proofs import SAFE_TO_FORK

    os.environ |= SAFE_TO_FORK  # before torch is imported
    return importlib.import_module(f"proofs.{name}").main(argv[1:])


def run_all() -> int:
    """Run each proof in full, one after another, and print a table; returns 1 if any failed."""
    rows = []
    for name, proof in PROOFS.items():
        for options in proof.full:
            command = [name, *options.split()]
            print(f"\n== {' '.join(command)}", flush=True)
            started = time.perf_counter()
            code = subprocess.run([sys.executable, str(HERE), *command], check=False).returncode
            rows.append((" ".join(command), code, (time.perf_counter() - started) / 60))
    print(f"\n{'proof':<44}{'exit code':>10}{'minutes':>10}")
    for command, code, minutes in rows:
        print(f"{command:<44}{code:>10}{minutes:>10.1f}")
    return int(any(code for _, code, _ in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

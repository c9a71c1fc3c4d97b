"""Sweeps whose processes are killed: the short forms of tests/proofs/sweeps.py, also with real servers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROOFS = Path(__file__).parent


def test_killed_sweeps_end_as_sweeps_that_nobody_kills(proof_script):
    done = proof_script("--kills", "5", "--trials", "10")
    assert done.returncode == 0 and "nothing lost, nothing twice, nothing different" in done.stdout, (
        done.stdout
    )


RESULT = """
import dataclasses, os
from dlfound.sweeps import worker
real = worker.result_of
def other(runs):
    found = real(runs)
    return dataclasses.replace(found, metrics={name: os.getpid() for name in found.metrics})
worker.result_of = other
"""
FOLDER = """
from dlfound.sweeps import worker
real = worker.Worker._train
def lost(self, claimed):
    found = real(self, claimed)
    for done in self.plan.folder(claimed.number).glob("**/DONE"):
        done.unlink()
    return found
worker.Worker._train = lost
"""


@pytest.mark.parametrize(
    ("fault", "told"),
    [(RESULT, "are not as in the sweep that nobody kills"), (FOLDER, "is not finished")],
    ids=["results follow from the process", "runs are left unfinished"],
)
def test_a_fault_is_noticed(proof_script, fault, told):
    done = proof_script("--kills", "1", "--trials", "4", fault=fault)
    assert done.returncode == 1 and f"WRONG: {'trial 0000 ' if fault == FOLDER else ''}" in done.stdout, (
        done.stdout
    )
    assert told in done.stdout


def test_a_real_proxy():
    command = [
        sys.executable,
        str(PROOFS / "proxy.py"),
        sys.executable,
        str(PROOFS),
        "sweeps",
        "--storage",
        "server",
    ]
    done = subprocess.run(
        [*command, "--kills", "2", "--trials", "6"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_real_server(tmp_path):
    server = PROOFS / "postgres.sh"
    command = [
        "bash",
        str(server),
        sys.executable,
        str(PROOFS),
        "sweeps",
        "--storage",
        "server",
        "--kills",
        "2",
        "--trials",
        "6",
    ]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def proof_script():
    """Run the proof in a process of its own, with a fault put into the program or without."""

    def run(*arguments, fault=""):
        start = f"import sys; sys.path.insert(0, {str(PROOFS.parent)!r}); from proofs import sweeps"
        code = f"{start}\n{fault}\nsys.exit(sweeps.main({arguments!r}))"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    return run

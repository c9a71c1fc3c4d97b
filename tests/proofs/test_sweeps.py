"""The proof of killed sweeps in short, on every kind of storage; and that it notices a fault."""

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dlfound.reports import pictures
from proofs import sweeps
from proofs.forked import exit_code, fork

PROOFS = Path(__file__).parent
LOG = Path("log.txt")


def run_proof(*arguments, change=lambda: None):
    """Run the proof in a forked process, after a change to the program; returns exit code and output."""

    def call():
        change()
        pictures.draw = lambda path, out: []
        return sweeps.main(arguments)

    return exit_code(fork(call, LOG)), LOG.read_text()


def make_results_depend_on_the_process():
    from dlfound.sweeps import worker

    real = worker.trial_result

    def fake(runs):
        result = real(runs)
        return dataclasses.replace(result, metrics={name: os.getpid() for name in result.metrics})

    worker.trial_result = fake


def leave_runs_unfinished():
    from dlfound.sweeps.worker import Worker

    real = Worker._train

    def fake(self, claimed):
        result = real(self, claimed)
        for done in self.plan.trial_folder(claimed.number).glob("**/DONE"):
            done.unlink()
        return result

    Worker._train = fake


def test_killed_sweeps_give_the_same_results():
    code, output = run_proof("--kills", "4", "--trials", "6")
    assert code == 0 and "nothing lost, nothing twice, nothing different" in output, output


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (make_results_depend_on_the_process, "differ from the undisturbed sweep"),
        (leave_runs_unfinished, "trial 0000 is not finished"),
    ],
)
def test_the_proof_notices_a_fault(fault, message):
    code, output = run_proof("--kills", "1", "--trials", "2", change=fault)
    assert code == 1 and re.search(f"WRONG: .*{message}", output), output


@contextlib.contextmanager
def storage_server(*command):
    """Start a server by a script of the proofs; yields its address and the folder of its driver."""
    wait_for_input = 'printf "%s\\n%s\\n" "$DLFOUND_STORAGE" "${PYTHONPATH:-}"; read -r _'
    with subprocess.Popen(
        [*command, "bash", "-c", wait_for_input],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHON": sys.executable},
    ) as process:
        address = process.stdout.readline().strip()
        driver = process.stdout.readline().strip().partition(":")[0]
        if address:
            yield address, driver
        _, errors = process.communicate("\n")
    if process.returncode == 77:
        pytest.skip(errors.strip())
    assert process.returncode == 0 and address, errors


@pytest.mark.parametrize(
    "command", [[sys.executable, str(PROOFS / "proxy.py")], ["bash", str(PROOFS / "postgres.sh")]]
)
def test_killed_sweeps_on_a_real_server(command):
    with storage_server(*command) as (address, driver):

        def use_driver():
            sys.path.insert(0, driver)
            os.environ["DLFOUND_STORAGE"] = address

        code, output = run_proof("--storage", "server", "--kills", "1", "--trials", "3", change=use_driver)
    assert code == 0, output

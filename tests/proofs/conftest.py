"""Runs a proof in a process of its own, with a fault put into the program or without."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tests" / "proofs"
START = "import runpy, sys; sys.path.insert(0, {folder!r}); sys.argv = {argv!r}\n{fault}\n"


@pytest.fixture
def proof():
    """Call it with a script's name, its arguments, and Python lines that spoil the program first."""

    def run(script: str, *arguments: str, fault: str = "") -> subprocess.CompletedProcess:
        start = START.format(folder=str(FOLDER), argv=[script, *arguments], fault=fault)
        code = f"{start}runpy.run_path({str(FOLDER / script)!r}, run_name='__main__')"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    return run

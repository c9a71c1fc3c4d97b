"""A process that has prepared a proof, and runs it in a child process for each request.

python -m proofs.warm NAME reads requests from standard input, one JSON object a line, and answers each.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs import SAFE_TO_FORK

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Result:
    """The exit code of a proof, and its output."""

    code: int
    output: str


class WarmProof:
    """A proof in a process of its own. Used as a context manager."""

    def __init__(self, name: str):
        self._folder = tempfile.TemporaryDirectory()  # for what a proof keeps when something is wrong
        environment = os.environ | SAFE_TO_FORK | {"PYTHONPATH": str(TESTS), "TMPDIR": self._folder.name}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proofs.warm", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> "WarmProof":
        return self

    def __exit__(self, *unused: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._folder.cleanup()

    def __call__(self, *options: str, fault: Callable[[], None] | None = None) -> Result:
        """Run the proof.

        Args:
            fault: a function of `proofs.faults`, called first: it makes dlfound faulty.
        """
        request = {"options": options, "fault": fault.__name__ if fault else ""}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the warm process ended; its error is above"
        return Result(**json.loads(line))


def serve(name: str) -> None:
    """Prepare a proof, and run it for each request."""
    proof = importlib.import_module(f"proofs.{name}")
    faults = importlib.import_module("proofs.faults")
    with redirect_stdout(sys.stderr):
        proof.prepare()
    for line in sys.stdin:
        request = json.loads(line)
        fault = getattr(faults, request["fault"]) if request["fault"] else None
        print(json.dumps(vars(answer(proof, request["options"], fault))), flush=True)


def answer(proof: Any, options: list[str], fault: Callable[[], None] | None) -> Result:
    """Run a proof in a child process."""
    from proofs.forked import exit_code, fork

    def run() -> int:
        if fault is not None:
            fault()
        return proof.main(options)

    with tempfile.NamedTemporaryFile() as log:
        child = fork(run, Path(log.name))
        code = exit_code(child)
        return Result(code, Path(log.name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    serve(sys.argv[1])

"""Run a command beside Optuna's gRPC proxy, which stores the trials in a journal.

The command finds the proxy's address in DLFOUND_STORAGE:

python tests/proofs/proxy.py python tests/proofs sweeps --storage server
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

HOST = "127.0.0.1"
TIMEOUT = 60.0  # seconds until the proxy must accept connections


def serve(port: int, journal: Path) -> None:
    """Run the proxy until it is terminated."""
    import optuna
    from optuna.storages import JournalStorage, run_grpc_proxy_server
    from optuna.storages.journal import JournalFileBackend

    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    run_grpc_proxy_server(JournalStorage(JournalFileBackend(str(journal))), host=HOST, port=port)


def free_port() -> int:
    """Find a port that no process uses."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def wait_until_ready(port: int) -> None:
    """Wait for the proxy; raises TimeoutError if it does not accept connections."""
    began = time.monotonic()
    while time.monotonic() - began < TIMEOUT:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the proxy does not accept connections")


def command(words: list[str]) -> int:
    """Run the command; returns its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = [sys.executable, __file__, "--serve", str(port), str(Path(folder, "journal.log"))]
        process = subprocess.Popen(server)
        try:
            wait_until_ready(port)
            return subprocess.call(words, env=os.environ | {"DLFOUND_STORAGE": f"grpc://{HOST}:{port}"})
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(command(sys.argv[1:]))

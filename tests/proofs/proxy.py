"""Runs a command beside Optuna's gRPC proxy, whose address it gets as DLFOUND_STORAGE; its trials lie in a journal.

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

HOST, PATIENCE = "127.0.0.1", 60.0  # seconds until the proxy listens


def serve(port: int, journal: Path) -> None:
    """The proxy, until it is ended."""
    import optuna
    from optuna.storages import JournalStorage, run_grpc_proxy_server
    from optuna.storages.journal import JournalFileBackend

    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    run_grpc_proxy_server(JournalStorage(JournalFileBackend(str(journal))), host=HOST, port=port)


def free_port() -> int:
    """One that nobody uses."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        return found.getsockname()[1]


def wait_until_it_listens(port: int) -> None:
    """Raise TimeoutError where it does not for too long."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        with socket.socket() as asked:
            if asked.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the proxy does not listen")


def command(words: list[str]) -> int:
    """The command's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(port), str(Path(folder, "journal.log"))]
        )
        try:
            wait_until_it_listens(port)
            return subprocess.call(words, env=os.environ | {"DLFOUND_STORAGE": f"grpc://{HOST}:{port}"})
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(command(sys.argv[1:]))

"""`dlfound board`: show curves in TensorBoard, on this machine only."""

import argparse
import socket
import threading
from contextlib import closing
from pathlib import Path

from dlfound.errors import Code, Error
from dlfound.runs.folder import OUTPUTS, SWEEP, TRIALS

SUMMARY = "show the curves of runs in TensorBoard"
EXAMPLES = """\
examples:
  dlfound board                     all runs below outputs/
  dlfound board latest              one run
  dlfound board digits moons        the newest run of each name
  dlfound board my_sweep            all trials of a sweep, side by side under hparams
"""
HOST = "127.0.0.1"  # other machines cannot connect
FIRST_PORT = 6006
PORTS = 100  # how many ports are tried
# Show every epoch and every picture; by default TensorBoard keeps a thousand points and ten pictures.
EVERYTHING = ("--samples_per_plugin", "scalars=100000,images=100,histograms=100", "--load_fast", "false")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    help_text = f"a run's folder, a name (its newest run), latest, or a sweep (default: all below {OUTPUTS}/)"
    parser.add_argument("runs", nargs="*", metavar="RUN", help=help_text)
    help_text = f"serve on this port, or on the next one that is free (default: {FIRST_PORT})"
    parser.add_argument("--port", type=_port, default=FIRST_PORT, help=help_text)


def _port(text: str) -> int:
    if text.isdecimal() and len(text) < 6 and 1 <= int(text) <= 65535:
        return int(text)
    raise Error(f"--port must be 1 to 65535, got {text}", f"omit it for {FIRST_PORT}", Code.CONFIG)


def command(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; return the exit code."""
    address = serve(_log_arguments(args.runs), free_port(args.port))
    print(f"{address} (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    return Code.DONE


def _log_arguments(words: list[str]) -> list[str]:
    """Return TensorBoard's arguments for the runs: one folder, or several with a name each."""
    from dlfound.runs.find import find_run, list_runs

    if not words:
        if not list_runs():
            raise Error(f"there are no runs below {OUTPUTS}/", "train one first: dlfound train", Code.RUN)
        return ["--logdir", str(OUTPUTS)]
    paths = [_sweep_trials(word) or find_run(word) for word in words]
    for path in paths:
        if path.name != TRIALS and not (path / "tensorboard").is_dir():
            raise Error(f"{path} has no curves", "train it without logger=none to write curves", Code.RUN)
    if len(paths) == 1:
        return ["--logdir", str(paths[0])]
    return ["--logdir_spec", ",".join(f"{path.parent.name}/{path.name}:{path}" for path in paths)]


def _sweep_trials(word: str) -> Path | None:
    """Return the folder of a sweep's trials if the word is the sweep's folder."""
    path = Path(word).expanduser()
    return path / TRIALS if (path / SWEEP).is_file() else None


def free_port(first: int) -> int:
    """Return the first free port from `first` on.

    Raises:
        Error: none of a hundred ports is free (code 6).
    """
    for port in range(first, min(first + PORTS, 65536)):
        with closing(socket.socket()) as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port
    raise Error(f"no port from {first} on is free", "choose another one with --port", Code.RESOURCES)


def serve(logs: list[str], port: int) -> str:
    """Start TensorBoard in a thread; return its address."""
    from tensorboard import program

    board = program.TensorBoard()
    board.configure(argv=[None, *logs, "--host", HOST, "--port", str(port), *EVERYTHING])
    return board.launch()

"""`dlfound board`: the curves in TensorBoard, on this machine only."""

import argparse
import socket
import threading
from contextlib import closing
from pathlib import Path

from dlfound.errors import Code, Error
from dlfound.runs.folder import SWEEP, TRIALS

SUMMARY = "look at the curves in TensorBoard"
EXAMPLES = """\
examples:
  dlfound board                     all runs below outputs/
  dlfound board latest              one run
  dlfound board digits moons        the newest run of each name
  dlfound board my_sweep            all trials of a sweep, side by side under hparams
"""
HOST = "127.0.0.1"  # nobody else can look in
FIRST_PORT, PORTS = 6006, 100
# Every epoch of a curve and every picture (TensorBoard keeps ten pictures and a thousand points otherwise).
KEPT = ("--samples_per_plugin", "scalars=100000,images=100,histograms=100", "--load_fast", "false")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="a run's folder, its name, or latest; all where none is named"
    )
    parser.add_argument(
        "--port", type=int, default=FIRST_PORT, help="the first port to try (the next free one is taken)"
    )


def command(args: argparse.Namespace) -> int:
    """The verb: serves until Ctrl-C; exit code."""
    address = serve(_logs(args.runs), free_port(args.port))
    print(f"{address} (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    return Code.DONE


def _logs(runs: list[str]) -> list[str]:
    """What TensorBoard is to read, in its own words: one folder, or several with a name each."""
    from dlfound.runs.find import find_run, list_runs
    from dlfound.runs.folder import OUTPUTS

    if not runs:
        if not list_runs():
            raise Error(f"there are no runs below {OUTPUTS}/", "train one first: dlfound train", Code.RUN)
        return ["--logdir", str(OUTPUTS)]
    found: list[Path] = [_sweep(run) or find_run(run) for run in runs]
    for path in found:
        if path.name != TRIALS and not (path / "tensorboard").is_dir():
            raise Error(f"{path} has no curves", "it was trained with logger=none", Code.RUN)
    if len(found) == 1:
        return ["--logdir", str(found[0])]
    return ["--logdir_spec", ",".join(f"{path.parent.name}/{path.name}:{path}" for path in found)]


def _sweep(word: str) -> Path | None:
    """The trials of a sweep, where the word names its folder."""
    path = Path(word).expanduser()
    return path / TRIALS if (path / SWEEP).is_file() else None


def free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on.

    Raises:
        Error: none of a hundred is free (code 6).
    """
    for port in range(first, min(first + PORTS, 65536)):
        with closing(socket.socket()) as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port
    raise Error(f"no port from {first} on is free", "give another one with --port", Code.RESOURCES)


def serve(logs: list[str], port: int) -> str:
    """Start TensorBoard in a thread of its own; returns its address."""
    from tensorboard import program

    board = program.TensorBoard()
    board.configure(argv=[None, *logs, "--host", HOST, "--port", str(port), *KEPT])
    return board.launch()

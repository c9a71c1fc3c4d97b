"""Run `dlfound` in a forked child of a warm process, so that it starts in milliseconds instead of seconds.

The warm process has imported everything and trained once. It has a single thread, so a fork of it is safe.
Its children behave like `python -m dlfound`, except that Python itself does not start: tests about the start,
the locale, or the streams that Python makes use a process of their own.
"""

import contextlib
import fcntl
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import traceback

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
SECONDS = 120  # that a command may take
MESSAGE = 1 << 18  # bytes of a request

# The side of the tests.


class Forked:
    """Runs commands; the warm process starts with the first one."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen | None = None

    def __call__(self, *words: str, **how) -> subprocess.CompletedProcess:
        """Run a command to its end; `how` are the other arguments of `start`."""
        return self.start(*words, **how).wait()

    def start(
        self, *words: str, stdout=None, stderr=None, terminal: int | None = None, env=None, before: str = ""
    ) -> "Child":
        """Start a command in the current folder.

        Args:
            stdout: a file or descriptor; None collects the text.
            stderr: as stdout.
            terminal: the descriptor of a terminal that becomes the command's own, with all three streams.
            env: environment variables to change; None removes one.
            before: Python code that the child executes first.
        """
        if self._channel is None:
            self._warm_up()
        child = Child(words)
        request = {"words": words, "folder": os.getcwd(), "env": env or {}, "before": before}
        request["terminal"] = terminal is not None
        with open(os.devnull) as nowhere:
            streams = [terminal] * 3
            if terminal is None:
                streams = [nowhere.fileno(), child.stream("stdout", stdout), child.stream("stderr", stderr)]
            socket.send_fds(self._channel, [json.dumps(request).encode()], [*streams, child.report])
        os.close(child.report)
        child.pid = int(self._channel.recv(100))
        return child

    def close(self) -> None:
        """End the warm process."""
        if self._channel is not None:
            self._channel.close()
            self._process.wait(SECONDS)

    def _warm_up(self) -> None:
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, __file__, str(other.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[other.fileno()], env=os.environ | ONE_THREAD)
        other.close()
        assert self._channel.recv(100) == b"warm", "the warm process did not start"


class Child:
    """A command that was started."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        self.pid = 0
        self._status, self.report = os.pipe()
        self._collected: dict[str, io.BufferedRandom] = {}
        self._done: subprocess.CompletedProcess | None = None

    def stream(self, name: str, given) -> int:
        """Return the descriptor of a stream: the given one, or that of a file that collects the text."""
        if given is None:
            given = self._collected[name] = tempfile.TemporaryFile()  # noqa: SIM115
        return given if isinstance(given, int) else given.fileno()

    def send_signal(self, number: int) -> None:
        """Send a signal to the command."""
        os.kill(self.pid, number)

    def ended(self) -> bool:
        """Tell whether the command has ended."""
        return self._done is not None or bool(select.select([self._status], [], [], 0)[0])

    def kill(self) -> None:
        """Kill the command, unless it has ended."""
        if not self.ended():
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = SECONDS) -> subprocess.CompletedProcess:
        """Wait for the end; a command that takes too long is killed, and its code is that of the signal."""
        if self._done is not None:
            return self._done
        if not select.select([self._status], [], [], seconds)[0]:
            os.kill(self.pid, signal.SIGKILL)
        code = int(os.read(self._status, 100))
        os.close(self._status)
        texts = dict.fromkeys(("stdout", "stderr"))
        for name, file in self._collected.items():
            file.seek(0)
            texts[name] = file.read().decode()
            file.close()
        self._done = subprocess.CompletedProcess(self.words, code, **texts)
        return self._done


# The warm process.


def serve(channel: socket.socket) -> None:
    """Fork a child for each request until the tests close the channel."""
    children: dict[int, tuple[int, int]] = {}  # descriptor of a child -> its number, pipe for its exit code
    while True:
        ready, _, _ = select.select([channel, *children], [], [])
        for source in ready:
            if source is not channel:
                _report_end(source, *children.pop(source))
                continue
            message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE, 4)
            if not message:
                return
            pid = os.fork()
            if pid == 0:
                run(json.loads(message), descriptors)
            channel.send(str(pid).encode())
            children[os.pidfd_open(pid)] = pid, descriptors[3]
            for descriptor in descriptors[:3]:
                os.close(descriptor)


def _report_end(child: int, pid: int, report: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(report, str(code).encode())
    os.close(report)
    os.close(child)


def run(request: dict, descriptors: list[int]) -> None:
    """Run a command in this child, and end it."""
    code = 1
    try:
        for stream, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, stream)
        os.closerange(3, 1024)
        _be_like_a_new_process(request)
        exec(request["before"], {})
        from dlfound.cli import main

        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _be_like_a_new_process(request: dict) -> None:
    os.setsid()
    if request["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(request["folder"])
    for name, value in request["env"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    out = io.BufferedWriter(io.FileIO(1, "w", closefd=False))
    err = io.BufferedWriter(io.FileIO(2, "w", closefd=False))
    sys.stdout = io.TextIOWrapper(out, "utf-8", write_through=unbuffered)
    sys.stderr = io.TextIOWrapper(err, "utf-8", line_buffering=True)
    sys.argv = ["dlfound", *request["words"]]


def warm_up() -> None:
    """Import everything that a command needs, and train once."""
    import torch

    from dlfound.cli import main

    torch.set_num_threads(1)
    nothing = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        words = ["data=moons", "data.rows=60", "model.hidden=[4]", "train.epochs=1", f"run.dir={folder}/run"]
        code = main(["train", *words, "early_stopping=none", "lr_decay=none"])
        assert code == 0 and main(["eval", f"{folder}/run"]) == 0
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads: a fork is not safe"


if __name__ == "__main__":
    channel = socket.socket(fileno=int(sys.argv[1]))
    warm_up()
    channel.send(b"warm")
    serve(channel)
    os._exit(0)  # the usual end of Python would take seconds

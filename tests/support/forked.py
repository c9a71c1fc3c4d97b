"""Run `dlfound` in a forked child of a warm process, so that it starts in milliseconds instead of seconds.

The warm process has imported everything and trained once. It has a single thread, so a fork of it is safe. Its children
behave like `python -m dlfound`, except that Python itself does not start: tests about the start, the locale, or memory
that Python takes use a true process.
"""

import contextlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
SECONDS = 120  # that a command may take
MESSAGE = 1 << 18  # bytes of a request

# The tests' side.


class Forked:
    """The warm process; it starts with the first command."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen | None = None

    def __call__(self, *words: str, **how) -> subprocess.CompletedProcess:
        """Run a command to its end; stdout and stderr are texts, unless files are given for them."""
        return self.start(*words, **how).wait()

    def start(
        self, *words: str, stdout=None, stderr=None, terminal=None, env=None, before: str = ""
    ) -> "Child":
        """Start a command in the current folder.

        Args:
            stdout: file or descriptor; None collects the text.
            stderr: as stdout.
            terminal: the descriptor of a terminal, which becomes the command's own and all its streams.
            env: environment variables to change; None removes one.
            before: Python code that the child executes first.
        """
        if self._process is None:
            self._warm_up()
        outputs = {}
        descriptors = []
        for name, given in (("stdout", stdout), ("stderr", stderr)):
            if given is None and terminal is None:
                given = outputs[name] = tempfile.TemporaryFile()
            descriptors.append(
                terminal if given is None else given if isinstance(given, int) else given.fileno()
            )
        nowhere = os.open(os.devnull, os.O_RDONLY)
        status, report = os.pipe()
        request = {
            "words": words, "folder": os.getcwd(), "env": env or {}, "before": before, "terminal": terminal is not None,
        }  # fmt: skip
        streams = [nowhere if terminal is None else terminal, *descriptors, report]
        socket.send_fds(self._channel, [json.dumps(request).encode()], streams)
        os.close(nowhere)
        os.close(report)
        pid = int(self._channel.recv(100))
        return Child(words, pid, status, outputs)

    def close(self) -> None:
        """End the warm process."""
        if self._process is not None:
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

    def __init__(self, words, pid: int, status: int, outputs: dict) -> None:
        self.words = words
        self.pid = pid
        self._status = status
        self._outputs = outputs
        self._done: subprocess.CompletedProcess | None = None

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
        texts = {}
        for name, file in self._outputs.items():
            file.seek(0)
            texts[name] = file.read().decode()
            file.close()
        self._done = subprocess.CompletedProcess(self.words, code, texts.get("stdout"), texts.get("stderr"))
        return self._done


# The warm process.


def serve(channel: socket.socket) -> None:
    """Fork a child for each request until the tests close the channel."""
    children: dict[
        int, tuple[int, int]
    ] = {}  # descriptor of the process -> its number, pipe for its exit code
    while True:
        ready, _, _ = select.select([channel, *children], [], [])
        for watched in ready:
            if watched is channel:
                message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE, 4)
                if not message:
                    return
                pid = os.fork() or run(json.loads(message), descriptors)
                channel.send(str(pid).encode())
                children[os.pidfd_open(pid)] = pid, descriptors[3]
                for descriptor in set(descriptors[:3]):
                    os.close(descriptor)
            else:
                pid, report = children.pop(watched)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os.write(report, str(code).encode())
                os.close(report)
                os.close(watched)


def run(request: dict, descriptors: list[int]) -> int:
    """Run the command in this forked child; does not return."""
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
        sys.stderr.flush()
    finally:
        os._exit(code)


def _be_like_a_new_process(request: dict) -> None:
    import fcntl
    import termios

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
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8", write_through=unbuffered)
    sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), "utf-8", line_buffering=True)
    sys.argv = ["dlfound", *request["words"]]


def warm_up() -> None:
    """Import everything that a command needs, and train once."""
    import torch

    from dlfound.cli import main

    torch.set_num_threads(1)
    quick = ["data=moons", "data.rows=60", "model.hidden=[4]", "train.epochs=1"]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        with contextlib.redirect_stderr(io.StringIO()):
            code = main(["train", *quick, "early_stopping=none", "lr_decay=none", f"run.dir={folder}/run"])
            assert code == 0 and main(["eval", f"{folder}/run"]) == 0
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads: a fork is not safe"


if __name__ == "__main__":
    channel = socket.socket(fileno=int(sys.argv[1]))
    warm_up()
    channel.send(b"warm")
    serve(channel)
    os._exit(0)  # Python's own end would take seconds

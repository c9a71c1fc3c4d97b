"""Child processes forked from the test process, which has imported everything, so that they start quickly."""

import os
import signal
import sys


def fork(call, log):
    """Call a function in a child process, writing to the log and exiting with its result; returns the PID."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if the tests run in the background
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        with open(1, "w", closefd=False) as out, open(2, "w", closefd=False) as err:
            sys.stdout = out
            sys.stderr = err
            code = call()
    finally:
        os._exit(code)


def exit_code(pid):
    """Wait for the end of a child process; returns its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

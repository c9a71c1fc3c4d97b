"""Run `dlfound` in the test's own process, and read what it prints or reports."""

from dlfound.cli import main


def reported(capsys, *words, code=2):
    """The problems that a command reports: (message, fix) pairs."""
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    lines = err.splitlines()
    return list(zip(lines[::2], lines[1::2], strict=True))


def printed(capsys, *words):
    """The output of a command that succeeds and has no message."""
    assert main(list(words)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out

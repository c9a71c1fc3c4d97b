"""The command line: verbs to commands, failures to two lines and an exit code. Imports nothing heavy."""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from dlfound.errors import Code, Error, Problem, Stopped, printable
from dlfound.terminal import ready_streams

VERBS = ("train", "check", "sweep", "eval", "predict", "compare", "runs", "board", "options", "completion")
DOC = "train feed-forward nets from the command line: every choice is one word"


_WANTED = re.compile(r"allocate ([\d.]+ ?(?:bytes|[KMGT]iB))")  # as torch and NumPy say it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    if argv is not None:
        return _code(list(argv))
    out = ready_streams()
    code = _code(sys.argv[1:])
    sys.stdout.flush()
    if not (why := out.lost()):
        return code
    _tell(
        Error(f"cannot write to standard output: {why}", "make room, or name another place", Code.RESOURCES)
    )
    return code or int(Code.RESOURCES)


def _code(words: list[str]) -> int:
    """Run one command, and tell what ends it; its exit code."""
    try:
        return int(_dispatch(words))
    except Error as error:
        _tell(error)
        return int(error.code)
    except Stopped as stopped:
        print(f"dlfound: {printable(stopped)}", file=sys.stderr)
        return stopped.code
    except KeyboardInterrupt:
        print("dlfound: interrupted", file=sys.stderr)
        return 130
    except MemoryError as error:
        return _tell_no_memory(error)
    except Exception as error:
        if (
            "allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError"
        ):  # torch's, on either device
            return _tell_no_memory(error)
        return _tell_bug(error)


def _tell_no_memory(error: Exception) -> int:
    wanted = _WANTED.search(str(error))
    what = f"not enough memory{f': {wanted[1]} more were wanted' if wanted else ''}"
    _tell(Error(what, "take a smaller net, train.batch_size, or less data", Code.RESOURCES))
    return int(Code.RESOURCES)


def _own_line(error: Exception) -> str | None:
    """The innermost line of a file named with --with on the way to the error."""
    frame, found = error.__traceback__, None
    while frame is not None:
        if str(frame.tb_frame.f_globals.get("__name__", "")).startswith("dlfound_options_"):
            found = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        frame = frame.tb_next
    return found


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return Code.DONE
    if words[0] == "--version":
        from dlfound.version import VERSION

        print(f"dlfound {VERSION}")
        return Code.DONE
    if words[0] not in VERBS:
        raise _unknown_word(words[0], (*VERBS, "--help", "--version"), "verb")
    verb = importlib.import_module(f"dlfound.commands.{words[0]}")
    parsers = {name: partial(_parser, name) for name in VERBS}  # for the verb that completes the others
    try:
        args = _parser(words[0]).parse_intermixed_args(words[1:], argparse.Namespace(parsers=parsers))
    except SystemExit:  # argparse, after --help
        return Code.DONE
    return verb.command(args)


def _parser(name: str) -> argparse.ArgumentParser:
    verb = importlib.import_module(f"dlfound.commands.{name}")
    parser = _Parser(
        prog=f"dlfound {name}",
        description=verb.SUMMARY,
        epilog=verb.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.arguments(parser)
    return parser


def _help() -> str:
    lines = [f"dlfound: {DOC}", "", "usage: dlfound VERB ...", ""]
    width = max(map(len, VERBS))
    for verb in VERBS:
        lines.append(f"  {verb:<{width}}  {importlib.import_module(f'dlfound.commands.{verb}').SUMMARY}")
    return "\n".join(
        [*lines, "", "first:  dlfound train model=mlp optim=adam", "more:   dlfound VERB --help"]
    )


class _Parser(argparse.ArgumentParser):
    """Argparse, with its complaints in our own form."""

    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        _, _, rest = message.partition("unrecognized arguments: ")
        if rest.startswith("-"):
            raise _unknown_word(rest.split()[0], flags, "flag")
        if rest:
            raise Error(f"one word too many: {rest}", f"see {self.prog} --help", Code.CONFIG)
        raise Error(message, f"see {self.prog} --help", Code.CONFIG)


def _unknown_word(word: str, words: Sequence[str], what: str) -> Error:
    from dlfound.config.nearest import nearest

    told = f"unknown {what} {word!r}; choose from: {', '.join(words)}"
    return Error(told, f"did you mean {nearest(word, words)}?", Code.CONFIG)


def _tell(error: Error) -> None:
    kind = Code(error.code).name.lower()
    for problem in error.problems:
        print(_two_lines(kind, problem), file=sys.stderr)


def _two_lines(kind: str, problem: Problem) -> str:
    return f"dlfound: error[{kind}]: {printable(problem.what)}\n  fix: {printable(problem.fix)}"


def _tell_bug(error: Exception) -> int:
    if os.environ.get("DLFOUND_DEBUG"):
        raise error
    what = f"{type(error).__name__}: {str(error).partition(chr(10))[0] or 'no more is known'}"
    if place := _own_line(error):
        _tell(Error(f"{place}: {what}", "mend the file that was named with --with", Code.CONFIG))
        return int(Code.CONFIG)
    print(
        _two_lines("bug", Problem(what, "this is a fault of dlfound; DLFOUND_DEBUG=1 shows where")),
        file=sys.stderr,
    )
    return int(Code.BUG)

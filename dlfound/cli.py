"""The command line: it picks the verb, and turns failures into two lines and an exit code. Imports nothing heavy."""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

import dlfound
from dlfound.errors import Code, Error, Problem, Stopped, printable
from dlfound.terminal import ready_streams

VERBS = ("train", "check", "sweep", "eval", "predict", "compare", "runs", "board", "options", "completion")
DOC = "train feed-forward nets from the command line: every choice is one word"

_ALLOCATION = re.compile(r"allocate ([\d.]+ ?(?:bytes|[KMGT]iB))")  # in the errors of torch and NumPy


class Outcome:
    """The exit code of a command."""

    code: int = Code.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    outcome = Outcome()
    with standard_output(outcome, own=argv is None), reported(outcome):
        if words and words[0] in VERBS:
            if (args := parse(words)) is not None:
                outcome.code = importlib.import_module(f"dlfound.commands.{words[0]}").command(args)
        else:
            print(answer(words))
    return int(outcome.code)


@contextmanager
def standard_output(outcome: Outcome, own: bool) -> Iterator[None]:
    """Print to streams that never raise, and report at the end if the output could not be written.

    Args:
        own: False leaves the streams of a calling program alone.
    """
    if not own:
        yield
        return
    out = ready_streams()
    yield
    sys.stdout.flush()
    if reason := out.lost():
        fix = "free some space, or write to another place"
        _print_error(Error(f"cannot write to standard output: {reason}", fix, Code.RESOURCES))
        outcome.code = outcome.code or Code.RESOURCES


@contextmanager
def reported(outcome: Outcome) -> Iterator[None]:
    """Turn every exception into lines on standard error and an exit code."""
    try:
        yield
    except Error as error:
        outcome.code = error.code
        _print_error(error)
    except Stopped as stopped:
        outcome.code = stopped.code
        print(f"dlfound: {printable(stopped)}", file=sys.stderr)
    except KeyboardInterrupt:
        outcome.code = 130
        print("dlfound: interrupted", file=sys.stderr)
    except Exception as error:
        if os.environ.get("DLFOUND_DEBUG") and not _is_out_of_memory(error):
            raise
        outcome.code = _print_unexpected(error)


def answer(words: Sequence[str]) -> str:
    """The text for a command without a verb: the help, or the version.

    Raises:
        Error: an unknown verb (code 2).
    """
    if not words or words[0] in ("-h", "--help"):
        return _help()
    if words[0] == "--version":
        return f"dlfound {dlfound.__version__}"
    raise _unknown_verb(words[0], (*VERBS, "--help", "--version"))


def parse(words: Sequence[str]) -> argparse.Namespace | None:
    """The arguments of a verb; None after --help.

    Raises:
        Error: an argument that the verb does not have (code 2).
    """
    parsers = {name: partial(_parser, name) for name in VERBS}  # for `completion`, which completes all verbs
    parser = _parser(words[0])
    parser.words = words[1:]
    try:
        return parser.parse_intermixed_args(words[1:], argparse.Namespace(parsers=parsers))
    except SystemExit:
        return None


def _parser(name: str) -> "_Parser":
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
        summary = importlib.import_module(f"dlfound.commands.{verb}").SUMMARY
        lines.append(f"  {verb:<{width}}  {summary}")
    return "\n".join(
        [*lines, "", "first:  dlfound train model=mlp optim=adam", "more:   dlfound VERB --help"]
    )


class _Parser(argparse.ArgumentParser):
    """argparse, with errors in the form of the program."""

    words: Sequence[str] = ()  # the command, without the verb

    def error(self, message: str) -> NoReturn:
        _, _, rest = message.partition("unrecognized arguments: ")
        if flags := [word for word in rest.split() if word.startswith("-")]:
            raise Error.of([self._unknown_flag(flag) for flag in flags], Code.CONFIG)
        if rest:
            raise Error(f"unexpected argument: {rest}", f"see {self.prog} --help", Code.CONFIG)
        raise Error(message, f"see {self.prog} --help", Code.CONFIG)

    def _unknown_flag(self, flag: str) -> Problem:
        """A flag that the verb does not have; of a flag that means a setting, the override to write."""
        from dlfound.config.suggest import Suggestions, similar
        from dlfound.config.yaml_files import scalar
        from dlfound.options.configure import catalog, full_catalog

        flags = [flag for action in self._actions for flag in action.option_strings]
        name, equals, value = flag.partition("=")
        if not equals:
            following = next(iter(self.words[list(self.words).index(flag) + 1 :]), "")
            value = "true" if not following or following.startswith("-") or "=" in following else following
        catalogs = {"OVERRIDE": catalog, "SPACE": full_catalog}
        takes = [catalogs[action.metavar] for action in self._actions if action.metavar in catalogs]
        override = Suggestions(takes[0]()).flag(name, scalar(value)) if takes else ""
        near = similar(name, flags)
        fix = f"did you mean {near}?" if near else f"see {self.prog} --help"
        if override:
            fix = f"a setting has no dashes: write {override}"
        return Problem(f"unknown flag {flag!r}; choose from: {', '.join(flags)}", fix)


def _unknown_verb(word: str, words: Sequence[str]) -> Error:
    from dlfound.config.suggest import similar_verb

    near = similar_verb(word, words)
    fix = f"did you mean {near}?" if near else "see dlfound --help"
    return Error(f"unknown verb {word!r}; choose from: {', '.join(words)}", fix, Code.CONFIG)


# Errors.


def _print_error(error: Error) -> None:
    kind = Code(error.code).name.lower()
    for problem in error.problems:
        _print_problem(kind, problem)


def _print_problem(kind: str, problem: Problem) -> None:
    text = f"dlfound: error[{kind}]: {printable(problem.what)}\n  fix: {printable(problem.fix)}"
    print(text, file=sys.stderr)


def _is_out_of_memory(error: Exception) -> bool:
    """True for the errors of Python, and of torch on the CPU and on a GPU."""
    is_torch = "allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or is_torch


def _print_unexpected(error: Exception) -> Code:
    """Print an exception that is no `Error`: memory, a fault in a file of the person's own, or a bug."""
    if _is_out_of_memory(error):
        request = _ALLOCATION.search(str(error))
        size = f": cannot allocate another {request[1]}" if request else ""
        _print_problem(
            "resources",
            Problem(f"not enough memory{size}", "use a smaller net, train.batch_size, or less data"),
        )
        return Code.RESOURCES
    message = f"{type(error).__name__}: {str(error).partition(chr(10))[0] or 'no message'}"
    if place := _line_of_own_file(error):
        _print_problem("config", Problem(f"{place}: {message}", "correct the file that --with names"))
        return Code.CONFIG
    _print_problem("bug", Problem(message, "this is a bug in dlfound; DLFOUND_DEBUG=1 shows the traceback"))
    return Code.BUG


def _line_of_own_file(error: Exception) -> str | None:
    """The innermost line of a file named by --with in the traceback."""
    place = None
    traceback = error.__traceback__
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if module.startswith("dlfound_options_"):
            place = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place

"""The command line: it picks the verb, and turns failures into two lines and an exit code.

It imports nothing heavy.
"""

import argparse
import importlib
import os
import re
import sys
import traceback
from collections.abc import Collection, Sequence
from functools import partial
from typing import NoReturn

import dlfound
from dlfound.errors import Code, Error, Problem, Stopped, printable
from dlfound.terminal import ready_streams

VERBS = ("train", "check", "sweep", "eval", "predict", "compare", "runs", "board", "options", "completion")
DOC = "train feed-forward nets from the command line: every choice is one word"

_ALLOCATION = re.compile(r"allocate ([\d.]+ ?(?:bytes|[KMGT]iB))")  # in the errors of torch and NumPy


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. A calling program that passes `argv` keeps its streams."""
    words = list(sys.argv[1:] if argv is None else argv)
    out = ready_streams() if argv is None else None
    code: int = Code.DONE
    try:
        if not words or words[0] not in VERBS:
            print(answer(words))
        elif (args := parse(words)) is not None:
            code = importlib.import_module(f"dlfound.commands.{words[0]}").command(args)
    except Error as error:
        code = _report(error)
    except Stopped as stopped:
        code = stopped.code
        print(f"dlfound: {printable(stopped)}", file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
        print("dlfound: interrupted", file=sys.stderr)
    except Exception as error:
        if os.environ.get("DLFOUND_DEBUG") and not _is_out_of_memory(error):
            raise
        code = _report(_unexpected(error))
    if out is not None:
        sys.stdout.flush()
        if reason := out.lost():
            fix = "free some space, or write to another place"
            lost = _report(Error(f"cannot write to standard output: {reason}", fix, Code.RESOURCES))
            code = code or lost
    return int(code)


def answer(words: Sequence[str]) -> str:
    """The text for a command without a verb: the help, or the version.

    Raises:
        Error: an unknown verb (code 2).
    """
    if not words or words[0] in ("-h", "--help"):
        return _help()
    if words[0] == "--version":
        return f"dlfound {dlfound.__version__}"
    known = (*VERBS, "--help", "--version")
    message = f"unknown verb {words[0]!r}; choose from: {', '.join(known)}"
    raise Error(message, _near_or_help(words[0], known, "dlfound"), Code.CONFIG)


def _near_or_help(word: str, words: Collection[str], command: str) -> str:
    """What to do about a word that is not one of `words`."""
    from dlfound.config.suggest import similar_word

    near = similar_word("verb", word, words)
    return f"did you mean {near}?" if near else f"see {command} --help"


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
    width = max(map(len, VERBS))
    lines = [f"dlfound: {DOC}", "", "usage: dlfound VERB ...", ""]
    for verb in VERBS:
        lines.append(f"  {verb:<{width}}  {importlib.import_module(f'dlfound.commands.{verb}').SUMMARY}")
    lines += ["", "first:  dlfound train model=mlp optim=adam", "more:   dlfound VERB --help"]
    return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    """argparse, with errors in the form of the program."""

    words: Sequence[str] = ()  # the command, without the verb

    def error(self, message: str) -> NoReturn:
        _, _, rest = message.partition("unrecognized arguments: ")
        if flags := [word for word in rest.split() if word.startswith("-")]:
            raise Error.of([self._unknown_flag(flag) for flag in flags], Code.CONFIG)
        what = f"unexpected argument: {rest}" if rest else message
        raise Error(what, f"see {self.prog} --help", Code.CONFIG)

    def _check_value(self, action: argparse.Action, value: str) -> None:
        """Refuse a word that is not among the choices; argparse would do it in its own words."""
        if action.choices is not None and value not in action.choices:
            noun = str(action.metavar or action.option_strings[0]).lower()
            what = f"no {noun} named {value!r}; choose from: {', '.join(action.choices)}"
            raise Error(what, _near_or_help(value, action.choices, self.prog), Code.CONFIG)

    def _unknown_flag(self, flag: str) -> Problem:
        """A flag that the verb does not have; of a flag that means a setting, the override to write."""
        from dlfound.config.suggest import Suggestions
        from dlfound.config.yaml_files import scalar
        from dlfound.options.configure import CATALOGS

        flags = list(self._option_string_actions)
        name, equals, value = flag.partition("=")
        if not equals:
            following = next(iter(self.words[list(self.words).index(flag) + 1 :]), "")
            value = "true" if not following or following.startswith("-") or "=" in following else following
        takes = [CATALOGS[action.metavar] for action in self._actions if action.metavar in CATALOGS]
        fix = Suggestions(takes[0]()).flag(name, scalar(value)) if takes else ""
        fix = fix or _near_or_help(name, flags, self.prog)
        return Problem(f"unknown flag {flag!r}; choose from: {', '.join(flags)}", fix)


# Errors.


def _report(error: Error) -> int:
    """Print an error on standard error; returns its exit code."""
    kind = Code(error.code).name.lower()
    for problem in error.problems:
        text = f"dlfound: error[{kind}]: {printable(problem.what)}\n  fix: {printable(problem.fix)}"
        print(text, file=sys.stderr)
    return error.code


def _is_out_of_memory(error: Exception) -> bool:
    """True for the errors of Python, and of torch on the CPU and on a GPU."""
    is_torch = "allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or is_torch


def _unexpected(error: Exception) -> Error:
    """Explain an exception other than `Error`: out of memory, a fault in the user's file, or a bug."""
    if _is_out_of_memory(error):
        request = _ALLOCATION.search(str(error))
        size = f": cannot allocate another {request[1]}" if request else ""
        fix = "use a smaller net, train.batch_size, or less data"
        return Error(f"not enough memory{size}", fix, Code.RESOURCES)
    message = f"{type(error).__name__}: {str(error).partition(chr(10))[0] or 'no message'}"
    own_lines = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith("dlfound_options_")  # a file named by --with
    ]
    if own_lines:
        return Error(f"{own_lines[-1]}: {message}", "correct the file that --with names", Code.CONFIG)
    return Error(message, "this is a bug in dlfound; DLFOUND_DEBUG=1 shows the traceback", Code.BUG)

"""`dlfound completion`: the script that makes a shell complete words, and the answers for the script."""

import argparse
from importlib.resources import files

from dlfound.commands.completion_words import Answer, complete
from dlfound.errors import Code, Error, printable

SUMMARY = "print the script that makes your shell complete words"
EXAMPLES = """\
examples:
  eval "$(dlfound completion bash)"         in ~/.bashrc
  eval "$(dlfound completion zsh)"          in ~/.zshrc
  dlfound completion fish | source          in ~/.config/fish/config.fish
  dlfound completion --line 'dlfound tr'    the words that fit, as the script asks for them
"""

# Each script, completion.SHELL, passes the line up to the cursor to dlfound. The first line of the answer
# says what the shell completes itself if no word follows; each other line is a word, a tab and its meaning.
SHELLS = ("bash", "zsh", "fish")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("shell", nargs="?", choices=SHELLS, metavar="SHELL", help=" or ".join(SHELLS))
    parser.add_argument("--line", help="print the words that may end this command line, not a script")


def command(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    if args.line is not None:
        print(_answer(args))
    elif args.shell is not None:
        script = files("dlfound.commands") / f"completion.{args.shell}"
        print(script.read_text(encoding="utf-8"), end="")
    else:
        raise Error("no shell is named", f"write dlfound completion {' or '.join(SHELLS)}", Code.CONFIG)
    return Code.DONE


def _answer(args: argparse.Namespace) -> str:
    """Return the answer in the form that the scripts read."""
    try:
        answer = complete(args.line, args.parsers)
    except Error:  # a broken folder of options: reported when the command runs
        answer = Answer()
    words = [f"{word}\t{printable(meaning)}" for word, meaning in answer.words.items()]
    return "\n".join([answer.otherwise, *words])

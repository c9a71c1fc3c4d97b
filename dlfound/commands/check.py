"""`dlfound check`: the debugging part of the lecture, before a long run."""

import argparse
import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlfound.checks import NAMES
from dlfound.errors import printable
from dlfound.options.configure import load_options, own_options
from dlfound.terminal import stoppable

if TYPE_CHECKING:
    from dlfound.checks.run import Verdicts

SUMMARY = "look for faults before a long run: gradients, first loss, learning rate, data ..."
EXAMPLES = """\
examples:
  dlfound check                                        what dlfound train would train
  dlfound check data=spirals optim=sgd optim.lr=0.5    the same words and settings
  dlfound check --only learning_rate                   one check; the range test is drawn into --out
  dlfound check --json                                 for programs
  dlfound train --check train.epochs=500               check first, train if nothing fails
"""
WIDEST = 100  # characters of a line, for reading


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as those of dlfound train")
    own_options(parser)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=NAMES,
        metavar="NAME",
        help=f"one of {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="where check.json and the plot go (outputs/check/<run.name>)"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON and nothing else")


def command(args: argparse.Namespace) -> int:
    """The verb: exit code 0 where nothing failed, else 5."""
    load_options(args.files)
    config = _configure(args.overrides, args.config_dir)
    out = Path(args.out).expanduser() if args.out else _usual_place(config)
    with stoppable():
        from dlfound.checks.run import check_config  # brings in torch

        verdicts = check_config(
            config, None, args.only, out, f"dlfound {shlex.join(sys.argv[1:])}", shown=True
        )
    print(
        json.dumps(verdicts.content, indent=2, ensure_ascii=False) if args.json else describe(verdicts, out)
    )
    return verdicts.code


def _configure(words: Sequence[str], config_dirs: Sequence[str | Path]) -> Any:
    from dlfound.runs.resume import configure_run

    return configure_run(words, config_dirs)[0]


def _usual_place(config: Any) -> Path:
    from dlfound.runs.folder import OUTPUTS

    return OUTPUTS / "check" / config["run"]["name"]


def describe(verdicts: "Verdicts", out: Path) -> str:
    """What was found, for a person: a paragraph a finding, then the sum of it."""
    from dlfound.checks.run import FILE, PLOT, line_of, remedy

    width, lines = min(shutil.get_terminal_size((WIDEST, 0)).columns, WIDEST), []
    for name, finding in verdicts.findings():
        lines.append(_wrapped(line_of(name, finding), width, ""))
        if remedy(finding):
            lines.append(_wrapped(remedy(finding), width, " " * 6))
    counts = [done.verdict for done in verdicts.checks.values()]
    told = ", ".join(f"{counts.count(word)} {word}" for word in ("pass", "warn", "fail") if word in counts)
    seconds = sum(found["seconds"] for found in verdicts.content["checks"])
    files = " and ".join([FILE, *[PLOT] * ("learning_rate" in verdicts.checks)])
    return "\n".join([*lines, f"{told}, {seconds:.1f} s", printable(f"{files} in {out}")])


def _wrapped(text: str, width: int, indent: str) -> str:
    return textwrap.fill(
        text, max(width, 30), initial_indent=indent, subsequent_indent=" " * 6, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip

"""`dlfound check`: look for faults before a long run, as the lecture recommends for debugging."""

import argparse
import json
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from dlfound.checks import NAMES
from dlfound.checks.result import PASS, SEVERITY, Finding
from dlfound.commands.options import own_options
from dlfound.commands.text_table import GAP, table, width
from dlfound.errors import printable
from dlfound.options.configure import load_options
from dlfound.runs.folder import OUTPUTS
from dlfound.runs.resume import configure_run
from dlfound.terminal import stoppable

if TYPE_CHECKING:
    from dlfound.checks.run import CheckReport

SUMMARY = "look for faults before a long run: gradients, initial loss, learning rate, data ..."
EXAMPLES = """\
examples:
  dlfound check                                        check what dlfound train would train
  dlfound check data=spirals optim=sgd optim.lr=0.5    use the same overrides as for dlfound train
  dlfound check --only learning_rate                   run one check; --out gets a plot of its range test
  dlfound check --json                                 print the results for a program
  dlfound train --check train.epochs=500               check first, and train if no check fails
"""
MEANING = "what it means"
COLUMNS = ["verdict", "check", "number", "usual", MEANING]
LEAST = 24  # characters for the meaning; a narrower terminal loses "usual", then "number"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="the same as for dlfound train")
    own_options(parser)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=NAMES,
        metavar="NAME",
        help=f"run this check only; repeat it for several: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="the folder for check.json and the plot (outputs/check/<run.name>)"
    )
    parser.add_argument("--json", action="store_true", help="print check.json instead of the table")


def command(args: argparse.Namespace) -> int:
    """Run the verb; the exit code is 0 if no check failed, else 5."""
    load_options(args.files)
    config = configure_run(args.overrides, args.config_dir)[0]
    out = Path(args.out).expanduser() if args.out else OUTPUTS / "check" / config["run"]["name"]
    typed = f"dlfound {shlex.join(sys.argv[1:])}"
    with stoppable():
        from dlfound.checks.run import check_config  # imports torch

        report = check_config(config, None, args.only, out, typed, shown=True)
    if args.json:
        print(json.dumps(report.content, indent=2, ensure_ascii=False))
    else:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(describe(report, out, columns))
    return report.code


def describe(report: "CheckReport", out: Path, columns: int | None) -> str:
    """Return the table of findings, the fixes and a summary.

    Args:
        out: the folder of check.json.
        columns: the width of the terminal; None to wrap nothing.
    """
    from dlfound.checks.run import FILE, PLOT

    findings = report.findings()
    sections = [_table(findings, columns), _fixes(findings, columns), _summary(report)]
    files = f"{FILE} and {PLOT} are" if "learning_rate" in report.checks else f"{FILE} is"
    sections[-1] += f"\n{files} in {printable(out)}"
    return "\n\n".join(section for section in sections if section)


def _table(findings: list[tuple[str, Finding]], columns: int | None) -> str:
    """Lay out one finding a row; in a terminal the last column wraps at the edge."""
    rows = [_row(name, finding) for name, finding in findings]
    shown = COLUMNS
    if columns is None:
        return table(rows, shown)
    for dropped in ("usual", "number"):
        if columns - width(rows, shown[:-1]) - len(GAP) < LEAST:
            shown = [column for column in shown if column != dropped]
    room = max(columns - width(rows, shown[:-1]) - len(GAP), LEAST // 2)
    return table([line for row in rows for line in _wrapped(row, room)], shown)


def _row(name: str, finding: Finding) -> dict[str, str]:
    cells = [finding.verdict, name, finding.number_text, finding.usual or "-", finding.meaning]
    return {column: printable(cell) for column, cell in zip(COLUMNS, cells, strict=True)}


def _wrapped(row: dict[str, str], room: int) -> list[dict[str, str]]:
    """Split a row into lines in which the meaning has at most `room` characters."""
    empty = dict.fromkeys(COLUMNS, "")
    texts = textwrap.wrap(row[MEANING], room, break_on_hyphens=False)
    return [{**(row if i == 0 else empty), MEANING: text} for i, text in enumerate(texts)]


def _fixes(findings: list[tuple[str, Finding]], columns: int | None) -> str:
    """Say what to change, a line for each finding that does not pass; an override is never split."""
    lines = [f"fix {name}: {finding.fix}" for name, finding in findings if finding.verdict != PASS]
    lines = [printable(line) for line in lines]
    if columns is not None:
        lines = [
            textwrap.fill(
                line,
                max(columns, LEAST),
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in lines
        ]
    return "\n".join(lines)


def _summary(report: "CheckReport") -> str:
    verdicts = [result.verdict for result in report.checks.values()]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in SEVERITY if verdict in verdicts)
    seconds = sum(entry["seconds"] for entry in report.content["checks"])
    return f"{counts} in {seconds:.1f} s"

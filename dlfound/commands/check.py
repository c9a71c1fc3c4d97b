"""`dlfound check`: look for faults before a long run, as the lecture recommends for debugging."""

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path
from textwrap import TextWrapper, wrap
from typing import TYPE_CHECKING

from dlfound.checks import NAMES, PASS, SEVERITY, Finding
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
FINDING_COLUMNS = ["verdict", "check", "number", "usual", MEANING]
LEAST = 24  # characters for the meaning; a narrower terminal loses "usual", then "number"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="the same as for dlfound train")
    own_options(parser)
    help_text = f"run this check only; repeat it for several: {', '.join(NAMES)}"
    parser.add_argument("--only", action="append", default=[], choices=NAMES, metavar="CHECK", help=help_text)
    help_text = "the folder for check.json and the plot (outputs/check/<run.name>)"
    parser.add_argument("--out", metavar="DIR", help=help_text)
    parser.add_argument("--json", action="store_true", help="print check.json instead of the table")


def command(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    load_options(args.files)
    config = configure_run(args.overrides, args.config_dir)[0]
    out = Path(args.out).expanduser() if args.out else OUTPUTS / "check" / config["run"]["name"]
    typed = f"dlfound {shlex.join(sys.argv[1:])}"
    with stoppable():
        from dlfound.checks.run import check_config  # imports torch

        report = check_config(config, None, args.only, out, typed, shown=True)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    content = json.dumps(report.content, indent=2, ensure_ascii=False)
    print(content if args.json else report_text(report, out, columns))
    return report.code


def report_text(report: "CheckReport", out: Path, columns: int) -> str:
    """Return the table of findings, the fixes and a summary.

    Args:
        out: the folder of check.json.
        columns: the width of the terminal.
    """
    from dlfound.checks.run import FILE, PLOT

    findings = report.findings()
    fixes = [f"fix {name}: {finding.fix}" for name, finding in findings if finding.verdict != PASS]
    wrapper = TextWrapper(max(columns, LEAST), "", "  ", break_long_words=False, break_on_hyphens=False)
    verdicts = [result.verdict for result in report.checks.values()]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in SEVERITY if verdict in verdicts)
    seconds = sum(entry["seconds"] for entry in report.content["checks"])
    files = f"{FILE} and {PLOT} are" if "learning_rate" in report.checks else f"{FILE} is"
    sections = [
        _table(findings, columns),
        "\n".join(wrapper.fill(printable(line)) for line in fixes),  # an override is never split
        f"{counts} in {seconds:.1f} s\n{files} in {printable(out)}",
    ]
    return "\n\n".join(section for section in sections if section)


def _table(findings: list[tuple[str, Finding]], columns: int) -> str:
    """Lay out one finding a row; in a terminal the last column wraps at the edge."""
    rows = []
    for name, finding in findings:
        cells = [finding.verdict, name, finding.number_text, finding.usual or "-", finding.meaning]
        rows.append(dict(zip(FINDING_COLUMNS, map(printable, cells), strict=True)))
    shown = FINDING_COLUMNS
    for dropped in ("usual", "number"):
        if columns - width(rows, shown[:-1]) - len(GAP) < LEAST:
            shown = [column for column in shown if column != dropped]
    room = max(columns - width(rows, shown[:-1]) - len(GAP), LEAST // 2)
    lines = []
    for row in rows:
        first, *others = wrap(row[MEANING], room, break_on_hyphens=False)
        lines.append({**row, MEANING: first})
        lines += [{**dict.fromkeys(FINDING_COLUMNS, ""), MEANING: other} for other in others]
    return table(lines, shown)

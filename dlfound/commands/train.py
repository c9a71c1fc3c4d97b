"""`dlfound train`: train a net as the overrides ask, into a run's folder."""

import argparse
import json
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from dlfound.commands.options import own_options
from dlfound.commands.text_table import result_table
from dlfound.errors import Code, printable
from dlfound.objective.tasks import CHEAP_METRICS
from dlfound.options.configure import load_options
from dlfound.runs.resume import configure_run
from dlfound.terminal import stoppable

if TYPE_CHECKING:
    from dlfound.runs.run import Run

SUMMARY = "train a net, or resume a run"
EXAMPLES = """\
examples:
  dlfound train                                        an MLP on the digits, with Adam
  dlfound train optim=sgd optim.lr=0.05                choose another option, and change a setting
  dlfound train data=spirals model.hidden=[64,64] activation=tanh
  dlfound train batchnorm=batch dropout=standard train.epochs=50
  dlfound train experiment=spirals_depth               a whole configuration by name
  dlfound train data=table data.path=my.csv data.target=price --dry-run
  dlfound train resume=latest                          resume a run that was stopped or killed
  dlfound train resume=latest train.epochs=400         train a finished run for more epochs
  dlfound train --check train.epochs=500               look for faults before a long run
  dlfound train optim=momentum --cfg                   print every setting and where it comes from
  dlfound options                                      list all options
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="group=option, group.setting=value, or resume=RUN"
    )
    own_options(parser)
    parser.add_argument("-m", "--multirun", action="store_true", help="do what dlfound sweep does")
    parser.add_argument(
        "--cfg", action="store_true", help="print every setting and where it comes from; train nothing"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print how dlfound understands the data; train nothing"
    )
    parser.add_argument(
        "--check", action="store_true", help="run dlfound check first; train only if nothing fails"
    )
    parser.add_argument("--json", action="store_true", help="print only the report, as JSON")


def command(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    if args.multirun:
        from dlfound.commands import sweep

        return sweep.command(args)
    load_options(args.files)
    config, path = configure_run(args.overrides, args.config_dir)
    if args.cfg:
        print(json.dumps(config.tree, indent=2, ensure_ascii=False) if args.json else config.shown())
        return Code.DONE
    if args.dry_run:
        from dlfound.commands.dry_run import show  # imports torch

        show(config, args.json)
        return Code.DONE
    with stoppable() as stop:
        from dlfound.runs.train import add_nothing, raise_divergence, run_training  # imports torch

        command = f"dlfound {shlex.join(sys.argv[1:])}"
        add_files = _check(config, command) if args.check else add_nothing
        run = run_training(config, path, None, command, shown=True, stop=stop, add_files=add_files)
    print(json.dumps(run.report, indent=2, ensure_ascii=False) if args.json else describe(run))
    raise_divergence(run)
    return Code.DONE


def _check(config: Any, command: str) -> Any:
    """Check the configuration; return a function that adds check.json to the run's folder.

    Raises:
        Error: a check fails (code 5).
    """
    from dlfound.checks.run import attach, check_config, refuse_failed

    verdicts = check_config(config, None, (), None, command, shown=True)
    refuse_failed(verdicts)
    return partial(attach, verdicts)


def describe(run: "Run") -> str:
    """Return the result for a person: the net, a short table, the end of the training, the run's folder."""
    report = run.report
    shown = [name for name in report["test"] if name in (*CHEAP_METRICS, report["monitor"])]
    metrics = {part: {name: report[part][name] for name in shown} for part in ("train", "val", "test")}
    net = f"{report['net']}, {report['parameters']:,} parameters, {report['device']}"
    end = f"best epoch {report['best_epoch']} of {report['epochs_run']} ({report['stopped_by']})"
    return "\n".join([
        f"{report['data']['name']}: {net}",
        result_table(metrics),
        f"{end}, {report['seconds']['total']:.1f} s",
        printable(run.path),
    ])  # fmt: skip

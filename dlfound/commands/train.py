"""`dlfound train`: from a configuration to a run's folder."""

import argparse
import json
import shlex
import sys
from functools import partial
from typing import Any

from dlfound.commands.options import own_options
from dlfound.commands.result_table import result_table
from dlfound.errors import Code, printable
from dlfound.objective.tasks import CHEAP_METRICS
from dlfound.options.configure import load_options
from dlfound.runs.resume import configure_run
from dlfound.terminal import stoppable

SUMMARY = "train a net"
EXAMPLES = """\
examples:
  dlfound train                                        digits, an MLP, Adam
  dlfound train optim=sgd optim.lr=0.05                change words and settings
  dlfound train data=spirals model.hidden=[64,64] activation=tanh
  dlfound train batchnorm=batch dropout=standard train.epochs=50
  dlfound train experiment=spirals_depth               whole settings by name
  dlfound train data=table data.path=my.csv data.target=price --dry-run
  dlfound train resume=latest                          go on with a run that was stopped or killed
  dlfound train resume=latest train.epochs=400         or with one that is done, for longer
  dlfound train --check train.epochs=500               look for faults before a long run
  dlfound train optim=momentum --cfg                   what that means, value by value
  dlfound options                                      every word there is
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="group=option, or node.setting=value"
    )
    own_options(parser)
    parser.add_argument("-m", "--multirun", action="store_true", help="the same as dlfound sweep")
    parser.add_argument(
        "--cfg", action="store_true", help="print every value and where it comes from; train nothing"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read the data and say how they are understood; train nothing"
    )
    parser.add_argument(
        "--check", action="store_true", help="check first (see dlfound check); train only if all holds"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")


def command(args: argparse.Namespace) -> int:
    """The verb: exit code."""
    if args.multirun:
        from dlfound.commands import sweep

        return sweep.command(args)
    load_options(args.files)
    config, path = configure_run(args.overrides, args.config_dir)
    if args.cfg:
        print(json.dumps(config.tree, indent=2, ensure_ascii=False) if args.json else config.shown())
        return Code.DONE
    if args.dry_run:
        from dlfound.commands.dry_run import show  # brings in torch

        show(config, args.json)
        return Code.DONE
    with stoppable() as stop:
        from dlfound.runs.train import add_nothing, raise_failure, run_training  # brings in torch

        command = f"dlfound {shlex.join(sys.argv[1:])}"
        add_files = _checked(config, command) if args.check else add_nothing
        run, code = run_training(config, path, None, command, shown=True, stop=stop, add_files=add_files)
    print(json.dumps(run.report, indent=2, ensure_ascii=False) if args.json else describe(run))
    raise_failure(run, code)
    return code


def _checked(config: Any, command: str) -> Any:
    """Make the checks first; returns what is to be done with their verdicts in the run's folder."""
    from dlfound.checks.run import attach, check_config, refuse_failed

    verdicts = check_config(config, None, (), None, command, shown=True)
    refuse_failed(verdicts)
    return partial(attach, verdicts)


def describe(run: Any) -> str:
    """The result for a person: a short table and the run's folder."""
    report = run.report
    shown = [name for name in report["test"] if name in (*CHEAP_METRICS, report["monitor"])]
    parts = {part: {name: report[part][name] for name in shown} for part in ("train", "val", "test")}
    what = (
        f"{report['data']['name']}: {report['net']}, {report['parameters']:,} parameters, {report['device']}"
    )
    how = f"best epoch {report['best_epoch']} of {report['epochs_run']} ({report['stopped_by']})"
    return f"{what}\n{result_table(parts)}\n{how}, {report['seconds']['total']:.1f} s\n{printable(run.path)}"

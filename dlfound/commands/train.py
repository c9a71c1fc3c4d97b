"""`dlfound train`: train a net as the overrides ask, into a run's folder."""

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import lazy_loader

from dlfound.commands.options import own_options
from dlfound.commands.text_table import print_table, result_table
from dlfound.config.config import Config
from dlfound.data.columns import CATEGORY, FIRST, MISSING, UNKNOWN
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, printable
from dlfound.objective.tasks import CHEAP_METRICS
from dlfound.options.configure import load_options
from dlfound.runs.resume import configure_run
from dlfound.terminal import say, stoppable

np = lazy_loader.load("numpy")

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
INPUT_COLUMNS = ("column", "kind", "missing", "values", "becomes")
RANKED = ("column", "kind", "becomes", "missing", "values")  # a narrow terminal loses the last ones first
COMMON = 3  # categories that a row names
LONGEST = 20  # characters of a category
CLASSES = 10  # that are counted


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    help_text = "group=option, group.setting=value, or resume=RUN"
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=help_text)
    own_options(parser)
    parser.add_argument("-m", "--multirun", action="store_true", help="do what dlfound sweep does")
    help_text = "print every setting and where it comes from; train nothing"
    parser.add_argument("--cfg", action="store_true", help=help_text)
    help_text = "print how dlfound understands the data; train nothing"
    parser.add_argument("--dry-run", action="store_true", help=help_text)
    help_text = "run dlfound check first; train only if nothing fails"
    parser.add_argument("--check", action="store_true", help=help_text)
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
        dry_run(config, args.json)
        return Code.DONE
    with stoppable() as stop:
        from dlfound.runs.train import add_nothing, raise_divergence, run_training  # imports torch

        command = f"dlfound {shlex.join(sys.argv[1:])}"
        add_files = _check(config, command) if args.check else add_nothing
        run = run_training(config, path, None, command, shown=True, stop=stop, add_files=add_files)
    print(json.dumps(run.report, indent=2, ensure_ascii=False) if args.json else result_text(run))
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


def result_text(run: "Run") -> str:
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


# The dry run.


def dry_run(config: Config, as_json: bool) -> None:
    """Print how dlfound understands the data, a row for each column; with `as_json`, print one object."""
    from dlfound.runs.parts import check_task  # imports torch
    from dlfound.runs.train import load_data
    from dlfound.training.assemble import assemble, resolve
    from dlfound.training.device import find_device

    dataset = load_data(config)
    check_task(config, dataset)
    resolved, notes = resolve(config, dataset.task)
    network = assemble(resolved, dataset, find_device(config["run"]["device"])).network
    plan = network.preprocessing.plan
    widths = [network.body.inputs, *resolved.build("model")(), network.body.output.out_features]
    for text in (*dataset.notes, *notes, *(f"warning: {text}" for text in dataset.warnings)):
        say(text)
    if as_json:
        print(json.dumps(dataset.schema() | {"plan": plan, "net": widths}, indent=2, ensure_ascii=False))
        return
    print(_head(config, dataset))
    if dataset.preparation:
        hint = "a pipe and --json show all of them"
        print_table(_rows(config, dataset, plan), INPUT_COLUMNS, RANKED, hint)
    print(f"net: {'-'.join(map(str, widths))}; nothing was trained")


def _head(config: Config, dataset: Dataset) -> str:
    """Return two lines about the rows and the targets."""
    counts = ", ".join(f"{part} {len(rows):,}" for part, rows in dataset.parts.items())
    inputs = f"{len(dataset.features):,} inputs"
    target = ", ".join(map(printable, config["data"].get("target", dataset.names)))
    task = f"{dataset.task} of {target}" if target else dataset.task
    if dataset.classes:
        rows = Counter(dataset.targets.tolist())
        classes = [f"{printable(name)}: {rows[k]:,}" for k, name in enumerate(dataset.classes)]
        if len(classes) > CLASSES:
            classes[CLASSES:] = ["..."]
        task += f" ({', '.join(classes)})"
    return f"{config.name('data')}: {len(dataset.inputs):,} rows ({counts}), {inputs}\n{task}"


def _rows(config: Config, dataset: Dataset, plan: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row for each input, for each dropped column, and for each one that has another purpose."""
    data = config["data"]
    cells = []
    for k, column in enumerate(dataset.preparation.columns):
        describe_column = _category if column.kind == CATEGORY else _number
        cells.append((column.name, column.kind, *describe_column(dataset, plan, k)))
    cells += [(name, "dropped", "", reason, "") for name, reason in dataset.preparation.dropped.items()]
    cells += [(name, "target", "", "", "") for name in data["target"]]
    cells += [(name, "left out", "", "", "") for name in data["drop"]]
    cells += [(data[key], key, "", "", "") for key in ("group", "weight") if data[key]]
    return [dict(zip(INPUT_COLUMNS, map(printable, texts), strict=True)) for texts in cells]


def _number(dataset: Dataset, plan: Mapping[str, Any], k: int) -> tuple[str, str, str]:
    """Return the missing values, the lowest, median and highest value, and the inputs that they become."""
    values = dataset.inputs[:, k]
    present = values[~np.isnan(values)]
    i = plan["numbers"].index(k)
    becomes = "number as it is" if i in plan["plain"] else "number"
    if i in plan["flagged"]:
        becomes += " and flag"
    shown = " .. ".join(f"{value:.6g}" for value in (present.min(), np.median(present), present.max()))
    return f"{len(values) - len(present):,}", shown, becomes


def _category(dataset: Dataset, plan: Mapping[str, Any], k: int) -> tuple[str, str, str]:
    """Return the missing values, the most frequent categories, and the inputs that they become."""
    names = dataset.preparation.columns[k].categories
    counts = np.bincount(dataset.inputs[:, k].astype(np.int64), minlength=FIRST + len(names))
    order = np.argsort(-counts[FIRST:], kind="stable")[:COMMON]
    shown = [f"{printable(names[i])[:LONGEST]} {counts[FIRST + i]:,}" for i in order]
    if len(names) > COMMON:
        shown.append(f"{len(names) - COMMON:,} more")
    i = plan["categories"].index(k)
    frequent_count = plan["known"][i]
    becomes = f"embedding of {plan['embedding']}" if i in plan["embedded"] else f"one-hot of {frequent_count}"
    rare = len(names) + bool(counts[MISSING]) - frequent_count
    if rare > 0:
        becomes += f" ({rare:,} rare)"
    return f"{counts[MISSING] + counts[UNKNOWN]:,}", ", ".join(shown), becomes

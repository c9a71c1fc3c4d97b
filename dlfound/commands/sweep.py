"""`dlfound sweep`: many trainings, to find the settings that validate best."""

import argparse
import json
import shlex
import sys
import time
from functools import partial
from typing import Any

from dlfound.commands.options import own_options
from dlfound.errors import Code, Error, Stopped
from dlfound.options.configure import load_options
from dlfound.terminal import Stop, stoppable

SUMMARY = "search for settings: train many configurations and find the best"
EXAMPLES = """\
examples:
  dlfound sweep optim=adam,sgd optim.lr='tag(log, interval(1e-4, 1e-1))' search.trials=50
  dlfound sweep model.hidden='choice([256],[256,256])' dropout=none,standard search=grid
  dlfound sweep optim.lr='tag(log, interval(1e-4, 1e-1))' 'train.batch_size=int(interval(16,256))' search=tpe
  dlfound sweep optim.lr=0.001,0.01 search=grid search.repeats=5      mean and spread over five seeds
  dlfound sweep optim.lr='tag(log, interval(1e-4, 1e-1))' search.pruner=asha search.workers=4
  dlfound sweep ... run.dir=my_sweep                                  the same command again goes on
  dlfound compare my_sweep                                            the whole table
  dlfound train --config-dir my_sweep experiment=best                 the best configuration once more
  dlfound options search                                              how it searches
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "overrides", nargs="*", metavar="SPACE", help="as for train, with choices or distributions"
    )
    own_options(parser)
    parser.add_argument("--cfg", action="store_true", help="print what would be searched; train nothing")
    parser.add_argument(
        "--json", action="store_true", help="print the sweep's report as JSON and nothing else"
    )


def command(args: argparse.Namespace) -> int:
    """The verb: exit code."""
    with (
        stoppable() as stop
    ):  # before torch and its like come in: a signal that raised there would leave half of them
        from dlfound.sweeps.plan import make_plan  # brings in Hydra

        load_options(args.files)
        plan = make_plan(args.overrides, args.config_dir, args.files, f"dlfound {shlex.join(sys.argv[1:])}")
        if args.cfg:
            print(_configured(plan, args.json))
            return Code.DONE
        return run(plan, args.json, stop)


def _configured(plan: Any, as_json: bool) -> str:
    content = plan.identity | {"search.trials": plan.count}
    if as_json:
        return json.dumps(content, indent=2, ensure_ascii=False)
    return "\n".join(f"{key}: {text}" for key, text in content.items())


def run(plan: Any, as_json: bool, stop: Stop) -> int:
    """Search as planned; exit code."""
    from dlfound.sweeps.progress import View
    from dlfound.sweeps.worker import Leaving, join, run_worker  # brings in torch
    from dlfound.sweeps.worker_pool import LOG, Team, call
    from dlfound.terminal import say

    plan.begin()
    if told := plan.repeated():
        say(told)
    seconds, began = plan.method.seconds, time.monotonic()
    until = float("inf") if seconds == "none" else began + seconds
    monitor = plan.base["train"]["monitor"]
    view, log = View(plan, "loss" if monitor == "auto" else monitor), plan.path / LOG
    call(partial(join, plan), log, view.before)

    def life(send: Any) -> int:
        with stoppable(Leaving()) as leaving:
            return run_worker(plan, send, leaving, until)

    failure = None
    stop.training = True
    with view:
        try:
            if view.over < plan.count:
                Team(plan.method.workers, life, log, view.hear, view.look, stop).run()
        except Error as error:
            failure = error
    return _end(plan, view.monitor, stop, failure, as_json)


def _end(plan: Any, monitor: str, stop: Stop, failure: Error | None, as_json: bool) -> int:
    """Write and tell what came out; the exit code, or what ended the sweep."""
    from dlfound.sweeps.results import Results, draw_pictures
    from dlfound.sweeps.worker import look
    from dlfound.terminal import say

    rows, importances = look(plan)
    results = Results(plan, rows, monitor, importances)
    report = results.write()
    for text in draw_pictures(plan.path) if results.over and results.new else []:
        say(text)
    if failure is not None:
        raise failure
    for text in report["warnings"]:
        say(text)
    print(json.dumps(report, indent=2, ensure_ascii=False) if as_json else results.told())
    again = f"the same command goes on, with run.dir={shlex.quote(str(plan.path))}"
    if stop():
        left = again if not results.finished else "nothing is left to do"
        raise Stopped(f"stopped after {results.over} of {plan.count} trials; {left}", stop.code)
    if not results.finished:
        say(f"{results.over} of {plan.count} trials in the time given; {again}")
    if (failure := results.failure()) is not None:
        raise failure
    return Code.DONE

"""The results of a sweep and their files: trials.csv, report.json, experiment/best.yaml and pictures/."""

import csv
import io
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dlfound.config.config import Config
from dlfound.config.suggest import shown
from dlfound.config.yaml_files import dump_yaml
from dlfound.errors import Code, Error, printable
from dlfound.objective.tasks import CHEAP_METRICS, HIGHER_IS_BETTER, Metrics
from dlfound.runs.folder import TRIALS, RunFolder, make_folder
from dlfound.sweeps.folder import Result, State, mean_and_spread
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.samplers import beyond
from dlfound.sweeps.trials import TrialRecord, TrialStore, best_trial
from dlfound.terminal import number_text

FORMAT = 1
CSV = "trials.csv"
REPORT = "report.json"
PICTURES = "pictures"


class Results:
    """The state of a sweep.

    Args:
        records: its trials by number.
        importances: key -> share of the variance that the setting explains; empty for too few trials.

    Attributes:
        best: the best trial; None if no trial is done.
        ended: how many trials have ended, in whatever way.
    """

    def __init__(self, plan: Plan, records: Sequence[TrialRecord], importances: dict[str, float]):
        self.plan = plan
        self.importances = importances
        self.records = [_at_rest(record) for record in records if record.state != State.WAITING]
        self.best = best_trial(self.records)
        self.states = Counter(record.state for record in self.records)
        self.ended = sum(record.result is not None for record in self.records)

    @property
    def finished(self) -> bool:
        """True if every trial has ended."""
        return self.ended == self.plan.count

    def failure(self) -> Error | None:
        """The error to end a finished sweep with if none of its trials is done."""
        failed = [record.result for record in self.records if record.result is not None]
        if not self.finished or self.best is not None or not failed:
            return None
        first = next((result for result in failed if result.state == State.FAILED), failed[0])
        message = f"no trial finished; the first error: {first.reason or first.state}"
        fix = "change what all trials share, or the space, and choose another run.dir"
        return Error(message, fix, Code.NUMERIC)

    @cached_property
    def report(self) -> dict[str, Any]:
        """The content of report.json."""
        return {
            "format": FORMAT,
            "status": "done" if self.finished else "unfinished",
            "search": self.plan.method_name,
            "trials": self.plan.count,
            "states": dict(self.states),
            "monitor": self.plan.monitor,
            "growing": self.plan.monitor in HIGHER_IS_BETTER,
            "space": self.plan.space.expressions(),
            "best": self._best_report(),
            "importances": self.importances,
            "warnings": edge_warnings(self),
            "command": self.plan.command,
        }

    def _best_report(self) -> dict[str, Any] | None:
        if self.best is None:
            return None
        folders = [flag for folder in self.plan.config_dirs for flag in ("--config-dir", folder)]
        files = [flag for file in self.plan.files for flag in ("--with", file)]
        overrides = self.plan.trial_overrides(self.best.values)
        return {
            "trial": self.best.number,
            "values": self.best.values,
            "val": self.best.result.metrics,
            "val_std": self.best.result.spread,
            "test": self._test_metrics(self.best.number),
            "command": shlex.join(["dlfound", "train", *folders, *files, *overrides]),
            "folder": _folder(self.best.number),
        }

    def _test_metrics(self, number: int) -> Metrics | None:
        """Average a trial's test metrics over its runs; None if another machine has the runs."""
        folders = [RunFolder(self.plan.trial_folder(number) / name) for name, _ in self.plan.runs]
        if not all(folder.finished for folder in folders):
            return None
        return mean_and_spread([folder.read_json(REPORT)["test"] for folder in folders])[0]

    def best_metrics(self) -> list[str]:
        """Name the metrics that a person sees of the best trial."""
        return [name for name in self.report["best"]["val"] if name in (*CHEAP_METRICS, self.plan.monitor)]


def read_results(plan: Plan) -> Results:
    """Read the results of a sweep from its storage."""
    store = TrialStore(plan, say=lambda message: None)
    return Results(plan, store.records(), store.importances())


def _at_rest(record: TrialRecord) -> TrialRecord:
    """A trial once no process trains it any more."""
    return replace(record, state=State.INTERRUPTED) if record.state == State.RUNNING else record


def _folder(number: int) -> str:
    """The folder of a trial's runs, below the sweep's."""
    return f"{TRIALS}/{number:04}"


# ---- files


def write_results(results: Results) -> bool:
    """Write the files of a sweep, without the pictures; return True if trials.csv has changed."""
    path = results.plan.path
    table = trials_table(results.records, [d.key for d in results.plan.space.dimensions])
    changed = not (path / CSV).exists() or (path / CSV).read_text(encoding="utf-8") != table
    RunFolder(path).write_text(CSV, table)
    RunFolder(path).write_json(REPORT, results.report)
    if results.best is not None:
        make_folder(path / "experiment").write_text("best.yaml", best_yaml(results))
    return changed


def trials_table(records: Sequence[TrialRecord], keys: Sequence[str]) -> str:
    """The content of trials.csv: a line per trial, a column per setting and metric."""
    results = [record.result or Result(record.state) for record in records]
    metrics = list(dict.fromkeys(name for result in results for name in result.metrics))
    repeated = [name for name in metrics if any(name in result.spread for result in results)]
    head = [*(f"val_{name}" for name in metrics), *(f"val_{name}_std" for name in repeated)]
    text = io.StringIO()
    columns = ["trial", "state", *keys, *head, "epochs", "seconds", "folder", "reason"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for record, result in zip(records, results, strict=True):
        row: dict[str, Any] = {"trial": record.number, "state": record.state, **record.values}
        row |= {f"val_{name}": value for name, value in result.metrics.items()}
        row |= {f"val_{name}_std": value for name, value in result.spread.items()}
        if record.result is not None:
            row |= {"epochs": result.epochs, "seconds": round(result.seconds, 3)}
        writer.writerow(row | {"folder": _folder(record.number), "reason": printable(result.reason)})
    return text.getvalue()


def best_yaml(results: Results) -> str:
    """The content of experiment/best.yaml: what the best configuration changes in the defaults."""
    best = results.report["best"]
    metrics = [f"{name} {number_text(best['val'][name])}" for name in results.best_metrics()]
    head = [
        "# @package _global_",
        f"# The best of {results.ended} trials: trial {best['trial']}, validation {', '.join(metrics)}.",
        f"# {printable(best['command'])}",
    ]
    options, settings = non_defaults(results.plan.compose(results.plan.trial_overrides(best["values"])))
    defaults = [{f"override /{group}": name} for group, name in options.items()]
    tree = {"defaults": defaults, **settings} if options else settings
    return "\n".join(head) + "\n" + dump_yaml(tree)


def non_defaults(config: Config) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Compare a configuration with the defaults.

    Returns:
        group -> option, where it is not the default option; node -> settings that differ from their defaults.
    """
    catalog = config.catalog
    default_options = {g: catalog.content(g, word)["name"] for g, word in catalog.defaults.items()}
    options = {g: config.name(g) for g in catalog.groups if config.name(g) != default_options[g]}
    nodes = {}
    for node, settings in config.tree.items():
        defaults = catalog.values(node, settings.get("name", ""))
        checked = settings.keys() - {"name", "dir"}
        changed = {k: v for k, v in settings.items() if k in checked and not _same(defaults.get(k), v)}
        if node == "run" and config["run"]["name"] != config.name("data"):
            changed["name"] = config["run"]["name"]
        if changed:
            nodes[node] = changed
    return options, nodes


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def draw_pictures(sweep: Path) -> str:
    """Draw the pictures of a sweep from its files; returns a message if there are none."""
    from dlfound.reports import pictures  # imports matplotlib

    try:
        files = pictures.draw(sweep, sweep / PICTURES)
    except (OSError, Error) as error:
        return f"no pictures: {shown(str(error))}"
    return "" if files else "no pictures: no trial has a value to draw"


# ---- warnings


def edge_warnings(results: Results) -> list[str]:
    """Warn of each setting whose best value lies at an end of the space, if the space could go further."""
    best = results.best.values if results.best is not None else {}
    warnings = []
    for dimension in results.plan.space.dimensions:
        key = dimension.key
        outside = beyond(dimension, best[key]) if key in best else None
        if outside is None:
            continue
        is_upper = outside > float(best[key])
        tried = [float(r.values[key]) for r in results.records if r.result is not None and key in r.values]
        if float(best[key]) != (max(tried) if is_upper else min(tried)):
            continue  # a value further to this side was worse than the best
        end = "upper" if is_upper else "lower"
        advice = "search higher" if is_upper else "search lower"
        with suppress(Error):  # the setting does not take a value outside
            results.plan.compose(results.plan.trial_overrides({**best, key: json.dumps(outside)}))
            warnings.append(f"the best {key} ({best[key]}) lies at the {end} end of its range: {advice}")
    return warnings

"""The results of a sweep and their files: trials.csv, report.json, experiment/best.yaml and pictures/."""

import csv
import io
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dlfound.config.config import Config
from dlfound.config.suggest import shown
from dlfound.config.yaml_files import dump_yaml
from dlfound.errors import Code, Error, printable
from dlfound.objective.tasks import CHEAP_METRICS, HIGHER_IS_BETTER
from dlfound.runs.find import Metrics
from dlfound.runs.folder import RunFolder, make_folder
from dlfound.sweeps.folder import FAILED, INTERRUPTED, RUNNING, WAITING, mean_and_spread
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.samplers import beyond, edge
from dlfound.sweeps.trials import TrialRecord, best_trial, open_store
from dlfound.terminal import number_text

FORMAT = 1
CSV = "trials.csv"
REPORT = "report.json"
EXPERIMENTS = "experiment"
BEST = "best"
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
        self.records = [record for record in records if record.state != WAITING]
        self.best = best_trial(self.records)
        self.states = Counter(_final_state(record) for record in self.records)
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
        first = next((result for result in failed if result.state == FAILED), failed[0])
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
        if self.best is None or self.best.result is None:
            return None
        return {
            "trial": self.best.number,
            "values": self.best.values,
            "val": self.best.result.metrics,
            "val_std": self.best.result.spread,
            "test": self.best_test_metrics(),
            "command": self.best_command(),
            "folder": str(self.plan.trial_folder(self.best.number).relative_to(self.plan.path)),
        }

    # ---- the best trial

    def best_metrics(self) -> list[str]:
        """Name the metrics that a person sees of the best trial."""
        assert self.best is not None and self.best.result is not None
        return [name for name in self.best.result.metrics if name in (*CHEAP_METRICS, self.plan.monitor)]

    def best_test_metrics(self) -> Metrics | None:
        """Average the best trial's test metrics over its runs; None if another machine has the runs."""
        assert self.best is not None
        metrics = []
        for name, _ in self.plan.runs:
            folder = RunFolder(self.plan.trial_folder(self.best.number) / name)
            if not folder.finished:
                return None
            metrics.append(folder.read_json(REPORT)["test"])
        return mean_and_spread(metrics)[0]

    def best_overrides(self) -> list[str]:
        """List the overrides of the best configuration."""
        assert self.best is not None
        return self.plan.trial_overrides(self.best.values)

    def best_command(self) -> str:
        """The command that trains the best configuration."""
        flags = []
        for folder in self.plan.config_dirs:
            flags += ["--config-dir", folder]
        for file in self.plan.files:
            flags += ["--with", file]
        return shlex.join(["dlfound", "train", *flags, *self.best_overrides()])


def read_results(plan: Plan) -> Results:
    """Read the results of a sweep from its storage."""
    store = open_store(plan, say=lambda message: None)
    store.find()
    return Results(plan, store.records(plan.count), store.importances())


def _final_state(record: TrialRecord) -> str:
    """The state of a trial once no process trains it any more."""
    return INTERRUPTED if record.state == RUNNING else record.state


# ---- files


def write_results(results: Results) -> bool:
    """Write the files of a sweep, without the pictures; return True if trials.csv has changed."""
    plan = results.plan
    table = trials_table(results)
    file = plan.path / CSV
    changed = not file.exists() or file.read_text(encoding="utf-8") != table
    folder = RunFolder(plan.path)
    folder.write_text(CSV, table)
    folder.write_json(REPORT, results.report)
    if results.best is not None:
        make_folder(plan.path / EXPERIMENTS).write_text(f"{BEST}.yaml", best_yaml(results))
    return changed


def trials_table(results: Results) -> str:
    """The content of trials.csv: a line per trial, a column per setting and metric."""
    plan = results.plan
    keys = [d.key for d in plan.space.dimensions]
    ended = [record.result for record in results.records if record.result is not None]
    metrics = list(dict.fromkeys(name for result in ended for name in result.metrics))
    repeated = [name for name in metrics if any(name in result.spread for result in ended)]
    head = [*(f"val_{name}" for name in metrics), *(f"val_{name}_std" for name in repeated)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", *keys, *head, "epochs", "seconds", "folder", "reason"])
    for record in results.records:
        values = [record.values.get(key, "") for key in keys]
        folder = plan.trial_folder(record.number).relative_to(plan.path)
        result = record.result
        if result is None:
            outcome = [""] * (len(head) + 2) + [folder, ""]
        else:
            outcome = [result.metrics.get(name) for name in metrics]
            outcome += [result.spread.get(name) for name in repeated]
            outcome += [result.epochs, round(result.seconds, 3), folder, printable(result.reason)]
        writer.writerow([record.number, _final_state(record), *values, *outcome])
    return text.getvalue()


def best_yaml(results: Results) -> str:
    """The content of experiment/best.yaml: what the best configuration changes in the defaults."""
    best = results.best
    assert best is not None and best.result is not None
    metrics = [f"{name} {number_text(best.result.metrics[name])}" for name in results.best_metrics()]
    head = [
        "# @package _global_",
        f"# The best of {results.ended} trials: trial {best.number}, validation {', '.join(metrics)}.",
        f"# {printable(results.best_command())}",
    ]
    options, settings = non_defaults(results.plan.compose(results.best_overrides()))
    tree: dict[str, Any] = dict(settings)
    if options:
        tree = {"defaults": [{f"override /{group}": name} for group, name in options.items()], **settings}
    return "\n".join(head) + "\n" + dump_yaml(tree)


def non_defaults(config: Config) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Compare a configuration with the defaults.

    Returns:
        group -> option, where it is not the default option; node -> settings that differ from their defaults.
    """
    catalog = config.catalog
    options = {}
    nodes = {}
    for group in catalog.groups:
        if config.name(group) != catalog.content(group, catalog.defaults[group])["name"]:
            options[group] = config.name(group)
    for node, settings in config.tree.items():
        defaults = catalog.common(node)
        if node in catalog.groups:
            defaults = {**defaults, **catalog.node(node, config.name(node))}
        changed = {
            key: value
            for key, value in settings.items()
            if key not in ("name", "dir") and not _same(defaults.get(key), value)
        }
        if node == "run" and config["run"]["name"] != config.name("data"):
            changed["name"] = config["run"]["name"]
        if changed:
            nodes[node] = changed
    return options, nodes


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def draw_pictures(sweep: Path) -> str:
    """Draw the pictures of a sweep from its files; returns a message if there are none."""
    from dlfound.reports.sweep_pictures import draw, read_sweep  # imports matplotlib

    try:
        if not read_sweep(sweep).done:
            return "no pictures: no trial has a value to draw"
        make_folder(sweep / PICTURES)
        draw(sweep, sweep / PICTURES)
    except (OSError, Error) as error:
        return f"no pictures: {shown(str(error))}"
    return ""


# ---- warnings


def edge_warnings(results: Results) -> list[str]:
    """Warn of each setting whose best value lies at an end of the space, if the space could go further."""
    if results.best is None:
        return []
    warnings = []
    for dimension in results.plan.space.dimensions:
        text = results.best.values.get(dimension.key)
        side = 0 if text is None else edge(dimension, text)
        if side == 0 or _tried_further(results, dimension.key, side):
            continue
        if _is_valid(results, dimension.key, beyond(dimension, side)):
            end = "lower" if side < 0 else "upper"
            direction = "lower" if side < 0 else "higher"
            warnings.append(
                f"the best {dimension.key} ({text}) lies at the {end} end of its range: search {direction}"
            )
    return warnings


def _tried_further(results: Results, key: str, side: int) -> bool:
    """Tell whether a trial with a value further to this side has ended: it was worse than the best."""
    assert results.best is not None
    best = float(results.best.values[key])
    tried = [r.values[key] for r in results.records if r.result is not None and key in r.values]
    return any(side * (float(text) - best) > 0 for text in tried)


def _is_valid(results: Results, key: str, value: float) -> bool:
    """Tell whether the best configuration may have this value in place of its own."""
    assert results.best is not None
    values = {**results.best.values, key: json.dumps(value)}
    try:
        results.plan.compose(results.plan.trial_overrides(values))
    except Error:
        return False
    return True

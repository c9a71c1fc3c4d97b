"""What comes out of a sweep: its table, its best configuration, what to look at, and what to be told."""

import csv
import io
import json
import math
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlfound.config.check import shown
from dlfound.config.config import Config
from dlfound.config.options import Option
from dlfound.config.space import Choice, Dimension, Interval
from dlfound.config.yaml_files import dump_yaml
from dlfound.errors import Code, Error, printable
from dlfound.objective.tasks import CHEAP_METRICS, HIGHER_IS_BETTER
from dlfound.runs.folder import RunFolder, make_folder
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.trials import DONE, FAILED, INTERRUPTED, RUNNING, WAITING, Row, best_row
from dlfound.terminal import number_text as number

FORMAT = 1
EDGE = 0.05  # of a range: so near to an end counts as at it
CSV, REPORT, BEST, PICTURES = "trials.csv", "report.json", "best", "pictures"


class Results:
    """A sweep as it stands, and the files that say so.

    Args:
        rows: its trials, in order.
        importances: key -> share of the differences that it makes; empty where they cannot be told.

    Attributes:
        new: True where the files that stand there were of another moment.
    """

    def __init__(self, plan: Plan, rows: Sequence[Row], monitor: str, importances: dict[str, float]):
        self.plan, self.monitor, self.importances = plan, monitor, importances
        self.rows = [row for row in rows if row.state != WAITING]
        self.best = best_row(self.rows)
        self.states = Counter(self.state(row) for row in self.rows)
        self.new = True
        self.over = sum(row.result is not None for row in self.rows)

    @staticmethod
    def state(row: Row) -> str:
        """A trial that nobody trains any more was interrupted."""
        return INTERRUPTED if row.state == RUNNING else row.state

    @property
    def finished(self) -> bool:
        """True where there are as many trials as were asked for."""
        return self.over == self.plan.count

    # ---- files

    def write(self) -> dict[str, Any]:
        """All files but the pictures; returns what `report.json` holds."""
        folder = RunFolder(self.plan.path)
        table, stands = self._csv(), self.plan.path / CSV
        self.new = not (stands.exists() and stands.read_text(encoding="utf-8") == table)
        folder.write_text(CSV, table)
        report = self.report()
        folder.write_json(REPORT, report)
        if self.best is not None:
            make_folder(self.plan.path / "experiment")
            RunFolder(self.plan.path / "experiment").write_text(f"{BEST}.yaml", self.best_yaml())
        return report

    def _csv(self) -> str:
        """The table of trials: a line each, a column a setting."""
        keys = [d.key for d in self.plan.space.dimensions]
        metrics = list(dict.fromkeys(m for row in self.rows if row.result for m in row.result.metrics))
        several = [m for m in metrics if any(row.result and m in row.result.spread for row in self.rows)]
        heads = [*(f"val_{m}" for m in metrics), *(f"val_{m}_std" for m in several)]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["trial", "state", *keys, *heads, "epochs", "seconds", "folder", "reason"])
        for row in self.rows:
            result = row.result
            measured = [result.metrics.get(m) if result else None for m in metrics]
            measured += [result.spread.get(m) if result else None for m in several]
            ends = [result.epochs, round(result.seconds, 3)] if result else ["", ""]
            place = self.plan.folder(row.number).relative_to(self.plan.path)
            reason = printable(result.reason) if result else ""
            values = [row.values.get(key, "") for key in keys]
            writer.writerow([row.number, self.state(row), *values, *measured, *ends, place, reason])
        return text.getvalue()

    def report(self) -> dict[str, Any]:
        """The sweep in short, for programs."""
        plan, best = self.plan, None
        if self.best is not None and self.best.result is not None:
            best = {
                "trial": self.best.number,
                "values": self.best.values,
                "val": self.best.result.metrics,
                "val_std": self.best.result.spread,
                "test": self.test(),
                "command": self.command(),
                "folder": str(plan.folder(self.best.number).relative_to(plan.path)),
            }
        return {
            "format": FORMAT,
            "status": "done" if self.finished else "unfinished",
            "search": plan.word,
            "trials": plan.count,
            "states": dict(self.states),
            "monitor": self.monitor,
            "growing": self.monitor in HIGHER_IS_BETTER,
            "space": plan.space.told(),
            "best": best,
            "importances": self.importances,
            "warnings": self.warnings(),
            "command": plan.asked,
        }

    # ---- the best

    def test(self) -> dict[str, float | None] | None:
        """The best trial's metrics on the test rows, the mean over its runs; None where its folder is elsewhere."""
        assert self.best is not None
        found = []
        for name, _ in self.plan.runs:
            folder = RunFolder(self.plan.folder(self.best.number) / name)
            if not folder.finished:
                return None
            found.append(folder.read_json(REPORT)["test"])
        means = {name: [metrics[name] for metrics in found] for name in found[0]}
        return {
            name: None if None in values else math.fsum(values) / len(values)
            for name, values in means.items()
        }

    def words(self) -> list[str]:
        """The best configuration's override list."""
        assert self.best is not None
        return self.plan.trial_words(self.best.values)

    def command(self) -> str:
        """The best configuration as a command."""
        flags = [w for folder in self.plan.config_dirs for w in ("--config-dir", folder)]
        flags += [w for file in self.plan.files for w in ("--with", file)]
        return shlex.join(["dlfound", "train", *flags, *self.words()])

    def best_yaml(self) -> str:
        """The best configuration as an experiment's file: all that differs from the defaults."""
        assert self.best is not None and self.best.result is not None
        config = self.plan.compose(self.words())
        chosen, nodes = differing(config)
        val = ", ".join(
            f"{m} {number(v)}"
            for m, v in self.best.result.metrics.items()
            if m in (*CHEAP_METRICS, self.monitor)
        )
        head = [
            "# @package _global_",
            f"# The best of {self.over} trials: trial {self.best.number}, on validation {val}.",
            f"# {printable(self.command())}",
        ]
        tree: dict[str, Any] = (
            {"defaults": [{f"override /{g}": w} for g, w in chosen.items()]} if chosen else {}
        )
        text = dump_yaml(tree | nodes) if tree or nodes else "{}\n"
        return "\n".join(head) + "\n" + text

    # ---- for a person

    def told(self) -> str:
        """The result on standard output."""
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        lines = [f"{self.over} of {self.plan.count} trials: {states}" if states else "no trial yet"]
        if self.best is not None and self.best.result is not None:
            lines += self._best_told(self.best)
        lines.append(str(self.plan.path))
        return "\n".join(lines)

    def _best_told(self, best: Row) -> list[str]:
        result, test = best.result, self.test()
        assert result is not None
        lines = [f"best: trial {best.number}"]
        lines += [f"  {key} = {printable(text)}" for key, text in best.values.items()]
        names = [m for m in result.metrics if m in (*CHEAP_METRICS, self.monitor)]
        spread = {m: f" ± {number(result.spread.get(m))}" if result.spread else "" for m in names}
        lines.append("  val   " + "  ".join(f"{m} {number(result.metrics[m])}{spread[m]}" for m in names))
        if test is not None:
            lines.append("  test  " + "  ".join(f"{m} {number(test[m])}" for m in names if m in test))
        if self.importances:
            parts = [f"{key} {share:.0%}" for key, share in self.importances.items()]
            lines.append(f"what made the difference: {', '.join(parts)}")
        again = f"dlfound train --config-dir {shlex.quote(str(self.plan.path))} experiment={BEST}"
        return [*lines, printable(self.command()), f"the same: {printable(again)}"]

    def warnings(self) -> list[str]:
        """What a person should do about the space."""
        if self.best is None:
            return []
        found = []
        for d in self.plan.space.dimensions:
            if d.key in self.best.values and (side := edge(d, self.best.values[d.key])):
                beyond = _beyond(d, side)
                if beyond is not None and self._sound(d.key, beyond) and not self._tried_beyond(d.key, side):
                    told = f"the best {d.key} ({self.best.values[d.key]}) lies at the {'lower' if side < 0 else 'upper'}"
                    found.append(
                        f"{told} end of what was searched: search {'lower' if side < 0 else 'higher'}"
                    )
        return found

    def _tried_beyond(self, key: str, side: int) -> bool:
        """True where a trial went further to that side than the best: it came out worse."""
        assert self.best is not None
        tried = [row.values[key] for row in self.rows if row.result is not None and key in row.values]
        return any(side * (float(text) - float(self.best.values[key])) > 0 for text in tried)

    def _sound(self, key: str, text: str) -> bool:
        """True where a setting takes this value."""
        node, _, setting = key.partition(".")
        config = self.plan.compose(self.words())
        option: Option = config.catalog.plain.get(node) or config.catalog.groups[node][config.name(node)]
        try:
            option.settings[setting].read(json.loads(text))
        except (KeyError, ValueError, TypeError, OverflowError):
            return False
        return True

    def failure(self) -> Error | None:
        """What to end with where no trial came to a good end."""
        failed = [row.result for row in self.rows if row.result is not None and row.state != DONE]
        if not self.finished or self.best is not None or not failed:
            return None
        first = next((r for r in failed if r.state == FAILED), failed[0])
        what = f"no trial finished; the first error: {first.reason or first.state}"
        return Error(what, "change what all trials share, or the space, in another run.dir", Code.NUMERIC)


def edge(dimension: Dimension, text: str) -> int:
    """-1 where the value lies at the lower end of what is searched, 1 at the upper end, else 0."""
    if isinstance(dimension, Interval) and dimension.step is None:
        scale = math.log if dimension.log else float
        low, high = scale(dimension.low), scale(dimension.high)
        share = (scale(float(text)) - low) / (high - low)
        return -1 if share < EDGE else 1 if share > 1 - EDGE else 0
    numbers = sorted(_numbers(dimension.texts))
    if len(numbers) < max(3, len(dimension.texts)):  # words, or too few to have a middle
        return 0
    return -1 if float(text) == numbers[0] else 1 if float(text) == numbers[-1] else 0


def _numbers(texts: Sequence[str]) -> list[float]:
    found = []
    for text in texts:
        try:
            found.append(float(text))
        except ValueError:
            continue
    return found


def _beyond(dimension: Dimension, side: int) -> str | None:
    """A value a little outside, as JSON."""
    numbers = sorted(_numbers(dimension.texts)) if isinstance(dimension, Choice) or dimension.step else []
    low, high = (numbers[0], numbers[-1]) if numbers else (dimension.low, dimension.high)  # type: ignore[union-attr]
    whole = all(float(v).is_integer() for v in (numbers or [low, high]))
    if isinstance(dimension, Interval) and dimension.log:
        value = low / 2 if side < 0 else high * 2
    else:
        value = low - (high - low) / 10 if side < 0 else high + (high - low) / 10
    whole = whole and (isinstance(dimension, Choice) or dimension.integer)
    return json.dumps((math.floor(value) if side < 0 else math.ceil(value)) if whole else value)


def differing(config: Config) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The options that are not the default ones, and the settings that are not their options' own."""
    known = config.catalog
    chosen = {
        g: config.name(g)
        for g in known.groups
        if config.name(g) != known.content(g, known.defaults[g])["name"]
    }
    nodes: dict[str, dict[str, Any]] = {}
    for node, settings in config.tree.items():
        if node in known.groups:
            usual = {**known.common(node), **known.node(node, config.name(node))}
        else:
            usual = known.common(node)
        own = {k: v for k, v in settings.items() if k not in ("name", "dir") and not _same(usual.get(k), v)}
        if node == "run" and config["run"]["name"] != config.name("data"):
            own["name"] = config["run"]["name"]
        nodes |= {node: own} if own else {}
    return chosen, nodes


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def draw_pictures(sweep: Path) -> list[str]:
    """The pictures of a sweep, from its files; what could not be drawn is told."""
    from dlfound.reports.sweep_pictures import draw, read_sweep  # brings in matplotlib

    try:
        if not read_sweep(sweep).done:
            return ["no pictures: no trial has a value to draw"]
        make_folder(sweep / PICTURES)
        draw(sweep, sweep / PICTURES)
    except (OSError, Error) as error:
        return [f"no pictures: {shown(str(error))}"]
    return []

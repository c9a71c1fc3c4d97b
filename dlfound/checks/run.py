"""The checks of a configuration, made one after the other: for the verb, before a training, and from Python."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dlfound.checks import NAMES
from dlfound.checks.context import Subject
from dlfound.checks.result import FAIL, PASS, Checked, Finding, worst
from dlfound.checks.table import CHECKS, as_json, run_checks
from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error, Problem, printable
from dlfound.reports import learning_rate
from dlfound.runs.folder import RunFolder, check_place, make_folder
from dlfound.runs.parts import check_task
from dlfound.runs.resume import configure_run
from dlfound.runs.run_log import RunLog, item_bar
from dlfound.runs.train import load_data
from dlfound.training.assemble import resolve
from dlfound.training.device import count_threads, find_device, threads, versions

FORMAT = 1
FILE, PLOT = "check.json", "learning_rate.png"


@dataclass(frozen=True)
class Verdicts:
    """What `dlfound check` has found.

    Attributes:
        checks: name -> findings and numbers, in the order in which they were made.
        content: the same as JSON: what `check.json` holds.
    """

    checks: dict[str, Checked]
    content: dict[str, Any]

    def __repr__(self) -> str:
        return f"Verdicts({', '.join(f'{name}={done.verdict}' for name, done in self.checks.items())})"

    @property
    def verdict(self) -> str:
        """The worst of all: pass, warn or fail."""
        return worst(done.verdict for done in self.checks.values())

    @property
    def code(self) -> Code:
        """The exit code."""
        return Code.NUMERIC if self.verdict == FAIL else Code.DONE

    def findings(self) -> list[tuple[str, Finding]]:
        """All of them, each behind its check's name."""
        return [(name, finding) for name, done in self.checks.items() for finding in done.findings]

    def lines(self) -> list[str]:
        """A line for each finding: verdict, check, number and meaning, and what to try."""
        return [line_of(name, finding) for name, finding in self.findings()]


def line_of(name: str, finding: Finding) -> str:
    """One finding in words."""
    return printable(f"{finding.verdict}  {name}: {_shown(finding.number)}{finding.meaning}")


def _shown(number: float | None) -> str:
    """Counts in full, other numbers to four digits; with a blank behind it."""
    if number is None:
        return ""
    whole = math.isfinite(number) and number == int(number) and abs(number) < 1e9
    return f"{int(number):,} " if whole else f"{number:.4g} "


def remedy(finding: Finding) -> str:
    """What to do about it; empty where nothing is to be done."""
    parts = [f"try {finding.override}" if finding.override else "", finding.advice]
    return printable("; ".join(part for part in parts if part))


def examine(
    config: Config,
    dataset: Dataset,
    device: torch.device,
    command: str,
    only: Sequence[str] = (),
    shown: bool = False,
) -> Verdicts:
    """Make the checks.

    Args:
        config: settled, with no `auto` option left.
        only: names of checks; all where none is named.
        shown: with a bar on standard error, where that is a terminal.
    """
    names = [name for name in CHECKS if not only or name in only]
    subject = Subject(config, dataset, device)
    count = count_threads(config["run"]["threads"], subject.weights, subject.base.batch_size)
    checks, content = {}, []
    with threads(count), item_bar(names, shown) as begin:
        for name in names:
            begin(name)
            for done, seconds in run_checks(subject, [name]):
                checks[name] = done
                content.append(as_json(done, seconds))
    return Verdicts(checks, _content(config, dataset, checks, content, command, count))


def _content(
    config: Config,
    dataset: Dataset,
    checks: dict[str, Checked],
    content: list[dict[str, Any]],
    command: str,
    count: int,
) -> dict[str, Any]:
    schema = dataset.schema()
    data = {
        "name": config.name("data"),
        **{key: schema[key] for key in ("rows", "task", "split", "fingerprint")},
    }
    return {
        "format": FORMAT,
        "verdict": worst(done.verdict for done in checks.values()),
        "checks": content,
        "command": command,
        "data": data,
        "seed": config["run"]["seed"],
        "threads": count,
        "versions": versions(),
    }


def check(
    overrides: Sequence[str] = (),
    *,
    data: tuple[Any, Any] | None = None,
    config_dirs: Sequence[str | Path] = (),
    only: Sequence[str] = (),
    out: str | Path | None = None,
) -> Verdicts:
    """Check a configuration; the same as `dlfound check` with the same overrides, but silent.

    Args:
        overrides, data, config_dirs: as those of `dlfound.train`.
        only: names of checks; all where none is named.
        out: a folder for check.json and the plot; nothing is written where there is none.

    Returns:
        What was found; a fail raises nothing: see its `verdict`.

    Raises:
        Error: mistakes in the configuration or the data; `code` is the exit code.
    """
    if unknown := [name for name in only if name not in NAMES]:
        raise Error(f"there is no check {unknown[0]!r}", f"choose from: {', '.join(NAMES)}", Code.CONFIG)
    config = configure_run(list(overrides) if data is None else ["data=arrays", *overrides], config_dirs)[0]
    folder = None if out is None else Path(out).expanduser()
    return check_config(config, data, only, folder, f"dlfound.check({list(overrides)!r})", shown=False)


def check_config(
    config: Config, data: Any, only: Sequence[str], out: Path | None, command: str, shown: bool
) -> Verdicts:
    """Read the data, and make the checks; `out`: the folder for what was found, if any."""
    if out is not None:
        check_place(out)
    device = find_device(config["run"]["device"])
    dataset = load_data(config, data)
    check_task(config, dataset)
    verdicts = examine(resolve(config, dataset.task)[0], dataset, device, command, only, shown)
    if out is not None:
        keep(verdicts, make_folder(out))
    return verdicts


def keep(verdicts: Verdicts, folder: RunFolder) -> None:
    """Write what was found into a folder, and draw the range test where there was one."""
    folder.write_json(FILE, verdicts.content)
    if "learning_rate" in verdicts.checks:
        learning_rate.draw(folder, FILE, PLOT)


# Before a training.


def refuse_failed(verdicts: Verdicts) -> None:
    """Raise where a check failed: naming each one (code 5)."""
    failed = [(name, finding) for name, finding in verdicts.findings() if finding.verdict == FAIL]
    if failed:
        wrong = [Problem(f"check {line_of(name, f)}", remedy(f) or "see dlfound check") for name, f in failed]
        raise Error.of(wrong, Code.NUMERIC)


def attach(verdicts: Verdicts, log: RunLog) -> None:
    """What was found, into a run's folder and its log; to the person what is not as it should be."""
    keep(verdicts, log.folder)
    for name, finding in verdicts.findings():
        text = f"check {line_of(name, finding)}"
        if finding.verdict == PASS:
            log.write(text)
        else:
            log.tell(f"{text}; {remedy(finding)}")

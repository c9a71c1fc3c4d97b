"""Run the checks on a configuration: for `dlfound check`, before a training, and from Python."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dlfound.checks import (
    NAMES,
    determinism,
    gradients,
    initial_loss,
    initial_state,
    learning_rate,
    overfit,
    row_independence,
    updates,
)
from dlfound.checks import data as data_check
from dlfound.checks.context import CheckContext
from dlfound.checks.result import FAIL, PASS, CheckResult, Finding, as_json, worst
from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error, Problem, printable
from dlfound.reports import learning_rate as learning_rate_plot
from dlfound.runs.folder import RunFolder, check_place, make_folder
from dlfound.runs.parts import RunLog, check_task
from dlfound.runs.resume import configure_run
from dlfound.runs.train import load_data
from dlfound.terminal import progress_bar
from dlfound.training.assemble import resolve
from dlfound.training.device import count_threads, find_device, threads, versions

FORMAT = 1  # of check.json
FILE = "check.json"
PLOT = "learning_rate.png"
DETACHED = "does not require grad"  # torch's message if no gradient flows from the loss to the parameters

CHECKS: dict[str, Callable[[CheckContext], CheckResult]] = {
    "data": data_check.check,
    "gradients": gradients.check,
    "initial_loss": initial_loss.check,
    "initial_state": initial_state.check,
    "overfit": overfit.check,
    "inputs": overfit.check_inputs,
    "rows": row_independence.check,
    "learning_rate": learning_rate.check,
    "updates": updates.check,
    "determinism": determinism.check,
}


@dataclass(frozen=True)
class CheckReport:
    """The results of `dlfound check`.

    Attributes:
        checks: name -> result, in the order in which the checks ran.
        content: the same as plain values, as in check.json.
    """

    checks: dict[str, CheckResult]
    content: dict[str, Any]

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{name}={result.verdict}" for name, result in self.checks.items())
        return f"CheckReport({verdicts})"

    @property
    def verdict(self) -> str:
        """The worst verdict: pass, warn or fail."""
        return worst(result.verdict for result in self.checks.values())

    @property
    def code(self) -> Code:
        """The exit code: 5 if a check failed, else 0."""
        return Code.NUMERIC if self.verdict == FAIL else Code.DONE

    def findings(self) -> list[tuple[str, Finding]]:
        """Return all findings, each with the name of its check."""
        return [(name, finding) for name, result in self.checks.items() for finding in result.findings]


def check(
    overrides: Sequence[str] = (),
    *,
    data: tuple[Any, Any] | None = None,
    config_dirs: Sequence[str | Path] = (),
    only: Sequence[str] = (),
    out: str | Path | None = None,
) -> CheckReport:
    """Check a configuration like `dlfound check` with the same overrides, but print nothing.

    Args:
        overrides: as in `dlfound.train`.
        data: as in `dlfound.train`.
        config_dirs: as in `dlfound.train`.
        only: the names of the checks to run; all by default.
        out: a folder for check.json and the plot; by default nothing is written.

    Returns:
        The results. A failed check raises no error: look at `verdict`.

    Raises:
        Error: the configuration or the data contain mistakes; `code` is the exit code.
    """
    unknown = [name for name in only if name not in NAMES]
    if unknown:
        raise Error(f"unknown check {unknown[0]!r}", f"choose from {', '.join(NAMES)}", Code.CONFIG)
    words = list(overrides) if data is None else ["data=arrays", *overrides]
    config = configure_run(words, config_dirs)[0]
    folder = None if out is None else Path(out).expanduser()
    command = f"dlfound.check({list(overrides)!r})"
    return check_config(config, data, only, folder, command, shown=False)


def check_config(
    config: Config, data: Any, only: Sequence[str], out: Path | None, command: str, shown: bool
) -> CheckReport:
    """Read the data, run the checks and write their files.

    Args:
        only: the names of the checks to run; all if empty.
        out: the folder for the files; None to write nothing.
        command: what the user called, for check.json.
        shown: show a progress bar on standard error if it is a terminal.
    """
    if out is not None:
        check_place(out)
    device = find_device(config["run"]["device"])
    dataset = load_data(config, data)
    check_task(config, dataset)
    report = run_checks(resolve(config, dataset.task)[0], dataset, device, command, only, shown)
    if out is not None:
        save(report, make_folder(out))
    return report


def run_checks(
    config: Config, dataset: Dataset, device: torch.device, command: str, only: Sequence[str], shown: bool
) -> CheckReport:
    """Run the checks on a configuration without `auto` options; the arguments are those of `check_config`."""
    names = [name for name in CHECKS if not only or name in only]
    context = CheckContext(config, dataset, device)
    thread_count = count_threads(config["run"]["threads"], context.parameter_count, context.base.batch_size)
    results: dict[str, CheckResult] = {}
    entries = []
    with threads(thread_count), progress_bar(len(names), shown) as show:
        for done, name in enumerate(names):
            show(done, name)
            started = time.perf_counter()
            results[name] = _run_check(context, name)
            entries.append(as_json(results[name], time.perf_counter() - started))
    schema = dataset.schema()
    source = {key: schema[key] for key in ("rows", "task", "split", "fingerprint")}
    content = {
        "format": FORMAT,
        "verdict": worst(result.verdict for result in results.values()),
        "checks": entries,
        "command": command,
        "data": {"name": config.name("data"), **source},
        "seed": config["run"]["seed"],
        "threads": thread_count,
        "versions": versions(),
    }
    return CheckReport(results, content)


def _run_check(context: CheckContext, name: str) -> CheckResult:
    try:
        return CHECKS[name](context)
    except RuntimeError as error:
        if DETACHED not in str(error):
            raise
    loss = f"loss={context.config.name('loss')}"
    meaning = f"no gradient flows from {loss}: it does not depend on the outputs, or detaches them"
    advice = f"to keep {loss}, correct it"
    return CheckResult(name, [Finding("cut_off", FAIL, None, "", meaning, "loss=auto", advice)])


def save(report: CheckReport, folder: RunFolder) -> None:
    """Write check.json, and the plot of the range test if it ran."""
    folder.write_json(FILE, report.content)
    if "learning_rate" in report.checks:
        learning_rate_plot.draw(folder, FILE, PLOT)


# Before a training.


def refuse_failed(report: CheckReport) -> None:
    """Raise an error that lists all failed findings (code 5)."""
    problems = [
        Problem(_sentence(name, finding), printable(finding.fix))
        for name, finding in report.findings()
        if finding.verdict == FAIL
    ]
    if problems:
        raise Error.of(problems, Code.NUMERIC)


def attach(report: CheckReport, log: RunLog) -> None:
    """Write the results to a run's folder and its log, and tell the user about warnings."""
    save(report, log.folder)
    for name, finding in report.findings():
        if finding.verdict == PASS:
            log.write(_sentence(name, finding))
        else:
            log.tell(f"{_sentence(name, finding)}; fix: {printable(finding.fix)}")


def _sentence(name: str, finding: Finding) -> str:
    """Put a finding in one line: "check gradients: fail: relative error ... (0.5; usual: below 0.0001)"."""
    usual = f"; usual: {finding.usual}" if finding.usual else ""
    number = "" if finding.number is None else f" ({finding.number_text}{usual})"
    return printable(f"check {name}: {finding.verdict}: {finding.meaning}{number}")

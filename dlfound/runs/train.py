"""One training from start to end: load, assemble, open the folder, restore or begin, train, finish."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dlfound.config.config import Config, reopen
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error, Problem
from dlfound.nn.modules import BatchNorm, exact_statistics
from dlfound.options.configure import catalog
from dlfound.runs.folder import CONFIG, RunFolder, check_place, new_path, save_weights
from dlfound.runs.opening import open_folder
from dlfound.runs.parts import Observer, Saver, ShouldPrune, Training, assemble_training, never_prune
from dlfound.runs.report import make_report
from dlfound.runs.resume import MAY_CHANGE, PLACES, check_same, configure_run
from dlfound.runs.run import Run
from dlfound.runs.run_log import RunLog
from dlfound.terminal import Stop, say
from dlfound.training.assemble import resolve
from dlfound.training.device import find_device, threads
from dlfound.training.loop import Diverged, fit
from dlfound.training.metrics import EVALUATION_ROWS, evaluate

Metrics = dict[str, dict[str, float | None]]


def train(
    overrides: Sequence[str] = (),
    *,
    data: tuple[Any, Any] | None = None,
    config_dirs: Sequence[str | Path] = (),
) -> Run:
    """Train a net as `dlfound train` does with the same overrides, but silently.

    Args:
        overrides: as on the command line, for example ["optim=sgd", "optim.lr=0.1"].
        data: arrays (X, y) to train on instead of a source: X (rows, columns), y classes or numbers.
        config_dirs: folders with your own options.

    Returns:
        The finished run.

    Raises:
        Error: the error that the command would end with; `code` is its exit code.
    """
    words = list(overrides) if data is None else ["data=arrays", *overrides]
    config, path = configure_run(words, config_dirs)
    if data is not None and config.name("data") != "arrays":
        message = f"both data=(X, y) and data={config.name('data')} are given"
        raise Error(message, "leave one of them out", Code.CONFIG)
    command = f"dlfound.train({list(overrides)!r})"
    run, code = run_training(config, path, data, command, shown=False, stop=Stop())
    raise_failure(run, code)
    return run


def raise_failure(run: Run, code: Code) -> None:
    """Raise an error if the training went wrong; its folder holds the best net so far."""
    if code != Code.DONE:
        error = run.report["error"]
        saved = f"; the best net so far is in {run.path}" if run.report["best_epoch"] else ""
        raise Error(error["what"], error["fix"] + saved, code)


def load_data(config: Config, data: Any = None) -> Dataset:
    """Read the rows of the configured source, or of the arrays that a program passes, and take the fold."""
    return take_fold(config, read_source(config, data))


def read_source(config: Config, data: Any = None) -> Dataset:
    """Read the rows, split as the source splits them."""
    source = config.build("data")
    return source(data) if config.name("data") == "arrays" else source()


def take_fold(config: Config, dataset: Dataset) -> Dataset:
    """Split the same rows as `train.folds` asks."""
    folds = config["train"]["folds"]
    fold = config["train"]["fold"]
    return dataset.folded(folds, fold, config["data"]["seed"]) if folds else dataset


def add_nothing(log: RunLog) -> None:
    """Add no files to the run's folder."""


def run_training(
    config: Config,
    path: Path | None,
    data: Any,
    command: str,
    *,
    shown: bool,
    stop: Stop,
    load: Callable[[Config, Any], Dataset] = load_data,
    should_prune: ShouldPrune = never_prune,
    add_files: Callable[[RunLog], None] = add_nothing,
) -> tuple[Run, Code]:
    """Train as configured, resume an unfinished run, or leave a finished one as it is. See `train`."""
    started = time.perf_counter()
    path = path or Path(config["run"]["dir"] or new_path(config["run"]["name"])).expanduser()
    missing = missing_results(path)
    if not missing and is_over(path, config):
        return leave_as_it_is(path, config, data, shown)
    check_place(path)
    device = find_device(config["run"]["device"])
    training = assemble_training(config, load(config, data), device, should_prune)
    state = training.state  # at the first step; `open_folder` restores it from the newest checkpoint
    with open_folder(path, training, command, missing, shown) as log:
        add_files(log)
        stop.training = True
        started -= state.seconds.total
        with threads(state.machine.threads), Observer(training, log) as observer:
            observer.start()
            saver = Saver(training, observer, stop, started)
            error = None
            try:
                for event in fit(**training.fit_arguments(), pause=saver.pause):
                    training.take(event)
                    observer.take(event)
                    saver.take(event)
                    if state.ended:
                        break
            except Diverged as diverged:
                error = diverged.problems[0]
                log.write(f"error: {error.what}; {error.fix}")
            metrics = measure_best(training, log.folder)
            observer.end(metrics, diverged=error is not None)
        saver.update_total()
        finish(training, metrics, error, log)
    return result(path)


def finish(training: Training, metrics: Metrics, error: Problem | None, log: RunLog) -> None:
    """Write the report, then DONE."""
    log.folder.write_json("report.json", make_report(training, metrics, error, log))
    log.folder.finish()


def measure_best(training: Training, folder: RunFolder) -> Metrics:
    """Restore the best weights, make the batch statistics exact, save the net, and measure it."""
    a = training.assembly
    training.state.best.restore(a.step)
    running = {}
    if any(isinstance(module, BatchNorm) and module.exact for module in a.network.modules()):
        running["val_running_statistics"] = evaluate(a.network, a.loss, a.parts["val"])
        exact_statistics(a.network.body, lambda: _training_batches(training))
    metrics = {name: evaluate(a.network, a.loss, part) for name, part in a.parts.items()}
    save_weights(folder, a.network.state_dict())
    folder.write_json("schema.json", training.schema)  # it may have been lost, or the data have changed
    return metrics | running


def _training_batches(training: Training) -> Iterator[Tensor]:
    network = training.assembly.network
    inputs = training.assembly.parts["train"].inputs
    return (network.ready(x) for x in inputs.split(EVALUATION_ROWS))


def result(path: Path) -> tuple[Run, Code]:
    """A finished run, and the exit code of its training."""
    run = Run(path)
    return run, Code.NUMERIC if run.report["status"] == "diverged" else Code.DONE


# A finished run.


def is_over(path: Path, config: Config) -> bool:
    """True for a finished run, unless it did all its epochs and more are asked for."""
    if not RunFolder(path).finished:
        return False
    report = Run(path).report
    return report["stopped_by"] != "epochs" or config["train"]["epochs"] <= report["epochs_run"]


def missing_results(path: Path) -> str:
    """What a finished run's folder has lost; empty if the run is unfinished or all files are there.

    Raises:
        Error: a file cannot be read, though it may be intact (code 4).
    """
    if not RunFolder(path).finished:
        return ""
    try:
        Run(path).check()
    except Error as error:
        cause = error.__context__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise
        return str(error)
    return ""


def leave_as_it_is(path: Path, config: Config, data: Any, shown: bool) -> tuple[Run, Code]:
    """A finished run, unchanged.

    Raises:
        Error: another configuration is asked for, or arrays are passed (code 4).
    """
    run, code = result(path)
    saved = reopen(path / CONFIG, catalog(config.catalog.config_dirs))
    asked, _ = resolve(config, run.schema["task"])
    # The data are not read, so other ones would go unnoticed.
    check_same(path, saved, asked, free={*MAY_CHANGE} - {*PLACES})
    if shown:
        hint = _hint(run.report)
        say(f"{path} holds a finished run; dlfound leaves it as it is ({hint}; another run.dir trains anew)")
    if data is not None:  # the caller would take the old run for a run on these arrays
        raise Error(f"{path} holds a finished run", "choose another run.dir", Code.RUN)
    return run, code


def _hint(report: dict[str, Any]) -> str:
    """Tell what more epochs would do to a finished run."""
    reasons = {
        "early_stopping": "early stopping ended it",
        "divergence": "it diverged",
        "pruned": "its sweep ended it",
    }
    if report["stopped_by"] not in reasons:
        return "resume=RUN train.epochs=... continues it"
    reason = reasons[report["stopped_by"]]
    return f"{reason} after epoch {report['epochs_run']}, so more epochs would not continue it"

"""One training from start to end: load, assemble, open the folder, restore or begin, train, finish."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error
from dlfound.nn.modules import BatchNorm, exact_statistics
from dlfound.objective.tasks import Metrics
from dlfound.runs.folder import RunFolder, check_place, new_path, save_weights
from dlfound.runs.opening import missing_results, open_folder
from dlfound.runs.parts import RunLog, Saver, ShouldPrune, Training, assemble_training, never_prune
from dlfound.runs.record import Observer, make_report
from dlfound.runs.resume import configure_run, is_over, leave_as_it_is
from dlfound.runs.run import Run
from dlfound.terminal import Stop, progress_bar
from dlfound.training.assemble import resolve
from dlfound.training.device import find_device, threads
from dlfound.training.loop import Diverged, fit
from dlfound.training.metrics import EVALUATION_ROWS, evaluate


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
    run = run_training(config, path, data, command, shown=False, stop=Stop())
    raise_divergence(run)
    return run


def raise_divergence(run: Run) -> None:
    """Raise an error if the training diverged (code 5); its folder holds the best net so far."""
    if run.report["status"] == "diverged":
        error = run.report["error"]
        saved = f"; the best net so far is in {run.path}" if run.report["best_epoch"] else ""
        raise Error(error["what"], error["fix"] + saved, Code.NUMERIC)


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
) -> Run:
    """Train as configured, resume an unfinished run, or leave a finished one as it is. See `train`."""
    started = time.perf_counter()
    run = Run(path or Path(config["run"]["dir"] or new_path(config["run"]["name"])).expanduser())
    missing = missing_results(run)
    if not missing and is_over(run, config):
        leave_as_it_is(run, resolve(config, run.schema["task"])[0], data, shown)
        return run
    check_place(run.path)
    device = find_device(config["run"]["device"])
    training = assemble_training(config, load(config, data), device, should_prune)
    with open_folder(run.path, training, command, missing, shown) as log:
        add_files(log)
        stop.training = True
        bar = progress_bar(config["train"]["epochs"], shown, "epoch")
        with threads(training.state.machine.threads), bar as show, Observer(training, log, show) as observer:
            observer.start()
            saver = Saver(training, log.folder, observer.flush, stop, started)
            error = None
            try:
                for event in fit(**training.fit_arguments(), pause=saver.pause):
                    training.advance(event)
                    observer.record(event)
                    saver.save_if_due(event)
                    if training.state.ended:
                        break
            except Diverged as diverged:
                error = diverged.problems[0]
                log.write(f"error: {error.what}; {error.fix}")
            metrics = measure_best(training, log.folder)
            observer.end(metrics, diverged=error is not None)
        saver.update_total()
        log.folder.finish(make_report(training, metrics, error, log))
    return Run(run.path)


def measure_best(training: Training, folder: RunFolder) -> dict[str, Metrics]:
    """Restore the best weights, make the batch statistics exact, save the net, and measure it."""
    a = training.assembly
    training.state.best.restore(a.step)
    running = {}
    if any(isinstance(module, BatchNorm) and module.exact for module in a.network.modules()):
        running["val_running_statistics"] = evaluate(a.network, a.loss, a.parts["val"])
        rows = a.parts["train"].inputs
        exact_statistics(a.network.body, lambda: map(a.network.ready, rows.split(EVALUATION_ROWS)))
    metrics = {name: evaluate(a.network, a.loss, part) for name, part in a.parts.items()}
    save_weights(folder, a.network.state_dict())
    folder.write_json("schema.json", training.schema)  # it may have been lost, or the data have changed
    return metrics | running

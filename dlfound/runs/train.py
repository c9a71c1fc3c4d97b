"""One training, from a checked configuration to a finished folder."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlfound.config.compose import reopen
from dlfound.config.config import Config
from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error
from dlfound.options.configure import catalog
from dlfound.options.rules import cautions, loss_fits_task, monitor_fits_loss, monitor_fits_task
from dlfound.runs.checkpoints import Checkpoint, Checkpoints
from dlfound.runs.folder import CONFIG, RunFolder, check_place, disk_errors, make_folder, new_path
from dlfound.runs.form import check_form
from dlfound.runs.lock import locked
from dlfound.runs.progress import say
from dlfound.runs.report import make_report
from dlfound.runs.resume import MAY_CHANGE, PLACES, check_length, check_same, configure_run
from dlfound.runs.run import Run
from dlfound.runs.run_log import WARNING, Journal
from dlfound.runs.state import Session, Watched, unwatched
from dlfound.runs.stop import Stop
from dlfound.training.assemble import Assembly, assemble, resolve
from dlfound.training.device import find_device

FOR_GOOD = {
    "early_stopping": "early stopping ended it",
    "divergence": "it diverged",
    "pruned": "its sweep ended it",
}


Attach = Callable[[RunFolder, Journal], None]


def nothing_to_attach(folder: RunFolder, journal: Journal) -> None:
    """The run holds its own files alone."""


def train(
    overrides: Sequence[str] = (),
    *,
    data: tuple[Any, Any] | None = None,
    config_dirs: Sequence[str | Path] = (),
) -> Run:
    """Train a net; the same as `dlfound train` with the same overrides, but silent.

    Args:
        overrides: as on the command line, for example ["optim=sgd", "optim.lr=0.1"].
        data: arrays (X, y) to train on instead of a source: X (rows, columns), y classes or numbers.
        config_dirs: folders with options of your own.

    Returns:
        The finished run.

    Raises:
        Error: what the command would have ended with; `code` is its exit code.
    """
    words = list(overrides) if data is None else ["data=arrays", *overrides]
    config, path = configure_run(words, config_dirs)
    if data is not None and config.name("data") != "arrays":
        what = f"data=(X, y) was handed over, and data={config.name('data')} asked for too"
        raise Error(what, "leave one of them out", Code.CONFIG)
    command = f"dlfound.train({list(overrides)!r})"
    run, code = run_training(config, path, data, command, shown=False, stop=Stop())
    raise_failure(run, code)
    return run


def raise_failure(run: Run, code: Code) -> None:
    """A training that went wrong, as an error; its folder holds the best net so far."""
    if code != Code.DONE:
        error = run.report["error"]
        kept = f"; the best net so far is in {run.path}" if run.report["best_epoch"] else ""
        raise Error(error["what"], error["fix"] + kept, code)


def load_data(config: Config, data: Any = None) -> Dataset:
    """The rows that the configuration names, or the arrays that a program handed over."""
    return take_fold(config, read_source(config, data))


def read_source(config: Config, data: Any = None) -> Dataset:
    """The rows as the source cuts them."""
    source = config.build("data")
    return source(data) if config.name("data") == "arrays" else source()


def take_fold(config: Config, dataset: Dataset) -> Dataset:
    """The same rows, cut as `train.folds` asks."""
    train = config["train"]
    return (
        dataset.folded(train["folds"], train["fold"], config["data"]["seed"]) if train["folds"] else dataset
    )


def run_training(
    config: Config, path: Path | None, data: Any, command: str, shown: bool, stop: Stop,
    *, attach: Attach = nothing_to_attach, load: Callable[[Config, Any], Dataset] = load_data, watched: Watched = unwatched,
) -> tuple[Run, Code]:  # fmt: skip
    """Train as configured, go on where an unfinished run stands, or say that the folder holds a finished one.

    Args:
        path: the folder of the run that is to go on; None where the configuration names or makes it.
        stop: true once the run should end early.
        attach: called with the run's folder and log once they are open, to add files and lines of the caller's own.
        load: reads the data; who trains often may keep them.
        watched: as `Session` takes it.

    Raises:
        Stopped: it was; what was reached is kept.
        Error: a mistake in the settings, the data or the folder.
    """
    began = time.perf_counter()
    path = path or Path(config["run"]["dir"] or new_path(config["run"]["name"])).expanduser()
    lost = _lost(path)
    if not lost and _is_over(path, config):
        return _left_alone(path, config, data, shown)
    check_place(path)
    device = find_device(config["run"]["device"])
    dataset = load(config, data)
    check_task(config, dataset)
    settled, notes = resolve(config, dataset.task)
    assembly = assemble(settled, dataset, device)
    _check_monitor(config, assembly)
    schema = dataset.schema() | {"plan": assembly.network.preprocessing.plan}
    saved = _saved(path, settled)
    folder = make_folder(path)  # only now: nothing is left behind by a mistake
    with locked(path) as trouble, disk_errors(path):
        folder.tidy()
        kept, damaged = _newest(path, lost)
        journal = Journal(folder, shown)
        session = Session(settled, assembly, schema, folder, journal, stop, watched, began)
        if kept is not None:  # what refuses to go on comes before the first change
            check_form(kept)
            check_length(path, saved or settled, settled, kept.state["epoch"] - 1)
            session.resume(kept)
        new = _begin(folder, settled, saved, [command, *_remarks(settled, dataset, notes)])
        with journal.logged(), disk_errors(path):  # only now: a folder with a log.txt alone would be no run's
            if kept is not None:
                journal.tell(f"going on after epoch {session.done}, step {kept.step}")
            else:
                new = _begin_anew(folder, schema, shown)
            _note(new, journal)
            if lost:
                journal.tell(f"{lost}: the run's end is made again")
            for text in filter(None, (*damaged, trouble)):
                journal.warn(text)
            attach(folder, journal)
            stop.training = True
            folder.write_json("report.json", make_report(settled, schema, session.run(), folder.head[0]))
            folder.finish()
    return _ended(path)


def _left_alone(path: Path, config: Config, data: Any, shown: bool) -> tuple[Run, Code]:
    """A finished run, as it is; raises Error where another configuration is asked for (code 4)."""
    run, code = _ended(path)
    saved = reopen(path / CONFIG, catalog(config.catalog.config_dirs))
    asked = resolve(config, run.schema["task"])[0]
    check_same(path, saved, asked, free={*MAY_CHANGE} - {*PLACES})  # no data are read: they might be others
    if shown:
        say(
            f"{path} holds a finished run; it is left as it is ({_hint(run.report)}, another run.dir trains anew)"
        )
    if data is not None:  # the caller would take the old run's result for that of these arrays
        raise Error(f"{path} holds a finished run", "choose another run.dir", Code.RUN)
    return run, code


def _hint(report: dict[str, Any]) -> str:
    """What more epochs would do for a finished run."""
    if report["stopped_by"] not in FOR_GOOD:
        return "resume=RUN train.epochs=... goes on"
    return f"{FOR_GOOD[report['stopped_by']]} after epoch {report['epochs_run']}: more epochs would not go on"


def _is_over(path: Path, config: Config) -> bool:
    """True for a finished run, unless all its epochs are done and more are asked for."""
    if not RunFolder(path).finished:
        return False
    report = Run(path).report
    return report["stopped_by"] != "epochs" or config["train"]["epochs"] <= report["epochs_run"]


def _lost(path: Path) -> str:
    """What a finished run's folder does not hold any more, though the run's end wrote it; empty where all is there.

    Raises:
        Error: a file cannot be read (code 4).
    """
    if not RunFolder(path).finished:
        return ""
    try:
        Run(path).check()
    except Error as error:
        cause = error.__context__
        if isinstance(cause, OSError) and not isinstance(
            cause, FileNotFoundError
        ):  # what the disk holds may be sound
            raise
        return str(error)
    return ""


def _newest(path: Path, lost: str) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to go on from, and what is told of damaged ones.

    Raises:
        Error: there is none from which a finished run could get again what it lost (code 4).
    """
    kept, damaged = Checkpoints(path).newest()
    if lost and kept is None:
        raise Error(f"{lost}, and no checkpoint to make it from", "train anew in another run.dir", Code.RUN)
    return kept, damaged


def _saved(path: Path, config: Config) -> Config | None:
    """The configuration of the run that stands there, None where none does.

    Raises:
        Error: it is of another configuration, or the folder holds other things (code 4).
    """
    if (path / CONFIG).exists():
        saved = reopen(path / CONFIG, catalog(config.catalog.config_dirs))
        check_same(path, saved, config)
        return saved
    if path.exists() and any(not entry.name.startswith((".lock", ".tmp-")) for entry in path.iterdir()):
        raise Error(f"{path} holds other files", "choose another run.dir", Code.RUN)
    return None


def _begin(folder: RunFolder, config: Config, saved: Config | None, head: list[str]) -> list[str]:
    """Make it an unfinished run of this configuration; returns the remarks that are new.

    A run that stands there keeps its head, but for what no longer follows from the values.
    """
    if folder.finished:
        folder.reopen()
    old, gone = (folder.head, _cautions(saved)) if saved else (head, [])
    command, *remarks = [*(text for text in old if text not in gone), *_cautions(config)]
    if saved is None or saved.tree != config.tree:
        folder.begin(config.saved(), command, remarks)
    return [text for text in remarks if text not in old]


def _begin_anew(folder: RunFolder, schema: dict[str, Any], shown: bool) -> list[str]:
    """Without a checkpoint the first step is the next one; returns all remarks."""
    if shown and (folder.path / "metrics.jsonl").exists():
        say(f"{folder.path} has no checkpoint: it begins anew")
    folder.clear()
    folder.write_json("schema.json", schema)
    return folder.head[1:]


def _cautions(config: Config) -> list[str]:
    return [f"{WARNING}{text}" for text in cautions(config)]


def _remarks(config: Config, dataset: Dataset, notes: Sequence[str]) -> list[str]:
    """What is said of a run before it begins. It stands in its folder: a later command may not know it any more."""
    remarks, asked, rows = (
        [*dataset.notes, *notes],
        config["train"]["batch_size"],
        len(dataset.parts["train"]),
    )
    told = [text for text in config.warnings if text not in cautions(config)]
    remarks += [f"{WARNING}{text}" for text in (*dataset.warnings, *told)]
    if isinstance(asked, int) and asked > rows:
        remarks.append(f"train.batch_size={asked} is more than the {rows} training rows: taking {rows}")
    return remarks


def _note(remarks: Sequence[str], journal: Journal) -> None:
    for text in remarks:
        if text.startswith(WARNING):
            journal.tell(text)
        else:
            journal.note(text)


def _ended(path: Path) -> tuple[Run, Code]:
    run = Run(path)
    return run, Code.NUMERIC if run.report["status"] == "diverged" else Code.DONE


def check_task(config: Config, dataset: Dataset) -> None:
    """The rules that need the data, right after they are read."""
    found = [
        loss_fits_task(config.name("loss"), dataset.task),
        monitor_fits_task(config["train"]["monitor"], dataset.task),
    ]
    if problems := [p for p in found if p is not None]:
        raise Error.of(problems, Code.CONFIG)


def _check_monitor(config: Config, assembly: Assembly) -> None:
    """The rule that needs the loss itself: what a registered one makes is known once it is built."""
    if (
        problem := monitor_fits_loss(config["train"]["monitor"], config.name("loss"), assembly.loss)
    ) is not None:
        raise Error.of([problem], Code.CONFIG)

"""Open the folder of a run: lock it, then begin the run, or restore it from its newest checkpoint."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dlfound.config.config import Config, reopen
from dlfound.errors import Code, Error, printable
from dlfound.options.configure import catalog
from dlfound.options.rules import cautions
from dlfound.runs.checkpoints import Checkpoint, Checkpoints
from dlfound.runs.durable import locked
from dlfound.runs.folder import CONFIG, RunFolder, disk_errors, make_folder, mismatch
from dlfound.runs.parts import WARNING, RunLog, Training
from dlfound.runs.resume import check_length, check_same, listed
from dlfound.runs.run import Run
from dlfound.runs.state import TrainState
from dlfound.terminal import say

CELLS = ("fingerprint", "class_counts")  # the fields of schema.json that differ if only cells have changed


@contextmanager
def open_folder(path: Path, training: Training, command: str, missing: str, shown: bool) -> Iterator[RunLog]:
    """Hold the lock of a run's folder while the run trains in it.

    Args:
        training: at its first step; it is brought to the newest checkpoint, if there is one.
        missing: the results that a finished run's folder has lost; empty for any other run.

    Raises:
        Error: the folder holds another run or other files, or is in use (code 4); the data have changed
            (code 3); the disk refuses (code 6).
    """
    saved_config = _saved_config(path, training.config)
    folder = make_folder(path)  # not before: a mistake leaves nothing behind
    with locked(path) as lock_warning, disk_errors(path):
        folder.remove_half_written()
        checkpoint, warnings = Checkpoints(path).newest()
        if missing and checkpoint is None:
            message = f"{missing}, and there is no checkpoint to make it from"
            raise Error(message, "start a new run in another run.dir", Code.RUN)
        notes = [f"{missing}: dlfound writes the results of the run again"] if missing else []
        if checkpoint is not None:  # everything is checked before the first file is changed
            saved = _checked(checkpoint, folder, training, saved_config or training.config)
            notes += _machine_notes(saved.state, training.state)
            warnings += _restore(saved, folder, training)
        remarks = _write_config(folder, training, saved_config, command)
        log = RunLog(folder, shown, training.state.warnings)
        with log.logged(), disk_errors(path):  # earlier, log.txt would stand alone in the folder
            if checkpoint is None:
                remarks = _begin(folder, training.schema, shown)
            else:
                log.tell(f"resuming after epoch {training.state.epochs_done}, step {checkpoint.step}")
            _tell(log, remarks, notes, [*warnings, lock_warning])
            yield log


def _tell(log: RunLog, remarks: Sequence[str], notes: Sequence[str], warnings: Sequence[str]) -> None:
    for text in remarks:  # they are in config.yaml, warnings included
        tell = log.tell if text.startswith(WARNING) else log.note
        tell(text)
    for text in notes:
        log.tell(text)
    for text in filter(None, warnings):
        log.warn(text)


# The configuration.


def _saved_config(path: Path, config: Config) -> Config | None:
    """Return the configuration of the run in the folder; None if the folder is new or empty.

    Raises:
        Error: the folder holds another run, or other files (code 4).
    """
    if (path / CONFIG).exists():
        saved = reopen(path / CONFIG, catalog(config.catalog.config_dirs))
        check_same(path, saved, config)
        return saved
    if path.exists() and any(not entry.name.startswith((".lock", ".tmp-")) for entry in path.iterdir()):
        raise Error(f"{path} holds other files", "choose another run.dir", Code.RUN)
    return None


def _write_config(folder: RunFolder, training: Training, saved: Config | None, command: str) -> list[str]:
    """Write config.yaml if anything in it is new; return the new remarks.

    A run that is already there keeps its remarks, except cautions that no longer follow from its settings.
    """
    if folder.finished:
        folder.reopen()
    config = training.config
    old = folder.head if saved else [command, *training.remarks]
    outdated = _cautions(saved) if saved else []
    command, *remarks = [*(text for text in old if text not in outdated), *_cautions(config)]
    if saved is None or saved.tree != config.tree:
        folder.begin(config.saved(), command, remarks)
    return [text for text in remarks if text not in old]


def _cautions(config: Config) -> list[str]:
    return [f"{WARNING}{text}" for text in cautions(config)]


def _begin(folder: RunFolder, schema: dict[str, Any], shown: bool) -> list[str]:
    """Prepare the folder for the first step; return all remarks."""
    if shown and (folder.path / "metrics.jsonl").exists():
        say(f"{folder.path} has no checkpoint: training starts from the beginning")
    folder.clear_progress()
    folder.write_json("schema.json", schema)
    return folder.head[1:]


# The newest checkpoint.


class Saved(NamedTuple):
    """A checkpoint that belongs to the run.

    Attributes:
        change: how the data have changed since; empty if they are the same.
        lines: the lines of metrics.jsonl from before it.
    """

    state: TrainState
    change: str
    lines: list[dict[str, Any]]


def _checked(checkpoint: Checkpoint, folder: RunFolder, training: Training, config: Config) -> Saved:
    """Read the state in a checkpoint, and check that it belongs to this run; nothing is changed.

    Args:
        config: of the run in the folder.

    Raises:
        Error: it belongs to another run (code 4), or the data have changed (code 3).
    """
    at = f"the checkpoint of step {checkpoint.step} in {folder.path}"
    state = training.state
    saved = TrainState.load(checkpoint, state.vectors.params.device)
    check_length(folder.path, config, training.config, saved.epochs_done)
    change = _changed_data(saved, folder, training)
    lines = _lines_before(saved, folder)
    before = saved.origin.settings
    now = state.origin.settings
    if before != now:
        changes = [(name, before.get(name), now.get(name)) for name in sorted({**now, **before})]
        different = listed([change for change in changes if change[1] != change[2]])
        raise mismatch(f"{at} does not belong to its config.yaml: {different}")
    if len(lines) != saved.epochs_done:
        epoch = saved.progress.epoch
        raise mismatch(f"{at} is in epoch {epoch}, but metrics.jsonl has {len(lines)} lines before it")
    outputs = training.assembly.network.body.output.out_features
    fits = state.fits(saved, training.assembly.batch_size, outputs)
    if not fits or (saved.best.epoch, saved.best.value) != training.best_of(lines):
        raise mismatch(f"{at} does not fit config.yaml")
    return Saved(saved, change, lines)


def _restore(saved: Saved, folder: RunFolder, training: Training) -> list[str]:
    """Bring the training to a saved state, and cut the run's files back to it; return warnings."""
    state = training.state
    new = saved.state
    short = [name for name, size in new.files.sizes.items() if not folder.cut(name, size)]
    new.origin = state.origin
    if new.machine.versions != state.machine.versions or saved.change:
        new.machine.exact = False
    new.machine.versions = state.machine.versions
    state.restore(new)
    training.repeat(saved.lines)
    if state.ended == "epochs" and training.epochs > state.epochs_done:
        state.ended = ""
    warnings = []
    if short:  # never metrics.jsonl, whose digest is right
        warnings.append(f"{' and '.join(short)} lost lines from before the last checkpoint")
    if saved.change:
        warnings.append(f"{saved.change}: resuming with train.allow_changed, not bit-identically")
    return warnings


def _lines_before(saved: TrainState, folder: RunFolder) -> list[dict[str, Any]]:
    """Read the lines of metrics.jsonl from before a checkpoint.

    Raises:
        Error: metrics.jsonl has changed (code 4).
    """
    size = saved.files.metrics
    if folder.digest("metrics.jsonl", size) != saved.files.digest:
        message = f"{folder.path / 'metrics.jsonl'} has changed since the checkpoint of step {saved.step}"
        raise Error(message, "restore the file, or start a new run in another run.dir", Code.RUN)
    return folder.read_lines("metrics.jsonl", size)


def _changed_data(saved: TrainState, folder: RunFolder, training: Training) -> str:
    """Return how the data differ from those of the checkpoint; empty if they are the same.

    Raises:
        Error: they differ, and that is not allowed (code 3).
    """
    schema = training.schema
    old = saved.origin.fingerprint
    new = schema["fingerprint"]
    if old == new:
        return ""
    change = f"the data have changed since step {saved.step} (sha256 {printable(old[:8])}, now {new[:8]})"
    before = {**folder.read_json("schema.json"), **{name: schema[name] for name in CELLS}}
    if before != json.loads(json.dumps(schema)):
        message = f"{change}, and they have other rows, columns or classes"
        raise Error(message, "use the same files, or start a new run in another run.dir", Code.DATA)
    if not training.config["train"]["allow_changed"]:
        fix = "use the same files, or resume with the changed ones: train.allow_changed=true"
        raise Error(change, fix, Code.DATA)
    return change


def _machine_notes(saved: TrainState, state: TrainState) -> list[str]:
    """Return a note if another device or other versions computed the run so far."""
    before = saved.machine.versions
    different = {name: now for name, now in state.machine.versions.items() if now != before.get(name)}
    changed = [f"{name} {now} instead of {before.get(name)}" for name, now in different.items()]
    note = f"note: resuming with {', '.join(changed)}: the results will not be bit-identical"
    return [note] if different else []


# A finished run.


def missing_results(run: Run) -> str:
    """Return what a finished run's folder has lost; empty if the run is unfinished or all files are there.

    Raises:
        Error: a file cannot be read, though it may be intact (code 4).
    """
    try:
        if RunFolder(run.path).finished:
            run.check()
    except Error as error:
        cause = error.__context__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise
        return str(error)
    return ""

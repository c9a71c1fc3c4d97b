"""Ways to make dlfound careless, in the process that calls them: the proofs must notice each."""

import os
from contextlib import nullcontext
from types import SimpleNamespace

from dlfound.runs import checkpoints, durable, folder, opening, state
from dlfound.runs.folder import RunFolder
from dlfound.runs.state import TrainState

# The disk.


def write_straight() -> None:
    """Write straight to a file's place."""

    def replace_durably(path, content, *aside):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.write(file, content)
        os.fsync(file)
        os.close(file)

    folder.replace_durably = checkpoints.replace_durably = replace_durably


def leave_content_unforced() -> None:
    """Give a file its name before its content is on the disk."""

    def write_durably(path, content):
        with open(path, "xb") as file:
            file.write(content)

    durable.write_durably = write_durably


def leave_names_unforced() -> None:
    """Never force a name to the disk."""
    checkpoints.sync_folder = durable.sync_folder = lambda path: None


def leave_folders_unforced() -> None:
    """Force no name of a new folder to the disk."""
    checkpoints.sync_folder = lambda path: None
    folder.make_folders = lambda path: path.mkdir(parents=True, exist_ok=True)


def leave_lines_unforced() -> None:
    """Write a checkpoint before the lines of the epochs are on the disk."""
    folder.sync_file = lambda path: path.stat().st_size


def keep_extra_lines() -> None:
    """Resume without cutting files back to the checkpoint."""
    RunFolder.cut = lambda self, name, size: True


def keep_half_files() -> None:
    """Leave half-written files where they are."""
    folder.remove_aside = lambda folder: None


def report_no_disk_errors() -> None:
    """Turn no OSError into an Error."""
    opening.disk_errors = lambda path: nullcontext()


# Checkpoints.


def trust_the_digest() -> None:
    """Take every content for that of the digest in the name."""

    class Trusted(str):
        def __getitem__(self, part):
            return self

        def __format__(self, how):
            return name[0].split("-")[2].partition(".")[0]

    def trusting(path, step):
        name[0] = path.name
        return read(path, step)

    name = [""]
    read = checkpoints._read
    checkpoints._read = trusting
    checkpoints.hashlib = SimpleNamespace(
        file_digest=lambda file, name: SimpleNamespace(hexdigest=Trusted), sha256=checkpoints.hashlib.sha256
    )


def trust_the_fields() -> None:
    """Take every plain value in a checkpoint for one that the field can hold."""
    checkpoints._plain = lambda kind, origin, value, name: value


def ignore_the_settings() -> None:
    """Resume from the checkpoint of a run with other settings."""
    load = TrainState.load

    def load_without_settings(checkpoint, device):
        saved = load(checkpoint, device)
        saved.origin.settings = {}
        return saved

    state.fixed_settings = lambda config: {}
    TrainState.load = load_without_settings


def restore_nothing() -> None:
    """Resume with the state of a run that begins."""
    TrainState.restore = lambda self, saved: None

"""Resuming: which run is meant, which of its settings may change, and whether a finished run continues."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlfound.config.catalog import EXPERIMENT
from dlfound.config.config import Config, check_rules, reopen
from dlfound.errors import Code, Error
from dlfound.options.configure import catalog, configure
from dlfound.options.rules import RULES
from dlfound.runs.folder import CONFIG, RunFolder
from dlfound.terminal import say

if TYPE_CHECKING:
    from dlfound.runs.run import Run

OF_TRAIN = ("train.epochs", "train.checkpoint", "train.allow_changed")
# Where the data are: the fingerprint tells whether they are the same. A finished run reads none.
PLACES = ("data.path", "data.target_path", "data.val_path", "data.test_path", "data.root")
MAY_CHANGE = (*OF_TRAIN, *PLACES, "run.name", "run.dir")  # any other setting would make it another run
WORD = "resume="
REASONS = {  # why more epochs would not continue a finished run
    "early_stopping": "early stopping ended it",
    "divergence": "it diverged",
    "pruned": "its sweep ended it",
}

Difference = tuple[str, Any, Any]  # a setting, the run's value, the value asked for


def configure_run(
    overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()
) -> tuple[Config, Path | None]:
    """Return the configuration that the overrides ask for; with resume=RUN, that run's and its folder.

    Raises:
        Error: mistakes in the overrides (code 2); no such run, or a setting that may not change (code 4).
    """
    runs = [text.removeprefix(WORD) for text in overrides if text.startswith(WORD)]
    others = [text for text in overrides if not text.startswith(WORD)]
    if not runs:
        return configure(others, config_dirs), None
    if len(runs) > 1:
        raise Error(f"resume is given {len(runs)} times", "name one run", Code.CONFIG)
    from dlfound.config.compose import compose  # imports Hydra
    from dlfound.runs.find import find_run  # only needed here

    path = find_run(runs[0])
    saved = reopen(path / CONFIG, catalog(config_dirs))
    has_experiment = any(text.startswith(f"{EXPERIMENT}=") for text in others)  # a whole configuration
    requested = (
        configure(others, config_dirs) if has_experiment else compose(others, saved.catalog, base=saved)
    )
    typed = _typed(others, requested)
    if {"run.dir", "run.name"} & typed:
        message = "resume=RUN names the folder, and so does run.dir or run.name"
        raise Error(message, "leave one out", Code.CONFIG)
    fix = "leave these settings unchanged; or leave resume out and choose another run.dir"
    _refuse(path, [difference for difference in differences(saved, requested) if difference[0] in typed], fix)
    return _changed(saved, requested, typed), path


def _typed(overrides: Sequence[str], requested: Config) -> set[str]:
    """Return the settings and groups whose values the overrides give."""
    heads = {text.partition("=")[0] for text in overrides}
    if EXPERIMENT in heads:
        return {*requested.origins, *requested.tree}
    return {key for key, origin in requested.origins.items() if origin in overrides} | (
        heads & set(requested.tree)
    )


def check_same(path: Path, saved: Config, requested: Config, free: Collection[str] = MAY_CHANGE) -> None:
    """Refuse to continue a run under another configuration.

    Args:
        free: the settings that may differ.

    Raises:
        Error: naming each setting that differs, with both values (code 4).
    """
    fix = "leave these settings unchanged, or choose another run.dir"
    _refuse(path, differences(saved, requested, free), fix)


def differences(saved: Config, requested: Config, free: Collection[str] = MAY_CHANGE) -> list[Difference]:
    """List the settings that differ and may not; a setting that one side lacks is null there."""
    different = []
    for node in saved.tree:
        old = saved.tree[node]
        new = requested.tree[node]
        other_option = node != "run" and old.get("name") != new.get("name")
        for key in ["name"] if other_option else {**old, **new}:
            name = f"{node}.{key}"
            if old.get(key) != new.get(key) and name not in free:
                different.append((node if other_option else name, old.get(key), new.get(key)))
    return different


def listed(different: Sequence[Difference]) -> str:
    """Return the differences as text, with both values of each setting."""
    return "; ".join(f"{key} was {old}, now {new}" for key, old, new in different)


def _refuse(path: Path, different: Sequence[Difference], fix: str) -> None:
    if different:
        raise Error(f"{path} is a run with another configuration: {listed(different)}", fix, Code.RUN)


def _changed(saved: Config, requested: Config, typed: set[str]) -> Config:
    """Return the run's configuration with the changes that were typed.

    Raises:
        Error: a change breaks a rule (code 2).
    """
    config = saved
    for name in typed.intersection((*OF_TRAIN, *PLACES)):
        node, _, setting = name.partition(".")
        config = config.having(node, **{setting: requested[node][setting]})
    problems, _ = check_rules(config.tree, RULES)
    if problems and config.tree != saved.tree:
        raise Error.of(problems, Code.CONFIG)
    return config


def check_length(path: Path, saved: Config, requested: Config, done: int) -> None:
    """Refuse another number of epochs if it would have changed the run from its start.

    Args:
        done: how many epochs are over.

    Raises:
        Error: the decay depends on the length, or more epochs are done (code 4).
    """
    old = saved["train"]["epochs"]
    new = requested["train"]["epochs"]
    if new == old:
        return
    if not getattr(requested.build("lr_decay").func, "any_length", False):
        decay = requested.name("lr_decay")
        message = f"{path}: train.epochs was {old}, now {new}, but lr_decay={decay} depends on the length"
        raise Error(message, "start a new run in another run.dir", Code.RUN)
    if new < done:
        message = f"{path} has finished {done} epochs, but train.epochs={new}"
        raise Error(message, f"use train.epochs={done} or more", Code.RUN)


# A finished run.


def is_over(run: "Run", config: Config) -> bool:
    """Return True for a finished run, unless it did all its epochs and more are requested."""
    if not RunFolder(run.path).finished:
        return False
    return run.report["stopped_by"] != "epochs" or config["train"]["epochs"] <= run.report["epochs_run"]


def leave_as_it_is(run: "Run", requested: Config, data: Any, shown: bool) -> None:
    """Check that a finished run is the one that is asked for, and say that it stays unchanged.

    Args:
        requested: settled, with no `auto` option left.
        data: the arrays that a program passes, or None.

    Raises:
        Error: another configuration is asked for, or arrays are passed (code 4).
    """
    path = run.path
    saved = reopen(path / CONFIG, catalog(requested.catalog.config_dirs))
    # The data are not read, so other ones would go unnoticed.
    check_same(path, saved, requested, free={*MAY_CHANGE} - {*PLACES})
    if shown:
        hint = "resume=RUN train.epochs=... continues it"
        if reason := REASONS.get(run.report["stopped_by"]):
            hint = f"{reason} after epoch {run.report['epochs_run']}, so more epochs would not continue it"
        note = f"dlfound leaves it as it is ({hint}; another run.dir starts a new run)"
        say(f"{path} holds a finished run; {note}")
    if data is not None:  # the caller would take the old run for a run on these arrays
        raise Error(f"{path} holds a finished run", "choose another run.dir", Code.RUN)

"""Going on with a run: which run, and what may be different about it."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from dlfound.config.catalog import EXPERIMENT
from dlfound.config.check import check_rules
from dlfound.config.config import Config
from dlfound.errors import Code, Error
from dlfound.options.configure import catalog, configure
from dlfound.options.rules import RULES
from dlfound.runs.folder import CONFIG, find_run

OF_TRAIN = ("train.epochs", "train.checkpoint", "train.allow_changed")
# Where the data lie: whether they are the same, their fingerprint says. A finished run asks for none.
PLACES = ("data.path", "data.target_path", "data.val_path", "data.test_path", "data.root")
MAY_CHANGE = (*OF_TRAIN, *PLACES, "run.name", "run.dir")  # all else would make another run of it
ANY_LENGTH = (
    "none",
    "plateau",
    "step",
    "exponential",
    "inverse_time",
)  # decays that do not look at train.epochs
WORD = "resume="


def configure_run(words: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> tuple[Config, Path | None]:
    """The configuration that the words ask for; with resume=RUN among them, that run's own, and its folder.

    Raises:
        Error: mistakes in the words (code 2); no such run, or a setting that may not change on the way (code 4).
    """
    runs = [word.removeprefix(WORD) for word in words if word.startswith(WORD)]
    others = [word for word in words if not word.startswith(WORD)]
    if not runs:
        return configure(others, config_dirs), None
    if len(runs) > 1:
        raise Error(f"resume is given {len(runs)} times", "name one run", Code.CONFIG)
    from dlfound.config.compose import compose_over, reopen  # brings in Hydra

    path = find_run(runs[0])
    saved = reopen(path / CONFIG, catalog(config_dirs))
    whole = any(word.startswith(f"{EXPERIMENT}=") for word in others)  # it is a configuration of its own
    asked = configure(others, config_dirs) if whole else compose_over(saved, others)
    typed = _typed(others, asked)
    if {"run.dir", "run.name"} & typed:
        raise Error(
            "resume=RUN names the folder, and so does run.dir or run.name", "leave one out", Code.CONFIG
        )
    fix = "leave these as they were; or leave resume out, and choose another run.dir"
    _refuse(path, [found for found in differences(saved, asked) if found[0] in typed], fix)
    return _changed(saved, asked, typed), path


def _typed(words: Sequence[str], asked: Config) -> set[str]:
    """The settings and groups whose value the words give."""
    heads = {word.partition("=")[0] for word in words}
    if EXPERIMENT in heads:
        return {*asked.origins, *asked.tree}
    return {key for key, origin in asked.origins.items() if origin in words} | (heads & set(asked.tree))


def check_same(path: Path, saved: Config, asked: Config, free: Collection[str] = MAY_CHANGE) -> None:
    """Refuse to go on with a run under a configuration that is not its own.

    Args:
        free: the settings that may differ.

    Raises:
        Error: naming each setting that differs, with both values (code 4).
    """
    _refuse(path, differences(saved, asked, free), "leave these as they were, or choose another run.dir")


def differences(
    saved: Config, asked: Config, free: Collection[str] = MAY_CHANGE
) -> list[tuple[str, Any, Any]]:
    """(setting, the run's value, the value asked for) where they differ and may not; absent is null."""
    found = []
    for node in saved.tree:
        old, new = saved.tree[node], asked.tree[node]
        keys = ["name"] if old.get("name") != new.get("name") and node != "run" else {**old, **new}
        for key in keys:
            name = f"{node}.{key}"
            if old.get(key) != new.get(key) and name not in free:
                found.append((node if key == "name" and node != "run" else name, old.get(key), new.get(key)))
    return found


def fixed_settings(config: Config) -> dict[str, Any]:
    """All the settings that may not change, as JSON gives them back."""
    return json.loads(
        json.dumps({name: value for name, value in config.flat().items() if name not in MAY_CHANGE})
    )


def _refuse(path: Path, found: Sequence[tuple[str, Any, Any]], fix: str) -> None:
    if found:
        told = "; ".join(f"{key} was {old}, and {new} is asked for" for key, old, new in found)
        raise Error(f"{path} is a run of another configuration: {told}", fix, Code.RUN)


def _changed(saved: Config, asked: Config, typed: set[str]) -> Config:
    """The run's configuration with what the person typed and may change.

    Raises:
        Error: it breaks a rule by that (code 2).
    """
    tree = {node: dict(settings) for node, settings in saved.tree.items()}
    for name in typed.intersection((*OF_TRAIN, *PLACES)):
        node, _, setting = name.partition(".")
        tree[node][setting] = asked[node][setting]
    problems, _ = check_rules(tree, RULES)
    if problems and tree != saved.tree:
        raise Error.of(problems, Code.CONFIG)
    return Config(tree, saved.catalog, {})


def check_length(path: Path, saved: Config, asked: Config, done: int) -> None:
    """Refuse another length where it would have made another run from the start.

    Raises:
        Error: the decay depends on the length, or more epochs are done (code 4).
    """
    old, new, decay = saved["train"]["epochs"], asked["train"]["epochs"], asked.name("lr_decay")
    if new == old:
        return
    if decay not in ANY_LENGTH:
        what = f"{path}: train.epochs was {old}, and {new} is asked for, but lr_decay={decay} depends on the length"
        raise Error(what, "train anew in another run.dir", Code.RUN)
    if new < done:
        raise Error(
            f"{path} has {done} epochs done, and train.epochs={new} is asked for", "ask for more", Code.RUN
        )

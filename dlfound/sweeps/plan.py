"""The plan of a sweep: its space, search method and folder, checked before the first trial."""

import itertools
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from dlfound.config.catalog import SEARCH, SPACE, Catalog
from dlfound.config.compose import compose
from dlfound.config.config import Config
from dlfound.config.suggest import Suggestions
from dlfound.config.yaml_files import scalar
from dlfound.errors import Code, Error, Problem
from dlfound.options.configure import catalog, full_catalog, sweep_catalog
from dlfound.options.rules import RULES
from dlfound.options.search_methods import Method
from dlfound.runs.folder import TRIALS, new_path
from dlfound.sweeps.samplers import count_combinations, count_trials, draw_without_storage
from dlfound.sweeps.space import Space, Values, check_space, experiment_words, read_space
from dlfound.sweeps.storage import mask_passwords

# A command that resumes or joins a sweep may have other values of these settings.
COMMAND_SETTINGS = ("trials", "seconds", "workers", "max_failures", "storage")  # of the group `search`
MACHINE_SETTINGS = ("run.dir", "run.name", "run.threads", "run.device")
Composer = Callable[[Sequence[str]], Config]
ATTEMPTS = 30  # configurations to draw until one satisfies the rules across groups


@dataclass(frozen=True)
class Plan:
    """What a sweep does.

    Attributes:
        overrides: as given on the command line, after those from an experiment's file.
        config_dirs: folders with the user's own options.
        files: Python files that register the user's own options.
        method_name: the option of the group `search`, for example "random".
        method: the settings of that option.
        base: one configuration of the space; settings that do not vary are the same in every other one.
        path: the sweep's folder.
        count: the number of trials.
        command: as typed, without passwords.
        compose: composes the configuration of a run from its overrides.
    """

    overrides: Sequence[str]
    config_dirs: Sequence[str]
    files: Sequence[str]
    space: Space
    method_name: str
    method: Method
    base: Config
    path: Path
    count: int
    command: str
    compose: Composer

    def trial_overrides(self, values: Values) -> list[str]:
        """List the overrides of a trial, without those that name the sweep's folder."""
        overrides = self.space.words(values)
        return [word for word in overrides if word.partition("=")[0] not in ("run.dir", "run.name")]

    def run_overrides(self, values: Values) -> list[str]:
        """List the overrides of a trial's runs; they log only curves unless the user chose a logger."""
        overrides = self.trial_overrides(values)
        default = self.base.name("logger") == self.base.catalog.defaults["logger"]
        if default and not any(_node(word) == "logger" for word in self.overrides):
            return ["logger=curves", *overrides]
        return overrides

    @cached_property
    def runs(self) -> list[tuple[str, list[str]]]:
        """The runs of each trial: the folder below the trial's, and the overrides that the run adds."""
        first = self.base["run"]["seed"]
        repeats = self.method.repeats
        folds = self.method.folds
        alone = [("", [])]
        by_seed = [(f"seed{n}", [f"run.seed={n}"]) for n in range(first, first + repeats)]
        by_fold = [(f"fold{n}", [f"train.folds={folds}", f"train.fold={n}"]) for n in range(folds)]
        pairs = itertools.product(by_seed if repeats > 1 else alone, by_fold or alone)
        return [("-".join(filter(None, [seed, fold])), [*a, *b]) for (seed, a), (fold, b) in pairs]

    def trial_folder(self, number: int) -> Path:
        """The folder of a trial's runs."""
        return self.path / TRIALS / f"{number:04}"

    @property
    def monitor(self) -> str:
        """The metric that decides which trial is best."""
        monitor = self.base["train"]["monitor"]
        return "loss" if monitor == "auto" else monitor

    @property
    def address(self) -> str:
        """Where the trials are stored: `journal`, or the address of a database."""
        return self.method.storage

    @property
    def study_name(self) -> str:
        """The study's name in the storage. Machines that share a database find each other by `run.name`."""
        return self.base["run"]["name"] if self.address != "journal" else "sweep"

    def repetition_warning(self) -> str:
        """Warn if the space has fewer configurations than the sweep has trials; else return an empty text."""
        combinations = count_combinations(self.space)
        if self.method_name == "grid" or self.count <= combinations:
            return ""
        return (
            f"warning: the space has only {combinations} configurations, so some of the {self.count} trials"
            " repeat others; search=grid tries each configuration once"
        )

    @property
    def identity(self) -> dict[str, str]:
        """The settings that all commands working on the sweep must share."""
        search = {f"search.{k}": v for k, v in vars(self.method).items() if k not in COMMAND_SETTINGS}
        swept = {d.key for d in self.space.dimensions}
        same = {
            key.removesuffix(".name"): value
            for key, value in self.base.flat().items()
            if not swept & {key, key.partition(".")[0]} and key not in MACHINE_SETTINGS
        }
        fixed = {f.key: f.word.partition("=")[2] for f in self.space.fixed if f.within is not None}
        texts = {key: _text(value) for key, value in (search | same).items()}
        return {"search": self.method_name} | texts | fixed | self.space.expressions()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _node(override: str) -> str:
    """The group, or the first part of the key, that an override sets."""
    return override.lstrip("+~").partition("=")[0].partition(".")[0]


# ---- making a plan


def make_plan(
    overrides: Sequence[str],
    config_dirs: Sequence[str] = (),
    files: Sequence[str] = (),
    command: str = "dlfound sweep",
) -> Plan:
    """Plan the sweep that a list of overrides describes.

    Raises:
        Error: with all mistakes in the overrides (code 2).
    """
    options = catalog(config_dirs)
    overrides = [*experiment_words(overrides, options), *overrides]
    refused = _refuse(overrides, {_node(key) for key in options.everything()}, full_catalog(config_dirs))
    for_search = [word for word in overrides if _node(word) == SEARCH]
    space, problems = read_space([w for w in overrides if w not in (*for_search, *refused)], options)
    composer = partial(compose, catalog=options, rules=RULES, ignored=(SPACE, SEARCH))
    problems += [*refused.values(), *check_space(space, partial(composer, rules=()))]
    try:
        config = compose(for_search, sweep_catalog(config_dirs))
    except Error as error:
        problems += [Problem(mask_passwords(p.what), mask_passwords(p.fix)) for p in error.problems]
    if problems:
        raise Error.of(list(dict.fromkeys(problems)), Code.CONFIG)
    name = config.name(SEARCH)
    method = config.build(SEARCH)()
    count = count_trials(method, name, space)
    values, base = _first_valid(space, name, method, composer)
    if problems := _conflicts(space, method, base):
        raise Error.of(problems, Code.CONFIG)
    path = Path(base["run"]["dir"] or new_path(base["run"]["name"])).expanduser()
    command = mask_passwords(command)
    plan = Plan(
        overrides, config_dirs, files, space, name, method, base, path, count, command, compose=composer
    )
    plan.compose([*plan.run_overrides(values), *plan.runs[-1][1]])  # checks what the runs of a trial add
    return plan


def _refuse(overrides: Sequence[str], nodes: Collection[str], options: Catalog) -> dict[str, Problem]:
    """Find overrides that a sweep does not take, and unknown ones whose nearest key belongs to the search.

    Args:
        nodes: the groups and nodes of a run.
        options: those of runs and sweeps, for suggestions.
    """
    suggestions = Suggestions(options)
    problems = {}
    for word in overrides:
        key, _, value = word.lstrip("+~").partition("=")
        if _node(word) == "resume":
            fix = "to resume a sweep, rerun its command with run.dir=SWEEP"
            problems[word] = Problem(f"{word} does not apply to a sweep", fix)
        elif _node(word) not in {*nodes, SEARCH} and suggestions.key(key).startswith(SEARCH):
            problems[word] = suggestions.unknown_key(key, scalar(value))
    return problems


def _first_valid(space: Space, name: str, method: Method, composer: Composer) -> tuple[Values, Config]:
    """Draw values until their configuration satisfies the rules across groups.

    Raises:
        Error: none of the configurations drawn does; tells why the first one does not (code 2).
    """
    errors = []
    for values in draw_without_storage(name, method, space, ATTEMPTS):
        try:
            return values, composer(space.words(values))
        except Error as error:
            errors.append(error)
    raise errors[0]


def _conflicts(space: Space, method: Method, base: Config) -> list[Problem]:
    """Find settings of the search that conflict with the space or with other settings."""
    keys = {d.key for d in space.dimensions}
    problems = []
    leave_out = "leave out one of the two"
    if method.repeats > 1 and "run.seed" in keys:
        problems.append(Problem("search.repeats and the space both vary run.seed", leave_out))
    if method.folds and keys & {"train.folds", "train.fold"}:
        problems.append(Problem("search.folds and the space both vary train.fold", leave_out))
    if method.storage != "journal" and base["run"]["dir"] is None:
        message = "search.storage needs run.dir, so that the same command finds the sweep's folder again"
        problems.append(Problem(message, "add run.dir=FOLDER"))
    if not space.dimensions and method.repeats == 1 and not method.folds:
        fix = "give a list or a distribution: optim.lr='tag(log, interval(1e-4, 1e-1))'"
        problems.append(Problem("nothing varies: every override has a single value", fix))
    if base.name("data") == "arrays":
        message = "data=arrays takes arrays from Python, not from the command line"
        problems.append(Problem(message, "use data=table data.path=FILE"))
    return problems

"""What a sweep's words ask for, checked before the first trial: its space, its method, its folder."""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from dlfound.config.catalog import SEARCH, SPACE, Catalog
from dlfound.config.compose import compose
from dlfound.config.config import Config
from dlfound.config.suggest import Suggestions
from dlfound.config.yaml_files import dump_yaml, read_yaml, scalar
from dlfound.errors import Code, Error, Problem
from dlfound.options.configure import catalog, full_catalog, sweep_catalog
from dlfound.options.rules import RULES
from dlfound.options.search_methods import Method
from dlfound.runs.folder import SWEEP, TRIALS, RunFolder, check_place, make_folder, new_path
from dlfound.sweeps.samplers import Values, count_trials, endless_settings, first_draws, most_combinations
from dlfound.sweeps.space import Space, check_space, experiment_words, read_space
from dlfound.sweeps.storage import JOURNAL, locks_file, masked
from dlfound.sweeps.trials import differences

FORMAT = 1
OF_A_COMMAND = (
    "trials",
    "seconds",
    "workers",
    "max_failures",
    "storage",
    "name",
)  # may differ when it goes on
OF_A_MACHINE = ("run.dir", "run.name", "run.threads", "run.device")
Composer = Callable[[Sequence[str]], Config]
TRIED = 30  # drawn configurations of which one at least must keep the rules across groups


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        words: as they were asked for, those of an experiment's file first.
        word, method: the option of `search`, and its settings.
        base: one configuration of the space: what does not vary is the same in all.
        path: the sweep's folder.
        count: how many trials there are to be.
        asked: the command, without passwords.
        composer: composes the configuration of a run from its overrides.
    """

    words: tuple[str, ...]
    config_dirs: tuple[str, ...]
    files: tuple[str, ...]
    space: Space
    word: str
    method: Method
    base: Config
    path: Path
    count: int
    asked: str
    composer: Composer

    def compose(self, words: Sequence[str]) -> Config:
        """The configuration of a run."""
        return self.composer(words)

    def run_words(self, values: Values) -> list[str]:
        """The override list of a trial's runs: as long as no word says otherwise, they write curves and no pictures."""
        words = self.trial_words(values)
        usual = self.base.name("logger") == self.base.catalog.defaults["logger"]
        return (
            words if not usual or any(_head(w) == "logger" for w in self.words) else ["logger=curves", *words]
        )

    def trial_words(self, values: Values) -> list[str]:
        """The override list of a trial, less what names the sweep's folder."""
        return [w for w in self.space.words(values) if w.partition("=")[0] not in ("run.dir", "run.name")]

    @cached_property
    def runs(self) -> list[tuple[str, list[str]]]:
        """The runs of each trial: the folder's name below the trial's, and the words that the run adds."""
        seeds = range(self.base["run"]["seed"], self.base["run"]["seed"] + self.method.repeats)
        folds = range(self.method.folds) if self.method.folds else [None]
        found = []
        for seed in seeds:
            for fold in folds:
                several = [("seed", seed)] * (len(seeds) > 1) + [("fold", fold)] * (fold is not None)
                words = [f"run.seed={seed}"] * (len(seeds) > 1)
                words += [] if fold is None else [f"train.folds={self.method.folds}", f"train.fold={fold}"]
                found.append(("-".join(f"{name}{number}" for name, number in several), words))
        return found

    def folder(self, number: int) -> Path:
        """Where a trial lies."""
        return self.path / TRIALS / f"{number:04}"

    @property
    def study(self) -> str:
        """The study's name in its storage: where many machines meet, the run's."""
        return self.base["run"]["name"] if self.method.storage != "journal" else "sweep"

    @property
    def locks(self) -> Path:
        """The file of the locks on its trials."""
        return locks_file(self.method.storage, self.path, self.study)

    @cached_property
    def mark(self) -> str:
        """What tells this folder from those of other machines."""
        return str(read_yaml(self.path / SWEEP, Code.RUN)["mark"])

    def repeated(self) -> str:
        """What to say where some of its trials must be equal; empty where they need not."""
        most = most_combinations(self.space)
        if self.word == "grid" or endless_settings(self.space) or self.count <= most:
            return ""
        return f"warning: the space has {most} configurations, so that trials repeat; search=grid tries each once"

    @property
    def identity(self) -> dict[str, str]:
        """What must be the same for all that work on the sweep, in words."""
        swept = {d.key for d in self.space.dimensions}
        search = {k: v for k, v in vars(self.method).items() if k not in OF_A_COMMAND}
        fixed = {f.key: f.word.partition("=")[2] for f in self.space.fixed if f.within is not None}
        same = {k: v for k, v in self.base.flat().items() if not swept & {k, k.partition(".")[0]}}
        kept = {k.removesuffix(".name"): _text(v) for k, v in same.items() if k not in OF_A_MACHINE}
        method = {"search": self.word} | {f"search.{k}": _text(v) for k, v in search.items()}
        return method | kept | fixed | self.space.expressions()

    # ---- the folder

    def begin(self) -> RunFolder:
        """The sweep's folder, new or as it stands.

        Raises:
            Error: it holds something else, or a sweep of another space (code 4); or cannot be made (code 6).
        """
        check_place(self.path)
        sweep = self.path / SWEEP
        if sweep.exists():
            self._check_same(sweep)
            there = len(list((self.path / TRIALS).glob("*.json")))
            if there > self.count:
                what = f"{self.path} has {there} trials, and {self.count} are asked for"
                raise Error(what, "ask for as many or more, or choose another run.dir", Code.RUN)
            return RunFolder(self.path)
        others = (
            [e.name for e in self.path.iterdir() if e.name not in (JOURNAL,)] if self.path.exists() else []
        )
        if any(not name.startswith((".", "workers.")) and name != TRIALS for name in others):
            raise Error(f"{self.path} holds other files", "choose another run.dir", Code.RUN)
        folder = make_folder(self.path)
        head = f"# {self.asked}\n"
        content = {"format": FORMAT, "mark": secrets.token_hex(8), "sweep": self.identity}
        folder.write_text(SWEEP, head + dump_yaml(content))
        return folder

    def _check_same(self, sweep: Path) -> None:
        tree = read_yaml(sweep, Code.RUN)
        old, new = tree.get("sweep"), self.identity
        if tree.get("format") != FORMAT or not isinstance(old, dict):
            raise Error(f"{sweep} is no sweep's that this dlfound knows", "choose another run.dir", Code.RUN)
        if told := differences({k: str(v) for k, v in old.items()}, new):
            raise Error.of(told, Code.RUN)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def make_plan(
    words: Sequence[str],
    config_dirs: Sequence[str] = (),
    files: Sequence[str] = (),
    asked: str = "dlfound sweep",
) -> Plan:
    """The sweep that the words ask for.

    Raises:
        Error: all that is wrong with them, at once (code 2).
    """
    known = catalog(config_dirs)
    words = [*experiment_words(words, known), *words]
    of_search = [word for word in words if _head(word) == SEARCH]
    astray = _astray(words, known, full_catalog(config_dirs))
    of_runs = [word for word in words if _head(word) != SEARCH and word not in astray]
    space, problems = read_space(of_runs, known)
    problems += astray.values()
    problems += [Problem(f"{w} is not for a sweep", "it goes on by the same command, with run.dir=SWEEP")
                 for w in words if _head(w) == "resume"]  # fmt: skip
    space = Space(space.dimensions, tuple(f for f in space.fixed if f.key != "resume"))
    composer = partial(compose, catalog=known, rules=RULES, ignored=(SPACE, SEARCH))
    problems += check_space(space, partial(composer, rules=()))
    config = _search_config(of_search, config_dirs, problems)
    if config is None or problems:
        raise Error.of(list(dict.fromkeys(problems)), Code.CONFIG)
    word, method = config.name(SEARCH), config.build(SEARCH)()
    count = count_trials(method, word, space)
    values, base = _sound(space, word, method, composer)
    problems = _problems(space, method, base)
    if problems:
        raise Error.of(problems, Code.CONFIG)
    path = Path(base["run"]["dir"] or new_path(base["run"]["name"])).expanduser()
    own = tuple(words), tuple(map(str, config_dirs)), tuple(files)
    plan = Plan(*own, space, word, method, base, path, count, masked(asked), composer)
    plan.compose([*plan.run_words(values), *plan.runs[-1][1]])  # with what the runs of a trial add
    return plan


def _astray(words: Sequence[str], known: Catalog, full: Catalog) -> dict[str, Problem]:
    """Words that nobody knows, and that are nearest to one of the search: what is wrong with each."""
    heads, found = {key.partition(".")[0] for key in known.everything()}, {}
    suggestions = Suggestions(full)
    for word in words:
        key, _, value = word.lstrip("+~").partition("=")
        if _head(word) not in {*heads, SEARCH} and suggestions.key(key).startswith(SEARCH):
            found[word] = suggestions.unknown_key(key, scalar(value))
    return found


def _head(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition(".")[0]


def _search_config(
    words: Sequence[str], config_dirs: Sequence[str], problems: list[Problem]
) -> Config | None:
    try:
        return compose(words, sweep_catalog(config_dirs))
    except Error as error:
        problems += [Problem(masked(p.what), masked(p.fix)) for p in error.problems]
        return None


def _sound(space: Space, word: str, method: Method, composer: Composer) -> tuple[Values, Config]:
    """The first values of the space, and their configuration, that keep the rules across groups.

    Raises:
        Error: none of many does, and why (code 2).
    """
    first = None
    for values in first_draws(word, method, space, TRIED):
        try:
            return values, composer(space.words(values))
        except Error as error:
            first = first or error
    assert first is not None
    raise first


def _problems(space: Space, method: Method, base: Config) -> list[Problem]:
    found = []
    keys = {d.key for d in space.dimensions}
    if method.repeats > 1 and "run.seed" in keys:
        found.append(
            Problem("search.repeats varies run.seed, and so does the space", "leave one of them out")
        )
    if method.storage != "journal" and base["run"]["dir"] is None:
        what = "search.storage needs run.dir: the same command must find its folder again"
        found.append(Problem(what, "run.dir=FOLDER"))
    if method.folds and keys & {"train.folds", "train.fold"}:
        found.append(
            Problem("search.folds varies train.fold, and so does the space", "leave one of them out")
        )
    if not space.dimensions and method.repeats == 1 and not method.folds:
        found.append(
            Problem("nothing varies: every word has one value", "optim.lr='tag(log, interval(1e-4, 1e-1))'")
        )
    if base.name("data") == "arrays":
        found.append(
            Problem("data=arrays is handed over from Python, not from a command", "data=table data.path=FILE")
        )
    return found

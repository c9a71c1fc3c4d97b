"""From words to a checked configuration: Hydra composes, signatures check, all mistakes are told together."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlfound.config.catalog import EXPERIMENT, SEARCH, SPACE, Catalog, conf_folder
from dlfound.config.check import Rule, check_rules, check_tree
from dlfound.config.config import FORMAT, Config
from dlfound.config.overrides import Overrides, holds_resolver, read_overrides, read_values, readable
from dlfound.config.yaml_files import plain, read_yaml
from dlfound.errors import Code, Error, Problem, printable

Layers = list[tuple[str, dict[str, Any]]]


def compose(
    texts: Sequence[str], catalog: Catalog, rules: Iterable[Rule] = (), beside: Collection[str] = ()
) -> Config:
    """The configuration that an override list asks for.

    Args:
        texts: overrides in Hydra's grammar.
        catalog: the words that exist.
        rules: what must hold across groups.
        beside: nodes of an experiment's file that are no part of the configuration, and left out.

    Raises:
        Error: all that is wrong, at once (code 2).
    """
    experiments = _Experiments(catalog, beside)
    words = read_overrides(texts, catalog, experiments.choices)
    problems = [*words.problems, *experiments.problems]
    chosen = {**catalog.defaults, **experiments.choices(words.choices.get(EXPERIMENT)), **words.choices}
    layers, option_problems = _layers(chosen, catalog, experiments)
    problems += option_problems
    if option_problems or experiments.problems:  # Hydra could not read these files either
        raise Error.of(problems, Code.CONFIG)
    origins = _Origins(layers, words)
    try:
        left_out = experiments.unfit(words.choices)
        removed = [f"~{key}" for key in left_out]
        tree = _hydra(catalog.primary, [*words.accepted, *removed], _own_nodes(chosen, catalog, experiments))
    except (HydraException, OmegaConfBaseException) as error:
        raise Error.of(problems or [_translate(error)], Code.CONFIG) from None
    tree = {node: settings for node, settings in tree.items() if node not in beside}
    sound, tree_problems = check_tree(tree, catalog, origins.told)
    rule_problems, warnings = check_rules(sound, rules)
    if problems := problems + tree_problems + rule_problems:
        raise Error.of(problems, Code.CONFIG)
    notes = words.warnings + list(left_out.values()) + [f"{w.what}; {w.fix}" for w in warnings]
    return Config(sound, catalog, origins.all(sound), notes)


def compose_over(known: Config, texts: Sequence[str]) -> Config:
    """What the overrides make of a configuration: their words are looked up among its own options.

    Args:
        known: it; where another option of a group is chosen, that one's settings are those of its file.
        texts: overrides in Hydra's grammar, none of an experiment.

    Returns:
        The configuration; its origins are the overrides alone. The rules across groups are not asked.

    Raises:
        Error: all that is wrong with the overrides, at once (code 2).
    """
    catalog, tree = known.catalog, deepcopy(known.tree)
    own = {group: known.name(group) for group in catalog.groups}
    words = read_overrides(texts, catalog, lambda experiment: own)
    for group, word in words.choices.items():
        node = catalog.node(group, word)
        if node["name"] != own[group]:
            tree[group] = {**catalog.common(group), **node}
    for key, value in read_values({k: t for k, t in words.values.items() if not k.endswith(".name")}).items():
        node, _, setting = key.partition(".")
        tree[node][setting] = value[setting] if isinstance(value, dict) else value
    sound, problems = check_tree(tree, catalog, lambda key: "")
    if problems := words.problems or problems:
        raise Error.of(problems, Code.CONFIG)
    return Config(sound, catalog, words.values)


class Composer:
    """Composes many configurations that differ in the values of settings: each choice of options once through Hydra.

    Args:
        catalog, rules, beside: as `compose` takes them.
    """

    def __init__(self, catalog: Catalog, rules: Iterable[Rule] = (), beside: Collection[str] = ()):
        self.catalog, self.rules, self.beside = catalog, tuple(rules), beside
        self._known: dict[tuple[str, ...], Config] = {}

    def compose(self, texts: Sequence[str], ruled: bool = True) -> Config:
        """As `compose`; without the rules across groups where `ruled` is false."""
        settings = {text.partition("=")[0]: text for text in texts if "." in text.partition("=")[0]}
        choices = tuple(text for text in texts if text.partition("=")[0] not in settings)
        rules = self.rules if ruled else ()
        plain = len(settings) + len(choices) == len(texts) and not any(
            "${" in t or t[:1] in "+~" for t in texts
        )
        if plain and not _refers(self._experiment(choices)):
            known = self._base(choices, settings)
            if all(_has(known, key) and readable(text) for key, text in settings.items()):
                return self._changed(known, settings, rules)
        return compose(texts, self.catalog, rules, self.beside)  # with all that there is to tell

    def _base(self, choices: tuple[str, ...], settings: Mapping[str, str]) -> Config:
        """What the choices alone come to; with the settings, where they need some that have no default."""
        if choices not in self._known:
            with suppress(Error):
                self._known[choices] = compose(choices, self.catalog, (), self.beside)
        shape = choices if choices in self._known else (*choices, *settings)
        if shape not in self._known:
            self._known[shape] = compose([*choices, *settings.values()], self.catalog, (), self.beside)
        return self._known[shape]

    def _experiment(self, texts: Sequence[str]) -> Any:
        words = [text.partition("=")[2] for text in texts if text.partition("=")[0] == EXPERIMENT]
        path = self.catalog.paths[EXPERIMENT].get(words[-1]) if words else None
        return read_yaml(path) if path else {}

    def _changed(self, known: Config, texts: Mapping[str, str], rules: Sequence[Rule]) -> Config:
        """The same with other values of settings that it has, and the rules across groups asked again."""
        tree = deepcopy(known.tree)
        for key, value in read_values(texts).items():
            node, _, setting = key.partition(".")
            tree[node][setting] = value
        sound, problems = check_tree(tree, self.catalog, lambda key: "")
        rule_problems, warnings = check_rules(sound, rules)
        if problems := problems + rule_problems:
            raise Error.of(problems, Code.CONFIG)
        notes = known.warnings + [f"{w.what}; {w.fix}" for w in warnings]
        return Config(sound, self.catalog, known.origins | dict(texts), notes)


def _has(config: Config, key: str) -> bool:
    """True for a setting of one of its nodes."""
    node, _, setting = key.partition(".")
    return setting in config.tree.get(node, ()) and (setting != "name" or node in config.catalog.plain)


def _refers(tree: Any) -> bool:
    return "${" in str(tree)


def reopen(path: Path, catalog: Catalog) -> Config:
    """The configuration that a run's folder holds: read as data, never through Hydra.

    Raises:
        Error: not readable, from a newer format, or not what this program knows (code 4); references or
            Hydra's own keys in it (code 7).
    """
    tree = read_yaml(path, Code.RUN)
    version = tree.pop("format", None)
    if version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        what = f"is newer than this dlfound ({FORMAT})" if newer else f"is not {FORMAT}"
        fix = "upgrade dlfound" if newer else "is it a run's?"
        raise Error(f"{path}: config format {printable(version)} {what}", fix, Code.RUN)
    if keys := _unsafe_keys(tree):
        what = f"{path}: {', '.join(keys)}: not allowed in a run's configuration"
        raise Error(what, "do not use this run", Code.UNSAFE)
    sound, problems = check_tree(tree, catalog, lambda key: f" ({path})")
    if problems:
        hint = "(options of one's own are named with --with FILE)"
        raise Error.of([Problem(p.what, f"{p.fix} {hint}") for p in problems], Code.RUN)
    return Config(sound, catalog, {})


def _unsafe_keys(tree: Any, at: str = "") -> list[str]:
    if isinstance(tree, dict):
        forbidden = [
            f"{at}{k}" for k in tree if k in ("hydra", "defaults") or (k.startswith("_") and k.endswith("_"))
        ]
        return forbidden + [found for k, v in tree.items() for found in _unsafe_keys(v, f"{at}{k}.")]
    if isinstance(tree, list):
        return [found for v in tree for found in _unsafe_keys(v, at)]
    return [at.rstrip(".")] if isinstance(tree, str) and "${" in tree else []


class _Experiments:
    """The experiment files that are asked for: their choices, their values, and what is wrong with them."""

    def __init__(self, catalog: Catalog, beside: Collection[str]):
        self.catalog, self.beside = catalog, beside
        self.problems: list[Problem] = []
        self.trees: dict[str, dict] = {}

    def tree(self, word: str | None) -> dict[str, Any]:
        if word is not None and word not in self.trees:
            path = self.catalog.paths[EXPERIMENT][word]
            self.trees[word] = {}
            try:
                self.trees[word] = read_yaml(path)
                self.problems += self._problems(path, self.trees[word])
            except Error as error:
                self.problems += error.problems
        return self.trees.get(word, {}) if word else {}

    def _problems(self, path: Path, tree: dict[str, Any]) -> list[Problem]:
        problems = _file_problems(path, {node: value for node, value in tree.items() if node != "defaults"})
        for node in [n for n in (*self.catalog.plain, *self.catalog.groups) if n in tree]:
            if not isinstance(tree[node], dict):
                problems.append(
                    Problem(f"{path}: {node} must be a mapping of settings", "see dlfound options")
                )
            elif node in self.catalog.groups and "name" in tree[node]:
                fix = f"write - override /{node}: {printable(tree[node]['name'])} below defaults"
                problems.append(Problem(f"{path}: {node}.name is set by choosing an option", fix))
        for node in [n for n in (SPACE, SEARCH) if n in tree and n not in self.beside]:
            problems.append(
                Problem(f"{path}: {node} is for a sweep", f"dlfound sweep experiment={path.stem}")
            )
        if not path.read_text(encoding="utf-8").lstrip().startswith("# @package _global_"):
            what = f"{path} must begin with the line '# @package _global_'"
            problems.append(Problem(what, "put it at the head of the file"))
        return problems

    def choices(self, word: str | None) -> dict[str, str]:
        chosen = {}
        for entry in self._defaults(word):
            ((key, option),) = (
                entry.items() if isinstance(entry, dict) and len(entry) == 1 else [(str(entry), None)]
            )
            group = key.removeprefix("override /")
            if entry == "_self_":
                continue
            known = self.catalog.words(group) if group in self.catalog.groups else ()
            if f"override /{group}" != key or option not in known:
                what = f"{self.catalog.paths[EXPERIMENT][word]}: no such choice in defaults: {key}: {option}"
                problem = Problem(what, "write - override /GROUP: OPTION, with words of dlfound options")
                if problem not in self.problems:
                    self.problems.append(problem)
                continue
            chosen[group] = option
        return chosen

    def unfit(self, choices: dict[str, str]) -> dict[str, str]:
        """Settings that go with the experiment's own option, where the person chose one that does not take them.

        So that one word is enough for the contrast: experiment=mnist_dropout dropout=none. Key -> what to say of it.
        """
        word, found = choices.get(EXPERIMENT), {}
        own = {**self.catalog.defaults, **self.choices(word)}
        for group, option in choices.items():
            settings = self.tree(word).get(group)
            for key in settings if group in own and isinstance(settings, dict) else ():
                if key in self.catalog.keys(group, own[group]) and key not in self.catalog.keys(
                    group, option
                ):
                    told = f"{group}.{key} of experiment={word} goes with {group}={own[group]}: left out"
                    found[f"{group}.{key}"] = told
        return found

    def _defaults(self, word: str | None) -> list:
        entries = self.tree(word).get("defaults", [])
        return entries if isinstance(entries, list) else [entries]


def _file_problems(path: Path, tree: dict[str, Any]) -> list[Problem]:
    """What no file of options may hold, whatever its keys."""
    problems = []
    for node, value in tree.items():
        for key, v in value.items() if isinstance(value, dict) else [(None, value)]:
            name = node if key is None else f"{node}.{key}"
            if node == "hydra" or not plain(v):
                fix = "an option file holds names and plain values only"
                problems.append(Problem(f"{path}: {name} is not allowed", fix))
            elif holds_resolver(v):
                what = f"{path}: resolvers are not allowed in a configuration: {name}"
                problems.append(Problem(what, "write the value itself"))
    return problems


def _layers(
    chosen: dict[str, str], catalog: Catalog, experiments: _Experiments
) -> tuple[Layers, list[Problem]]:
    """Every file behind the configuration, in the order in which they are laid over each other."""
    layers: Layers = [(_label(conf_folder() / "config.yaml"), catalog.root)]
    problems: list[Problem] = []
    for group, word in chosen.items():
        if group == EXPERIMENT:
            continue
        path = catalog.paths[group].get(word)
        try:
            content = catalog.content(group, word)
        except Error as error:
            problems += error.problems
            continue
        if path is not None and catalog.is_own(group, word):
            problems += _file_problems(path, {group: {k: v for k, v in content.items() if k != "defaults"}})
            if "defaults" in content:
                what = f"{path}: defaults is not allowed"
                problems.append(Problem(what, "write name: OPTION and the values that differ"))
        name = content["name"]
        layers.append((_label(catalog.paths[group].get(name)), {group: catalog.content(group, name)}))
        layers.append((_label(path), {group: content}))
    if word := chosen.get(EXPERIMENT):
        layers.append((_label(catalog.paths[EXPERIMENT][word]), experiments.tree(word)))
        layers += [(layers[-1][0], {g: {"name": w}}) for g, w in experiments.choices(word).items()]
    return layers, problems


def _label(path: Path | None) -> str:
    if path is None:
        return "registered"
    ours = path.is_relative_to(conf_folder())
    return f"conf/{path.relative_to(conf_folder()).as_posix()}" if ours else str(path)


class _Origins:
    """Which file or override set a value."""

    def __init__(self, layers: Layers, words: Overrides):
        self.layers, self.overrides = layers, words.values

    def of(self, key: str) -> str:
        node, _, setting = key.partition(".")
        if key in self.overrides:
            return self.overrides[key]
        for label, tree in reversed(self.layers):
            if node in tree and (not setting or (isinstance(tree[node], dict) and setting in tree[node])):
                return label
        return ""

    def told(self, key: str) -> str:
        """For a message: names the file; nothing where the person typed the value just now."""
        origin = self.of(key)
        return "" if not origin or origin in self.overrides.values() else f" ({origin})"

    def all(self, tree: dict) -> dict[str, str]:
        return {f"{n}.{k}": self.of(f"{n}.{k}") for n, settings in tree.items() for k in settings}


def _own_nodes(
    chosen: dict[str, str], catalog: Catalog, experiments: _Experiments
) -> list[tuple[str, str, dict]]:
    """The chosen options and the experiment that a person added: group, word, and what our own reader found."""
    own = [(group, word) for group, word in chosen.items() if catalog.is_own(group, word)]
    return [(g, w, experiments.tree(w) if g == EXPERIMENT else catalog.node(g, w)) for g, w in own]


def _hydra(primary: str, accepted: list[str], own: list[tuple[str, str, dict]]) -> dict[str, Any]:
    """Compose, in a Hydra of our own, whatever Hydra the calling program may be running.

    Hydra reads the program's own files alone. What a person added is handed over as it was read and checked, in a
    copy of Hydra's store.
    """
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(conf_folder()), version_base="1.3"), _stored(own):
            return _resolved(hydra_compose(primary, overrides=accepted))
    finally:
        GlobalHydra.instance().hydra = outer  # another instance by now


@contextmanager
def _stored(own: list[tuple[str, str, dict]]) -> Iterator[None]:
    store = ConfigStore.instance()
    before = store.repo
    store.repo = {name: dict(entry) if isinstance(entry, dict) else entry for name, entry in before.items()}
    try:
        for group, word, node in own:
            store.store(
                group=group, name=word, node=node, package="_global_" if group == EXPERIMENT else None
            )
        yield
    finally:
        store.repo = before


def _resolved(composed: DictConfig) -> dict[str, Any]:
    """The plain tree, its references followed; one that leads nowhere stays as it was written."""
    try:
        return OmegaConf.to_container(composed, resolve=True)
    except (OmegaConfBaseException, RecursionError):
        tree = OmegaConf.to_container(composed)
    for node, settings in tree.items():
        if isinstance(settings, dict):
            tree[node] = {key: _followed(composed[node], key, value) for key, value in settings.items()}
    return tree


def _followed(node: DictConfig, key: str, written: Any) -> Any:
    if "${" not in str(written):
        return written
    try:
        return OmegaConf.to_container(OmegaConf.create([node[key]], parent=node), resolve=True)[0]
    except (OmegaConfBaseException, RecursionError):
        return written


def _translate(error: Exception) -> Problem:
    text = str(error.__cause__ or error).strip().partition("\n")[0]
    return Problem(
        f"the configuration cannot be composed: {text}", "see dlfound train --cfg and dlfound options"
    )

"""From words to a checked configuration: Hydra composes, signatures check, all mistakes are told together."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlfound.config.catalog import EXPERIMENT, Catalog, conf_folder
from dlfound.config.check import Rule, check_rules, check_tree
from dlfound.config.config import FORMAT, Config
from dlfound.config.files import plain, read_yaml
from dlfound.config.options import registered
from dlfound.config.overrides import Overrides, has_resolver, read_overrides
from dlfound.errors import Code, Error, Problem

Layers = list[tuple[str, dict[str, Any]]]


def compose(texts: Sequence[str], catalog: Catalog, rules: Iterable[Rule] = ()) -> Config:
    """The configuration that an override list asks for.

    Args:
        texts: overrides in Hydra's grammar.
        catalog: the words that exist.
        rules: what must hold across groups.

    Raises:
        Error: all that is wrong, at once (code 2).
    """
    experiments = _Experiments(catalog)
    words = read_overrides(texts, catalog, experiments.choices)
    problems = [*words.problems, *experiments.problems]
    chosen = {**catalog.defaults, **experiments.choices(words.choices.get(EXPERIMENT)), **words.choices}
    layers, option_problems = _layers(chosen, catalog, experiments)
    problems += option_problems
    if option_problems or experiments.problems:  # Hydra could not read these files either
        raise Error.of(problems, Code.CONFIG)
    origins = _Origins(layers, words)
    try:
        tree = _fill(_hydra(words.accepted, catalog), catalog)
    except (HydraException, OmegaConfBaseException, RecursionError) as error:
        raise Error.of(problems or [_translate(error)], Code.CONFIG) from None
    sound, tree_problems = check_tree(tree, catalog, origins.told)
    rule_problems, warnings = check_rules(sound, rules)
    if problems := problems + tree_problems + rule_problems:
        raise Error.of(problems, Code.CONFIG)
    notes = words.warnings + [f"{w.what}; {w.fix}" for w in warnings]
    return Config(sound, catalog, origins.all(sound), notes)


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
        raise Error(f"{path}: config format {version} {what}", "upgrade dlfound" if newer else "is it a run's?", Code.RUN)
    if keys := _unsafe_keys(tree):
        raise Error(f"{path}: {', '.join(keys)}: not allowed in a run's configuration", "do not use this run", Code.UNSAFE)
    sound, problems = check_tree(tree, catalog, lambda key: f" ({path})")
    if problems:
        raise Error.of([Problem(p.what, f"{p.fix} (options of one's own are named with --with FILE)") for p in problems], Code.RUN)
    return Config(sound, catalog, {})


def _unsafe_keys(tree: Any, at: str = "") -> list[str]:
    if isinstance(tree, dict):
        forbidden = [f"{at}{k}" for k in tree if k in ("hydra", "defaults") or (k.startswith("_") and k.endswith("_"))]
        return forbidden + [found for k, v in tree.items() for found in _unsafe_keys(v, f"{at}{k}.")]
    if isinstance(tree, list):
        return [found for v in tree for found in _unsafe_keys(v, at)]
    return [at.rstrip(".")] if isinstance(tree, str) and "${" in tree else []


class _Experiments:
    """The experiment files that are asked for: their choices, their values, and what is wrong with them."""

    def __init__(self, catalog: Catalog):
        self.catalog = catalog
        self.problems: list[Problem] = []
        self.trees: dict[str, dict] = {}

    def tree(self, word: str | None) -> dict[str, Any]:
        if word is not None and word not in self.trees:
            path = self.catalog.paths[EXPERIMENT][word]
            self.trees[word] = {}
            try:
                self.trees[word] = read_yaml(path)
                self.problems += _file_problems(path, self.trees[word])
                if not path.read_text().lstrip().startswith("# @package _global_"):
                    what = f"{path} must begin with the line '# @package _global_'"
                    self.problems.append(Problem(what, "put it at the head of the file"))
            except Error as error:
                self.problems += error.problems
        return self.trees.get(word, {}) if word else {}

    def choices(self, word: str | None) -> dict[str, str]:
        chosen = {}
        for entry in self.tree(word).get("defaults") or []:
            ((key, option),) = entry.items() if isinstance(entry, dict) and len(entry) == 1 else [(str(entry), None)]
            group = key.removeprefix("override /")
            if entry == "_self_":
                continue
            if f"override /{group}" != key or option not in (self.catalog.words(group) if group in self.catalog.groups else ()):
                what = f"{self.catalog.paths[EXPERIMENT][word]}: no such choice in defaults: {key}: {option}"
                problem = Problem(what, "write - override /GROUP: OPTION, with words of dlfound options")
                if problem not in self.problems:
                    self.problems.append(problem)
                continue
            chosen[group] = option
        return chosen


def _file_problems(path: Path, tree: dict[str, Any]) -> list[Problem]:
    """What no file of options may hold, whatever its keys."""
    problems = []
    for node, value in tree.items():
        for key, v in value.items() if isinstance(value, dict) else [(None, value)]:
            name = node if key is None else f"{node}.{key}"
            if node == "defaults":
                continue
            if isinstance(v, str) and has_resolver(v):
                problems.append(Problem(f"{path}: resolvers are not allowed in a configuration: {name}", "write the value itself"))
            elif node == "hydra" or not plain(v):
                problems.append(Problem(f"{path}: {name} is not allowed", "an option file holds names and plain values only"))
    return problems


def _layers(chosen: dict[str, str], catalog: Catalog, experiments: _Experiments) -> tuple[Layers, list[Problem]]:
    """Every file behind the configuration, in the order in which they are laid over each other."""
    layers: Layers = [(_label(conf_folder() / "config.yaml"), catalog.root)]
    problems: list[Problem] = []
    for group, word in chosen.items():
        if group == EXPERIMENT:
            continue
        path = catalog.paths[group].get(word)
        try:
            node = catalog.node(group, word)
        except Error as error:
            problems += error.problems
            continue
        if path is not None and path.parent.parent != conf_folder():
            problems += _file_problems(path, {group: {k: v for k, v in node.items() if k != "defaults"}})
            if "defaults" in node:
                problems.append(Problem(f"{path}: defaults is not allowed", "write name: OPTION and the values that differ"))
            if node["name"] != word and node["name"] in catalog.words(group):
                layers.append((_label(catalog.paths[group].get(node["name"])), {group: catalog.node(group, node["name"])}))
        layers.append((_label(path), {group: node}))
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
        for name in (key, node):
            if name in self.overrides:
                return self.overrides[name]
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


def _hydra(accepted: list[str], catalog: Catalog) -> dict[str, Any]:
    """Compose, in a Hydra of our own, whatever Hydra the calling program may be running."""
    store = ConfigStore.instance()
    for group, table in registered().items():
        for name, option in table.items():
            if name not in catalog.paths.get(group, {}):
                store.store(group=group, name=name, node={"name": name, **option.defaults})
    search = ",".join(f"'file://{folder.resolve()}'" for folder in catalog.config_dirs)
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(conf_folder()), version_base="1.3"):
            composed = hydra_compose("config", overrides=[*([f"hydra.searchpath=[{search}]"] if search else []), *accepted])
            return OmegaConf.to_container(composed, resolve=True)
    finally:
        GlobalHydra.instance().hydra = outer


def _fill(tree: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
    """An option file of one's own may name only the values that differ; the others come from the option it names."""
    for group in catalog.groups:
        node = tree.get(group)
        if isinstance(node, dict) and node.get("name") in catalog.words(group):
            tree[group] = {**catalog.node(group, node["name"]), **node}
    return tree


def _translate(error: Exception) -> Problem:
    text = str(error.__cause__ or error).strip().partition("\n")[0]
    if isinstance(error, RecursionError) or "recursi" in text.lower() or "loop" in text.lower():
        return Problem("interpolation loop: a value refers to itself", "write one of the values out")
    return Problem(f"the configuration cannot be composed: {text}", "see dlfound train --cfg and dlfound options")

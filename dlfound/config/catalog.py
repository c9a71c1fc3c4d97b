"""What stands in the folders of options: the program's own `conf/`, and those that a person names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from dlfound.config.nearest import nearest
from dlfound.config.options import Groups, Option
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Code, Error

EXPERIMENT = "experiment"
SPACE, SEARCH = "space", "search"  # what an experiment's file may hold for a sweep, beside a run's nodes


def conf_folder() -> Path:
    """The program's own folder of options."""
    return Path(str(files("dlfound.conf")))


@dataclass(frozen=True)
class Catalog:
    """Every word that a configuration may hold.

    Attributes:
        groups: group -> option's callable name -> option.
        plain: the nodes that are no groups (`train`, `run`), each with the callable that takes its settings.
        config_dirs: folders of options that a person added.
        roots: the files of `conf/` that choose and set what no option does; Hydra composes from the last.
    """

    groups: Groups
    plain: dict[str, Option]
    config_dirs: Sequence[Path] = ()
    roots: Sequence[str] = ("config",)
    _read: dict[tuple[str, str], dict[str, Any]] = field(
        default_factory=dict, repr=False
    )  # files read so far

    def __post_init__(self) -> None:
        for folder in self.config_dirs:
            if not folder.is_dir():
                raise Error(
                    f"--config-dir {folder} is no folder", "name a folder that holds groups", Code.CONFIG
                )

    @cached_property
    def paths(self) -> dict[str, dict[str, Path]]:
        """Group -> word -> file, `experiment` among the groups. A word means one thing: no file may hide another."""
        found: dict[str, dict[str, Path]] = {group: {} for group in [*self.groups, EXPERIMENT]}
        for folder in [conf_folder(), *self.config_dirs]:
            for group, words in found.items():
                for path in sorted((folder / group).glob("*.yaml")):
                    if path.stem in words:
                        what = f"{path}: {group}={path.stem} exists already ({words[path.stem]})"
                        raise Error(what, "give the file another name", Code.CONFIG)
                    words[path.stem] = path
        return found

    @cached_property
    def root(self) -> dict[str, Any]:
        """The content of the files that choose and set what no option does; usually `conf/config.yaml` alone."""
        trees = [read_yaml(conf_folder() / f"{root}.yaml") for root in self.roots]
        merged = {node: value for tree in trees for node, value in tree.items()}
        return merged | {"defaults": [entry for tree in trees for entry in tree["defaults"]]}

    @property
    def primary(self) -> str:
        """The file that Hydra composes from."""
        return self.roots[-1]

    @cached_property
    def defaults(self) -> dict[str, str]:
        """Group -> the word that `conf/config.yaml` chooses."""
        chosen = self.root["defaults"]
        return {
            g: w for entry in chosen if isinstance(entry, dict) for g, w in entry.items() if g != EXPERIMENT
        }

    def common(self, group: str) -> dict[str, Any]:
        """The settings that `conf/config.yaml` gives to every option of the group."""
        return self.root.get(group, {})

    def words(self, group: str) -> list[str]:
        """The words that choose an option of the group: those with a file, and those registered from Python."""
        return sorted({*self.paths[group], *self.groups.get(group, {})})

    def is_own(self, group: str, word: str) -> bool:
        """True where a person added the option (or experiment): by a file, or by registering it."""
        path = self.paths[group].get(word)
        return path is None or not path.is_relative_to(conf_folder())

    def content(self, group: str, word: str) -> dict[str, Any]:
        """What the option's file (or its registration) holds: a name and values.

        Raises:
            Error: the file cannot be read, or its name is no option of the group (code 2).
        """
        if word not in self.paths[group]:
            return {"name": word, **self.groups[group][word].defaults}
        if (group, word) not in self._read:
            path, known = self.paths[group][word], list(self.groups[group])
            content = {"name": word, **read_yaml(path)}
            if not isinstance(content["name"], str) or content["name"] not in known:
                fix = f"did you mean name: {nearest(str(content['name']), known)}?"
                raise Error(f"{path}: name must be one of: {', '.join(known)}", fix, Code.CONFIG)
            self._read[group, word] = content
        return self._read[group, word]

    def node(self, group: str, word: str) -> dict[str, Any]:
        """A name and values: what a file of one's own leaves out comes from the option that it names."""
        content = self.content(group, word)
        name = content["name"]
        return {**self.content(group, name), **content} if name != word else content

    def option(self, group: str, word: str) -> Option:
        """The option behind a word of the group."""
        return self.groups[group][self.content(group, word)["name"]]

    def keys(self, group: str, word: str) -> list[str]:
        """The settings of an option; none where its file is broken: composing tells that of a file that is chosen."""
        try:
            return list(self.option(group, word).settings)
        except Error:
            return []

    def all_keys(self) -> list[str]:
        """Every `node.setting` that exists anywhere."""
        keys = {f"{g}.{s}" for g, table in self.groups.items() for o in table.values() for s in o.settings}
        return sorted(keys | {f"{n}.{s}" for n, o in self.plain.items() for s in o.settings})

    def everything(self) -> list[str]:
        """All that may stand before a `=`: groups, nodes and keys."""
        return [*self.paths, *self.plain, *self.all_keys()]

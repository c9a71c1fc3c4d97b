"""What stands in the folders of options: the program's own `conf/`, and those that a person names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from dlfound.config.files import read_yaml
from dlfound.config.kinds import Kind
from dlfound.config.options import Groups, Option
from dlfound.errors import Code, Error

EXPERIMENT = "experiment"


def conf_folder() -> Path:
    """The program's own folder of options."""
    return Path(str(files("dlfound.conf")))


@dataclass(frozen=True)
class Catalog:
    """Every word that a configuration may hold.

    Attributes:
        groups: group -> option's callable name -> option.
        plain: the nodes that are no groups (`train`, `run`), each with the callable that takes its settings.
        config_dirs: folders of options that a person added, later ones first in rank.
    """

    groups: Groups
    plain: dict[str, Option]
    config_dirs: Sequence[Path] = ()
    _nodes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, repr=False)  # files read so far

    def __post_init__(self) -> None:
        for folder in self.config_dirs:
            if not folder.is_dir():
                raise Error(f"--config-dir {folder} is no folder", "name a folder that holds groups", Code.CONFIG)

    @cached_property
    def paths(self) -> dict[str, dict[str, Path]]:
        """Group -> word -> file, `experiment` among the groups. A person's file hides ours of the same name."""
        found: dict[str, dict[str, Path]] = {group: {} for group in [*self.groups, EXPERIMENT]}
        for folder in [conf_folder(), *self.config_dirs]:
            for group, words in found.items():
                words.update({p.stem: p for p in sorted((folder / group).glob("*.yaml"))})
        return found

    @cached_property
    def root(self) -> dict[str, Any]:
        """The content of `conf/config.yaml`."""
        return read_yaml(conf_folder() / "config.yaml")

    @cached_property
    def defaults(self) -> dict[str, str]:
        """Group -> the word that `conf/config.yaml` chooses."""
        chosen = self.root["defaults"]
        return {g: w for entry in chosen if isinstance(entry, dict) for g, w in entry.items() if g != EXPERIMENT}

    def common(self, group: str) -> dict[str, Any]:
        """The settings that `conf/config.yaml` gives to every option of the group."""
        return self.root.get(group, {})

    def words(self, group: str) -> list[str]:
        """The words that choose an option of the group: those with a file, and those registered from Python."""
        return sorted({*self.paths[group], *self.groups.get(group, {})})

    def node(self, group: str, word: str) -> dict[str, Any]:
        """What the option's file (or its registration) holds: a name and values."""
        if word not in self.paths[group]:
            return {"name": word, **self.groups[group][word].defaults}
        if (group, word) not in self._nodes:
            self._nodes[group, word] = {"name": word, **read_yaml(self.paths[group][word])}
        return self._nodes[group, word]

    def option(self, group: str, word: str) -> Option | None:
        """The option behind a word of the group; None where its file names a callable that does not exist."""
        return self.groups[group].get(self.node(group, word)["name"])

    def keys(self, group: str, word: str) -> list[str]:
        """The settings of an option."""
        option = self.option(group, word)
        return list(option.settings) if option else []

    def all_keys(self) -> list[str]:
        """Every `node.setting` that exists anywhere."""
        keys = {f"{g}.{s}" for g, table in self.groups.items() for o in table.values() for s in o.settings}
        return sorted(keys | {f"{n}.{s}" for n, o in self.plain.items() for s in o.settings})


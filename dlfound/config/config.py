"""The checked configuration: every value plain and resolved, ready to be built, shown and saved."""

import json
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dlfound.config.catalog import Catalog
from dlfound.config.yaml_files import dump_yaml
from dlfound.errors import printable

FORMAT = 1  # of config.yaml in a run's folder


def flat(tree: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """ "node.setting" -> value."""
    return {f"{node}.{key}": value for node, settings in tree.items() for key, value in settings.items()}


@dataclass
class Config:
    """What a run is made from.

    Attributes:
        tree: node -> setting -> value; a group's node also has `name`, its option.
        catalog: the words and callables that the tree was checked against.
        origins: "node.setting" -> the file or override that set it.
        warnings: what is allowed but cannot be meant.
    """

    tree: dict[str, dict[str, Any]]
    catalog: Catalog
    origins: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, node: str) -> dict[str, Any]:
        return self.tree[node]

    def name(self, group: str) -> str:
        """The option chosen in a group."""
        return self.tree[group]["name"]

    def build(self, group: str) -> partial:
        """The option's callable with its settings bound: call it with what its group supplies."""
        settings = {k: v for k, v in self.tree[group].items() if k != "name"}
        return partial(self.catalog.groups[group][self.name(group)].callable, **settings)

    def choose(self, group: str, word: str) -> "Config":
        """The same configuration with another option of the group, at the values of its file."""
        node = {"name": word} | self.catalog.node(group, word)
        return Config({**deepcopy(self.tree), group: node}, self.catalog, self.origins, self.warnings)

    def having(self, node: str, **settings: Any) -> "Config":
        """The same configuration with other values in a node; they are not checked."""
        tree = deepcopy(self.tree)
        tree[node].update(settings)
        return Config(tree, self.catalog, self.origins, self.warnings)

    def flat(self) -> dict[str, Any]:
        """ "node.setting" -> value; a group's option is its "group.name"."""
        return flat(self.tree)

    def saved(self) -> str:
        """The text of `config.yaml`: plain YAML, nothing to resolve."""
        return dump_yaml({"format": FORMAT, **self.tree})

    def shown(self) -> str:
        """YAML with the file or the override behind each value as its comment."""
        lines = []
        for node, settings in self.tree.items():
            lines.append((f"{node}:", ""))
            for key, value in settings.items():
                text = dump_yaml([value], default_flow_style=True, width=10**6).strip()[1:-1]
                text = text if text.isprintable() else json.dumps(value)  # one line, whatever stands in it
                lines.append((f"  {key}: {text}", printable(self.origins.get(f"{node}.{key}", ""))))
        width = max((len(text) for text, origin in lines if origin), default=0)
        return "\n".join(f"{text:<{width}}  # {origin}" if origin else text for text, origin in lines)

"""What can be chosen: groups, their options, and each option's settings, read off the callables themselves."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlfound.config.nearest import nearest
from dlfound.config.setting_types import Kind, kind_of
from dlfound.errors import Code, Error


@dataclass(frozen=True)
class Option:
    """A callable under a name. Its keyword-only parameters are its settings; the program supplies the others.

    Attributes:
        callable: the function or class; keyword-only parameters are annotated with kinds (`config.kinds`).
        defaults: the settings' values where no YAML gives them: only for options that people register.
    """

    callable: Callable
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Kind]:
        """Name -> kind, in the order of the signature."""
        parameters = inspect.signature(self.callable).parameters
        own = {n: p for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY or n in self.defaults}
        return {n: kind_of(p.annotation) for n, p in own.items()}

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.callable) or "").partition("\n")[0]

    @property
    def source(self) -> str:
        """What the docstring says behind "Source:"; empty where it says nothing."""
        lines = (inspect.getdoc(self.callable) or "").splitlines()
        return next(
            (line.removeprefix("Source:").strip() for line in lines if line.startswith("Source:")), ""
        )


MISSING = "???"  # how a file, or a registration, says that a person must give the value
Groups = Mapping[str, Mapping[str, Option]]
_registered: dict[str, dict[str, Option]] = {}


def register(group: str, name: str, callable: Callable, **defaults: Any) -> None:
    """Add an option of one's own, to be chosen as `group=name`.

    Args:
        group: a configuration group, as `dlfound options` lists them.
        name: the word that chooses it: a letter first, then letters, digits, `_` and `-`.
        callable: takes the settings as keywords, and what its group supplies by position (the built-in
            options of the group show what that is); an activation, for one, is a class of `torch.nn.Module`.
        defaults: settings and their values; a keyword-only parameter that is left out keeps its own default, or must
            be given on each command line where it has none.

    Raises:
        Error: a name that is no word, or a setting that the callable does not take (code 2).
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII) or name.lower() in (
        "null",
        "true",
        "false",
        "nan",
        "inf",
    ):
        raise Error(
            f"{name!r} cannot name an option", "a letter first, then letters, digits, _ and -", Code.CONFIG
        )
    option = Option(callable, {**_own_defaults(callable), **defaults})
    if unknown := set(defaults) - set(option.settings):
        raise Error(
            f"{name} of {group} takes no setting {min(unknown)!r}", "name parameters of it", Code.CONFIG
        )
    _registered.setdefault(group, {})[name] = option


def _own_defaults(callable: Callable) -> dict[str, Any]:
    """Keyword-only parameter -> its default, or the mark for a value that a person must give."""
    parameters = inspect.signature(callable).parameters.values()
    return {
        p.name: MISSING if p.default is p.empty else p.default for p in parameters if p.kind is p.KEYWORD_ONLY
    }


def with_registered(tables: Mapping[str, Mapping[str, Callable]]) -> Groups:
    """The program's own tables and what was registered, as options.

    Raises:
        Error: something was registered in a group that does not exist, or under a name of the program's own (code 2);
            it is forgotten, so that the calling program can mend it.
    """
    for group, name in [(group, name) for group, table in _registered.items() for name in table]:
        if group not in tables:
            del _registered[group]
            raise Error(
                f"there is no group {group!r}", f"did you mean {nearest(group, tables)}?", Code.CONFIG
            )
        if name in tables[group]:
            del _registered[group][name]
            raise Error(
                f"{group} has a {name!r} of its own", f"register {name!r} under another name", Code.CONFIG
            )
    return {
        group: {name: Option(made) for name, made in table.items()} | _registered.get(group, {})
        for group, table in tables.items()
    }

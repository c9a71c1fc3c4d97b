"""The task of a source whose settings determine it: dlfound can check the loss before it reads the data."""

from collections.abc import Callable, Mapping
from typing import Any

FindTask = Callable[[Mapping[str, Any]], str]


def known_task(task: str | FindTask) -> Callable:
    """Mark a source with its task.

    Args:
        task: the task, or a function from the source's settings to it.
    """

    def mark(source: Callable) -> Callable:
        source.task = task  # type: ignore[attr-defined]
        return source

    return mark

"""Train feed-forward nets: the lecture "Foundations of Deep Learning" as a program.

import dlfound
run = dlfound.train(["data=digits", "optim=adam"])
run.report["test"]["accuracy"]
"""

from typing import Any

from dlfound.config.catalog import register
from dlfound.errors import Error

__all__ = ["Error", "__version__", "check", "open_run", "register", "train"]

# These need torch, so they are imported at first use.
_LATE = {"train": "dlfound.runs.train", "check": "dlfound.checks.run", "open_run": "dlfound.runs.run"}


def __getattr__(name: str) -> Any:
    import importlib.metadata

    if name == "__version__":
        return importlib.metadata.version("dlfound")
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'dlfound' has no attribute {name!r}")

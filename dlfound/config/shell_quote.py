"""Settings as they can be pasted into a shell, whatever a name in them looks like."""

import re
import shlex
from collections.abc import Sequence

from dlfound.errors import printable

PLAIN = re.compile(
    r"[A-Za-z_][A-Za-z0-9_.\-]*|0|[1-9][0-9]*"
)  # what neither Hydra nor a shell takes for more
TYPED = (
    "true",
    "false",
    "null",
    "nan",
    "inf",
    "infinity",
    "yes",
    "no",
    "on",
    "off",
)  # words that are more than text


def setting(key: str, names: str | Sequence[str]) -> str:
    """`key=name`, or `key=[name,name]`: names are quoted where they have to be."""
    text = _quoted(names) if isinstance(names, str) else f"[{','.join(map(_quoted, names))}]"
    return f"{key}={text}" if '"' not in text else shlex.quote(f"{key}={text}")


def _quoted(name: str) -> str:
    shown = printable(name)
    if PLAIN.fullmatch(shown) and shown.lower() not in TYPED:
        return shown
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', shown)  # backslashes before a quote are written twice
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'

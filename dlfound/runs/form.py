"""The form of what a checkpoint or a report says: whoever wrote it, who reads it must not stumble over it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlfound.errors import Code, Error, printable
from dlfound.runs.checkpoints import Checkpoint
from dlfound.runs.folder import LINES

ENDINGS = ("", "epochs", "early_stopping", "pruned")  # after a divergence none is written
MOST = 10**15

Fits = Callable[[Any], bool]


def check_form(kept: Checkpoint) -> None:
    """Refuse a checkpoint that does not say what one says; what it says may still fit another run.

    Raises:
        Error: a part is missing, or of another kind (code 4).
    """
    state = kept.state
    wrong = [name for name, fits in FORM.items() if name not in state or not fits(state[name])]
    if "t" not in kept.tensors or kept.tensors["t"].numel() != 1 or kept.tensors["t"].item() != kept.step:
        wrong.append("t")
    if wrong:
        what = f"the checkpoint of step {kept.step} is none of a run: {', '.join(map(printable, wrong))} cannot be used"
        raise Error(what, "remove it, or train anew in another run.dir", Code.RUN)


def check_report(path: Path, report: dict[str, Any]) -> None:
    """Refuse a report that does not say what one says.

    Raises:
        Error: a part is missing, or of another kind (code 4).
    """
    wrong = [name for name, fits in REPORT.items() if name not in report or not fits(report[name])]
    if report.get("status") == "diverged" and not _parts(what=_text, fix=_text)(report.get("error")):
        wrong.append("error")
    if wrong:
        what = f"{path} is none of a run: {', '.join(wrong[:3])} cannot be used"
        raise Error(what, "use another run", Code.RUN)


def _whole(least: int, most: int = MOST) -> Fits:
    return lambda value: type(value) is int and least <= value <= most


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= 1e300


def _seconds(value: Any) -> bool:
    return _number(value) and 0 <= value <= MOST


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _list(part: Fits) -> Fits:
    return lambda value: isinstance(value, list) and all(map(part, value))


def _parts(**parts: Fits) -> Fits:
    """These names and no others."""
    return lambda value: isinstance(value, dict) and value.keys() == parts.keys() and _all(value, parts)


def _all(value: dict[str, Any], parts: dict[str, Fits]) -> bool:
    return all(fits(value[name]) for name, fits in parts.items())


def _metrics(value: Any) -> bool:
    return (
        isinstance(value, dict) and "loss" in value and all(v is None or _number(v) for v in value.values())
    )


def _symptom(name: str, value: Any) -> bool:
    return _list(_text)(value) if name == "told" else value is None or _number(value)


FORM: dict[str, Fits] = {
    "epoch": _whole(1),
    "batches": _whole(0),
    "ended": lambda value: value in ENDINGS,
    "symptoms": lambda value: (
        isinstance(value, dict) and all(map(_symptom, value, value.values())) and "told" in value
    ),
    "warnings": _list(_text),
    "files": _parts(**dict.fromkeys(LINES, _whole(0))),
    "metrics": _text,
    "seconds": _parts(epoch=_seconds, train=_seconds, total=_seconds),
    "threads": _whole(1, 1024),
    "machine": lambda value: isinstance(value, dict) and all(map(_text, value.values())),
    "exact": lambda value: type(value) is bool,
    "fingerprint": _text,
    "settings": lambda value: isinstance(value, dict),
}

REPORT: dict[str, Fits] = {
    "status": lambda value: value in ("done", "pruned", "diverged"),
    "stopped_by": _text,
    "warnings": _list(_text),
    "monitor": _text,
    "epochs_run": _whole(0),
    "best_epoch": _whole(0),
    **dict.fromkeys(("train", "val", "test"), _metrics),
    "net": _text,
    "parameters": _whole(0),
    "seconds": _parts(total=_seconds, train=_seconds),
    "device": _text,
    "threads": _whole(1, 1024),
    "data": lambda value: (
        isinstance(value, dict) and all(_text(value.get(name)) for name in ("name", "fingerprint"))
    ),
}

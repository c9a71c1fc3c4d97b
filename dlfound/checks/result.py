"""What a check reports: a verdict, the number behind it, the usual range, the meaning, and what to change."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PASS = "pass"
WARN = "warn"
FAIL = "fail"
SEVERITY = (PASS, WARN, FAIL)  # from the best verdict to the worst


@dataclass(frozen=True)
class Finding:
    """One row of the table that `dlfound check` prints.

    Attributes:
        sign: the kind of finding in one word; "sound" if nothing is wrong.
        verdict: pass, warn or fail.
        number: the measured number; None if there is no number.
        usual: the range in which the number passes, such as "below 0.0001"; empty if any number passes.
        meaning: a sentence or noun phrase about the number that makes sense without the other fields.
        override: the override to add to the command; empty if no override corrects the fault.
        advice: what to do besides adding the override, or instead of it.
    """

    sign: str
    verdict: str
    number: float | None
    usual: str
    meaning: str
    override: str = ""
    advice: str = ""

    @property
    def number_text(self) -> str:
        """The number for a person: a count in full, any other number with three digits; "-" for None."""
        if self.number is None:
            return "-"
        is_count = math.isfinite(self.number) and self.number == int(self.number) and abs(self.number) < 1e9
        return f"{int(self.number):,}" if is_count else f"{self.number:.3g}"

    @property
    def fix(self) -> str:
        """What to change; empty if there is nothing to change."""
        parts = [f"add {self.override}" if self.override else "", self.advice]
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: the check's name, one of `checks.NAMES`.
        findings: at least one.
        numbers: further measurements as plain values, for check.json.
    """

    name: str
    findings: Sequence[Finding]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The worst verdict of the findings."""
        return worst(finding.verdict for finding in self.findings)


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst of several verdicts; pass for none at all."""
    return max(verdicts, key=SEVERITY.index, default=PASS)


def sound(number: float | None, usual: str, meaning: str) -> Finding:
    """A finding that passes."""
    return Finding("sound", PASS, number, usual, meaning)


def as_json(result: CheckResult, seconds: float) -> dict[str, Any]:
    """Return a check's entry in check.json."""
    return {
        "name": result.name,
        "verdict": result.verdict,
        "findings": [_without_nan(vars(finding)) for finding in result.findings],
        "numbers": _without_nan(result.numbers),
        "seconds": round(seconds, 3),
    }


def _without_nan(value: Any) -> Any:
    """Replace NaN and infinite numbers by None, because JSON has no word for them."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

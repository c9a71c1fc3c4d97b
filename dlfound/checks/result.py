"""What a check has found: a verdict, the number behind it, what it means, and what to change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PASS, WARN, FAIL = "pass", "warn", "fail"
ORDER = (PASS, WARN, FAIL)


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    Attributes:
        sign: what was seen, in a word; "sound" where nothing is wrong.
        verdict: pass, warn or fail.
        number: behind the verdict; None where there is none.
        meaning: of the number, in words.
        override: to be added to the command, literally; empty where no word of the command line mends it.
        advice: what to do where an override does not say it all.
    """

    sign: str
    verdict: str
    number: float | None
    meaning: str
    override: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Checked:
    """All findings of one check; at least one.

    Attributes:
        name: of the check.
        numbers: more of what was measured, as plain values.
    """

    name: str
    findings: Sequence[Finding]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The worst one."""
        return worst(finding.verdict for finding in self.findings)


def worst(verdicts: Any) -> str:
    """The worst of several verdicts."""
    return max(verdicts, key=ORDER.index, default=PASS)


def sound(number: float | None, meaning: str) -> Finding:
    """Nothing is wrong."""
    return Finding("sound", PASS, number, meaning)

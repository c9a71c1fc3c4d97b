"""The ten checks of `dlfound check`: their names, and what a check reports. This file loads no torch."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NAMES = (
    "data", "gradients", "initial_loss", "initial_state", "overfit",
    "inputs", "rows", "learning_rate", "updates", "determinism",
)  # fmt: skip
"""The names of the checks in the order in which they run."""

PASS = "pass"
WARN = "warn"
FAIL = "fail"
SEVERITY = (PASS, WARN, FAIL)  # from the best verdict to the worst
NAMED = 4  # columns or tensors that a message names; it counts the others


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
        findings: at least one.
        numbers: further measurements as plain values, for check.json.
    """

    findings: Sequence[Finding]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The worst verdict of the findings."""
        return worst(finding.verdict for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the entry in check.json; NaN and infinity become null, because JSON has no word for them."""
        findings = [vars(finding) for finding in self.findings]
        entry = {"verdict": self.verdict, "findings": findings, "numbers": self.numbers}
        return json.loads(json.dumps(entry), parse_constant=lambda word: None)


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst of several verdicts; pass for none at all."""
    return max(verdicts, key=SEVERITY.index, default=PASS)


def sound(number: float | None, usual: str, meaning: str) -> Finding:
    """A finding that passes."""
    return Finding("sound", PASS, number, usual, meaning)


def count_named(
    sign: str, verdict: str, meaning: str, names: Sequence[str], override: str = "", advice: str = ""
) -> list[Finding]:
    """Return a finding that counts and names the affected columns, classes or tensors; none without names."""
    if not names:
        return []
    meaning = f"{meaning}: {enumerated(names)}"
    return [Finding(sign, verdict, float(len(names)), "0", meaning, override, advice)]


def exceeding(
    sign: str, values: Iterable[tuple[str, float]], most: float, quantity: str, effect: str, *fix: str
) -> list[Finding]:
    """Return a warning that names the columns or layers with a value above `most`; none without such a value.

    Args:
        values: (name, value) of each.
        quantity: what the values are.
        effect: what the large ones do.
        fix: the override and the advice.
    """
    above = [(name, float(value)) for name, value in values if value > most]
    if not above:
        return []
    meaning = f"{quantity} in {enumerated([name for name, _ in above])}: {effect}"
    return [Finding(sign, WARN, max(value for _, value in above), f"at most {most:g}", meaning, *fix)]


def enumerated(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

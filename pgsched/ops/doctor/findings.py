"""The doctor's diagnosis: findings, and the checks that found nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

Severity = Literal["error", "warning", "hint"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "hint")
"""``error``: tasks do not run, or may be lost. ``warning``: they soon may not, or run badly. ``hint``: an advice.
"""


class Found(NamedTuple):
    """The result of a judgement: a finding without the name of the check."""

    object: str
    problem: str
    advice: str
    severity: Severity | None = None
    """None: the severity of the check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem."""

    check: str = ""
    """The name of the check that found it."""
    severity: Severity
    object: str
    """What it concerns: a queue, a table, a session."""
    problem: str
    """The problem in one line, with the value."""
    advice: str
    """The remedy, usually a command or statement to paste."""

    def as_dict(self) -> dict[str, str]:
        """Return the finding as a JSON-able dictionary."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The result of one check."""

    check: str
    state: str
    """``ok``, ``found``, or ``unseen``: it could not be judged."""

    def as_dict(self) -> dict[str, str]:
        """Return it as a JSON-able dictionary."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Every check that ran, and all findings, the most severe first."""

    checks: list[Checked]
    findings: list[Finding]

    def healthy(self, *, strict: bool = False) -> bool:
        """Whether there is no error; with ``strict`` no warning either. Hints never count."""
        bad = {"error", "warning"} if strict else {"error"}
        return not any(finding.severity in bad for finding in self.findings)

    def with_earlier(self, findings: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
        """Return all findings as dictionaries: these, and earlier ones of checks that did not run this time."""
        made = {checked.check for checked in self.checks if checked.state != "unseen"}
        return [finding.as_dict() for finding in self.findings] + [
            dict(one) for one in findings if (one["object"] if one["check"] == "unseen" else one["check"]) not in made
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as a JSON-able dictionary."""
        return {"healthy": self.healthy(), **asdict(self)}

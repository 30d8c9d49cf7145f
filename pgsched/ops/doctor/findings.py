"""What the doctor says: findings, and which checks were fine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

Severity = Literal["error", "warning", "hint"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "hint")
"""``error``: tasks do not run, or may be lost. ``warning``: they soon may not, or run badly. ``hint``: worth a thought.
"""


class Found(NamedTuple):
    """What a check yields: a finding without the name of the check."""

    object: str
    problem: str
    advice: str
    severity: Severity | None = None
    """None: the one that the check has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong."""

    check: str = ""
    """The name of the check that found it."""
    severity: Severity
    object: str
    """What it is about: a queue, a table, a session."""
    problem: str
    """What is wrong, in one line, with the value."""
    advice: str
    """What to do, most often something to paste."""

    def as_dict(self) -> dict[str, str]:
        """Return the finding as a JSON-able dictionary."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How one check went."""

    check: str
    state: str
    """``ok``, ``found``, or ``unseen``: it could not be looked at."""

    def as_dict(self) -> dict[str, str]:
        """Return it as a JSON-able dictionary."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Every check that was made, and all that was found, the worst first."""

    checks: list[Checked]
    findings: list[Finding]

    def healthy(self, *, strict: bool = False) -> bool:
        """Whether there is no error; with ``strict`` no warning either. Hints do no harm."""
        bad = {"error", "warning"} if strict else {"error"}
        return not any(finding.severity in bad for finding in self.findings)

    def with_earlier(self, findings: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
        """Return all findings as dictionaries: these, and earlier ones by checks that were not made this time."""
        made = {checked.check for checked in self.checks if checked.state != "unseen"}
        return [finding.as_dict() for finding in self.findings] + [
            dict(one) for one in findings if (one["object"] if one["check"] == "unseen" else one["check"]) not in made
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as a JSON-able dictionary."""
        return {"healthy": self.healthy(), **asdict(self)}

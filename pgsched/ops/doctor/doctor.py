"""Runs the doctor: queries the database, judges each answer, and reports what could not be checked."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from pgsched.db.connection import AsyncDbConnection
from pgsched.db.diagnostic_session import Answers, Refusal, ask
from pgsched.db.migrations.runner import program_version
from pgsched.domain.errors import ConfigError
from pgsched.ops.doctor.catalogue import BY_NAME, NAMES, OF_ANY_SCHEMA, OF_OUR_SCHEMA
from pgsched.ops.doctor.facts import PRESSING, Facts, NotSeen, questions
from pgsched.ops.doctor.findings import SEVERITIES, Checked, Diagnosis, Finding

NAME = "pgsched doctor"


async def look_async(
    dsn: str,
    checks: Collection[str] = (),
    *,
    name: str = NAME,
    pressing: bool = False,
    connection: AsyncDbConnection | None = None,
) -> Diagnosis:
    """Examine a database, whatever its schema version, by all checks or only by these.

    Uses the given connection, or opens its own.

    ``pressing``: query only urgent facts; checks that need more silently count as unseen.

    Raises ConfigError for a check that does not exist, DatabaseUnavailable when the database cannot be reached.
    """
    chosen = known_checks(checks)
    now = datetime.now(UTC)
    asked = questions(now)
    left_out = {key: Refusal("") for key in asked if pressing and key not in PRESSING}
    answers = await ask(
        dsn, {key: one for key, one in asked.items() if key not in left_out}, name=name, connection=connection
    )
    answers = answers._replace(found={**answers.found, **left_out})
    return judge(Facts(answers, program_version=program_version(), now=now - answers.skew), chosen)


def judge_answered(found: Mapping[str, Any], now: datetime, *, standby: bool = False) -> Diagnosis:
    """Judge answers that the caller queried, as of a time of the database; checks that need more are silently unseen.

    ``found`` has the answers by the names of :func:`questions`. The connection to the server is not judged.
    """
    left_out = dict.fromkeys(questions(now).keys() - found.keys(), Refusal(""))
    answers = Answers({**found, **left_out}, pooled=False, skew=timedelta(), place="", standby=standby)
    return judge(Facts(answers, program_version=program_version(), now=now), tuple(OF_OUR_SCHEMA))


def look(dsn: str, checks: Collection[str] = ()) -> Diagnosis:
    """Like :func:`look_async`, for a thread, whether it has an event loop or not."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pgsched-doctor") as threads:
        return threads.submit(asyncio.run, look_async(dsn, checks)).result()


def known_checks(checks: Collection[str]) -> tuple[str, ...]:
    """Return these checks in their order; all checks when none is named. Raises ConfigError."""
    for name in checks:
        if name not in NAMES:
            raise ConfigError(f"must be one of {', '.join(NAMES)}", field="check", value=name)
    return tuple(name for name in NAMES if name in checks) if checks else NAMES


def judge(facts: Facts, chosen: Collection[str] = NAMES) -> Diagnosis:
    """Judge all facts."""
    states: dict[str, str] = {}
    findings: list[Finding] = []
    for name, found in ((name, _judge_one(name, facts)) for name in NAMES if name in chosen or name == "unseen"):
        if isinstance(found, Refusal):
            states[name] = "unseen"
            if found.reason:
                findings.append(_unseen(name, found))
        else:
            states[name] = "found" if found else "ok"
            findings += found
    if any(finding.check == "unseen" for finding in findings):
        states["unseen"] = "found"
    if "unseen" not in chosen:
        findings = [one for one in findings if one.check != "unseen" or one.object in chosen]
    findings.sort(key=lambda one: (SEVERITIES.index(one.severity), NAMES.index(one.check)))
    return Diagnosis(
        checks=[Checked(check=name, state=states[name]) for name in NAMES if name in chosen], findings=findings
    )


def _judge_one(name: str, facts: Facts) -> list[Finding] | Refusal:
    try:
        if name in OF_OUR_SCHEMA and not _is_ours(facts):
            return Refusal("")  # the check of the version gives the reason
        judge_all = OF_ANY_SCHEMA.get(name) or OF_OUR_SCHEMA[name]
        (severity, *_) = BY_NAME[name].severities
        return [
            Finding(check=name, **found._asdict() | {"severity": found.severity or severity})
            for found in judge_all(facts)
        ]
    except NotSeen as gone:
        return gone.refusal


def _is_ours(facts: Facts) -> bool:
    try:
        return facts.version.version == facts.program_version
    except NotSeen as gone:
        return gone.refusal.kind == "rights"  # every role of pgsched may read the version; the other checks may work


def _unseen(check: str, refusal: Refusal) -> Finding:
    rights = refusal.kind == "rights"
    return Finding(
        check="unseen",
        severity="hint" if rights else "warning",
        object=check,
        problem=f"the check {check} could not be made: {refusal.reason}",
        advice="run it as a member of pgsched_viewer"
        if rights
        else f"pgsched doctor --check {check}, when the server has time",
    )

"""One worker at a time looks what is wrong, says what is new and what is gone, and all of them show it."""

from __future__ import annotations

from uuid import uuid4

import pytest
import structlog

from pgsched.ops.doctor.findings import Finding
from pgsched.worker import health_scan
from pgsched.worker.health_scan import HealthScan, tell
from tests.support.engine import running_worker
from tests.support.tables import add_worker, database
from tests.support.waiting import wait_until_async

SERVER_OF_TESTS = {"fsync", "full_page_writes", "synchronous_commit"}
"""The tests' own server is not careful."""


def dog(dsn: str) -> HealthScan:
    return HealthScan(dsn=dsn, worker=uuid4())


def troubles(lines: list[structlog.typing.EventDict]) -> list[tuple[str, str]]:
    return [(line["event"], line["check"]) for line in lines if line.get("object") not in SERVER_OF_TESTS]


async def test_trouble_is_logged_once_and_again_when_it_is_gone(dsn: str) -> None:
    one, other = dog(dsn), dog(dsn)
    with database(dsn) as db, structlog.testing.capture_logs() as lines:
        await one.run_once(every=0)
        assert troubles(lines) == []
        add_worker(db, queues=["mail"], task_types=["mail"], silent_for="1 hour")
        await one.run_once(every=0)
        assert troubles(lines) == [("trouble_found", "silent_workers")]
        await other.run_once(every=0)
        assert len(troubles(lines)) == 1, "another worker knows it already"
        db.execute("delete from pgsched.workers")
        await other.run_once(every=0)
        assert troubles(lines)[1:] == [("trouble_gone", "silent_workers")]
    line = next(line for line in lines if line.get("check") == "silent_workers")
    assert {"object", "problem", "advice", "severity"} <= set(line)


async def test_who_comes_soon_after_a_look_does_not_look(dsn: str) -> None:
    one, other = dog(dsn), dog(dsn)
    assert await one.run_once()
    assert not await other.run_once()
    assert not await one.run_once()
    with database(dsn) as db:
        db.execute(
            "update pgsched.watchdog set looked_at = now() - make_interval(secs => %s)", (health_scan.TURN_SECONDS + 1,)
        )
    assert await other.run_once()


async def test_findings_are_there_for_all_to_show(dsn: str) -> None:
    with database(dsn) as db:
        add_worker(db, queues=["mail"], task_types=["mail"], silent_for="1 hour")
        await dog(dsn).run_once()
        (row,) = db.execute("select findings from pgsched.watchdog").fetchall()
    assert {one["check"] for one in row["findings"]} - {"durability"} == {"silent_workers"}


async def test_a_worker_watches_beside_its_work(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_scan, "FIRST_SECONDS", 0.0)
    with database(dsn) as db:
        async with running_worker(dsn):
            await wait_until_async(
                lambda: db.execute("select 1 from pgsched.watchdog where findings <> '[]'").fetchone() is not None,
                message="the worker looked",
            )
            await wait_until_async(
                lambda: (
                    not db.execute(
                        "select 1 from pg_stat_activity where datname = current_database() "
                        "and application_name = 'pgsched watchdog'"
                    ).fetchall()
                ),
                message="its connection is closed",
            )


def test_hints_are_not_logged_and_a_worse_finding_is_new() -> None:
    def finding(severity: str) -> Finding:
        return Finding(check="connections", severity=severity, object="server", problem="full", advice="-")  # type: ignore[arg-type]

    with structlog.testing.capture_logs() as lines:
        tell([], [finding("hint").as_dict()])
        assert lines == []
        tell([finding("warning").as_dict()], [finding("error").as_dict()])
    assert [line["event"] for line in lines] == ["trouble_found", "trouble_gone"]

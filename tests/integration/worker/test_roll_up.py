"""Upkeep counts the history once, exactly, whatever comes late or dies in between."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched.worker import roll_up as module
from tests.support.roll_ups import add_attempts, count_all, count_only, new_roll_up, new_roll_up_now
from tests.support.tables import database

Database = psycopg.Connection[dict[str, Any]]
WIDTHS = (300, 3600, 21600, 86400)


def ago(**given: float) -> datetime:
    return datetime.now(UTC) - timedelta(**given)


def totals(db: Database) -> dict[int, int]:
    """What is counted in buckets of each width."""
    found = db.execute(
        "select seconds, sum(completed + failed + timed_out + cancelled + lost + snoozed)::integer as number"
        " from pgsched.type_counts group by 1"
    ).fetchall()
    return {row["seconds"]: row["number"] for row in found}


def bins(db: Database) -> dict[tuple[int, str], int]:
    """What is in the histograms of each width."""
    found = db.execute(
        "select seconds, 'run' as kind, sum(u)::integer as number from pgsched.type_counts, unnest(run_counts) u"
        " group by 1"
        " union all"
        " select seconds, 'wait', sum(u)::integer from pgsched.type_counts, unnest(wait_counts) u group by 1"
    ).fetchall()
    return {(row["seconds"], row["kind"]): row["number"] for row in found}


async def test_each_attempt_is_in_one_bucket_of_each_width(dsn: str) -> None:
    with database(dsn) as db:
        add_attempts(db, 3, ended=ago(minutes=20))
        add_attempts(db, 2, ended=ago(minutes=20), status="failed", error="ValueError: 1", run=2.0)
        add_attempts(db, ended=ago(seconds=20), task_type="report", queue="slow", status="timed_out", error="timed out")
        add_attempts(db, ended=ago(days=3), status="lost", error="the lease ran out", attempt=2)
        add_attempts(db, ended=ago(minutes=20), status="cancelled", attempt=0)
        await count_all(dsn)
        assert totals(db) == dict.fromkeys(WIDTHS, 8)
        assert bins(db) == {**{(w, "run"): 6 for w in WIDTHS}, **{(w, "wait"): 6 for w in WIDTHS}}
        row = db.execute("select * from pgsched.type_stats('1 hour', task_type => 'mail')").fetchone()
        assert row is not None
        assert (row["processed"], row["completed"], row["failed"], row["snoozed"]) == (5, 3, 2, 1)
        assert row["failed_share"] == pytest.approx(0.4)
        assert row["run_p50"] == pytest.approx(0.1, rel=0.091)
        assert row["run_p99"] == pytest.approx(2.0, rel=0.091)
        assert row["run_max"] == pytest.approx(2.0)
        assert row["wait_p95"] == pytest.approx(0.5, rel=0.091)


async def test_counting_again_changes_nothing(dsn: str) -> None:
    with database(dsn) as db:
        add_attempts(db, 3, ended=ago(minutes=20))
        add_attempts(db, 2, ended=ago(seconds=20), status="failed", error="ValueError: 1")
        await count_all(dsn)
        tables = ("type_counts", "error_counts")
        before = [db.execute(f"select * from pgsched.{one} order by 1, 2, 3, 4").fetchall() for one in tables]
        for _ in range(3):
            await count_all(dsn)
        assert before == [db.execute(f"select * from pgsched.{one} order by 1, 2, 3, 4").fetchall() for one in tables]


async def test_what_is_committed_late_is_counted_later(dsn: str) -> None:
    """Three hours after it ended: the bucket was counted long ago, and counted again."""
    with database(dsn) as db:
        add_attempts(db, 2, ended=ago(hours=3))
        await count_all(dsn)
        assert totals(db)[300] == 2
        add_attempts(db, ended=ago(hours=3), status="failed", error="ValueError: late")
        await count_all(dsn)
        assert totals(db)[300] == 2, "nothing looks back so soon"
        db.execute(
            "update pgsched.roll_up_state"
            " set settled_until[2] = date_bin('5 minutes', now() - interval '4 hours', '2000-01-01')"
        )
        await count_all(dsn)
        assert totals(db) == dict.fromkeys(WIDTHS, 3)
        assert len(db.execute("select from pgsched.error_stats('6 hours')").fetchall()) == 1


async def test_what_was_counted_stays_when_the_history_is_dropped(dsn: str) -> None:
    with database(dsn) as db:
        add_attempts(db, 5, ended=ago(hours=5))
        await count_all(dsn)
        db.execute("delete from pgsched.executions")
        add_attempts(db, ended=ago(hours=5))
        db.execute(
            "update pgsched.roll_up_state"
            " set settled_until[1] = now() - interval '1 day', fresh_from = now() - interval '1 day'"
        )
        await count_all(dsn)
        assert totals(db) == dict.fromkeys(WIDTHS, 5)


async def test_a_day_without_upkeep_is_counted_in_bounded_steps(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_MINUTES", 120)
    with database(dsn) as db:
        add_attempts(db, ended=ago(minutes=1))
        await count_all(dsn)
        for hours in range(1, 30):
            add_attempts(db, ended=ago(hours=hours))
        db.execute(
            "update pgsched.roll_up_state set fresh_from = now() - interval '30 hours',"
            " settled_until = array(select date_bin('5 minutes', now() - interval '31 hours', '2000-01-01')"
            " from generate_series(1, 3))"
        )
        one = new_roll_up_now(dsn)
        steps = []
        while (step := await one.step()).stage is not None:
            steps.append(step)
        await one._session.close()
        assert max(step.ends - step.begins for step in steps if step.ends and step.begins) <= timedelta(hours=2)
        assert totals(db) == dict.fromkeys(WIDTHS, 30)


async def test_who_dies_in_a_step_has_done_nothing_of_it(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(*_: object) -> None:
        raise RuntimeError("killed")

    with database(dsn) as db:
        add_attempts(db, ended=ago(minutes=20), status="failed", error="ValueError: 1")
        with monkeypatch.context() as patch:
            patch.setattr(module.roll_up, "note_errors", dies)
            with pytest.raises(RuntimeError):
                await count_all(dsn)
        assert totals(db) == {}
        await count_all(dsn)
        assert totals(db) == dict.fromkeys(WIDTHS, 1)
        assert db.execute("select sum(number) as n from pgsched.error_counts where seconds = 300").fetchone() == {
            "n": 1
        }


async def test_one_worker_at_a_time_counts(dsn: str) -> None:
    with database(dsn) as db:
        one, other = new_roll_up(dsn), new_roll_up(dsn)
        assert await one.run_once() is not None
        assert await other.run_once() is None, "its turn is over for a while"
        with db.transaction():
            db.execute("select from pgsched.roll_up_state for update")
            async with asyncio.timeout(10):
                assert (await other.step()).stage is None, "somebody counts"
        await other._session.close()
        db.execute("update pgsched.roll_up_state set next_at = now()")
        assert await other.run_once() is not None


async def test_a_wait_of_which_nobody_knows_the_due_time_is_not_counted(dsn: str) -> None:
    with database(dsn) as db:
        # A task that was dead for an hour and retried by hand has its first time still.
        add_attempts(db, ended=ago(minutes=90), wait=1.0, status="failed", error="E: 1", task_id=7)
        (first,) = db.execute("select scheduled_for from pgsched.executions").fetchall()
        add_attempts(db, ended=ago(minutes=20), due=first["scheduled_for"], task_id=7)
        add_attempts(db, ended=ago(minutes=20), wait=600.0, task_id=8)  # a backlog
        add_attempts(db, ended=ago(minutes=20), attempt=2, wait=5.0, task_id=9)  # a retry
        await count_all(dsn)
        row = db.execute("select wait_max from pgsched.type_stats('1 hour')").fetchone()
        assert row is not None
        assert row["wait_max"] == pytest.approx(600, abs=1)


async def test_types_beyond_a_bound_are_counted_together(dsn: str) -> None:
    with database(dsn) as db:
        at = ago(minutes=20)
        for number in range(1005):
            add_attempts(db, ended=at, task_type=f"type{number:04}")
        await count_all(dsn)
        assert totals(db) == dict.fromkeys(WIDTHS, 1005)
        others = db.execute(
            "select completed from pgsched.type_counts where seconds = 300 and task_type = ''"
        ).fetchone()
        assert others == {"completed": 5}


async def test_errors_are_grouped_and_the_rest_is_other(dsn: str) -> None:
    with database(dsn) as db:
        at = ago(minutes=20)
        for number in range(3):
            add_attempts(
                db,
                ended=at,
                status="failed",
                error=f"ValueError: order {number} is gone\n\nTraceback",
                task_id=40 + number,
            )
        add_attempts(db, ended=at, queue="slow", status="failed", error="ValueError: order 9 is gone")
        for letter in range(120):
            add_attempts(db, ended=at, status="failed", error=f"E: {'x' * (letter + 1)}")
        await count_all(dsn)
        found = db.execute("select * from pgsched.error_stats('1 hour')").fetchall()
        first = found[0]
        assert (first["exception"], first["message"], first["number"]) == ("ValueError", "order <n> is gone", 4)
        assert (first["task_types"], first["queues"], first["task_id"]) == (["mail"], ["default", "slow"], 42)
        assert sum(first["trend"]) == 4
        assert len(first["trend"]) == 12
        assert found[-1]["id"] == "other"
        assert sum(row["number"] for row in found) == 124
        assert len(found) <= 101


async def test_new_groups_of_a_day_are_bounded(dsn: str) -> None:
    with database(dsn) as db:
        db.execute(
            "insert into pgsched.error_groups (fingerprint, exception, message, first_seen, last_seen)"
            " select n::text, 'E', n::text, now(), now() from generate_series(1, 499) n"
        )
        add_attempts(db, 2, ended=ago(minutes=20), status="failed", error="E: one")
        add_attempts(db, ended=ago(minutes=20), status="failed", error="E: two")
        await count_all(dsn)
        found = db.execute("select message, number from pgsched.error_stats('1 hour')").fetchall()
        assert found == [{"message": "one", "number": 2}, {"message": "other errors", "number": 1}]


async def test_old_counts_are_deleted_and_the_longer_buckets_kept(dsn: str) -> None:
    with database(dsn) as db:
        add_attempts(db, ended=ago(days=20))
        await count_only(dsn)
        assert totals(db) == dict.fromkeys(WIDTHS, 1)
        one = new_roll_up(dsn)
        await one.prune()
        await one._session.close()
        assert totals(db) == {21600: 1, 86400: 1}


async def test_short_buckets_stay_until_the_longer_ones_are_complete(dsn: str) -> None:
    """Counting an old history goes on: what is not summed to its end is not deleted."""
    with database(dsn) as db:
        add_attempts(db, ended=ago(days=20))
        await count_only(dsn)
        db.execute("update pgsched.roll_up_state set settled_until[1] = now() - interval '20 days'")
        one = new_roll_up(dsn)
        await one.prune()
        await one._session.close()
        assert totals(db) == dict.fromkeys(WIDTHS, 1)


def test_a_new_version_of_a_handler_is_kept(dsn: str) -> None:
    with database(dsn) as db:
        for version in ("1", "2", "2"):
            db.execute("select pgsched.register(%s::jsonb)", (f'[{{"task_type": "mail", "version": "{version}"}}]',))
        found = db.execute("select version from pgsched.handler_versions order by since").fetchall()
        assert [row["version"] for row in found] == ["1", "2"]


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 1e-5, 0.001, 0.1, 1.0, 59.9, 3600.0, 6e6])
def test_a_quantile_is_off_by_9_percent_at_most(dsn: str, seconds: float) -> None:
    with database(dsn) as db:
        row = db.execute(
            "select pgsched.bin_quantile(array[pgsched.duration_bin(%(s)s)]::integer[], array[1], 0.5, 1e9) as q,"
            " pgsched.bin_seconds(pgsched.duration_bin(%(s)s)) as upper",
            {"s": seconds},
        ).fetchone()
        assert row is not None
        assert row["upper"] >= seconds * 0.999999
        assert row["q"] == pytest.approx(seconds, rel=0.0906, abs=1e-6)

"""Finished tasks go by age and by number: which, by whom, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client
from pgsched.db.retention import RetentionStore
from pgsched.domain.errors import InvalidTask, PgschedError
from pgsched.domain.interval import Interval
from pgsched.ops import retention
from pgsched.ops.retention import RetentionOverride
from pgsched.worker import retention as worker_retention
from pgsched.worker.metrics import WorkerMetrics
from tests.support.engine import engine, rows, running_worker
from tests.support.retained import finished, gone_of, left, many_finished, old_day, prune_now
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until_async

SETTINGS = RetentionOverride()
"""Nothing but what the settings say."""
HOUR = Interval(microseconds=3_600_000_000)


# Which go.


def pruned(counts: WorkerMetrics) -> dict[tuple[str, str], float]:
    """What the metrics say was deleted, by queue and status."""
    return {
        (sample.labels["queue"], sample.labels["status"]): sample.value
        for family in counts.collect()
        for sample in family.samples
        if sample.name == "pgsched_pruned_total" and sample.value
    }


def test_nothing_goes_until_a_setting_says_so(dsn: str) -> None:
    with database(dsn) as db:
        kept = [finished(db, "1000 days", status) for status in ("completed", "cancelled", "dead")]
        assert gone_of(prune_now(dsn, SETTINGS)) == {}
        assert left(db) == kept


def test_age_and_number_are_each_enough(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        kept = {queue: [finished(db, f"{days} days", queue=queue) for days in range(5, 0, -1)] for queue in "abcd"}
        client.set_settings(retention="3d12h")
        client.set_queue("b", retention_count=1)
        client.set_queue("c", retention="forever")
        client.set_queue("d", retention="forever", retention_count=2)
        assert gone_of(prune_now(dsn, SETTINGS)) == {"a": (2, 0, 0), "b": (4, 0, 0), "d": (3, 0, 0)}
        assert left(db) == sorted(kept["a"][2:] + kept["b"][4:] + kept["c"] + kept["d"][3:])


def test_cancelled_tasks_count_as_completed_and_dead_ones_have_their_own_age(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        cancelled, dead = finished(db, "2 hours", "cancelled"), finished(db, "2 hours", "dead")
        client.set_settings(retention="1h", dead_retention="3h")
        assert gone_of(prune_now(dsn, SETTINGS)) == {"default": (0, 1, 0)}
        client.set_settings(dead_retention="1h")
        assert gone_of(prune_now(dsn, SETTINGS)) == {"default": (0, 0, 1)}
        assert left(db) == [], f"{cancelled} and {dead}"


def test_dead_tick_of_a_schedule_goes_and_the_schedule_stays(dsn: str) -> None:
    with database(dsn) as db:
        schedule = insert_task(db, repeat_interval="1 hour")
        finished(db, status="dead", parent_id=schedule)
        finished(db, parent_id=schedule, idempotency_key=f"tick:{schedule}:1")
        assert gone_of(prune_now(dsn)) == {"default": (1, 0, 1)}
        assert left(db) == [schedule]


def test_number_is_kept_exactly_where_many_ended_at_the_same_time(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        many_finished(db, 1200)
        client.set_settings(retention_count=100)
        assert gone_of(prune_now(dsn, SETTINGS)) == {"default": (1100, 0, 0)}
        assert len(left(db)) == 100
        assert min(left(db)) == 1101, "the latest are kept"
        client.set_settings(retention_count=0)
        prune_now(dsn, SETTINGS)
        assert left(db) == []


def test_key_of_a_deleted_task_is_free_again(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        first = finished(db, idempotency_key="once")
        assert client.schedule("mail", idempotency_key="once") == first
        prune_now(dsn)
        assert client.schedule("mail", idempotency_key="once") != first


def test_what_a_dead_task_depended_on_goes_with_it(dsn: str) -> None:
    with database(dsn) as db:
        result = finished(db, observed=True)
        finished(db, status="dead", depends_on=[result])
        prune_now(dsn, RetentionOverride(completed_older_than=Interval()))
        assert len(left(db)) == 2, "a dead task may be tried again"
        prune_now(dsn)
        assert left(db) == []


def test_wish_stands_for_both_numbers_of_its_kind_and_leaves_the_other(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        young, dead = finished(db, "1 minute"), finished(db, "2 hours", "dead")
        client.set_settings(retention_count=0, dead_retention="1h")
        assert gone_of(prune_now(dsn, RetentionOverride(completed_older_than=HOUR))) == {"default": (0, 0, 1)}
        assert left(db) == [young], f"{dead} went by the settings"


def test_only_one_queue_is_pruned_if_that_is_wished_for(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        mail, other = finished(db, queue="mail"), finished(db, queue="other")
        day = old_day(db)
        done = client.prune(queue="mail", completed_older_than="0s", allow_short=True)
        assert (gone_of(done), done.history, left(db)) == ({"mail": (1, 0, 0)}, [], [other]), f"{mail} and {day}"


def test_dry_run_says_what_would_go_and_deletes_nothing(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        there = [finished(db, status=status) for status in ("completed", "cancelled", "dead")]
        day = old_day(db)
        wish: dict[str, Any] = {
            "completed_older_than": "0s",
            "dead_older_than": "0s",
            "history_older_than": "30d",
            "allow_short": True,
        }
        told = client.prune(**wish, dry_run=True)
        assert (gone_of(told), told.history, told.dry_run) == ({"default": (1, 1, 1)}, [day], True)
        assert left(db) == there
        assert client.prune(**wish).history == [day]
        assert left(db) == []


def test_run_stops_when_its_time_is_over_and_the_next_one_goes_on(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        many_finished(db, 3000)
        first = client.prune(completed_older_than="0s", allow_short=True, max_seconds=0.000001)
        assert not first.complete
        assert client.prune(completed_older_than="0s", allow_short=True).complete
        assert left(db) == []


def test_batches_are_small_whatever_there_is(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    prune = RetentionStore.prune

    def noted(self: RetentionStore, *given: Any) -> Any:
        asked.append(given[-1])
        return prune(self, *given)

    monkeypatch.setattr(RetentionStore, "prune", noted)
    with database(dsn) as db:
        many_finished(db, 8000)
        prune_now(dsn)
        assert left(db) == []
    assert len(asked) > 3
    assert max(asked) <= retention.LARGEST_BATCH


# By itself.


async def test_worker_deletes_by_itself_and_counts_it(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_retention, "FIRST_SECONDS", 0.02)
    with database(dsn) as db, Client(dsn) as client:
        client.set_settings(retention="1h", dead_retention="1h")
        for status in ("completed", "completed", "cancelled", "dead"):
            finished(db, "2 hours", status, queue="mail")
        async with running_worker(dsn) as one:
            await wait_until_async(lambda: not left(db), message="what is old is gone")
            await wait_until_async(lambda: sum(pruned(one.counts).values()) == 4, message="it is counted")
            assert pruned(one.counts) == {("mail", "completed"): 2, ("mail", "cancelled"): 1, ("mail", "dead"): 1}
            assert [lock.name for lock in client.locks()] == ["pgsched.retention"]
        await wait_until_async(lambda: not client.locks(), message="the lock is given back")


async def test_one_worker_at_a_time_deletes(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        async with engine(dsn) as first, engine(dsn) as second:
            assert first.worker.retention.run_once() is None, "nothing is to be deleted"
            assert client.locks() == []
            client.set_settings(retention="0s", allow_short=True)
            assert first.worker.retention.run_once() is not None
            finished(db)
            assert second.worker.retention.run_once() is None
            assert len(left(db)) == 1
            first.worker.retention.give_back()
            assert second.worker.retention.run_once() is not None
            assert left(db) == []
            client.set_settings(retention=None)
            assert second.worker.retention.run_once() is None
            assert client.locks() == []
            for one in (first, second):
                one.worker.retention.disconnect()


def test_busy_worker_looks_more_often() -> None:
    assert worker_retention.pause_after(0, 10) == worker_retention.SELDOM_SECONDS
    assert worker_retention.pause_after(10_000, 10) == worker_retention.SELDOM_SECONDS
    assert worker_retention.pause_after(40_000, 10) == 5
    assert worker_retention.pause_after(10_000_000, 10) == 1


def test_deleting_is_faster_only_while_it_does_not_keep_pace() -> None:
    slow, fast = worker_retention.WORKER_SHARE, worker_retention.MOST_SHARE
    assert worker_retention.next_share(slow, took=5, since=10) == slow
    assert slow < worker_retention.next_share(slow, took=10, since=10) < fast
    assert worker_retention.next_share(fast, took=100, since=10) == fast
    assert slow < worker_retention.next_share(fast, took=1, since=10) < fast
    assert worker_retention.next_share(slow, took=1, since=10) == slow


# What is refused.


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"retention": "yesterday"}, "retention: "),
        ({"retention": timedelta(days=-1)}, "retention must not be negative, got -1 day, 0:00:00"),
        ({"dead_retention": "1001mo12000mo"}, "dead_retention must be at most 1000 years"),
        (
            {"retention_count": -1},
            "retention_count must be a whole number between 0 and 2147483647, or forever, got -1",
        ),
        ({"dead_retention_count": 1.5}, "dead_retention_count must be a whole number"),
        ({"retention_count": True}, "retention_count must be a whole number"),
        ({"archive": "maybe"}, "archive must be true or false, got maybe"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(dsn: str, options: dict[str, Any], rule: str) -> None:
    with Client(dsn) as client:
        for change in (client.set_settings, lambda **given: client.set_queue("mail", **given)):
            with pytest.raises(InvalidTask) as refused:
                change(**options)
            assert str(refused.value).startswith(rule)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"history_retention": "1h"}, "history_retention must be at least a day, got 1h"),
        ({"archive": None}, "archive must be true or false, got None"),
        ({"keep": 1}, "settings: 'keep' is no setting"),
        ({}, "settings: nothing to change"),
    ],
)
def test_general_setting_that_makes_no_sense_is_refused(dsn: str, options: dict[str, Any], rule: str) -> None:
    with Client(dsn) as client, pytest.raises(InvalidTask) as refused:
        client.set_settings(**options)
    assert str(refused.value) == rule


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"completed_older_than": "soon"}, "completed_older_than: "),
        ({"dead_keep": -1}, "dead_keep must be a whole number"),
        ({"max_seconds": 0}, "max_seconds must be a number above 0, got 0"),
        ({"max_seconds": float("nan")}, "max_seconds must be a number above 0, got nan"),
        ({"queue": "mail", "history_older_than": "1d"}, "history_older_than applies to all queues"),
        ({"older_than": "1d"}, "prune: unknown option 'older_than'"),
        ({"history_older_than": "20000mo"}, "history_older_than must be at most 1000 years"),
    ],
)
def test_wish_that_makes_no_sense_is_refused(dsn: str, options: dict[str, Any], rule: str) -> None:
    with Client(dsn) as client, pytest.raises(InvalidTask) as refused:
        client.prune(**options)
    assert str(refused.value).startswith(rule)


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("update pgsched.settings set retention = '-1 day', allow_short = true", "retention_must_not_be_negative"),
        ("update pgsched.settings set retention_count = -1", "retention_count_must_not_be_negative"),
        ("update pgsched.settings set dead_retention = '1001 years'", "dead_retention_must_be_at_most_1000_years"),
        (
            "update pgsched.settings set history_retention = '23 hours'",
            "history_retention_must_be_between_1_day_and_1000_years",
        ),
        ("insert into pgsched.settings default values", "settings_pkey"),
        ("insert into pgsched.settings (only_row) values (false)", "settings_must_have_one_row"),
        (
            "insert into pgsched.queues (name, retention) values ('a', '2000 years')",
            "retention_must_be_at_most_1000_years",
        ),
        (
            "insert into pgsched.queues (name, dead_retention_count) values ('a', -5)",
            "dead_retention_count_must_not_be_negative",
        ),
    ],
)
def test_database_refuses_what_makes_no_sense(dsn: str, statement: str, constraint: str) -> None:
    with database(dsn) as db, pytest.raises(psycopg.errors.IntegrityError) as refused:
        db.execute(statement.encode())
    assert refused.value.diag.constraint_name == constraint


def test_prune_is_refused_in_a_transaction(dsn: str) -> None:
    with Client(dsn) as client, client.transaction() as inside, pytest.raises(PgschedError, match="of its own"):
        inside.prune()


async def test_async_client_has_the_same(dsn: str) -> None:
    with database(dsn) as db:
        finished(db)
        async with AsyncClient(dsn) as client:
            await client.set_settings(retention="0s", allow_short=True, archive=True, history_retention="30d")
            assert (await client.settings()).archive
            await client.set_queue("default", archive=False)
            assert (await client.queue("default")).archive is False
            assert gone_of(await client.prune()) == {"default": (1, 0, 0)}
        assert left(db) == rows(db, "select from pgsched.archived_tasks") == []

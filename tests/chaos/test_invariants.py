"""The invariants of the trials find what is broken: a sound database passes, and each harm is named by its rule."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, LiteralString

import pytest

from chaos.faults.kill_storm import too_often
from chaos.faults.model import Row, Verdict
from chaos.faults.soak import growth, surplus
from chaos.faults.system import Connection, Pgsched
from chaos.faults.trial import recovery_seconds
from pgsched.worker.locked_batches import SESSIONS
from pgsched.worker.worker import QUESTIONS
from tests.support.servers import fresh_database
from tests.support.tables import WORKER, database

TASK, ENTRY, SCHEDULE, EVERY_SECOND = 1, 2, 3, 4
TICKS = 3

SOUND: LiteralString = """
set pgsched.restoring = on;
insert into pgsched.tasks (id, task_type, status, next_run_at, attempts, fencing_token, execution_count, completed_at)
select id, task_type, 'completed', null, 1, 1, 1, now()
from (values (1, 'steady'), (2, 'entry')) t(id, task_type);
insert into pgsched.tasks (
  id, task_type, repeat_interval, repeat_count, status, next_run_at, execution_count, fencing_token, completed_at)
select 3, 'tick', '1 second', 3, 'completed', null, 3, 3, now();
insert into pgsched.tasks (id, task_type, cron_expression, fencing_token) select 4, 'tick', '* * * * * *', 3;
insert into pgsched.executions (
  task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at)
select id, task_type, 'default', 1, token, now() - interval '1 hour' + token * interval '1 second', %(worker)s,
  'completed', now() - interval '1 hour' + token * interval '1 second',
  now() - interval '1 hour' + token * interval '1.2 seconds'
from (values (1, 'steady', 1), (2, 'entry', 1), (3, 'tick', 1), (3, 'tick', 2), (3, 'tick', 3), (4, 'tick', 1),
  (4, 'tick', 3)) e(id, task_type, token);
insert into pgsched.executions (
  task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
select task_id, task_type, queue, 0, 0, 'lost', started_at - interval '0.1 seconds', started_at + interval '0.1 seconds'
from pgsched.executions where task_id = 1;
insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick)
values (4, 'tick', 'default', 'once', 1, now() - interval '1 hour' + interval '2 seconds');
insert into effects select task_id, scheduled_for, fencing_token from pgsched.executions where task_id = 2;
update ledger set total = 1 where place = 2;
"""

# By rule, what breaks it.
HARM: Mapping[str, LiteralString] = {
    "an insert that was acknowledged is there": "delete from pgsched.tasks where id = 1",
    "no task has two completed executions": """
        insert into pgsched.executions select * from pgsched.executions where task_id = 1""",
    "no claim is in the history twice": """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
        select task_id, task_type, queue, 1, 1, 'failed', started_at, finished_at from pgsched.executions
        where task_id = 1""",
    "an attempt with a later token begins after the one before it has ended": """
        update pgsched.executions set started_at = started_at - interval '5 seconds'
        where task_id = 3 and fencing_token = 2""",
    "nothing comes after the completed execution": """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
        values (1, 'steady', 'default', 2, 2, 'failed', now(), now())""",
    "no execution is ahead of its task's token": "update pgsched.tasks set fencing_token = 0 where id = 1",
    "attempts are numbered without a gap": "update pgsched.executions set attempt = 2 where task_id = 1",
    "only an attempt that is lost or was locked by others goes uncounted": """
        update pgsched.executions set attempt = 0 where task_id = 2""",
    "a running task has one lease and no other task has any": """
        alter table pgsched.tasks drop constraint leased_if_and_only_if_running;
        update pgsched.tasks set locked_by = gen_random_uuid(), locked_until = now() where id = 1""",
    "a task is completed if and only if an execution of it is": "delete from pgsched.executions where task_id = 1",
    "no execution ends before it begins, or in the future": """
        update pgsched.executions set finished_at = now() + interval '1 hour' where task_id = 1""",
    "every task has ended as it should": """
        update pgsched.tasks set status = 'dead', died_at = now(), completed_at = null where id = 1""",
    "a task's attempts are all in the history": "update pgsched.tasks set attempts = 2 where id = 1",
    "no lease is left": """
        update pgsched.tasks set status = 'running', locked_by = gen_random_uuid(), locked_until = now()
        where id = 4""",
    "no tick has two completed executions": """
        update pgsched.executions set scheduled_for = scheduled_for - interval '1 second'
        where task_id = 3 and fencing_token = 2""",
    "a schedule of so many ticks has run them all, each once": """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, scheduled_for, status, started_at, finished_at)
        select 3, 'tick', 'default', 1, 3, max(scheduled_for) + interval '1 second', 'completed', now(), now()
        from pgsched.executions where task_id = 3""",
    "every tick of a schedule has run or is noted as missed": "delete from pgsched.missed_ticks",
    "what a transactional handler wrote is there once for its completed execution, and for no other": """
        insert into effects select * from effects""",
    "the ledger adds up": "update ledger set total = 2 where place = 2",
}
MORE_HARM: Mapping[str, tuple[str, LiteralString]] = {
    "effect of an attempt that was not completed": (
        "what a transactional handler wrote is there once for its completed execution, and for no other",
        "insert into effects values (2, now(), 7)",
    ),
    "attempt that overlaps the one before a lost one that is not counted": (
        "an attempt with a later token begins after the one before it has ended",
        """update pgsched.executions set started_at = started_at - interval '5 seconds'
        where task_id = 3 and fencing_token = 3;
        update pgsched.executions set attempt = 0, status = 'lost' where task_id = 3 and fencing_token = 2""",
    ),
    "attempt that is not lost beyond the last": (
        "a task's attempts are all in the history",
        """insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
        values (1, 'steady', 'default', 4, 2, 'failed', now(), now())""",
    ),
    "attempt that is missing beside a lost one that is not counted": (
        "a task's attempts are all in the history",
        "delete from pgsched.executions where task_id = 1 and attempt > 0",
    ),
    "effect that is missing": (
        "what a transactional handler wrote is there once for its completed execution, and for no other",
        "delete from effects",
    ),
    "tick beside the grid of its schedule": (
        "every tick of a schedule has run or is noted as missed",
        """update pgsched.executions set scheduled_for = scheduled_for + interval '0.4 seconds'
        where task_id = 3 and fencing_token = 3""",
    ),
    "tick that is missing": (
        "a schedule of so many ticks has run them all, each once",
        "delete from pgsched.executions where task_id = 3 and fencing_token = 3",
    ),
}


@pytest.fixture(scope="module")
def sound(server_dsn: str) -> Iterator[Connection]:
    """A database as a trial leaves it."""
    name = f"invariants_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    with fresh_database(server_dsn, name) as dsn:
        Pgsched().prepare(dsn)
        with database(dsn) as connection:
            for statement in filter(str.strip, SOUND.split(";\n")):
                values = {"worker": WORKER} if "%(worker)s" in statement else None
                connection.execute(statement, values)
            yield connection


@pytest.fixture
def books(sound: Connection) -> Iterator[Connection]:
    """What a test does to it is undone."""
    with sound.transaction(force_rollback=True):
        yield sound


def verdict(books: Connection) -> Verdict:
    acknowledged = dict.fromkeys((TASK, ENTRY, SCHEDULE, EVERY_SECOND), "completed")
    return Pgsched().verdict(books, acknowledged)


def harmed(books: Connection, harm: LiteralString) -> Verdict:
    for statement in harm.split(";\n"):
        books.execute(statement)
    return verdict(books)


def test_a_sound_database_passes(books: Connection) -> None:
    assert verdict(books) == Verdict(lost=0, duplicated=0)


def test_a_claim_after_the_last_attempt_whose_worker_is_lost_is_no_attempt(books: Connection) -> None:
    rule = "a task's attempts are all in the history"
    harm: LiteralString = """insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
    values (1, 'steady', 'default', 4, 2, 'lost', now(), now())"""
    assert not any(rule in line for line in harmed(books, harm).broken)


@pytest.mark.parametrize("rule", HARM)
def test_each_rule_finds_what_breaks_it(books: Connection, rule: str) -> None:
    assert any(rule in line for line in harmed(books, HARM[rule]).broken)


@pytest.mark.parametrize(("rule", "harm"), MORE_HARM.values(), ids=MORE_HARM)
def test_a_rule_finds_every_way_to_break_it(books: Connection, rule: str, harm: LiteralString) -> None:
    assert any(rule in line for line in harmed(books, harm).broken)


@pytest.mark.parametrize(
    "harm",
    [
        "delete from pgsched.tasks where id = 1",
        "delete from pgsched.tasks where id = 4",
        "update pgsched.tasks set status = 'pending', next_run_at = now(), completed_at = null where id = 1",
        "update pgsched.tasks set status = 'cancelled', next_run_at = null, completed_at = now() where id = 4",
    ],
)
def test_what_is_gone_or_did_not_end_is_lost(books: Connection, harm: LiteralString) -> None:
    assert harmed(books, harm).lost == 1


@pytest.mark.parametrize(
    "harm",
    [
        "insert into pgsched.executions select * from pgsched.executions where task_id = 1",
        "insert into pgsched.executions select * from pgsched.executions where task_id = 3 and fencing_token = 2",
        "insert into effects select * from effects",
    ],
)
def test_what_is_there_twice_is_a_duplicate(books: Connection, harm: LiteralString) -> None:
    assert harmed(books, harm).duplicated == 1


GOOD = Row(system="pgsched", fault="x", seed=1, tasks=5, injected=1, recovery_seconds=0.1, before=100, after=100)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"lost": 1}, "lost"),
        ({"duplicated": 1}, "duplicates"),
        ({"injected": 0}, "no fault"),
        ({"recovery_seconds": None}, "throughput"),
        ({"broken": ["broken: a rule"]}, "a rule"),
    ],
)
def test_a_row_says_what_is_wrong_with_it(changed: dict[str, Any], word: str) -> None:
    assert GOOD.problems == []
    (problem,) = replace(GOOD, **changed).problems
    assert word in problem


def test_recovery_counts_from_the_end_of_the_fault_to_the_first_good_second() -> None:
    done = dict.fromkeys(range(1000, 1050), 10)  # a hundred a second, from 100.0 s to 105.0 s
    assert recovery_seconds(done, ended=100.0, now=110.0, wanted=95) == 0.1
    assert recovery_seconds(done, ended=97.0, now=110.0, wanted=95) == pytest.approx(3.0)
    assert recovery_seconds(done, ended=104.5, now=110.0, wanted=95) is None
    assert recovery_seconds(done, ended=100.0, now=101.2, wanted=95) is None, "the second is not over"


def test_memory_that_grows_is_found_and_caches_that_fill_are_not() -> None:
    megabyte = 1024**2
    flat = [50 * megabyte] * 10 + [80 * megabyte] * 70
    leaking = [80 * megabyte + sample * megabyte for sample in range(80)]
    assert list(growth({1: flat})) == []
    (complaint,) = growth({1: flat, 2: leaking})
    assert "worker 2 grows" in complaint


def test_connections_beyond_those_of_the_workers_are_found() -> None:
    flat = {"pgsched claim": 2, "pgsched handler": 8, "pgsched flow": 2 * QUESTIONS, "pgsched lock": 2 * SESSIONS}
    assert list(surplus(flat, workers=2, transactions=4)) == []
    for name in flat:
        (complaint,) = surplus({**flat, name: flat[name] + 1}, workers=2, transactions=4)
        assert name in complaint


def test_a_task_that_kills_more_workers_than_it_may_is_found() -> None:
    assert too_often(Counter({5: 4, 6: 1}), 3) == []
    (complaint,) = too_often(Counter({5: 4, 6: 5}), 3)
    assert "task 6 killed 5 workers" in complaint

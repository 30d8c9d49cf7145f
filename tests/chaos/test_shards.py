"""The trial `shards` finds what is broken: each rule by hand, and databases from which the guard of moves was taken."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from typing import LiteralString

import pytest

from chaos.faults.model import SHORT
from chaos.faults.shards import Shards
from chaos.faults.stage import run_trial
from chaos.invariants import Connection, broken_rules
from chaos.shards.books import DUPLICATED, LOST, RULES, TABLES, gather, identify
from chaos.shards.system import known_map
from pgsched import ShardedClient
from pgsched.ops.shards import Move
from tests.support.servers import fresh_database
from tests.support.shards import opened, tenant_of
from tests.support.tables import database

ACKNOWLEDGED = {1: "completed", 2: "completed", 3: "completed"}
# A task (1) and a schedule (2) that came from a to b between two attempts and two ticks, and one without an end (3).
SOUND: LiteralString = """
insert into gathered_tasks
select shard, id, number, 'ada', status, type, cron, every::interval, times, ran, null, next::timestamptz, '2026-01-01'
from (values
  ('b', 11, 1, 'completed', 'one_time', null, null, null, 1, null),
  ('b', 12, 2, 'completed', 'repeating', null, '1 s', 2, 2, null),
  ('b', 13, 3, 'pending', 'recurring', '* * * * * *', null, null, 2, '2026-01-02 00:00:04')
) t(shard, id, number, status, type, cron, every, times, ran, next);
insert into gathered_arrivals values ('b', 'a', 1, 11), ('b', 'a', 2, 12), ('b', 'a', 3, 13);
insert into gathered_attempts
select shard, id, token, attempt, status, tick::timestamptz, began::timestamptz, began::timestamptz + interval '1 ms'
from (values
  ('a', 1, 5, 1, 'failed', null, '2026-01-02 00:00:01'),
  ('b', 11, 8, 2, 'completed', null, '2026-01-02 00:00:02'),
  ('a', 2, 6, 1, 'completed', '2026-01-02 00:00:01', '2026-01-02 00:00:01'),
  ('b', 12, 9, 1, 'completed', '2026-01-02 00:00:02', '2026-01-02 00:00:02'),
  ('a', 3, 7, 1, 'completed', '2026-01-02 00:00:01', '2026-01-02 00:00:01'),
  ('b', 13, 10, 1, 'completed', '2026-01-02 00:00:03', '2026-01-02 00:00:03')
) t(shard, id, token, attempt, status, tick, began);
insert into gathered_missed values ('b', 13, 1, '2026-01-02 00:00:02');
insert into gathered_writes values ('a', 2, '2026-01-02 00:00:01', 6), ('b', 12, '2026-01-02 00:00:02', 9);
insert into gathered_placements
values ('a', 'ada', 'left', 'b', 1, '2026-01-02'), ('b', 'ada', 'here', 'b', 1, '2026-01-02');
insert into homes values ('ada', 'b')
"""

# By rule, what breaks it.
HARM: Mapping[str, LiteralString] = {
    "a task is in one database, once": """
        insert into gathered_tasks select 'c', 99, number, tenant_id, status, schedule_type from gathered_tasks
        where number = 1""",
    "an insert that was acknowledged is there": "delete from gathered_tasks where number = 1",
    "every task has ended as it should": "update gathered_tasks set status = 'dead' where number = 2",
    "no tick has two completed attempts, in whichever databases": """
        insert into gathered_attempts
        select 'b', 12, 11, 1, status, scheduled_for, started_at + interval '1 h', finished_at + interval '1 h'
        from gathered_attempts where shard = 'a' and task_id = 2""",
    "a task is completed if and only if an attempt at it is": """
        update gathered_attempts set status = 'lost' where shard = 'b' and task_id = 11""",
    "what a transactional handler wrote is there once": """
        insert into gathered_writes values ('b', 12, '2026-01-02 00:00:01', 11)""",
    "the tokens of a task grow, and its attempts are numbered without a gap, from database to database": """
        update gathered_attempts set fencing_token = 4 where shard = 'b' and task_id = 11""",
    "an attempt begins after the one before it has ended, in whichever database": """
        update gathered_attempts set started_at = '2026-01-02' where shard = 'b' and task_id = 11""",
    "a schedule of so many ticks has run them all, each once": """
        delete from gathered_attempts where shard = 'a' and task_id = 2""",
    "every tick of a schedule has run or is noted as missed": "delete from gathered_missed",
    "nothing is left on its way": "insert into gathered_departing values ('a', 4)",
    "no move is left open": "update gathered_placements set state = 'arriving' where shard = 'b'",
    "a tenant that was moved is at one home, and the databases agree on it": """
        update gathered_placements set state = 'here', target = 'a' where shard = 'a'""",
    "nothing waits outside the home of its tenant": "update gathered_tasks set shard = 'a' where number = 3",
    "nothing was inserted where its tenant had left": """
        update gathered_tasks set shard = 'a', created_at = '2026-01-03' where number = 1""",
}


# What the guard of the placements keeps from happening.
GUARDED = (
    "a task is in one database, once",
    "nothing waits outside the home of its tenant",
    "nothing was inserted where its tenant had left",
)


@pytest.fixture(scope="module")
def books(server_dsn: str) -> Iterator[Connection]:
    """The gathered books as a sound trial leaves them."""
    with (
        fresh_database(server_dsn, f"shard_rules_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}") as dsn,
        database(dsn) as connection,
    ):
        for statement in f"{TABLES};\n{SOUND}".split(";\n"):
            connection.execute(statement)
        identify(connection)
        yield connection


def number(connection: Connection, statement: LiteralString) -> int:
    row = connection.execute(statement, {"ids": list(ACKNOWLEDGED)}).fetchone()
    assert row is not None
    return int(row["n"])


def test_a_sound_trial_passes(books: Connection) -> None:
    assert broken_rules(books, RULES, ACKNOWLEDGED) == {}
    assert (number(books, LOST), number(books, DUPLICATED)) == (0, 0)


def test_each_rule_has_a_harm() -> None:
    assert list(HARM) == list(RULES)


@pytest.mark.parametrize("rule", HARM)
def test_each_rule_finds_what_breaks_it(books: Connection, rule: str) -> None:
    with books.transaction(force_rollback=True):
        books.execute(HARM[rule])
        assert rule in broken_rules(books, RULES, ACKNOWLEDGED)


@pytest.mark.parametrize(
    ("rule", "statement"),
    [
        ("an insert that was acknowledged is there", LOST),
        ("every task has ended as it should", LOST),
        ("a task is in one database, once", DUPLICATED),
        ("no tick has two completed attempts, in whichever databases", DUPLICATED),
        ("what a transactional handler wrote is there once", DUPLICATED),
    ],
)
def test_what_is_lost_or_twice_is_counted(books: Connection, rule: str, statement: LiteralString) -> None:
    with books.transaction(force_rollback=True):
        books.execute(HARM[rule])
        assert number(books, statement) == 1


@pytest.mark.parametrize("guard", [True, False])
def test_the_books_notice_that_a_database_does_not_refuse_a_tenant_that_has_left(
    shards: dict[str, str], guard: bool
) -> None:
    """A client that still knows the former home repeats a call."""
    tenant = tenant_of("a")
    call = {"name": "1", "tenant_id": tenant, "idempotency_key": "k1"}
    with opened(shards) as databases, database(shards["a"]) as books:
        for dsn in shards.values():
            with database(dsn) as one:
                one.execute("create table effects (task_id bigint, scheduled_for timestamptz, token bigint)")
                if not guard:
                    one.execute("alter table pgsched.tasks disable trigger refuse_moved")
        with ShardedClient(shards) as client:
            client.schedule("mail", **call)
            Move(databases, tenant, "b").run()
            client.schedule("mail", **call)
        gather(books, shards, known_map(shards))
        broken = broken_rules(books, {rule: RULES[rule] for rule in GUARDED}, {})
        assert list(broken) == ([] if guard else list(GUARDED))


@pytest.mark.long
def test_the_trial_notices_that_databases_do_not_refuse_tenants_that_have_left(server_dsn: str) -> None:
    row = run_trial(Shards(guard=False), SHORT, seed=random.SystemRandom().randrange(1_000_000), server_dsn=server_dsn)
    # A task in two databases, or a mover that cannot deliver one whose key the other database has by now.
    rules = (*GUARDED, "nothing is left on its way")
    assert any(f"broken: {rule}" in problem for rule in rules for problem in row.problems), row.problems

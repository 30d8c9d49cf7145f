"""The trial `durable` finds what is broken: each rule by hand, and a worker of which a guard was cut out."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import pytest

from chaos.durable.rules import RULES, TABLES
from chaos.faults.durable import Durable
from chaos.faults.model import SHORT
from chaos.faults.stage import run_trial
from chaos.invariants import Connection, broken_rules
from pgsched.db import sql_files
from pgsched.db.migrations.runner import migrate
from tests.support.servers import fresh_database
from tests.support.tables import database

# One run that has ended, and what its steps have written.
SOUND: LiteralString = """
set pgsched.restoring = on;
insert into pgsched.tasks (
  id, task_type, status, next_run_at, attempts, fencing_token, execution_count, completed_at, parent_id, result)
values
  (1, 'order', 'completed', null, 1, 9, 1, now(), null, '{"charge": "c", "pack": "p", "book": "b", "approved": "ann",
    "ship": "s", "bill": "l", "close": "o"}'),
  (2, 'ship', 'completed', null, 1, 3, 1, now(), 1, null);
insert into pgsched.durable_events (task_id, tick_number, name, payload, consumed_at)
values (1, 1, 'approved', '{"by": "ann"}', now());
insert into pgsched.durable_steps (
  task_id, began_at, tick_number, name, kind, status, attempts, result, event_id, started_at, finished_at,
  fencing_token)
select 1, date_trunc('day', now()), 1, name, kind, 'completed', 1, result::jsonb,
  (select id from pgsched.durable_events where name = s.name), now(), now(), token
from (values ('charge', 'step', '"c"', 5), ('cool off', 'sleep', null, 6), ('pack', 'step', '"p"', 6),
  ('book', 'step', '"b"', 6), ('approved', 'event', '{"by": "ann"}', 7), ('ship', 'child', '"s"', 8),
  ('bill', 'step', '"l"', 8), ('close', 'step', '"o"', 9)) s(name, kind, result, token);
insert into entries values (1, 'book', 'b', 'c, p'), (1, 'bill', 'l', 'ann, s');
insert into calls values (1, 'charge', 4, 'lost'), (1, 'charge', 5, 'c'), (1, 'pack', 6, 'p'), (1, 'book', 6, 'b'),
  (1, 'bill', 8, 'l'), (1, 'close', 9, 'o')
"""

# By rule, what breaks it.
HARM: Mapping[str, LiteralString] = {
    "every durable run has ended": """
        update pgsched.tasks set status = 'blocked', completed_at = null where id = 1""",
    "nothing waits for an event that is there": """
        update pgsched.tasks set status = 'blocked', completed_at = null where id = 1;
        update pgsched.durable_events set consumed_at = null;
        insert into pgsched.durable_runs (task_id, tick_number, began_at, awaits)
        values (1, 1, now(), '{event:approved}')""",
    "no run is left behind its task": """
        insert into pgsched.durable_runs (task_id, tick_number, began_at) values (1, 1, now())""",
    "every step of a run is recorded once, completed, and nothing else is": """
        update pgsched.durable_steps set status = 'failing' where name = 'pack'""",
    "a task has one run": "update pgsched.durable_steps set began_at = began_at + interval '1 s' where name = 'pack'",
    "what a transactional step wrote is there once": "insert into entries values (1, 'book', 'b', 'c, p')",
    "and is that of the call that was recorded": "update entries set value = 'another' where step = 'book'",
    "a later step was given what the earlier ones have recorded": """
        update entries set given = 'lost, p' where step = 'book'""",
    "a run returns what its steps have recorded": """
        update pgsched.tasks set result = result || '{"charge": "lost"}' where id = 1""",
    "what is recorded was returned by a call": "update calls set value = 'another' where step = 'pack'",
    "a step that is recorded is not called by a later claim": "insert into calls values (1, 'pack', 7, 'again')",
    "a claim calls a step once for each of its attempts": "insert into calls values (1, 'pack', 6, 'again')",
    "one event is consumed in a run, that of its step": """
        insert into pgsched.durable_events (task_id, tick_number, name, consumed_at)
        values (1, 1, 'approved', now())""",
    "a run has one child": "update pgsched.tasks set parent_id = null where id = 2",
    "no wait has timed out": """
        update pgsched.durable_steps set status = 'failed', error = 'no event arrived in time'
        where name = 'approved'""",
}
MORE_HARM: Mapping[str, tuple[str, LiteralString]] = {
    "step that is missing": (
        "every step of a run is recorded once, completed, and nothing else is",
        "delete from pgsched.durable_steps where name = 'cool off'",
    ),
    "step that nobody asked for": (
        "every step of a run is recorded once, completed, and nothing else is",
        """insert into pgsched.durable_steps (
          task_id, began_at, tick_number, name, kind, status, started_at, fencing_token)
        values (1, now(), 1, 'other', 'step', 'completed', now(), 9)""",
    ),
    "write of a transactional step that is missing": (
        "what a transactional step wrote is there once",
        "delete from entries where step = 'bill'",
    ),
    "event that no wait took": (
        "one event is consumed in a run, that of its step",
        "update pgsched.durable_events set consumed_at = null",
    ),
    "second child": (
        "a run has one child",
        "set pgsched.restoring = on; insert into pgsched.tasks (task_type, parent_id) values ('ship', 1)",
    ),
}


@pytest.fixture(scope="module")
def sound(server_dsn: str) -> Iterator[Connection]:
    """A database as the trial leaves it."""
    name = f"durable_rules_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    with fresh_database(server_dsn, name) as dsn:
        migrate(dsn)
        with database(dsn) as connection:
            for statement in filter(str.strip, f"{TABLES};\n{SOUND}".split(";\n")):
                connection.execute(statement)
            yield connection


@pytest.fixture
def books(sound: Connection) -> Iterator[Connection]:
    """What a test does to it is undone."""
    with sound.transaction(force_rollback=True):
        yield sound


def test_a_sound_run_passes(books: Connection) -> None:
    assert broken_rules(books, RULES, {}) == {}


def test_each_rule_has_a_harm() -> None:
    assert list(HARM) == list(RULES)


@pytest.mark.parametrize(
    ("rule", "harm"), [*HARM.items(), *MORE_HARM.values()], ids=[*HARM, *MORE_HARM]
)  # fmt: skip
def test_each_rule_finds_what_breaks_it(books: Connection, rule: str, harm: LiteralString) -> None:
    for statement in harm.split(";\n"):
        books.execute(statement)
    assert rule in broken_rules(books, RULES, {})


# Negative controls.

FENCE = """ and t.locked_by = %(worker)s and t.status = 'running'
    and (t.id, t.fencing_token) in (select g.id, g.token from given g)"""
RECHECK = "select pgsched.recheck_runs(%(ids)s::bigint[])"


def without(folder: Path, statement: str, guard: str, instead: str) -> Path:
    """A copy of the statements, in one of which the guard is gone."""
    copy = folder / "sql"
    shutil.copytree(sql_files._folder(), copy)
    file = copy / "queries" / f"{statement}.sql"
    text = file.read_text()
    assert guard in text, f"{statement}.sql has no {guard!r} any more: update this control"
    file.write_text(text.replace(guard, instead))
    return copy


def notices(rule: str, server_dsn: str, **options: Any) -> bool:
    """Whether one of three trials finds a rule broken: that a guard is needed at some moment is a matter of luck."""
    for _ in range(3):
        fault = Durable(quiet_seconds=8, **options)
        row = run_trial(fault, SHORT, seed=random.SystemRandom().randrange(1_000_000), server_dsn=server_dsn)
        if any(f"broken: {rule}" in problem for problem in row.problems):
            return True
    return False


@pytest.mark.long
def test_the_trial_notices_that_nothing_is_rechecked_at_the_suspension(server_dsn: str, tmp_path: Path) -> None:
    statements = without(tmp_path, "recheck_runs", RECHECK, "select cardinality(%(ids)s::bigint[])")
    assert notices("nothing waits for an event that is there", server_dsn, runs=150, statements=statements)


@pytest.mark.long
def test_the_trial_notices_that_records_are_not_fenced(server_dsn: str, tmp_path: Path) -> None:
    statements = without(tmp_path, "record_steps", FENCE, "")
    rule = "a step that is recorded is not called by a later claim"
    assert notices(rule, server_dsn, runs=100, stops=6, slow=1, statements=statements)

"""Commands that delete, or do what cannot be undone: they ask first, and without a terminal they want ``--yes``."""

from __future__ import annotations

import pytest

from tests.support.commands import Ended, pgsched
from tests.support.durable import record_steps
from tests.support.retained import finished, left
from tests.support.tables import database, insert_task, set_dead

NOBODY = "stdin is not a terminal: confirm with --yes"

ASKING = [
    pytest.param(("dead", "purge"), "Delete 3 dead tasks of all queues permanently?", id="purge"),
    pytest.param(
        ("dead", "purge", "--queue", "mail", "--type", "greet", "--older-than", "1d"),
        "Delete 1 dead task of queue mail of type greet that died more than 1d ago permanently?",
        id="purge-filtered",
    ),
    pytest.param(("dead", "retry"), "Run 3 dead tasks of all queues again?", id="retry"),
    pytest.param(("prune", "--completed-older-than", "1d"), "Delete 2 completed, 1 cancelled tasks?", id="prune"),
    pytest.param(("prune", "--dead-keep", "0", "--queue", "mail"), "Delete 2 dead tasks?", id="prune-dead"),
    pytest.param(
        ("settings", "set", "--retention", "7d"),
        "Workers would delete 2 completed, 1 cancelled tasks immediately. Change the settings?",
        id="settings",
    ),
    pytest.param(
        ("queue", "set", "mail", "--dead-retention-count", "1"),
        "Workers would delete 1 dead task immediately. Change the settings?",
        id="queue",
    ),
    pytest.param(
        ("task", "restart", "3", "--from", "charge"),
        "Restart task 3 and discard its records from charge on?",
        id="restart",
    ),
    pytest.param(("task", "delete", "1", "2"), "Delete 2 tasks?", id="delete"),
    pytest.param(("calendar", "delete", "holidays"), "Delete the calendar holidays?", id="calendar"),
    pytest.param(("lock", "break", "report"), "Break the lock report, which ada holds?", id="lock"),
]


def filled(dsn: str) -> None:
    """Tasks that ended ten days ago, a calendar, and a lock that somebody holds."""
    with database(dsn) as db:
        db.execute("insert into pgsched.calendars (name, days) values ('holidays', '{12-25}')")
        for status in ("completed", "completed", "cancelled"):
            finished(db, "10 days", status)
        record_steps(db, 3, "charge")  # of the one that is cancelled
        for queue, ago in (("mail", "2 days"), ("mail", "1 hour"), ("other", "2 days")):
            set_dead(db, insert_task(db, "greet", queue=queue), ago=ago)
        db.execute("select pgsched.lock('report', gen_random_uuid(), ttl => interval '1 hour', holder => 'ada')")


def state(dsn: str) -> list[object]:
    """All that one of these commands could change."""
    statements = (
        "select * from pgsched.tasks order by id",
        "select * from pgsched.queues order by name",
        "select * from pgsched.settings",
        "select name, owner from pgsched.locks",
        "select name from pgsched.calendars",
    )
    with database(dsn) as db:
        return [db.execute(statement.encode()).fetchall() for statement in statements]


@pytest.mark.parametrize(("command", "question"), ASKING)
def test_without_a_terminal_nothing_is_done_unless_it_is_confirmed(
    dsn: str, command: tuple[str, ...], question: str
) -> None:
    filled(dsn)
    before = state(dsn)
    for yes in ({}, {"PGSCHED_YES": "1"}):  # an exported yes would confirm whatever comes later
        ended = pgsched(*command, dsn=dsn, stdin="y\n", env=yes)
        assert ended.code == 2
        assert ended.error.startswith(f"{question} {NOBODY}")
        assert state(dsn) == before
    assert pgsched(*command, "--yes", dsn=dsn).code == 0
    assert state(dsn) != before


@pytest.mark.parametrize(("command", "question"), ASKING)
def test_on_a_terminal_a_no_leaves_everything_as_it_was(dsn: str, command: tuple[str, ...], question: str) -> None:
    filled(dsn)
    before = state(dsn)
    ended = pgsched(*command, dsn=dsn, typed="n\n")
    assert (ended.code, ended.stdout) == (1, "")
    assert f"{question} [y/N]: " in ended.stderr
    assert state(dsn) == before
    assert pgsched(*command, dsn=dsn, typed="y\n").code == 0
    assert state(dsn) != before


def test_where_nothing_goes_nothing_is_asked(dsn: str) -> None:
    for command in (
        ("dead", "purge"),
        ("dead", "retry"),
        ("prune", "--completed-older-than", "1d"),
        ("settings", "set", "--retention", "7d", "--dead-retention", "90d", "--history-retention", "30d"),
        ("queue", "set", "mail", "--retention", "1d"),
    ):
        assert pgsched(*command, dsn=dsn).code == 0, command


def test_settings_that_take_nothing_are_not_asked_about(dsn: str) -> None:
    filled(dsn)
    for command in (
        ("settings", "set", "--retention", "forever"),
        ("settings", "set", "--archive"),
        ("queue", "set", "mail", "--ordering", "lifo"),
    ):
        assert pgsched(*command, dsn=dsn).code == 0, command


def test_dry_run_is_not_asked_about(dsn: str) -> None:
    filled(dsn)
    assert pgsched("prune", "--completed-older-than", "1d", "--dry-run", dsn=dsn).code == 0


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (("settings", "set", "--retention", "7"), "retention must have a unit"),
        (("settings", "set", "--dead-retention", "7"), "dead_retention must have a unit"),
        (("settings", "set", "--history-retention", "604800"), "history_retention must have a unit"),
        (("queue", "set", "default", "--retention", "7"), "retention must have a unit"),
        (("prune", "--completed-older-than", "7"), "completed_older_than must have a unit"),
        (("dead", "purge", "--older-than", "7"), "older_than must have a unit"),
        (("settings", "set", "--retention", "7s"), "retention must be at least 1 hour unless allow_short is set"),
        (("prune", "--dead-older-than", "7m"), "dead_older_than must be at least 1 hour unless allow_short is set"),
    ],
)
def test_age_that_is_probably_a_mistake_is_refused_whatever_is_confirmed(
    dsn: str, command: tuple[str, ...], rule: str
) -> None:
    filled(dsn)
    before = state(dsn)
    for yes in ((), ("--yes",)):
        ended = pgsched(*command, *yes, dsn=dsn)
        assert ended.code == 1
        assert rule in ended.error
    assert state(dsn) == before


def test_short_age_is_taken_at_a_word(dsn: str) -> None:
    filled(dsn)
    assert pgsched("settings", "set", "--retention", "7s", "--allow-short", "--yes", dsn=dsn).code == 0
    assert pgsched("prune", "--dead-older-than", "1m", "--allow-short", "--yes", dsn=dsn).code == 0
    with database(dsn) as db:
        assert left(db) == []


def test_environment_changes_no_task(dsn: str) -> None:
    """What was exported for one command says nothing about the next."""
    exported = {
        f"PGSCHED_{name}": value
        for name, value in {
            **{"TIMEOUT": "30s", "USER": "root", "NAME": "laptop", "PRIORITY": "9", "TENANT": "a", "TAG": "x y"},
            **{"DELAY": "1h", "QUEUE": "mail", "KEY": "k", "DISABLED": "1", "PAYLOAD": "{}", "MAX_ATTEMPTS": "1"},
            **{"CRON": "@daily", "EVERY": "1h", "METADATA": "{}", "JITTER": "1h", "BACKOFF": "fixed"},
            **{"STATUS": "dead", "TYPE": "other", "LIMIT": "1", "JSON": "1", "YES": "1", "OLDER_THAN": "0s"},
            **{"RETENTION": "1d", "COMPLETED_OLDER_THAN": "1d", "CLEAR": "timeout", "CONCURRENCY_KEY": "c"},
        }.items()
    }
    plain = pgsched("task", "add", "greet", dsn=dsn).stdout
    other = pgsched("task", "add", "greet", dsn=dsn, env=exported).stdout
    edited = pgsched("task", "edit", other.strip(), "--priority", "7", dsn=dsn, env=exported)
    assert edited == Ended(0, f"task {other.strip()}: changed\n", "")
    own = {"id", "priority", "version", "created_at", "updated_at", "scheduled_for", "next_run_at"}
    own |= {"next_runs", "planned_from", "why"}
    one, two = (pgsched("task", "show", task_id.strip(), "--json", dsn=dsn).json() for task_id in (plain, other))
    assert two["priority"] == 7
    assert {name: two[name] for name in two.keys() - own} == {name: one[name] for name in one.keys() - own}
    assert pgsched("task", "list", dsn=dsn, env=exported) == pgsched("task", "list", dsn=dsn)

"""Each guard of the statements does what it promises, and each check notices when the guard is gone.

The second half are negative controls: a check that cannot fail proves nothing.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pgsched.db import sql_files
from tests.support import guards
from tests.support.engine import rows
from tests.support.tables import database

pytestmark = pytest.mark.slow

Check = Callable[[str], Awaitable[None]]


class Guard(NamedTuple):
    """A check, and what to cut out of which statement so that it must fail."""

    check: Check
    statement: str
    guard: str
    without: str = ""


TOKEN = "and t.fencing_token = d.token"
OWNER = "and t.locked_by = %(worker)s"
TOKEN_OF_A_RUN = "and t.fencing_token = done.token\n    and t.locked_by = %(worker)s and t.status = 'running'"
GUARDS = [
    Guard(guards.a_late_completion_changes_nothing, "finish_completed", "and t.fencing_token = done.token"),
    Guard(guards.a_late_completion_changes_nothing, "finish_completed", OWNER),
    Guard(guards.a_late_failure_changes_nothing, "finish_tasks", "and t.fencing_token = done.token"),
    Guard(guards.a_late_failure_changes_nothing, "finish_tasks", OWNER),
    Guard(guards.a_claim_does_not_wait_for_locked_rows, "claim_tasks", "skip locked"),
    Guard(guards.a_late_release_changes_nothing, "release_tasks", TOKEN),
    Guard(guards.a_late_release_changes_nothing, "release_tasks", OWNER),
    Guard(guards.a_late_heartbeat_renews_nothing, "beat", "and t.fencing_token = held.token"),
    Guard(guards.a_late_heartbeat_renews_nothing, "beat", OWNER),
    # Without all of them the effects are doubled.
    Guard(guards.a_late_transaction_writes_nothing, "finish_completed", TOKEN_OF_A_RUN),
    Guard(guards.a_late_transaction_of_a_plain_handler_writes_nothing, "finish_completed", TOKEN_OF_A_RUN),
    Guard(guards.progress_of_a_late_worker_is_not_shown, "show_progress", TOKEN),
    Guard(guards.progress_of_a_late_worker_is_not_shown, "show_progress", OWNER),
    Guard(guards.a_late_record_writes_nothing, "record_steps", "t.locked_by = %(worker)s and "),
    Guard(
        guards.a_late_record_writes_nothing,
        "record_steps",
        "and (t.id, t.fencing_token) in (select g.id, g.token from given g)",
    ),
    Guard(guards.a_late_suspension_changes_nothing, "suspend_runs", "and t.fencing_token = g.token"),
    Guard(guards.a_late_suspension_changes_nothing, "suspend_runs", "and t.locked_by = %(worker)s"),
    Guard(
        guards.an_event_that_is_sent_during_the_suspension_wakes_the_run,
        "recheck_runs",
        "select pgsched.recheck_runs(%(ids)s::bigint[])",
        "select cardinality(%(ids)s::bigint[])",
    ),
    Guard(guards.the_common_claim_passes_a_limited_queue_by, "claim_tasks", "and q.apart is not true"),
]
by_name = pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.check.__name__)


@pytest.fixture
def own_statements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A copy of the queries that this test may change and the engine reads."""
    copy = tmp_path / "sql"
    shutil.copytree(sql_files._folder(), copy)
    monkeypatch.setattr(sql_files, "_folder", lambda: copy)
    sql_files.load_statement.cache_clear()
    yield copy / "queries"
    sql_files.load_statement.cache_clear()


@by_name
def test_the_guard_holds(dsn: str, guard: Guard) -> None:
    asyncio.run(guard.check(dsn))


@by_name
def test_the_check_notices_that_the_guard_is_gone(dsn: str, guard: Guard, own_statements: Path) -> None:
    file = own_statements / f"{guard.statement}.sql"
    text = file.read_text()
    assert guard.guard in text, f"{guard.statement}.sql has no {guard.guard!r} any more: update this control"
    file.write_text(text.replace(guard.guard, guard.without))
    with pytest.raises(AssertionError):
        asyncio.run(guard.check(dsn))


IN_FUNCTIONS = [
    Guard(
        guards.a_leased_row_is_not_claimed,
        "is_claimable",
        "and (task.locked_until is null or task.locked_until < now())",
    ),
    Guard(guards.a_limit_of_concurrency_holds_over_all_workers, "claim_queue", "- count(*) into number", "into number"),
    Guard(
        guards.a_rate_holds_over_all_workers,
        "claim_queue",
        "select rate - coalesce(sum(s.number), 0)",
        "select rate + 0 * count(*)",
    ),
    Guard(guards.a_limit_of_a_key_holds_over_all_workers, "key_rooms", "s.queue = name and s.key = k.key)", "false)"),
    Guard(
        guards.claims_of_a_limited_queue_come_one_after_the_other,
        "claim_queue",
        "where q.name = claim_queue.name for no key update skip locked",
        "where q.name = claim_queue.name",
    ),
]
"""Guards in functions of the database; ``statement`` is the function's name."""


@pytest.mark.parametrize("guard", IN_FUNCTIONS, ids=lambda guard: guard.check.__name__)
def test_the_guard_in_a_function_holds(dsn: str, guard: Guard) -> None:
    asyncio.run(guard.check(dsn))


@pytest.mark.parametrize("guard", IN_FUNCTIONS, ids=lambda guard: guard.check.__name__)
def test_the_check_notices_that_the_guard_in_a_function_is_gone(dsn: str, guard: Guard) -> None:
    with database(dsn) as db:
        (row,) = rows(db, "select pg_get_functiondef(%s::regproc) as text", f"pgsched.{guard.statement}")
        assert guard.guard in row["text"], f"{guard.statement} has no {guard.guard!r} any more: update this control"
        db.execute(row["text"].replace(guard.guard, guard.without))
    with pytest.raises(AssertionError):
        asyncio.run(guard.check(dsn))


def test_a_known_idempotency_key_is_refused(dsn: str) -> None:
    asyncio.run(guards.a_known_key_is_refused(dsn))


def test_the_check_of_the_key_notices_that_its_index_is_gone(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("drop index pgsched.idempotency_key_must_be_unique")
    with pytest.raises(AssertionError):
        asyncio.run(guards.a_known_key_is_refused(dsn))

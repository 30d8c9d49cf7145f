"""What is still needed is not deleted, and each check of that notices when its guard is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.support import retained
from tests.support.engine import rows
from tests.support.tables import database

pytestmark = pytest.mark.slow


class Guard(NamedTuple):
    """A check, and what to cut out of which function so that it must fail."""

    check: Callable[[str], None]
    function: str
    guard: str
    without: str = ""


GUARDS = [
    Guard(retained.a_result_that_is_still_asked_for_stays, "pick_prunable", "and u = any(observed_ids)", "and false"),
    Guard(
        retained.a_step_of_the_tick_under_way_stays,
        "pick_prunable",
        "and g.fired is not null and g.completed_at is null",
        "and false",
    ),
    Guard(
        retained.steps_of_a_group_stay_while_one_of_them_goes_on,
        "pick_prunable",
        "and g.schedule_type = 'one_time'",
        "and false",
    ),
    Guard(
        retained.a_parent_stays_while_a_child_goes_on, "pick_prunable", "where c.parent_id = any(ids)", "where false"
    ),
    Guard(retained.a_schedule_declared_in_code_stays, "pick_prunable", "and t.declared is null"),
    Guard(retained.a_row_that_somebody_has_locked_is_passed_by, "pick_prunable", "skip locked"),
    Guard(retained.two_do_not_prune_at_once, "pick_prunable", "if not pg_try_advisory_xact_lock(", "if 0 = length("),
    Guard(
        retained.a_row_that_is_not_finished_is_not_deleted,
        "delete_apart",
        "and t.status = any(statuses)",
    ),
    Guard(retained.a_task_that_is_just_being_scheduled_finds_what_it_depends_on, "check_dependencies", "for key share"),
]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.check.__name__)
def test_the_guard_holds(dsn: str, guard: Guard) -> None:
    guard.check(dsn)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.check.__name__)
def test_the_check_notices_that_the_guard_is_gone(dsn: str, guard: Guard) -> None:
    with database(dsn) as db:
        (row,) = rows(db, "select pg_get_functiondef(%s::regproc) as text", f"pgsched.{guard.function}")
        assert guard.guard in row["text"], f"{guard.function} has no {guard.guard!r} any more: update this control"
        text = row["text"].replace(guard.guard, guard.without)
        if guard.without.startswith("if 0 = length("):
            text = text.replace("hashtextextended('pgsched.prune', 0)", "'pgsched.prune'")
        db.execute(text)
    with pytest.raises(AssertionError):
        guard.check(dsn)

"""The rows in hand."""

from __future__ import annotations

import asyncio

import pytest

from pgsched.execution.context import Context
from pgsched.worker.leased_tasks import (
    ABANDON,
    ABANDONED,
    BEGIN,
    END,
    FINISHING,
    MOVES,
    RUNNING,
    WAITING,
    LeasedTask,
    LeasedTasks,
)
from tests.support.engine import NOW, claimed

STATES = (WAITING, RUNNING, FINISHING, ABANDONED)


def holds_of(*ids: int) -> LeasedTasks:
    leased_tasks = LeasedTasks()
    leased_tasks.add([claimed(id=number) for number in ids], leased_until=1.0)
    return leased_tasks


def hold_of(leased_tasks: LeasedTasks, task_id: int) -> LeasedTask:
    leased = leased_tasks.get(task_id)
    assert leased is not None
    return leased


def test_rows_wait_in_the_order_in_which_they_were_claimed() -> None:
    leased_tasks = holds_of(3, 1, 2)
    assert [leased.task.id for leased in leased_tasks.waiting] == [3, 1, 2]


def test_taking_the_waiting_rows_leaves_them_held() -> None:
    leased_tasks = holds_of(1, 2)
    taken = leased_tasks.take_waiting()
    assert (len(taken), len(leased_tasks.waiting), len(leased_tasks)) == (2, 0, 2)


def test_a_dropped_row_is_no_longer_held() -> None:
    leased_tasks = holds_of(1)
    leased_tasks.drop(hold_of(leased_tasks, 1))
    assert leased_tasks.get(1) is None


def test_dropping_an_old_hold_leaves_the_new_claim_of_the_same_row() -> None:
    leased_tasks = holds_of(1)
    old = hold_of(leased_tasks, 1)
    leased_tasks.add([claimed(id=1, fencing_token=2)], leased_until=2.0)
    leased_tasks.drop(old)
    assert hold_of(leased_tasks, 1).task.fencing_token == 2


def test_abandoning_a_waiting_row_marks_it_so_that_it_is_not_run() -> None:
    leased_tasks = holds_of(1)
    leased = hold_of(leased_tasks, 1)
    leased_tasks.abandon(leased)
    assert leased.abandoned
    assert leased_tasks.get(1) is None


def test_an_outcome_on_its_way_to_the_database_is_not_abandoned() -> None:
    leased_tasks = holds_of(1)
    leased = hold_of(leased_tasks, 1)
    leased.move(END)
    leased_tasks.abandon(leased)
    assert not leased.abandoned
    assert leased_tasks.get(1) is leased


async def test_abandoning_a_running_row_cancels_its_slot_and_tells_its_context() -> None:
    leased_tasks = holds_of(1)
    leased = hold_of(leased_tasks, 1)
    leased.move(BEGIN)
    leased.slot = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    leased.context = Context(task=leased.task, clock=lambda: 0.0, now=lambda: NOW, deadline=None, is_catchup=False)
    leased_tasks.abandon(leased)
    await asyncio.wait([leased.slot])
    assert leased.slot.cancelled()
    assert leased.context.cancelled


def test_claiming_a_row_that_is_in_hand_abandons_the_earlier_claim() -> None:
    leased_tasks = holds_of(1)
    earlier = hold_of(leased_tasks, 1)
    leased_tasks.add([claimed(id=1, fencing_token=2)], leased_until=2.0)
    assert earlier.abandoned
    assert not hold_of(leased_tasks, 1).abandoned


@pytest.mark.parametrize("state", STATES)
def test_nothing_brings_back_what_was_abandoned(state: str) -> None:
    assert MOVES[state, ABANDON] == ABANDONED
    assert {MOVES[ABANDONED, event] for event in (BEGIN, END, ABANDON)} == {ABANDONED}


def test_row_in_hand_goes_the_ways_of_the_table_and_no_others() -> None:
    allowed = {
        (WAITING, BEGIN): RUNNING,
        (RUNNING, END): FINISHING,
        (WAITING, END): FINISHING,
        (FINISHING, BEGIN): RUNNING,
        (FINISHING, END): FINISHING,
    }
    for state in (WAITING, RUNNING, FINISHING):
        for event in (BEGIN, END):
            leased = hold_of(holds_of(1), 1)
            leased.state = state
            if (state, event) in allowed:
                leased.move(event)
                assert leased.state == allowed[state, event]
            else:
                with pytest.raises(ValueError, match=f"task 1: a row in hand that is {state} knows no {event}"):
                    leased.move(event)
                assert leased.state == state

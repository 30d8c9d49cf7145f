"""The rows in hand."""

from __future__ import annotations

import asyncio

from pgsched.execution.context import Context
from pgsched.worker.leased_tasks import FINISHING, RUNNING, Hold, Holds
from tests.engine import NOW, claimed, on_loop


def holds_of(*ids: int) -> Holds:
    holds = Holds()
    holds.add([claimed(id=number) for number in ids], leased_until=1.0)
    return holds


def hold_of(holds: Holds, task_id: int) -> Hold:
    hold = holds.get(task_id)
    assert hold is not None
    return hold


def test_rows_wait_in_the_order_in_which_they_were_claimed() -> None:
    holds = holds_of(3, 1, 2)
    assert [hold.task.id for hold in holds.waiting] == [3, 1, 2]


def test_taking_the_waiting_rows_leaves_them_held() -> None:
    holds = holds_of(1, 2)
    taken = holds.take_waiting()
    assert (len(taken), len(holds.waiting), len(holds)) == (2, 0, 2)


def test_a_dropped_row_is_no_longer_held() -> None:
    holds = holds_of(1)
    holds.drop(hold_of(holds, 1))
    assert holds.get(1) is None


def test_dropping_an_old_hold_leaves_the_new_claim_of_the_same_row() -> None:
    holds = holds_of(1)
    old = hold_of(holds, 1)
    holds.add([claimed(id=1, fencing_token=2)], leased_until=2.0)
    holds.drop(old)
    assert hold_of(holds, 1).task.fencing_token == 2


def test_abandoning_a_waiting_row_marks_it_so_that_it_is_not_run() -> None:
    holds = holds_of(1)
    hold = hold_of(holds, 1)
    holds.abandon(hold)
    assert hold.abandoned
    assert holds.get(1) is None


def test_an_outcome_on_its_way_to_the_database_is_not_abandoned() -> None:
    holds = holds_of(1)
    hold = hold_of(holds, 1)
    hold.state = FINISHING
    holds.abandon(hold)
    assert not hold.abandoned
    assert holds.get(1) is hold


@on_loop
async def test_abandoning_a_running_row_cancels_its_slot_and_tells_its_context() -> None:
    holds = holds_of(1)
    hold = hold_of(holds, 1)
    hold.state = RUNNING
    hold.slot = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    hold.context = Context(task=hold.task, clock=lambda: 0.0, now=lambda: NOW, deadline=None, is_catchup=False)
    holds.abandon(hold)
    await asyncio.wait([hold.slot])
    assert hold.slot.cancelled()
    assert hold.context.cancelled


def test_claiming_a_row_that_is_in_hand_abandons_the_earlier_claim() -> None:
    holds = holds_of(1)
    earlier = hold_of(holds, 1)
    holds.add([claimed(id=1, fencing_token=2)], leased_until=2.0)
    assert earlier.abandoned
    assert not hold_of(holds, 1).abandoned

"""A worker that was cut off gives up what it runs: that attempt was made, and is never taken for one that was not."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.engine import engine, expire_leases, handlers, history
from tests.support.tables import database, insert_task, task_row


@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "control"])
async def test_what_was_begun_and_given_up_is_found_lost_by_the_next_claim(dsn: str, remembered: bool) -> None:
    """The control forgets what was given up: then the attempt goes back as if it had never been made."""

    async def wait() -> None:
        await asyncio.Event().wait()

    with database(dsn) as db:
        task_id = insert_task(db, max_attempts=3)
        async with engine(dsn, handlers(mail=wait)) as one:
            (task,) = await one.claim()
            await one.started()
            one.leased_tasks.abandon(
                one.leased_tasks.snapshot()[0]
            )  # no beat was answered until its lease had run out, as it reckons
            if not remembered:
                one.leased_tasks.given_up.clear()
            one.worker.claims.unanswered = True  # and a claim went unanswered
            await one.claim()
            row = task_row(db, task_id)
            if not remembered:
                assert (row["attempts"], history(db, task_id)) == (1, []), "given back, and claimed as a first attempt"
                return
            assert (row["status"], row["attempts"], row["fencing_token"]) == ("running", 1, task.fencing_token)
            expire_leases(db)
            await one.claim()
            assert [run["status"] for run in history(db, task_id)] == ["lost"]
            assert task_row(db, task_id)["attempts"] == 2
            assert not one.leased_tasks.given_up, "in hand again"

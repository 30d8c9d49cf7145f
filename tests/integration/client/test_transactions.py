"""Several calls of a client as one transaction; lists and changes by filters, by both clients."""

from __future__ import annotations

from contextlib import suppress

import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask, TransitionRefused
from pgsched.domain.task_spec import TaskSpec
from tests.support.tables import database, insert_task, set_dead, set_running, task_row


class _Stop(Exception):
    pass


def _schedule_and_cancel_twice(client: Client, task_id: int) -> None:
    with client.transaction() as inside:
        inside.schedule("mail")
        inside.cancel(task_id)
        inside.cancel(task_id)


def test_what_is_done_in_a_transaction_is_seen_at_its_end(dsn: str) -> None:
    with Client(dsn) as client, Client(dsn) as other:
        with client.transaction() as inside:
            task_id = inside.schedule("mail")
            (second,) = inside.schedule_many([TaskSpec(task_type="mail")])
            assert inside.get(task_id).id == task_id
            assert other.list_tasks() == []
        assert [task.id for task in other.list_tasks()] == [second, task_id]


def test_error_undoes_all_of_a_transaction(dsn: str) -> None:
    with Client(dsn) as client:
        with suppress(_Stop), client.transaction() as inside:
            inside.schedule("mail")
            inside.pause_queue("mail")
            raise _Stop
        with database(dsn) as connection:
            running = insert_task(connection)
            set_running(connection, running)
        with pytest.raises(TransitionRefused):
            _schedule_and_cancel_twice(client, running)
        assert [task.id for task in client.list_tasks()] == [running]
        assert client.get(running).status == "running"
        assert client.queue("mail").paused is False
        # The connection is usable again.
        assert client.schedule("mail") > 0


async def test_transactions_of_an_event_loop_are_alike(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        async with client.transaction() as inside:
            task_id = await inside.schedule("mail")
            assert await client.list_tasks() == []
        with suppress(_Stop):
            async with client.transaction() as inside:
                await inside.delete(task_id)
                raise _Stop
        assert [task.id for task in await client.list_tasks()] == [task_id]


def test_client_for_threads_finds_and_changes_by_filters(dsn: str) -> None:
    with database(dsn) as connection, Client(dsn) as client:
        dead, other = insert_task(connection, queue="mail"), insert_task(connection, queue="other")
        set_dead(connection, dead)
        page = client.find_tasks(limit=1)
        assert ([task.id for task in page.tasks], page.next_before) == ([other], other)
        page = client.find_tasks(limit=5, before_id=page.next_before)
        assert ([task.id for task in page.tasks], page.next_before) == ([dead], None)
        assert client.change_tasks("retry", dry_run=True, queue=["mail"]).changed == [dead]
        assert task_row(connection, dead)["status"] == "dead"
        assert client.change_tasks("retry", queue=["mail"])[:3] == (1, [dead], False)
        assert task_row(connection, dead)["status"] == "pending"
        with pytest.raises(InvalidTask, match="must have a filter"):
            client.change_tasks("retry")
        with pytest.raises(InvalidTask, match="'wrong' is no filter"):
            client.find_tasks(wrong=1)  # type: ignore[call-arg]
        assert [task.id for task in client.find_tasks(queue="other").tasks] == [other]


def test_ids_that_are_given_are_found_whatever_lies_between(dsn: str) -> None:
    with database(dsn) as connection, Client(dsn) as client:
        ids = [insert_task(connection) for _ in range(5)]
        assert [task.id for task in client.find_tasks(ids=[ids[0], ids[4]]).tasks] == [ids[4], ids[0]]

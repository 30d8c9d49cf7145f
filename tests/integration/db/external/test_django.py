"""Tasks in the transactions of Django's connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask
from pgsched.domain.task_spec import TaskSpec
from pgsched.domain.workflow import group, step
from tests.support.django_site import site_on
from tests.support.tables import database, task_row

LATER = datetime(2030, 6, 1, 12, tzinfo=UTC)


class _Stop(Exception):
    pass


@pytest.fixture(autouse=True)
def site(dsn: str) -> Iterator[None]:
    with site_on(dsn):
        yield


def _types(dsn: str) -> list[str]:
    with database(dsn) as other:
        rows = other.execute("select task_type::text from pgsched.tasks order by id").fetchall()
    return [row["task_type"] for row in rows]


def test_task_is_there_if_and_only_if_the_block_commits(dsn: str, client: Client) -> None:
    from orders.models import Order

    with suppress(_Stop), transaction.atomic():
        Order.objects.create(buyer="eve")
        client.schedule("undone", connection=connection)
        raise _Stop
    with transaction.atomic():
        Order.objects.create(buyer="ada")
        client.schedule("mail", connection=connection)
        client.schedule_many([TaskSpec(task_type="bulk")] * 2, connection=connections["default"])
        assert _types(dsn) == []
    assert _types(dsn) == ["mail", "bulk", "bulk"]
    assert Order.objects.count() == 1


def test_inner_block_that_is_rolled_back_takes_its_task_along(dsn: str, client: Client) -> None:
    with transaction.atomic():
        client.schedule("outer", connection=connection)
        with suppress(_Stop), transaction.atomic():
            client.schedule("inner", connection=connection)
            raise _Stop
        point = transaction.savepoint()
        client.schedule("by hand", connection=connection)
        transaction.savepoint_rollback(point)
    assert _types(dsn) == ["outer"]


def test_event_is_sent_if_and_only_if_the_block_commits(client: Client) -> None:
    task_id = client.schedule("order", idempotency_key="k")
    with suppress(_Stop), transaction.atomic():
        client.emit(task_id, "undone", connection=connection)
        raise _Stop
    with transaction.atomic():
        sent = client.emit(key="k", name="approved", payload={"by": "ü"}, connection=connection)
        assert client.durable_events(task_id) == []
    assert [(one.id, one.payload) for one in client.durable_events(task_id)] == [(sent, {"by": "ü"})]


def test_refused_task_leaves_the_block_as_it_was(dsn: str, client: Client) -> None:
    with transaction.atomic():
        client.schedule("before", connection=connection)
        with pytest.raises(InvalidTask, match="task 404 does not exist"):
            client.schedule("mail", depends_on=[404], connection=connection)
        client.schedule("after", connection=connection)
    assert _types(dsn) == ["before", "after"]


def test_block_that_is_broken_takes_nothing_more(dsn: str, client: Client) -> None:
    with suppress(_Stop), transaction.atomic():
        connection.needs_rollback = True
        with pytest.raises(TransactionManagementError):
            client.schedule("mail", connection=connection)
        raise _Stop
    assert _types(dsn) == []


def test_outside_a_block_a_task_is_there_at_once_and_many_together(dsn: str, client: Client) -> None:
    client.schedule("mail", connection=connection)
    assert _types(dsn) == ["mail"]
    with pytest.raises(InvalidTask):
        client.schedule_many(
            [TaskSpec(task_type="a"), TaskSpec(task_type="b", depends_on=[404])], connection=connection
        )
    assert _types(dsn) == ["mail"]


def test_without_autocommit_the_commit_is_the_caller_s(dsn: str, client: Client) -> None:
    transaction.set_autocommit(False)
    try:
        client.schedule("undone", connection=connection)
        transaction.rollback()
        client.schedule("mail", connection=connection)
        assert _types(dsn) == []
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert _types(dsn) == ["mail"]


def test_every_option_comes_through(dsn: str, client: Client) -> None:
    with transaction.atomic():
        first = client.schedule("mail", {"a": "ä"}, at=LATER, idempotency_key="k", connection=connection)
        assert client.schedule("mail", idempotency_key="k", connection=connection) == first
        cron = client.schedule("report", cron="0 8 * * 1", timezone="Europe/Berlin", connection=connection)
        every = client.schedule("report", every="15m", times=4, enabled=False, connection=connection)
        after = client.schedule("mail", depends_on=[first], connection=connection)
        whole = client.schedule_group(group(step("mail")), name="one", connection=connection)
    with database(dsn) as other:
        assert task_row(other, first)["payload"] == {"a": "ä"}
        assert task_row(other, cron)["timezone"] == "Europe/Berlin"
        assert task_row(other, every)["repeat_count"] == 4
        assert task_row(other, after)["status"] == "blocked"
        assert task_row(other, whole)["task_name"] == "one"


def test_connection_of_another_thread_is_a_type_error(client: Client) -> None:
    theirs: list[Any] = []

    def look() -> None:
        theirs.append(connections["default"])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    with pytest.raises(TypeError, match="belongs to another thread"):
        client.schedule("mail", connection=theirs[0])


async def test_event_loop_is_told_to_use_a_thread(dsn: str) -> None:
    with pytest.raises(TypeError, match="by sync_to_async"):
        await AsyncClient(dsn).schedule("mail", connection=connection)

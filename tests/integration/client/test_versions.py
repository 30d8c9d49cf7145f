"""The version of a task: an edit that names one undoes nobody's edit, and takes no run for one."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import TaskNotFound, TransitionRefused, VersionConflict
from tests.support.engine import engine
from tests.support.sessions import wait_until_blocked
from tests.support.tables import database, insert_task, set_running, task_row


def test_edit_with_the_version_that_was_read_is_made_and_a_second_one_is_refused(dsn: str) -> None:
    with Client(dsn) as client:
        task_id = client.schedule("mail", delay="1h")
        read = client.status(task_id).version
        assert read == client.version(task_id)
        client.update(task_id, priority=9, if_version=read)
        now = client.version(task_id)
        with pytest.raises(VersionConflict) as caught:
            client.update(task_id, priority=1, if_version=read)
        assert str(caught.value) == (
            f"somebody else has changed task {task_id}: the version is now '{now}', expected '{read}'"
        )
        assert (caught.value.version, caught.value.expected) == (now, read)
        assert client.get(task_id).priority == 9


def test_delete_with_an_old_version_is_refused(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = client.schedule("mail", delay="1h")
        read = client.version(task_id)
        client.update(task_id, tags=["kept"])
        with pytest.raises(VersionConflict, match="somebody else has changed"):
            client.delete(task_id, if_version=read)
        set_running(db, task_id)
        with pytest.raises(TransitionRefused, match="is running"):
            client.delete(task_id, if_version=client.version(task_id))
        other = client.schedule("mail", delay="1h")
        client.delete(other, if_version=client.version(other))
        with pytest.raises(TaskNotFound):
            client.version(other)


@pytest.mark.parametrize("options", [{"cron_expression": "* * * * *"}, {}])
async def test_run_is_no_edit(dsn: str, options: dict[str, str]) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, metadata='{"a": 1.5}', timeout="1 hour", **options)
        if options:
            db.execute("update pgsched.tasks set next_run_at = now() where id = %s", (task_id,))
        async with engine(dsn) as one, AsyncClient(dsn) as client:
            read = await client.version(task_id)
            await one.claim()
            assert task_row(db, task_id)["status"] == "running"
            await one.run()
            row = task_row(db, task_id)
            assert row["execution_count"] == 1 or row["status"] == "completed"
            assert await client.version(task_id) == read


def test_version_does_not_depend_on_the_session(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        task_id = client.schedule("mail", at=datetime(2040, 1, 1, tzinfo=UTC), timeout="90m", backoff_factor=1.1)
        db.execute("set timezone = 'Asia/Tokyo'")
        db.execute("set intervalstyle = 'iso_8601'")
        db.execute("set datestyle = 'German'")
        db.execute("set extra_float_digits = 0")
        row = db.execute(
            "select pgsched.version_of(to_jsonb(t)) as version from pgsched.tasks t where id = %s", (task_id,)
        ).fetchone()
        assert row is not None
        assert row["version"] == client.version(task_id)


async def test_of_two_edits_at_once_one_is_made(dsn: str) -> None:
    async with AsyncClient(dsn, pool_size=8) as client:
        task_id = await client.schedule("mail", delay="1h")
        for _ in range(5):
            read = await client.version(task_id)
            priority = (await client.get(task_id)).priority
            told = await asyncio.gather(
                *(client.update(task_id, priority=priority % 5 + n, if_version=read) for n in range(1, 7)),
                return_exceptions=True,
            )
            refused = [one for one in told if isinstance(one, VersionConflict)]
            made = [one for one in told if one is None]
            assert len(refused) + len(made) == 6
            # One is made first; another may say what is there then, and changes nothing.
            assert refused


@pytest.mark.parametrize("verb", ["update", "delete"])
def test_change_that_waited_for_another_edit_is_refused(dsn: str, verb: str) -> None:
    """The other one has changed the row, but not committed yet, when this one begins."""
    found: list[BaseException] = []
    with database(dsn) as db, Client(dsn) as client, Client(dsn) as second:
        task_id = client.schedule("mail", delay="1h")
        read = client.version(task_id)

        def late() -> None:
            try:
                if verb == "update":
                    second.update(task_id, priority=1, if_version=read)
                else:
                    second.delete(task_id, if_version=read)
            except VersionConflict as error:
                found.append(error)

        thread = threading.Thread(target=late)
        with client.transaction() as inside:
            inside.update(task_id, tags=["theirs"], if_version=read)
            thread.start()
            wait_until_blocked(db)
        thread.join()
        assert len(found) == 1
        row = task_row(db, task_id)
        assert (row["priority"], row["tags"]) == (5, ["theirs"])

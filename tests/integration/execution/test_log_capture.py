"""What handlers log through Python's own logging is kept with their attempt."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from pgsched.app.app import App
from pgsched.domain.errors import ConfigError
from pgsched.domain.settings import WorkerSettings, capture_level
from pgsched.execution.context import Context
from pgsched.execution.log_capture import CaptureHandler
from tests.support.engine import engine, handlers, nothing, rows
from tests.support.tables import database, insert_task

log = logging.getLogger("shop.orders")
LINES = "select task_id, level, message, fields from pgsched.execution_logs order by logged_at, message"


@pytest.fixture(autouse=True)
def root_as_usual() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.WARNING)
    yield
    left = [handler for handler in root.handlers if isinstance(handler, CaptureHandler)]
    assert (left, root.level) == ([], logging.WARNING), "a worker that stopped leaves logging as it was"
    root.setLevel(level)


async def lines_of(dsn: str, *functions: Callable[..., Any], **settings: Any) -> list[dict[str, Any]]:
    """The lines that are kept of one task for each handler."""
    named = {f"handler{number}": function for number, function in enumerate(functions)}
    with database(dsn) as db:
        for name in named:
            insert_task(db, name)
        async with engine(dsn, handlers(**named), **settings) as one:
            await one.work()
        return rows(db, LINES)


async def test_a_record_becomes_a_line_with_its_fields(dsn: str) -> None:
    async def handler() -> None:
        log.info("sold %s of %s", 3, "tea", extra={"order": 7})

    (line,) = await lines_of(dsn, handler)
    assert (line["level"], line["message"]) == ("info", "sold 3 of tea")
    assert line["fields"] == {"logger": "shop.orders", "order": 7}


async def test_records_of_threads_tasks_and_contexts_go_to_their_own_attempt(dsn: str) -> None:
    meet = threading.Barrier(2, timeout=10)

    def plain() -> None:
        meet.wait()
        log.warning("0")

    def another() -> None:
        meet.wait()
        log.warning("1")

    async def of_a_task() -> None:
        async def inner() -> None:
            await asyncio.sleep(0.01)
            log.warning("2")

        await asyncio.gather(inner(), asyncio.to_thread(log.warning, "2"))

    async def beside_its_own(ctx: Context) -> None:
        await asyncio.sleep(0.01)
        log.warning("3")
        ctx.log("3")

    found = await lines_of(dsn, plain, another, of_a_task, beside_its_own)
    assert [(line["task_id"], line["message"]) for line in found] == [
        (task_id, str(task_id - 1)) for line in found for task_id in [line["task_id"]]
    ]
    assert sorted(line["message"] for line in found) == ["0", "1", "2", "2", "3", "3"]


async def test_an_error_comes_with_its_traceback(dsn: str) -> None:
    def handler() -> None:
        try:
            raise ValueError("no luck")
        except ValueError:
            log.exception("it went wrong")

    (line,) = await lines_of(dsn, handler)
    assert (line["level"], line["message"]) == ("error", "it went wrong")
    assert line["fields"]["exception"].endswith("ValueError: no luck")


async def test_records_below_the_level_are_left_out(dsn: str) -> None:
    async def handler() -> None:
        log.info("not this")
        log.warning("this")

    assert [line["message"] for line in await lines_of(dsn, handler, capture_logs="warning")] == ["this"]


async def test_nothing_is_kept_when_it_is_off(dsn: str) -> None:
    async def handler() -> None:
        log.error("not this")

    assert await lines_of(dsn, handler, capture_logs="off") == []


@pytest.mark.parametrize("name", ["pgsched.worker", "asyncio", "psycopg.pool", "pgsched"])
async def test_what_the_machinery_says_is_not_the_handler_s(dsn: str, name: str) -> None:
    async def handler() -> None:
        logging.getLogger(name).error("not this")

    assert await lines_of(dsn, handler) == []


async def test_lines_of_an_attempt_are_bounded(dsn: str) -> None:
    async def handler() -> None:
        for number in range(1500):
            log.info("line %s", number)

    found = await lines_of(dsn, handler)
    assert len(found) == 1001
    assert [line["message"] for line in found if line["level"] == "warning"] == ["further lines were dropped"]


async def test_a_task_that_outlives_its_handler_logs_into_no_other_attempt(dsn: str) -> None:
    ended, begun, left = asyncio.Event(), asyncio.Event(), []

    async def late() -> None:
        await begun.wait()
        log.warning("of nobody")
        ended.set()

    async def leaves() -> None:
        left.append(asyncio.create_task(late()))

    async def follows() -> None:
        begun.set()
        await ended.wait()
        log.warning("my own")

    with database(dsn) as db:
        insert_task(db, "leaves", priority=9)
        second = insert_task(db, "follows")
        async with engine(dsn, handlers(leaves=leaves, follows=follows), concurrency=1) as one:
            await one.work()
        found = rows(db, LINES)
    assert [(line["task_id"], line["message"]) for line in found] == [(second, "my own")]


async def test_nor_into_one_that_waits_after_others_of_its_type_did_not(dsn: str) -> None:
    ended, begun, left = asyncio.Event(), asyncio.Event(), []

    async def late() -> None:
        await begun.wait()
        log.warning("of nobody")
        ended.set()

    async def leaves() -> None:
        left.append(asyncio.create_task(late()))
        await asyncio.sleep(0)

    async def follows(waits: bool) -> None:
        if waits:
            begun.set()
            await ended.wait()
        log.warning("waits: %s", waits)

    with database(dsn) as db:
        insert_task(db, "follows", payload=Jsonb({"waits": False}), priority=10)
        insert_task(db, "leaves", priority=9)
        insert_task(db, "follows", payload=Jsonb({"waits": True}))
        async with engine(dsn, handlers(leaves=leaves, follows=follows), concurrency=1) as one:
            await one.work()
        found = rows(db, LINES)
    assert sorted((line["task_id"], line["message"]) for line in found) == [(1, "waits: False"), (3, "waits: True")]


async def test_records_of_attempts_that_never_wait_are_kept_apart(dsn: str) -> None:
    async def quick() -> None:
        log.warning("quick")

    async with engine(dsn, handlers(quick=quick), concurrency=1) as one:
        with database(dsn) as db:
            ids = [insert_task(db, "quick") for _ in range(5)]
            await one.work()
            assert sorted(line["task_id"] for line in rows(db, LINES)) == ids


async def test_a_record_that_cannot_be_formatted_does_not_fail_the_attempt(dsn: str) -> None:
    async def handler() -> str:
        log.warning("%d", "no number")
        return "done"

    raising, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        assert await lines_of(dsn, handler) == []
    finally:
        logging.raiseExceptions = raising


async def test_a_handler_that_logs_nothing_has_no_context(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn, handlers(mail=nothing)) as one:
            await one.claim()
            (leased,) = one.leased_tasks.snapshot()
            await one.run()
            assert leased.context is None


async def test_other_handlers_of_the_root_get_no_more_than_before(dsn: str) -> None:
    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    async def handler() -> None:
        log.info("kept, not shown")
        log.warning("both")
        explicit.info("asked for")

    seen: list[str] = []
    collector, explicit = Collector(), logging.getLogger("shop.explicit")
    explicit.setLevel(logging.INFO)
    logging.getLogger().addHandler(collector)
    try:
        found = await lines_of(dsn, handler)
    finally:
        logging.getLogger().removeHandler(collector)
        explicit.setLevel(logging.NOTSET)
    assert [line["message"] for line in found] == ["kept, not shown", "both", "asked for"]
    assert seen == ["both", "asked for"]


async def test_two_workers_in_one_process_keep_a_record_once(dsn: str) -> None:
    async def handler() -> None:
        log.warning("once")

    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn, handlers(mail=handler)) as one, engine(dsn, handlers(mail=handler)):
            await one.work()
        assert [line["message"] for line in rows(db, LINES)] == ["once"]


@pytest.mark.parametrize(("given", "level"), [("INFO", "info"), (None, "off"), ("Warning", "warning"), ("off", "off")])
def test_a_level_may_be_written_either_way(given: str | None, level: str) -> None:
    assert capture_level(given) == level
    assert App(capture_logs=given).capture_logs == level


@pytest.mark.parametrize("given", ["loud", "", "20"])
def test_a_level_that_is_none_is_refused(given: str) -> None:
    for make in (lambda: App(capture_logs=given), lambda: WorkerSettings(capture_logs=given)):
        with pytest.raises(ConfigError, match="capture_logs must be one of debug, info"):
            make()

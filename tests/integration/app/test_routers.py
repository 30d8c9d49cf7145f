"""Handlers of routers, scheduled and run through the app that includes them."""

from __future__ import annotations

from pgsched import App, Context, Event, Router
from pgsched.testing import assert_scheduled, run_due, run_due_async, scheduled_async


def test_a_handler_of_a_router_is_scheduled_and_run_through_the_app(dsn: str) -> None:
    router, seen = Router(), list[Event]()

    @router.task("mail", queue="letters", max_attempts=7)
    def mail(to: str, ctx: Context) -> str:
        return f"{ctx.queue}: {to}"

    router.on("completed")(seen.append)
    app = App(dsn=dsn)
    app.include(router)
    try:
        mail.schedule(to="a")
        (task,) = assert_scheduled(app, "mail", {"to": "a"}, queue="letters")
        assert task.max_attempts == 7
        assert [one.result for one in run_due(app)] == ["letters: a"]
        assert [event.id for event in seen] == [task.id]
    finally:
        app.close()


async def test_a_schedule_that_a_router_declares_is_brought_into_the_table(dsn: str) -> None:
    router = Router()
    digest = router.task("digest", cron="0 8 * * *")(lambda: None)
    app = App(dsn=dsn)
    app.include(router)
    await run_due_async(app, declare=True)
    task = await digest.schedule_async()
    declared, once = await scheduled_async(app, "digest")
    assert (declared.cron_expression, once.id) == ("0 8 * * *", task)
    await app.close_async()

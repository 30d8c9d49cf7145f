"""A durable handler, and what a test does with its task: run it here and now until it waits."""

from __future__ import annotations

from typing import Any

import psycopg

from pgsched import App, Client, DurableContext, StepFailed
from pgsched.testing import drain


def order_app(dsn: str) -> tuple[App, list[str]]:
    """An app with the durable type ``order`` (charge, book, wait for ``approved``, ship), and the steps that ran."""
    app = App(dsn=dsn, capture_logs=None)
    ran: list[str] = []

    def act(name: str, value: Any = None) -> Any:
        ran.append(name)
        if value == "fails":
            raise ValueError("the card was declined")
        return value

    @app.task("order", durable=True)
    async def order(order_id: int, ctx: DurableContext, fails: bool = False) -> dict[str, Any]:
        charge = await ctx.step("charge", act, "charge", {"charge": order_id})
        for seat in ("a", "b"):
            await ctx.step("book", act, f"book {seat}", seat, key=seat)
        if fails:
            await ctx.step("fail", act, "fail", "fails", max_attempts=1)
        answer = await ctx.wait_for("approved", timeout="2d")
        ran.append("shipped")
        return {**charge, "answer": answer}

    return app, ran


def waiting_order(client: Client, app: App, **options: Any) -> int:
    """The id of an order that has charged and booked, and waits for its approval."""
    task_id = client.schedule("order", {"order_id": 7}, **options)
    drain(app)
    assert client.get(task_id).status == "blocked"
    return task_id


def dead_order(client: Client, app: App) -> int:
    """The id of an order whose step ``fail`` has failed for good."""
    task_id = client.schedule("order", {"order_id": 7, "fails": True}, max_attempts=1)
    [attempt] = drain(app, raises=False)
    assert isinstance(attempt.exception, StepFailed)
    assert client.get(task_id).status == "dead"
    return task_id


def record_steps(db: psycopg.Connection[Any], task_id: int, *names: str, **columns: Any) -> None:
    """Write what a run of the task would have recorded."""
    db.execute(
        "insert into pgsched.durable_runs (task_id, tick_number, began_at) values (%s, 1, now())"
        " on conflict do nothing",
        (task_id,),
    )
    for name in names:
        row = {"name": name, "kind": "step", "status": "completed", "attempts": 1} | columns
        said = ", ".join(row)
        db.execute(
            f"insert into pgsched.durable_steps (task_id, began_at, tick_number, started_at, fencing_token, {said})"
            f" select task_id, began_at, 1, clock_timestamp(), 1, {', '.join(['%s'] * len(row))}"
            " from pgsched.durable_runs where task_id = %s",
            (*row.values(), task_id),
        )

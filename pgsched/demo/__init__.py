"""The demonstration: three small handlers and some tasks for them. ``pgsched dev --demo`` runs it.

Your own handlers look the same; these print lines only for the user who watches.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from pgsched.app.app import App
from pgsched.execution.context import Context

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.task_spec import TaskOptions

app = App()


@app.task("greet")
async def greet(ctx: Context, name: str = "world") -> str:
    """Say hello: an ``async`` handler, run on the event loop."""
    await asyncio.sleep(0.05)  # as if it waited for a mail server
    ctx.log("greeted", name=name)
    _tell(ctx, f"Hello, {name}!")
    return f"Hello, {name}!"


@app.task("report")
def report(ctx: Context, steps: int = 3) -> dict[str, int]:
    """Count to ``steps``: a plain function, run in a thread, that reports its progress."""
    for step in range(1, steps + 1):
        time.sleep(0.1)  # as if it worked
        ctx.progress({"step": step, "of": steps})
    _tell(ctx, f"the report planned for {ctx.scheduled_for:%H:%M:%S} UTC is written")
    return {"steps": steps}


@app.task("flaky")
async def flaky(ctx: Context) -> str:
    """Fail the first time: the task's backoff determines when it is retried."""
    if ctx.attempt == 1:
        _tell(ctx, "attempt 1 fails, the next one follows by itself")
        raise ConnectionError("the mail server did not answer (a part of the demonstration)")
    _tell(ctx, f"attempt {ctx.attempt} succeeds")
    return f"done at attempt {ctx.attempt}"


def _tell(ctx: Context, text: str) -> None:
    sys.stdout.write(f"{datetime.now():%H:%M:%S}  task {ctx.id:<4} {ctx.task_type:<7} {text}\n")
    sys.stdout.flush()


class Scheduled(NamedTuple):
    """A task of the demonstration."""

    id: int
    task_type: str
    plan: str
    """When it runs, for readers."""


def schedule_demonstration(client: Client, *, started: datetime | None = None) -> list[Scheduled]:
    """Schedule tasks of every kind and return them; the first one is due at once.

    Those that end are scheduled again for each ``started`` (now); the cron schedule is one permanent row.
    """
    run = f"{started or datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"

    def add(task_type: str, plan: str, payload: Mapping[str, Any], **options: Unpack[TaskOptions]) -> None:
        tasks.append(Scheduled(client.schedule(task_type, payload, **options), task_type, plan))

    tasks: list[Scheduled] = []
    add("greet", "once, now", {"name": "you"}, idempotency_key=f"demo now {run}")
    add("greet", "once, 3 seconds from now", {"name": "later"}, delay="3s", idempotency_key=f"demo delayed {run}")
    fails = "once, now; its first attempt fails, the second comes 2 seconds later"
    add("flaky", fails, {}, backoff="fixed", backoff_delay="2s", idempotency_key=f"demo flaky {run}")
    repeats = "repeating: every 3 seconds, 5 times"
    add("greet", repeats, {"name": "again"}, every="3s", times=5, idempotency_key=f"demo repeating {run}")
    recurs = "recurring: by cron */10 * * * * *, every 10 seconds"
    add("report", recurs, {}, cron="*/10 * * * * *", on_missed="skip", idempotency_key="demo recurring")
    return tasks

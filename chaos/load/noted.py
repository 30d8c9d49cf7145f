"""As :mod:`chaos.load.app`, and each end of a handler and each acknowledged outcome is noted in a file beside.

What a database says after a failover cannot show what the lost timeline had acknowledged, so the files must. A result
is different in every attempt: whether an acknowledged outcome is still there shows in the result of its task.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid

from chaos.load.app import STEADY_SECONDS, entry, entry_plain, tick
from pgsched import App, Context, Event

ENDED, RECORDED = "ended", "recorded"
"""Files of lines ``id result time``: handlers that ended, and outcomes that the database acknowledged."""

app = App()
app.task("entry", transactional=True)(entry)
app.task("entry_plain", transactional=True)(entry_plain)
app.task("tick")(tick)


@app.task("steady")
async def steady(ctx: Context, number: int) -> str:
    await asyncio.sleep(STEADY_SECONDS)
    return _ended(ctx.id)


@app.task("steady_plain")
def steady_plain(ctx: Context, number: int) -> str:
    time.sleep(STEADY_SECONDS)
    return _ended(ctx.id)


@app.on("completed")
async def completed(event: Event) -> None:
    if event.task_type.startswith("steady"):
        _note(RECORDED, event.id, str(event.result))


def _ended(task_id: int) -> str:
    result = uuid.uuid4().hex
    _note(ENDED, task_id, result)
    return result


def _note(name: str, task_id: int, result: str) -> None:
    # One write to a file opened for appending: lines of several processes do not mix.
    file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{task_id} {result} {time.time():.3f}\n".encode())
    finally:
        os.close(file)

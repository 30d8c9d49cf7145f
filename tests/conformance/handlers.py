"""Handlers of the conformance suite; handlers.mjs has the same ones in TypeScript's worker.

They write what they do into the table ``effects``, and one that is held waits for its row in ``gates``.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import psycopg

from pgsched import App, Context, Discard, Finished, Retry, Snooze

app = App()
TRIES = 5


async def _query(text: str, *values: object) -> int:
    """The number of rows. The connections of handlers are ended by tests, too."""
    for tries in range(TRIES + 1):
        try:
            async with await psycopg.AsyncConnection.connect(os.environ["PGSCHED_DSN"], autocommit=True) as connection:
                return (await connection.execute(text, values)).rowcount  # type: ignore[arg-type]
        except psycopg.OperationalError:
            if tries == TRIES:
                raise
            await asyncio.sleep(0.05)
    raise AssertionError


async def _note(ctx: Context, what: str) -> None:
    values = (ctx.id, ctx.attempt, ctx.fencing_token, what)
    await _query("insert into effects (task_id, attempt, token, what) values (%s, %s, %s, %s)", *values)


async def _begun(ctx: Context) -> int:
    await _note(ctx, "began")
    return await _query("select from effects where task_id = %s and what = 'began'", ctx.id)


@app.task("note")
async def note(ctx: Context) -> dict[str, int]:
    await _note(ctx, "ran")
    return {"attempt": ctx.attempt}


@app.task("brief")
async def brief(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.task("hold")
async def hold(ctx: Context) -> int:
    await _note(ctx, "began")
    try:
        while not await _query("select from gates where task_id = %s", ctx.id):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_note(ctx, "stopped")))
        raise
    await _note(ctx, "ended")
    return ctx.attempt


@app.task("overlong")
async def overlong(seconds: float, ctx: Context) -> None:
    await _note(ctx, "began")
    await asyncio.sleep(seconds)
    await _note(ctx, "ended")


@app.task("fail")
async def fail(ctx: Context) -> None:
    await _note(ctx, "began")
    raise ValueError("no luck")


@app.task("retry")
async def retry(after: float, ctx: Context) -> str:
    if await _begun(ctx) == 1:
        raise Retry(after, "later")
    return "second"


@app.task("snooze")
async def snooze(times: int, ctx: Context) -> int:
    if await _begun(ctx) <= times:
        raise Snooze(0.05, "not yet")
    return ctx.attempt


@app.task("discard")
async def discard(ctx: Context) -> None:
    await _note(ctx, "began")
    raise Discard("never")


@app.task("finish")
async def finish(ctx: Context) -> None:
    await _note(ctx, "ran")
    raise Finished("enough")


@app.task("echo")
async def echo(**payload: Any) -> dict[str, Any]:
    return payload


@app.task("nul")
async def nul() -> str:
    return "a\0b"


@app.task("crash")
async def crash(ctx: Context) -> None:
    await _note(ctx, "began")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task("progress")
async def progress(ctx: Context) -> None:
    ctx.progress({"done": 7})
    await hold(ctx)


@app.task("entry", transactional=True)
async def entry(ctx: Context) -> str:
    await ctx.connection.execute(
        "insert into public.effects (task_id, attempt, token, what) values (%s, %s, %s, 'written')",
        (ctx.id, ctx.attempt, ctx.fencing_token),
    )
    if ctx.attempt == 1:
        raise ValueError("not this time")
    return "kept"

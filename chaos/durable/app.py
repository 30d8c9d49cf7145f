"""The handlers of the trial `durable`: five steps, a sleep, an event and a child; those of the steady load beside them.

Every call of a step returns a text of its own and writes it into the file CALLS. What a later step is given, and what
the run returns, tells which call's text was kept.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from chaos.load.app import app
from pgsched import DurableContext, PlainDurableContext
from pgsched.db import sql_files

__all__ = ["app"]

CALLS = "calls"
"""A line in this file for each call of a step: task, step, token of the claim, and what it returned."""
STATEMENTS = "PGSCHED_TRIAL_STATEMENTS"
"""A folder like ``sql`` that a negative control has cut something out of."""
STEP_SECONDS, SLOW_STEP_SECONDS = 0.02, 0.4
"""Long enough for a kill to strike in the middle of one; and for two workers to be in it, of which one stood still."""
BOOKED = "trial_booked"
"""The channel that receives the id of a run whose next step is the wait."""
PATIENT: dict[str, Any] = {"max_attempts": 1000, "backoff": "fixed", "backoff_delay": 0.1}
"""A step in a transaction fails whenever the server does, and so does a child."""
WRITE = "insert into public.entries (task_id, step, value, given) values (%s, %s, %s, %s)"

if STATEMENTS in os.environ:
    sql_files._folder = lambda: Path(os.environ[STATEMENTS])  # type: ignore[assignment]
    sql_files.load_statement.cache_clear()


def _called(task_id: int, step: str, token: int) -> str:
    value = f"{step} {uuid4()}"
    calls = os.open(CALLS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(calls, f"{task_id}\t{step}\t{token}\t{value}\n".encode())
    finally:
        os.close(calls)
    return value


def _nap(number: int) -> float:
    return 0.15 + number % 7 * 0.15


def _timeout(number: int) -> str | None:
    """A wait with a timeout is kept apart from one without."""
    return "1h" if number % 2 else None


async def _charge(task_id: int, token: int, seconds: float) -> str:
    value = _called(task_id, "charge", token)
    await asyncio.sleep(seconds)
    return value


def _charge_plain(task_id: int, token: int, seconds: float) -> str:
    value = _called(task_id, "charge", token)
    time.sleep(seconds)
    return value


def _pack(task_id: int, token: int, seconds: float) -> str:
    value = _called(task_id, "pack", token)
    time.sleep(seconds)
    return value


async def _book(task_id: int, token: int, seconds: float, given: str, ctx: DurableContext) -> str:
    value = _called(task_id, "book", token)
    await ctx.connection.execute(WRITE, (task_id, "book", value, given))
    await asyncio.sleep(seconds)
    await ctx.connection.execute("select pg_notify(%s, %s)", (BOOKED, str(task_id)))
    return value


def _book_plain(task_id: int, token: int, seconds: float, given: str, connection: object) -> str:
    value = _called(task_id, "book", token)
    connection.execute(WRITE, (task_id, "book", value, given))  # type: ignore[attr-defined]
    time.sleep(seconds)
    connection.execute("select pg_notify(%s, %s)", (BOOKED, str(task_id)))  # type: ignore[attr-defined]
    return value


def _bill(task_id: int, token: int, seconds: float, given: str, connection: object) -> str:
    value = _called(task_id, "bill", token)
    connection.execute(WRITE, (task_id, "bill", value, given))  # type: ignore[attr-defined]
    time.sleep(seconds)
    return value


async def _close(task_id: int, token: int, seconds: float) -> str:
    return _called(task_id, "close", token)


def _close_plain(task_id: int, token: int, seconds: float) -> str:
    return _called(task_id, "close", token)


@app.task("order", durable=True)
async def order(number: int, seconds: float, ctx: DurableContext) -> dict[str, str]:
    given = (ctx.id, ctx.fencing_token, seconds)
    charge = await ctx.step("charge", _charge, *given)
    await ctx.sleep("cool off", _nap(number))
    pack = await ctx.step("pack", _pack, *given)
    book = await ctx.step("book", _book, *given, f"{charge}, {pack}", ctx, transactional=True, **PATIENT)
    approved = await ctx.wait_for("approved", timeout=_timeout(number))
    ship = await ctx.run("ship", {"parcel": pack}, **PATIENT)
    bill = await ctx.step("bill", _bill, *given, f"{approved['by']}, {ship}", transactional=True, **PATIENT)
    steps = {"charge": charge, "pack": pack, "book": book, "bill": bill}
    steps["close"] = await ctx.step("close", _close, *given)
    return {**steps, "approved": approved["by"], "ship": ship}


@app.task("order_plain", durable=True)
def order_plain(number: int, seconds: float, ctx: PlainDurableContext) -> dict[str, str]:
    given = (ctx.id, ctx.fencing_token, seconds)
    charge = ctx.step("charge", _charge_plain, *given)
    ctx.sleep("cool off", _nap(number))
    pack = ctx.step("pack", _pack, *given)
    book = ctx.step("book", _book_plain, *given, f"{charge}, {pack}", transactional=True, **PATIENT)
    approved = ctx.wait_for("approved", timeout=_timeout(number))
    ship = ctx.run("ship", {"parcel": pack}, **PATIENT)
    bill = ctx.step("bill", _bill, *given, f"{approved['by']}, {ship}", transactional=True, **PATIENT)
    steps = {"charge": charge, "pack": pack, "book": book, "bill": bill}
    steps["close"] = ctx.step("close", _close_plain, *given)
    return {**steps, "approved": approved["by"], "ship": ship}


@app.task("ship")
async def ship(parcel: str) -> str:
    await asyncio.sleep(STEP_SECONDS)
    return f"shipped {parcel}"

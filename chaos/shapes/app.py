"""The handlers of the odd shapes."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from pgsched import App, DurableContext

TYPES = "PGSCHED_SHAPES_TYPES"
"""How many further types the app registers."""
SCHEDULES = "PGSCHED_SHAPES_SCHEDULES"
"""How many schedules it declares."""

app = App()


@app.task("ordinary")
async def ordinary() -> None:
    """What runs beside every shape."""
    await asyncio.sleep(0.001)


@app.task("thing")
async def thing() -> None:
    """One of the shape's many."""


@app.task("nap")
async def nap() -> None:
    """Takes a slot for a while."""
    await asyncio.sleep(0.05)


@app.task("large")
async def large(text: str) -> int:
    """Takes a payload of a megabyte."""
    await asyncio.sleep(0.01)
    return len(text)


@app.task("family", durable=True)
async def family(children: int, ctx: DurableContext) -> int:
    """Starts its children all at once, and waits for all of them."""
    results: list[Any] = await asyncio.gather(
        *(ctx.run("thing", {}, queue="shape", key=str(number)) for number in range(children))
    )
    return len(results)


def _nothing() -> None:
    """Does nothing."""


for number in range(int(os.environ.get(TYPES, "0"))):
    app.task(f"type_{number:05}")(_nothing)
for number in range(int(os.environ.get(SCHEDULES, "0"))):
    app.task(f"schedule_{number:05}", cron=f"{number % 60} {number // 60 % 24} * * *")(_nothing)

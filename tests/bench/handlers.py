"""The handlers of the workers that run as processes of their own."""

from __future__ import annotations

import time

from pgsched import App

app = App()

BURN_SECONDS = 0.001


@app.task("noop")
async def noop() -> None:
    """Do nothing."""


@app.task("sized")
async def sized(blob: str) -> None:
    """Do nothing with much."""


@app.task("stamp")
async def stamp() -> int:
    """Say when it began, in nanoseconds of the machine's monotonic clock."""
    return time.monotonic_ns()


@app.task("burn")
async def burn() -> None:
    """Use one millisecond of CPU."""
    until = time.thread_time() + BURN_SECONDS
    while time.thread_time() < until:
        pass

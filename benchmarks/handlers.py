"""The handlers of workers that run as separate processes: those of ``pgsched bench``, and more."""

from __future__ import annotations

import time

from pgsched.bench.handlers import app

__all__ = ["app"]

BURN_SECONDS = 0.001


@app.task("sized")
async def sized(blob: str) -> None:
    """Do nothing with a large payload."""


@app.task("burn")
async def burn() -> None:
    """Use one millisecond of CPU."""
    until = time.thread_time() + BURN_SECONDS
    while time.thread_time() < until:
        pass

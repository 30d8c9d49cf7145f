"""The handlers of a measurement: ``pgsched worker --app pgsched.bench.handlers:app``."""

from __future__ import annotations

import time

from pgsched.app.app import App

app = App()


@app.task("noop")
async def noop() -> None:
    """Do nothing."""


@app.task("stamp")
async def stamp() -> int:
    """Say when it began, in nanoseconds of the machine's monotonic clock."""
    return time.monotonic_ns()

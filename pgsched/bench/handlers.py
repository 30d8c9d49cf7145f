"""The handlers of one measurement: ``pgsched worker --app pgsched.bench.handlers:app``.

``pgsched bench`` gives them names that no other worker has: a worker that serves every queue claims all types that it
has handlers for, and one of them may well be called ``noop``.
"""

from __future__ import annotations

import asyncio
import os
import time

from pgsched.app.app import App

VARIABLE = "PGSCHED_BENCH_RUN"
WAITS = "PGSCHED_BENCH_WAITS"
"""Seconds that the handlers of drained tasks wait."""


def names_of(run: str | None) -> tuple[str, str]:
    """The task types of a measurement: of the task that does nothing, and of the one that reports its start."""
    return ("noop", "stamp") if run is None else (f"pgsched_bench_noop_{run}", f"pgsched_bench_stamp_{run}")


app = App()
_NOOP, _STAMP = names_of(os.environ.get(VARIABLE))
_SECONDS = float(os.environ.get(WAITS, "0"))


@app.task(_NOOP)
async def noop() -> None:
    """Do nothing, or wait."""
    if _SECONDS:
        await asyncio.sleep(_SECONDS)


@app.task(_STAMP)
async def stamp() -> int:
    """Report the start, in nanoseconds of the machine's monotonic clock."""
    return time.monotonic_ns()

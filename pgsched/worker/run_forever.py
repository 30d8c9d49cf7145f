"""A loop of a worker that nothing ends but its worker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic

from pgsched.domain.errors import DatabaseUnavailable
from pgsched.observability.logs import get_logger
from pgsched.worker.lasting import Lasting
from pgsched.worker.loops import Loop, Loops
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.retry_until_success import FIRST_PAUSE, LONGEST_PAUSE

log = get_logger("pgsched.worker")

Step = Callable[[], Awaitable[None]]
"""One turn of a loop."""
STEADY_SECONDS = 10.0
"""A loop that failed after working for this long is tried again soon."""


def start_loop(
    counts: WorkerMetrics, loops: Loops, what: str, step: Step, *, may_end: Callable[[], bool] | None = None
) -> Lasting:
    """Begin a loop that nothing ends but :meth:`Lasting.end`; it may end by itself while ``may_end`` says so."""
    state = loops.of(what)
    work = partial(run_forever, what, step, counts, state, may_end)
    loop = Lasting(work, name=f"pgsched {what}", may_end=may_end, on_lost=state.failed)
    loop.start()
    return loop


async def run_forever(
    what: str, step: Step, counts: WorkerMetrics, loop: Loop, may_end: Callable[[], bool] | None = None
) -> None:
    """Run a step again and again, until it may end; while the database is away, with growing pauses.

    Notes in ``loop`` how it fares.
    """
    pause = 0.0
    while may_end is None or not may_end():
        begun = monotonic()
        try:
            await step()
            pause = 0.0
            loop.worked()
        except Exception as error:
            loop.failed(error)
            pause = min(max(pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
            if isinstance(error, DatabaseUnavailable):
                counts.database_errors += 1
                log.warning("database_error", loop=what, error=str(error), again_in=round(pause, 1))
            else:
                log.exception("loop_failed", loop=what)
        if monotonic() - begun > STEADY_SECONDS:
            pause = min(pause, FIRST_PAUSE)  # it had worked for long: the trouble is new
        if pause:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311


async def wait_at_most(seconds: float | None, event: asyncio.Event) -> None:
    """Wait until an event is set, ``seconds`` at most; None: without a limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()

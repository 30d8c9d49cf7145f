"""The event loop of a worker process, which handlers cannot end.

A callback or an asyncio task that a handler left behind may raise SystemExit or KeyboardInterrupt, and a handler may
stop the loop: each would end an ordinary one. At the end, a task that swallows its cancellation would keep it for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pgsched.execution.process import LEAVE_SECONDS, exit_now
from pgsched.observability.logs import get_logger
from pgsched.worker.loops import own_task

log = get_logger("pgsched.worker")


def run_steadily(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a new event loop, as ``asyncio.run`` does, until it ends and no sooner; raises what it raises.

    What is left on the loop is cancelled, and gets LEAVE_SECONDS. A loop that is broken (a handler closed its file
    descriptors) ends the process with exit code 1.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    task = own_task(work, name="pgsched worker", loop=loop)
    try:
        _run(loop, task)
    finally:
        if left := asyncio.all_tasks(loop):
            for one in left:
                one.cancel()
            _run(loop, own_task(_wait(left), name="pgsched worker", loop=loop))
        asyncio.set_event_loop(None)
        loop.close()


async def _wait(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=LEAVE_SECONDS)


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    while True:
        try:
            return loop.run_until_complete(task)
        except BaseException as error:
            if task.done():
                raise
            if loop.is_closed() or not isinstance(error, SystemExit | KeyboardInterrupt | RuntimeError):
                log.exception("loop_broken")
                exit_now(1)
            log.error("loop_interrupted", error=repr(error), hint="by what a handler left on the event loop")

"""One attempt, run without a worker and without a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pgsched.concurrency.thread_pool import Threads
from pgsched.domain.attempt import Outcome
from pgsched.execution.context import Context
from pgsched.execution.middleware import Middleware, equip
from pgsched.execution.registry import Registry
from pgsched.execution.runner import run_attempt
from tests.support.engine import NOW, PATIENCE, claimed

Function = Callable[..., Any]


async def attempt(
    function: Function,
    payload: dict[str, Any] | None = None,
    *,
    timeout: float | None = None,
    middleware: Sequence[Middleware] = (),
) -> Outcome:
    """The one outcome of one attempt."""
    handler = equip(Registry().register("mail", function), middleware)
    context = Context(task=claimed(), clock=lambda: 0.0, now=lambda: NOW, deadline=None, is_catchup=False)
    outcomes: list[Outcome] = []
    threads: Threads[Outcome] = Threads(limit=4, name="test")
    try:
        await run_attempt(handler, payload or {}, context, timeout=timeout, threads=threads, report=outcomes.append)
    finally:
        threads.close()
    assert len(outcomes) == 1, outcomes
    return outcomes[0]


def run(
    function: Function,
    payload: dict[str, Any] | None = None,
    *,
    timeout: float | None = None,
    middleware: Sequence[Middleware] = (),
) -> Outcome:
    """:func:`attempt` on a fresh loop."""
    made = attempt(function, payload, timeout=timeout, middleware=middleware)
    return asyncio.run(asyncio.wait_for(made, PATIENCE))

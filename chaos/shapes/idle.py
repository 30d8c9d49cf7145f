"""Workers in one process that have nothing to do. The argument: how many; ``PGSCHED_DSN`` says where."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from pgsched import App


async def main(number: int) -> None:
    """Run them until this process is killed."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(number):
            app = App()
            app.use(os.environ["PGSCHED_DSN"])
            app.task("never", queue="idle")(_nothing)
            await stack.enter_async_context(app.worker(queues=["idle"], concurrency=2, transactions=1))
        print("all idle", flush=True)
        await asyncio.Event().wait()


def _nothing() -> None:
    """Never called."""


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

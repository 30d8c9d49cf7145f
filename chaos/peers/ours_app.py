"""The handler of pgsched's workers."""

from __future__ import annotations

from chaos.peers.effects import sleep_and_write_down
from pgsched.app.app import App
from pgsched.execution.context import Context

app = App()


@app.task("steady")
async def steady(ctx: Context) -> None:
    await sleep_and_write_down(ctx.id)

"""Handlers of the load run that docs/monitoring.png shows."""

from __future__ import annotations

import asyncio
import random
import time

from pgsched.app.app import App

app = App()


@app.task("email", queue="mail")
async def email() -> None:
    await asyncio.sleep(random.uniform(0.02, 0.06))


@app.task("resize", queue="media")
def resize() -> None:
    time.sleep(random.lognormvariate(-2, 0.5))


@app.task("charge", queue="billing", backoff="fixed", backoff_delay=2, max_attempts=3)
async def charge(service_is_down: bool = False) -> None:
    await asyncio.sleep(random.uniform(0.03, 0.1))
    if service_is_down and random.random() < 0.6:
        raise ConnectionError("the payment service does not answer")


@app.task("report", queue="media", timeout=30)
async def report() -> None:
    await asyncio.sleep(7)

"""The handlers of one measurement, under names that no other worker has.

A worker that serves every queue claims the types that it has handlers for, and one of them may well be called ``noop``.
Used as ``pgsched worker --app pgsched.bench.private:app``.
"""

from __future__ import annotations

import os

from pgsched.app.app import App
from pgsched.bench.handlers import noop, stamp

VARIABLE = "PGSCHED_BENCH_RUN"


def names_of(run: str) -> tuple[str, str]:
    """The task types of a measurement: of the task that does nothing, and of the one that says when it began."""
    return f"pgsched_bench_noop_{run}", f"pgsched_bench_stamp_{run}"


def app_of(run: str) -> App:
    """The handlers of a measurement."""
    private = App()
    noop_name, stamp_name = names_of(run)
    private.task(noop_name)(noop.handler.function)
    private.task(stamp_name)(stamp.handler.function)
    return private


app = app_of(os.environ.get(VARIABLE, ""))

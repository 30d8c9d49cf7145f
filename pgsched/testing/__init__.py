"""For tests of programs that use pgsched: run due tasks in place, move the clock, inspect scheduled tasks.

All but :func:`call` work on a real PostgreSQL, with the very statements of clients and workers. The plugin
:mod:`pgsched_pytest` has fixtures for pytest. docs/testing.md describes everything.
"""

from pgsched.testing.asserts import (
    assert_not_scheduled,
    assert_not_scheduled_async,
    assert_scheduled,
    assert_scheduled_async,
    scheduled,
    scheduled_async,
)
from pgsched.testing.calls import Called, Said, call, call_async
from pgsched.testing.clock import Clock, freeze
from pgsched.testing.outcomes import NotCompleted, Ran
from pgsched.testing.running import drain, drain_async, run_due, run_due_async

__all__ = [
    "Called",
    "Clock",
    "NotCompleted",
    "Ran",
    "Said",
    "assert_not_scheduled",
    "assert_not_scheduled_async",
    "assert_scheduled",
    "assert_scheduled_async",
    "call",
    "call_async",
    "drain",
    "drain_async",
    "freeze",
    "run_due",
    "run_due_async",
    "scheduled",
    "scheduled_async",
]

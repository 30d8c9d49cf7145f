"""Commands about the coming runs. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pgsched.db.queries.dashboard import begin_look, list_queue_settings
from pgsched.db.queries.schedules import list_calendars
from pgsched.db.query import Command, Rows, choice, rows_as, unprepared
from pgsched.domain.planned_schedule import PlannedSchedule
from pgsched.domain.scheduling.timeline import (
    MAX_SCHEDULES,
    MAX_TASKS,
    MAX_TASKS_EACH,
    Plan,
    Rate,
    Span,
    Timeline,
    Waiting,
    rate_of,
    span_of,
)
from pgsched.domain.validation import Duration


class Found:
    """The data from which a plan is computed, which takes a while for thousands of schedules."""

    def __init__(
        self,
        span: Span,
        schedules: list[PlannedSchedule],
        calendars: dict[str, list[str]],
        waiting: Waiting,
        rates: dict[str, Rate],
    ) -> None:
        self._of_plan = span, schedules, calendars
        self.waiting = waiting
        self.rates = rates

    def plan(self) -> Plan:
        """Compute the ticks."""
        return Plan(*self._of_plan)

    def timeline(self, limit: int) -> Timeline:
        """Compute the ticks, and describe this many schedules. Raises InvalidTask for an invalid limit."""
        return self.plan().timeline(self.waiting, self.rates, limit=limit)


Asking = Generator[Command[Any], Any, Found]
"""Yields the queries, which must run within one transaction, and is sent the answers."""


def asking(within: Duration, *, queue: str | None = None) -> Asking:
    """Query everything that a timeline is built from. Raises InvalidTask."""
    chosen = choice(queue=queue)
    span = span_of(within, (yield begin_look()))
    schedules = yield unprepared("list_planned_schedules", rows_as(PlannedSchedule), **chosen, limit=MAX_SCHEDULES + 1)
    calendars = {one.name: one.days for one in (yield list_calendars())}
    setups = yield list_queue_settings(queue)
    rates = {name: rate for name, one in setups.items() if (rate := rate_of(one.limits, one.per)) is not None}
    waiting = yield _count_tasks(span, queue)
    return Found(span, schedules, calendars, waiting, rates)


def _count_tasks(span: Span, queue: str | None) -> Command[Waiting]:
    def parse(rows: Rows) -> Waiting:
        by_queue = {(row["queue"], row["bucket"]): row["number"] for row in rows if row["queue"] is not None}
        return Waiting(by_queue, all(row["complete"] for row in rows))

    return unprepared(
        "count_upcoming_tasks",
        parse,
        **choice(queue=queue),
        since=span.now,
        until=span.until,
        begin=span.begin,
        width=span.width.total_seconds(),
        each=MAX_TASKS_EACH,
        cap=MAX_TASKS,
    )

"""Why something waits, in words: for ``pgsched task why``, ``pgsched task show`` and ``pgsched queue why``."""

from __future__ import annotations

from collections.abc import Sequence

from pgsched.cli.output import cell, say
from pgsched.cli.times import moment
from pgsched.domain.waiting.reasons import Reason, Why, WhyQueue


def say_why(why: Why) -> None:
    """Print why a task waits."""
    say(cell(f"task {why.task_id} ({why.task_type} in {why.queue}) is {why.status}"))
    _say_reasons(why.summary, why.reasons)
    if why.ahead is not None:
        say(f"{'at least ' if why.ahead_is_capped else ''}{why.ahead} claimed before it")


def say_why_queue(why: WhyQueue) -> None:
    """Print why the tasks of a queue wait."""
    oldest = "" if why.oldest_due_at is None else f", the oldest since {moment(why.oldest_due_at)}"
    say(cell(f"queue {why.queue}: {'at least ' if why.due_is_capped else ''}{why.due} due{oldest}"))
    _say_reasons(why.summary, why.reasons)
    say(f"backlog: {why.forecast.text}")


def _say_reasons(summary: str, reasons: Sequence[Reason]) -> None:
    if not reasons:
        say(cell(summary))
    for one in reasons:
        times = "".join(
            f" ({word} {moment(at)})" for word, at in (("since", one.since), ("until", one.until)) if at is not None
        )
        say(cell(f"- {one.text}{times}"))
        if one.kind in ("queue_limit", "key_limit") and one.task_ids:
            say(cell(f"  held by {', '.join(f'#{id}' for id in one.task_ids)}"))
        if one.command is not None:
            say(cell(f"  {one.command}"))

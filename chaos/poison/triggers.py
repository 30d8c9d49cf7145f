"""Triggers of users that refuse, drop or delay single rows."""

from __future__ import annotations

from typing import Any

from chaos.poison.kind import COMPLETED, DEAD, SET_ASIDE, Kind, trigger, victim
from pgsched.execution.context import Context

REFUSED_BY = "refused by a trigger of the user"
STATES = {
    "40001": "serialization failure",
    "40P01": "deadlock",
    "53200": "out of memory",
    "55P03": "lock not available",
    "57014": "query cancelled",
    "57P01": "admin shutdown",
    "08006": "connection failure",
    "25006": "read-only transaction",
    "XX000": "internal error",
    "42501": "insufficient privilege",
    "P0002": "no data found",
}


async def _logs(ctx: Context) -> None:
    ctx.log("a line that a trigger refuses")
    await victim()


def _kind(name: str, does: str, fates: tuple[str, ...], **more: Any) -> Kind:
    made = {key: more.pop(key) for key in ("on", "at", "when", "body", "returns", "constraint") if key in more}
    return Kind(
        name=name,
        does=does,
        fates=fates,
        words=more.pop("words", REFUSED_BY),
        doctor=("foreign_objects", "zz_{name}"),
        **trigger(name, **made),
        **more,
    )


_CLAIMED = "{mine} and old.status = 'pending' and new.status in ('running', 'completed')"
"""With a lease, or by the end of a batch that has locked it."""
_FINISHED = "{mine} and new.status = 'completed'"
_FINISHED_LOCKED = "old.status = 'pending' and new.status = 'completed'"
_ENDED = f"{{mine}} and (old.status = 'running' and new.status <> 'running' or {_FINISHED_LOCKED})"

KINDS = (
    _kind(
        "trigger-at-claim",
        "a BEFORE UPDATE trigger refuses the claim of a row",
        (DEAD, SET_ASIDE),
        when=_CLAIMED,
        rows=2,
    ),
    _kind(
        "trigger-at-finish",
        "an AFTER UPDATE trigger refuses that a row is completed",
        (DEAD,),
        at="after update",
        when=_FINISHED,
        rows=2,
    ),
    _kind(
        "trigger-at-every-end",
        "a BEFORE UPDATE trigger refuses whatever outcome a row has",
        (SET_ASIDE,),
        when=_ENDED,
        rows=2,
    ),
    _kind("trigger-always", "a trigger refuses every update of a row", (SET_ASIDE,), when="{mine}", rows=2),
    _kind(
        "trigger-at-commit",
        "a deferred constraint trigger refuses a completed row at commit",
        (DEAD,),
        at="after update",
        constraint="deferrable initially deferred",
        when=_FINISHED,
    ),
    _kind(
        "trigger-at-every-commit",
        "a deferred constraint trigger refuses every end of a row at commit",
        (SET_ASIDE,),
        at="after update",
        constraint="deferrable initially deferred",
        when=_ENDED,
    ),
    _kind(
        "trigger-drops-claim",
        "a BEFORE UPDATE trigger returns null for a row that is claimed",
        (SET_ASIDE, DEAD),
        words="",
        when=_CLAIMED,
        body="null",
        returns="null",
    ),
    _kind(
        "trigger-drops-finish",
        "a BEFORE UPDATE trigger returns null for every end of a row",
        (SET_ASIDE,),
        words="",
        when=_ENDED,
        body="null",
        returns="null",
    ),
    _kind(
        "trigger-sleeps",
        "a trigger of a row sleeps for a third of a second",
        (COMPLETED,),
        words="",
        when="{mine}",
        body="perform pg_sleep(0.3)",
    ),
    _kind(
        "trigger-long-words",
        "a trigger refuses with a message of a megabyte in several lines",
        (DEAD, SET_ASIDE),
        words="refused",
        when=_FINISHED,
        body="raise exception using message = e'refused %s\\n' || repeat('%x', 500000)",
    ),
    *(
        _kind(
            f"trigger-{state.lower()}",
            f"a trigger refuses every end of a row, always with SQLSTATE {state} ({words})",
            (SET_ASIDE, DEAD),
            words="refused",
            when=_ENDED,
            body=f"raise exception 'refused with {state}' using errcode = '{state}'",
        )
        for state, words in STATES.items()
    ),
    _kind(
        "trigger-on-history",
        "a trigger refuses the history of a row",
        (SET_ASIDE, DEAD),
        on="pgsched.executions",
        at="before insert",
        when="new.task_type = 'poison_trigger_on_history'",
    ),
    _kind(
        "trigger-drops-history",
        "a trigger drops the history of a row",
        (COMPLETED, SET_ASIDE, DEAD),
        words="",
        on="pgsched.executions",
        at="before insert",
        when="new.task_type = 'poison_trigger_drops_history'",
        body="null",
        returns="null",
        odd_books=True,
    ),
    _kind(
        "trigger-on-log-lines",
        "a trigger refuses what a handler logs",
        (COMPLETED,),
        words="",
        handler=_logs,
        on="pgsched.execution_logs",
        at="before insert",
        when="new.message = 'a line that a trigger refuses'",
    ),
    _kind(
        "trigger-on-slots",
        "a trigger refuses the slot of a row in a queue with limits",
        (SET_ASIDE, DEAD),
        on="pgsched.slots",
        at="before insert or update",
        when="new.key = 'refused'",
        queue="poison_slots",
        limits='{"concurrency": 5, "concurrency_per_key": 2}',
        columns={"concurrency_key": "'refused'"},
        companions=5,
    ),
    _kind(
        "limited-queue",
        "a row of a queue with limits whose claim a trigger refuses",
        (DEAD, SET_ASIDE),
        when=_CLAIMED,
        queue="poison_limited",
        limits='{"concurrency": 5, "rate": 100}',
        companions=5,
    ),
    _kind(
        "limited-queue-end",
        "a row of a queue with limits all of whose ends a trigger refuses",
        (SET_ASIDE,),
        when=_ENDED,
        queue="poison_limited_end",
        limits='{"concurrency": 5}',
        companions=5,
    ),
    _kind(
        "lifo-queue",
        "a row of a lifo queue whose claim a trigger refuses",
        (DEAD, SET_ASIDE),
        when=_CLAIMED,
        queue="poison_lifo",
        ordering="lifo",
        companions=5,
    ),
    _kind(
        "high-priority",
        "rows of priority 10 whose claim a trigger refuses, ahead of everything else",
        (DEAD, SET_ASIDE),
        when=_CLAIMED,
        rows=20,
        columns={"priority": "10"},
    ),
)

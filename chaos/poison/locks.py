"""Locks that other sessions hold, and what they send."""

from __future__ import annotations

from chaos.poison.kind import COMPLETED, SET_ASIDE, WAITS, Act, Kind, held_victim, slow_victim

HELD = 9.0
"""Seconds: longer than the doctor lets a lock of a stranger pass."""


def _lock(name: str, does: str, statement: str, fates: tuple[str, ...] = (COMPLETED,), **more: object) -> Kind:
    act = Act(statement=statement, holds=HELD, awaits=str(more.pop("awaits", "")))
    more.setdefault("handler", slow_victim)
    return Kind(
        name=name,
        does=does,
        fates=fates,
        doctor=("held_locks", "poison {mark}"),
        act=act,
        **more,  # type: ignore[arg-type]
    )


KINDS = (
    _lock(
        "lock-on-running-row",
        "`select … for update` on running rows",
        "select from pgsched.tasks where id = any(%(ids)s) for update",
        (SET_ASIDE,),
        words="locked",
        awaits="running",
        handler=held_victim,
        rows=2,
    ),
    _lock(
        "lock-on-waiting-row",
        "`select … for update` on rows that are due in a second",
        "select from pgsched.tasks where id = any(%(ids)s) for update",
        (WAITS,),
        columns={"scheduled_for": "now() + interval '1 second'"},
        rows=2,
    ),
    _lock("lock-on-history", "`lock table pgsched.executions in share mode`", "lock pgsched.executions in share mode"),
    _lock("lock-on-logs", "the same for the log lines", "lock pgsched.execution_logs in share mode"),
    _lock("lock-on-workers", "the rows of all workers are locked", "select from pgsched.workers for update"),
    _lock("lock-on-set-aside", "the table of what is set aside is locked", "lock pgsched.set_aside in share mode"),
    _lock("lock-on-watchdog", "the row of the watchdog is locked", "select from pgsched.watchdog for update"),
    _lock(
        "lock-on-queue",
        "the row of a queue with limits is locked",
        "select from pgsched.queues where name = 'poison_locked' for update",
        (WAITS, COMPLETED, SET_ASIDE),
        queue="poison_locked",
        limits='{"concurrency": 5}',
        columns={"scheduled_for": "now() + interval '1 second'"},
    ),
    _lock(
        "advisory-lock",
        "the advisory lock under which partitions are made is held",
        "select pg_advisory_xact_lock(hashtext('pgsched.make_partitions')),"
        " pg_advisory_xact_lock(hashtextextended('pgsched.prune', 0))",
    ),
    Kind(
        name="nonsense-notified",
        does="200 notifications of nonsense on each of our channels",
        fates=(COMPLETED,),
        act=Act(
            statement="""
                select pg_notify(channel, (array['', '{', 'null', '-1', repeat('x', 7000), '0'])[1 + n % 6] || n)
                from generate_series(1, 200) n,
                  unnest('{pgsched,pgsched_queues,pgsched_cancel,pgsched_tasks,pgsched_events}'::text[]) channel
            """
        ),
    ),
)

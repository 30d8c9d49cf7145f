"""All checks: the judgement behind each, its severity, and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from pgsched.ops.doctor import foreign, schema, server, tasks, workers
from pgsched.ops.doctor.facts import Facts
from pgsched.ops.doctor.findings import Found, Severity

Judge = Callable[[Facts], Iterator[Found]]


class Check(NamedTuple):
    """One check of the doctor."""

    judge: Judge
    """The function that judges; it has the name of the check, and its docstring describes what it finds."""
    severities: tuple[Severity, ...]
    """The severities that its findings may have."""
    remedy: str
    """The general remedy; each finding has specific advice."""

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.judge.__name__

    @property
    def finds(self) -> str:
        """What it finds, for readers."""
        said = " ".join((self.judge.__doc__ or "").split())
        return said[:1].lower() + said[1:].removesuffix(".")


CHECKS: Final = (
    # The server.
    Check(server.schema_version, ("error", "hint"), "`pgsched migrate`, or upgrade pgsched"),
    Check(server.read_only, ("error",), "make the DSN lead to the primary: `target_session_attrs=read-write`"),
    Check(server.server_version, ("warning",), "upgrade PostgreSQL"),
    Check(server.durability, ("error", "warning"), "`alter system set … = on; select pg_reload_conf();`"),
    Check(server.connections, ("error", "warning"), "use fewer workers or a pooler, or raise `max_connections`"),
    Check(server.notification_queue, ("error", "warning"), "end the session that listens but stays in a transaction"),
    Check(server.pooler, ("hint",), "give workers `--listen-dsn`"),
    Check(server.clock_skew, ("warning",), "run a time service on both machines"),
    Check(tasks.timezones, ("error", "warning"), "upgrade tzdata on the side with the older version"),
    # The schema.
    Check(schema.indexes, ("error",), "`create index …`, `reindex index concurrently …`"),
    Check(schema.triggers, ("error",), "`alter table … enable trigger …`"),
    Check(schema.constraints, ("error", "warning"), "`alter table … add constraint …`"),
    Check(schema.partitions, ("error", "warning"), "`select pgsched.make_partitions();`"),
    Check(schema.default_partition, ("warning",), "move them into partitions of their own"),
    Check(schema.copied_database, ("error",), "`pgsched database adopt`, if its tasks are to run here"),
    # How PostgreSQL maintains the tables.
    Check(schema.autovacuum, ("error",), "`alter table … reset (autovacuum_enabled)`"),
    Check(schema.dead_rows, ("warning",), "find what holds vacuum back: old_transactions"),
    Check(schema.wraparound, ("error", "warning"), "`vacuum freeze`"),
    Check(schema.fillfactor, ("warning",), "`alter table pgsched.tasks set (fillfactor = 50)`"),
    Check(server.old_transactions, ("warning",), "`select pg_terminate_backend(…)`"),
    Check(server.prepared_transactions, ("warning",), "`commit prepared …` or `rollback prepared …`"),
    Check(server.replication_slots, ("warning",), "`select pg_drop_replication_slot(…)`"),
    Check(schema.retention, ("hint",), "set a retention"),
    # What other programs do to the tables.
    Check(foreign.foreign_objects, ("hint",), "make sure that it rejects nothing that workers do"),
    Check(foreign.role_settings, ("hint",), "`alter role … reset …`"),
    Check(foreign.held_locks, ("warning",), "let it commit, or `select pg_terminate_backend(…)`"),
    # Tasks.
    Check(workers.no_worker, ("error",), "start `pgsched worker`"),
    Check(workers.silent_workers, ("warning",), "look for the process on its host"),
    # What workers report about themselves: the kinds of pgsched.worker.troubles.
    Check(
        workers.told("unwritten_outcomes"),
        ("error",),
        "look for locks on `pgsched.tasks` and `pgsched.executions`, and read the worker's log",
    ),
    Check(
        workers.told("failing_loops"), ("error", "warning"), "fix what the message names; the loop continues by itself"
    ),
    Check(workers.told("lost_slots"), ("error",), "restart the worker"),
    Check(
        workers.told("overdue_attempts"),
        ("error", "warning"),
        'restart the worker; let the handler check `ctx.cancelled`, be `async`, or run with `executor="process"`',
    ),
    Check(
        workers.told("long_attempts"),
        ("warning",),
        "`pgsched task show …`, `pgsched task cancel …`; give the type a timeout",
    ),
    Check(workers.told("failing_upkeep"), ("warning",), "fix the cause that the message names; the worker retries"),
    Check(
        workers.set_aside,
        ("error",),
        "fix the cause that the message names: a trigger, a check, the row; the worker retries",
    ),
    Check(
        workers.told("log_errors"),
        ("warning",),
        "check that its standard error is still being read and that its disk is not full",
    ),
    Check(tasks.unserved_queues, ("error",), "`pgsched worker --queue …`"),
    Check(tasks.unknown_types, ("error",), "deploy the handler"),
    Check(tasks.paused_queues, ("warning",), "`pgsched queue resume …`"),
    Check(tasks.idle_workers, ("warning",), "`pgsched worker resume …`"),
    Check(tasks.growing_backlogs, ("warning",), "`pgsched queue why …`; start more workers, or raise `--concurrency`"),
    Check(tasks.stalled_schedules, ("error",), "`pgsched task show …`"),
    Check(tasks.stuck_running, ("error",), "start a worker for their queue"),
    Check(tasks.orphaned, ("warning",), "wait for the lease to end, or `pgsched task cancel …`"),
    Check(tasks.stuck_blocked, ("error",), "`select pgsched.settle(…);`"),
    Check(tasks.silent_tasks, ("error",), "`pgsched task show …`"),
    Check(tasks.long_runs, ("warning",), "`pgsched task show …`, `pgsched task cancel …`"),
    Check(tasks.misfits, ("warning",), "replace the workers that have older code"),
    Check(tasks.durable_runs, ("error", "warning"), "see the finding"),
    Check(tasks.dead_letters, ("warning", "hint"), "`pgsched dead list`"),
    Check(tasks.lost_attempts, ("warning",), "look for crashes; use a longer `--lease`"),
    Check(tasks.late_starts, ("warning",), "start more workers, or raise `--concurrency`"),
    # The doctor itself.
    Check(server.unseen, ("warning", "hint"), "see the finding"),
)
"""In display order."""
BY_NAME: Final = {check.name: check for check in CHECKS}
NAMES: Final = tuple(BY_NAME)
OF_ANY_SCHEMA: Final = {check.name: check.judge for check in CHECKS if check.judge.__module__ == server.__name__}
"""The checks that judge the server, whatever the schema's version."""
OF_OUR_SCHEMA: Final = {check.name: check.judge for check in CHECKS if check.name not in OF_ANY_SCHEMA}
"""The checks that need the tables as of this program's version."""

"""All checks: what finds it, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from pgsched.ops.doctor import foreign, schema, server, tasks, workers
from pgsched.ops.doctor.facts import Facts
from pgsched.ops.doctor.findings import Found, Severity

Judge = Callable[[Facts], Iterator[Found]]


class Check(NamedTuple):
    """One thing that is looked at."""

    judge: Judge
    """Finds it; its name is that of the check."""
    severities: tuple[Severity, ...]
    """How bad a finding of it may be."""
    finds: str
    """What it finds, for people."""
    remedy: str
    """What to do about it in general; each finding has its own advice."""

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.judge.__name__


CHECKS: Final = (
    # The server.
    Check(
        server.schema_version,
        ("error", "hint"),
        "the schema is missing, or older or newer than this program; a hint if it works with it",
        "`pgsched migrate`, or upgrade pgsched",
    ),
    Check(
        server.read_only,
        ("error",),
        "the server is a standby, or takes no writes",
        "let the DSN lead to the primary: `target_session_attrs=read-write`",
    ),
    Check(
        server.server_version,
        ("warning",),
        "a PostgreSQL that pgsched is not tested with (14 to 18 are)",
        "upgrade PostgreSQL",
    ),
    Check(
        server.durability,
        ("error", "warning"),
        "`fsync` or `full_page_writes` off, or `synchronous_commit` off: a crash loses rows",
        "`alter system set … = on; select pg_reload_conf();`",
    ),
    Check(
        server.connections,
        ("error", "warning"),
        "80 % of the connection slots in use, or 95 %",
        "fewer workers or a pooler, or raise `max_connections`",
    ),
    Check(
        server.notification_queue,
        ("error", "warning"),
        "a tenth of the server's notification queue is full, or half",
        "end the session that listens and stays in a transaction",
    ),
    Check(server.pooler, ("hint",), "a pooler in transaction mode is in between", "give workers `--listen-dsn`"),
    Check(
        server.clock_skew,
        ("warning",),
        "the clock of this machine is over 2 s from that of the database",
        "run a time service on both machines",
    ),
    Check(
        tasks.timezones,
        ("error", "warning"),
        "a schedule's zone that PostgreSQL or Python lacks, or on whose offset they disagree",
        "upgrade tzdata on the side that is older",
    ),
    # The schema.
    Check(
        schema.indexes,
        ("error",),
        "an index that the migrations make is missing or invalid",
        "`create index …`, `reindex index concurrently …`",
    ),
    Check(schema.triggers, ("error",), "a trigger is missing or disabled", "`alter table … enable trigger …`"),
    Check(
        schema.constraints,
        ("error", "warning"),
        "a constraint is missing, or was never validated",
        "`alter table … add constraint …`",
    ),
    Check(
        schema.partitions,
        ("error", "warning"),
        "the history has no partition for today, or for the two days to come",
        "`select pgsched.make_partitions();`",
    ),
    Check(
        schema.default_partition,
        ("warning",),
        "rows of the history lie in a default partition",
        "move them into partitions of their own",
    ),
    # What PostgreSQL does with the tables.
    Check(
        schema.autovacuum,
        ("error",),
        "autovacuum is off, for the server or for a table of pgsched",
        "`alter table … reset (autovacuum_enabled)`",
    ),
    Check(
        schema.dead_rows,
        ("warning",),
        "over 10,000 dead rows in a table, and more than half as many as live ones",
        "find what keeps vacuum away: old_transactions",
    ),
    Check(
        schema.wraparound,
        ("error", "warning"),
        "transaction ids of 800 million ago are in use, or of 1.5 billion",
        "`vacuum freeze`",
    ),
    Check(
        schema.fillfactor,
        ("warning",),
        "`pgsched.tasks` has another fillfactor than 50: claims write its indexes",
        "`alter table pgsched.tasks set (fillfactor = 50)`",
    ),
    Check(
        server.old_transactions,
        ("warning",),
        "a transaction is open for over ten minutes",
        "`select pg_terminate_backend(…)`",
    ),
    Check(
        server.prepared_transactions,
        ("warning",),
        "a prepared transaction waits for over ten minutes",
        "`commit prepared …` or `rollback prepared …`",
    ),
    Check(
        server.replication_slots,
        ("warning",),
        "a replication slot that nobody uses, or that keeps rows from being removed",
        "`select pg_drop_replication_slot(…)`",
    ),
    Check(
        schema.retention,
        ("hint",),
        "over 5,000,000 rows or a year of history, and nothing is ever deleted",
        "set a retention",
    ),
    # What others do to the tables.
    Check(
        foreign.foreign_objects,
        ("hint",),
        "a trigger, constraint, index, column, policy, rule, foreign key, publication or event trigger that is not "
        "pgsched's",
        "see that it refuses nothing that workers do",
    ),
    Check(
        foreign.role_settings,
        ("hint",),
        "a setting of a role or of the database that changes what statements do, such as `statement_timeout`",
        "`alter role … reset …`",
    ),
    Check(
        foreign.held_locks,
        ("warning",),
        "another program has held a lock on rows or tables of pgsched for over 5 s",
        "let it commit, or `select pg_terminate_backend(…)`",
    ),
    # Tasks.
    Check(workers.no_worker, ("error",), "tasks are due and no worker is alive", "start `pgsched worker`"),
    Check(
        workers.silent_workers,
        ("warning",),
        "a worker has not been heard of for three leases",
        "look for it on its host",
    ),
    # What workers tell of themselves: the kinds of pgsched.worker.troubles.
    Check(
        workers.told("unwritten_outcomes"),
        ("error",),
        "a worker cannot write what its handlers did: an outcome has waited for over 5 s",
        "look for locks on `pgsched.tasks` and `pgsched.executions`, and at the worker's log",
    ),
    Check(
        workers.told("failing_loops"),
        ("error", "warning"),
        "a loop of a worker fails again and again, or a handler blocks all of them; an error where nothing is claimed "
        "or written",
        "mend what the message names; the loop goes on by itself",
    ),
    Check(
        workers.told("lost_slots"),
        ("error",),
        "free slots of a worker begin nothing, though tasks wait in it",
        "restart the worker",
    ),
    Check(
        workers.told("overdue_attempts"),
        ("error", "warning"),
        "attempts occupy slots after their timeout, or after they were cancelled; an error when they hold all slots",
        'restart the worker; let the handler watch `ctx.cancelled`, be `async`, or run with `executor="process"`',
    ),
    Check(
        workers.told("long_attempts"),
        ("warning",),
        "an attempt has run ten times as long as 99 of 100 of its type, and a minute at least",
        "`pgsched task show …`, `pgsched task cancel …`; give the type a timeout",
    ),
    Check(
        workers.told("failing_upkeep"),
        ("warning",),
        "partitions, retention, progress or another duty of a worker fails again and again",
        "mend what the message names; the worker tries again by itself",
    ),
    Check(
        workers.set_aside,
        ("error",),
        "tasks that a worker cannot claim, or whose outcome it cannot write: the database refuses them",
        "mend what the message names: a trigger, a check, the row; the worker tries again by itself",
    ),
    Check(
        workers.told("log_errors"),
        ("warning",),
        "a worker lost log lines within the last minute",
        "does whoever reads its standard error still do so, is its disk full?",
    ),
    Check(
        tasks.unserved_queues,
        ("error",),
        "tasks are due in a queue that no living worker serves",
        "`pgsched worker --queue …`",
    ),
    Check(
        tasks.unknown_types,
        ("error",),
        "tasks are due whose type no living worker of their queue knows",
        "deploy the handler",
    ),
    Check(
        tasks.paused_queues,
        ("warning",),
        "a queue is paused and a task of it has been due for an hour",
        "`pgsched queue resume …`",
    ),
    Check(
        tasks.stalled_schedules,
        ("error",),
        "a schedule should have run over a minute ago and did not",
        "`pgsched task show …`",
    ),
    Check(
        tasks.stuck_running,
        ("error",),
        "tasks run under a lease that ended over five minutes ago, and nobody claims them",
        "start a worker for their queue",
    ),
    Check(
        tasks.orphaned,
        ("warning",),
        "tasks run under a valid lease of a worker that is not there",
        "wait for the lease to end, or `pgsched task cancel …`",
    ),
    Check(tasks.stuck_blocked, ("error",), "tasks wait for others that have all ended", "`select pgsched.settle(…);`"),
    Check(
        tasks.silent_tasks,
        ("error",),
        "a task has had no success for its `alert_if_no_success_for`",
        "`pgsched task show …`",
    ),
    Check(
        tasks.long_runs,
        ("warning",),
        "an attempt of a task has run for its `alert_if_running_for`",
        "`pgsched task show …`, `pgsched task cancel …`",
    ),
    Check(
        tasks.dead_letters,
        ("warning", "hint"),
        "tasks died in the last hour; ten of them are a warning",
        "`pgsched dead list`",
    ),
    Check(
        tasks.lost_attempts,
        ("warning",),
        "attempts of the last hour were lost: their worker died or fell silent",
        "look for crashes; a longer `--lease`",
    ),
    Check(
        tasks.late_starts,
        ("warning",),
        "half of the tasks of the last hour began over 10 s late",
        "more workers, or a larger `--concurrency`",
    ),
    # The doctor itself.
    Check(
        server.unseen,
        ("warning", "hint"),
        "a check failed or took too long, or this role may not see what it needs",
        "as the finding says",
    ),
)
"""In the order in which they are shown."""
BY_NAME: Final = {check.name: check for check in CHECKS}
NAMES: Final = tuple(BY_NAME)
OF_ANY_SCHEMA: Final = {check.name: check.judge for check in CHECKS if check.judge.__module__ == server.__name__}
"""These judge the server, whatever the schema's version is."""
OF_OUR_SCHEMA: Final = {check.name: check.judge for check in CHECKS if check.name not in OF_ANY_SCHEMA}
"""These need the tables as they are at this program's version."""

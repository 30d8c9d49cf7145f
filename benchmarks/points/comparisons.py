"""The ten points, and the replacement of each in the variant without it."""

from __future__ import annotations

from benchmarks.points.model import Change, Comparison, Form, Metric, PointSizes, replace_once
from pgsched.db.sql_files import migrations

CLAIM = "sql/queries/claim_tasks.sql"
SCAN = "pgsched/worker/scan.py"
PREFETCH = "pgsched/worker/prefetch.py"
WORKER = "pgsched/worker/worker.py"
SLEEP = "pgsched/worker/sleep.py"

RATE = Metric("per_second", "tasks/s", more_is_better=True)
CLAIM_MS = Metric("claim_ms", "ms a claim of 100")
SLOTS = {"concurrency": 100}


def all_comparisons(sizes: PointSizes) -> tuple[Comparison, ...]:
    """Every comparison, in the order in which they are run."""
    drain = {**SLOTS, "tasks": sizes.tasks}
    single = {"tasks": sizes.singles}
    return (
        Comparison(
            label="1",
            title=f"partial due index; drain {sizes.tasks:,} after {sizes.finished:,} finished rows",
            program="sides.ours",
            # A drain hides most of what its claims walk over once a second, below the floor: so some are timed alone.
            arguments={**drain, "claims": True},
            database="finished",
            metrics=(RATE, CLAIM_MS, Metric("index_mb", "MB index")),
            afterwards={"index_mb": "select pg_relation_size('pgsched.tasks_due') / 1e6"},
            withouts=(
                Form(
                    label="1",
                    does="the index has no WHERE: finished rows stay in it, at null",
                    statements=("drop index pgsched.tasks_due", _whole_index()),
                ),
                Form(
                    label="1b",
                    does="finished rows also keep their time: claims filter by status",
                    changes=(_add_to_claim("and t.status in ('pending', 'running')"),),
                    statements=(
                        "alter table pgsched.tasks drop constraint due_if_and_only_if_pending_or_running",
                        "drop index pgsched.tasks_due",
                        "set session_replication_role = replica",
                        "update pgsched.tasks set next_run_at = completed_at, created_by = 'finished before'",
                        _whole_index(),
                        "vacuum (freeze, analyze) pgsched.tasks",
                    ),
                ),
            ),
        ),
        Comparison(
            label="2",
            title=f"a claim touches no index; drain {sizes.tasks:,}",
            program="sides.ours",
            arguments={**drain, "touched": True},
            metrics=(
                Metric("wal_bytes_per_task", "B WAL/task"),
                RATE,
                Metric("hot_percent", "% HOT", more_is_better=True),
            ),
            afterwards={
                "hot_percent": "select 100.0 * n_tup_hot_upd / n_tup_upd from pg_stat_user_tables"
                " where relid = 'pgsched.tasks'::regclass"
            },
            withouts=(
                Form(
                    label="2",
                    does="an index on locked_until, and one with status in it",
                    # Of no use to claims and finishes, so that their plans stay the same.
                    statements=(
                        "create index tasks_locked_until on pgsched.tasks (locked_until)",
                        "create index tasks_created on pgsched.tasks (created_at) include (status)",
                    ),
                ),
                Form(
                    label="2b",
                    does="fillfactor 100: no room in the page for the new version",
                    statements=("alter table pgsched.tasks set (fillfactor = 100)",),
                ),
            ),
        ),
        _probes(sizes, "3", "pg18", "PostgreSQL 18, with skip scans"),
        _probes(sizes, "3b", "pg16", "PostgreSQL 16"),
        Comparison(
            label="4",
            title=f"a moving floor; drain {sizes.snapshot:,} beside an old snapshot",
            program="sides.ours",
            arguments={**SLOTS, "tasks": sizes.snapshot, "old_snapshot": True},
            metrics=(RATE,),
            withouts=(
                Form(
                    label="4",
                    does="every claim begins at the front",
                    changes=(
                        Change(SCAN, "SWEEP_SECONDS = 1.0", "SWEEP_SECONDS = 0.0"),
                        Change(SCAN, "SLICE_SECONDS = 0.01", "SLICE_SECONDS = 1e9"),
                    ),
                ),
            ),
        ),
        Comparison(
            label="5",
            title=f"batches; drain {sizes.tasks:,}",
            program="sides.ours",
            arguments=drain,
            metrics=(RATE,),
            withouts=(
                Form(
                    label="5",
                    does=f"each finish is a statement ({sizes.singles:,} tasks)",
                    changes=(Change("pgsched/worker/completer.py", "MAX_BATCH = 2000", "MAX_BATCH = 1"),),
                    arguments=single,
                ),
                Form(
                    label="5b",
                    does=f"each claim takes one row ({sizes.singles:,} tasks)",
                    changes=(Change("pgsched/domain/settings.py", "max_batch: int = 1000", "max_batch: int = 1"),),
                    arguments=single,
                ),
            ),
        ),
        Comparison(
            label="6",
            title=f"prefetch; drain {sizes.tasks:,}",
            program="sides.ours",
            arguments=drain,
            metrics=(RATE,),
            withouts=(
                Form(
                    label="6",
                    does="none: claims for free slots only",
                    changes=(Change(PREFETCH, "HORIZON = 0.1", "HORIZON = 0.0"),),
                ),
            ),
        ),
        Comparison(
            label="6b",
            title=f"prefetch by time; {sizes.slow} tasks of 50 ms, 2 workers of 5 slots",
            program="points.sides.two_workers",
            arguments={"tasks": sizes.slow},
            metrics=(Metric("seconds", "s until all are done"), Metric("busier_percent", "% by the busier worker")),
            withouts=(
                Form(
                    label="6b",
                    does="by count: each holds 1,000 rows in advance",
                    changes=(Change(PREFETCH, "ahead = int(self.rate * HORIZON)", "ahead = 1000"),),
                ),
            ),
        ),
        Comparison(
            label="7",
            title=f"sleep until the next due row; {sizes.appointments} tasks due within 5.5 s",
            program="points.sides.lateness",
            arguments={"tasks": sizes.appointments},
            metrics=(Metric("p50_ms", "ms late, p50"), Metric("max_ms", "ms late, max")),
            withouts=(
                Form(
                    label="7",
                    does="only the poll interval of 5 s",
                    changes=(
                        Change(SLEEP, "SECOND_LOOKS = (0.0, 0.05, 0.25, 1.0)", "SECOND_LOOKS: tuple[float, ...] = ()"),
                        Change(
                            SLEEP,
                            "return min(pause, self._due_at - now) if self._due_at > now else pause",
                            "return self._poll_interval",
                        ),
                    ),
                ),
            ),
        ),
        Comparison(
            label="8",
            title="NOTIFY only a sleeper; single-row INSERT, 8 connections, a busy worker",
            program="sides.inserts",
            arguments={"seconds": sizes.seconds, "triggers": True},
            metrics=(
                Metric("per_second", "rows/s", more_is_better=True),
                Metric("worked_per_second", "tasks/s meanwhile", more_is_better=True),
            ),
            withouts=(Form(label="8", does="the trigger always notifies", statements=(_notifying_trigger(),)),),
        ),
        Comparison(
            label="9",
            title=f"the INSERT books schedules; {sizes.schedules:,} new cron rows",
            program="points.sides.planning",
            arguments={"schedules": sizes.schedules},
            metrics=(Metric("seconds", "s until all have a tick"),),
            withouts=(),
        ),
        Comparison(
            label="10",
            title="a heartbeat of its own; a handler blocks the loop for 3 leases, 20 tasks run",
            program="points.sides.blocked_loop",
            metrics=(Metric("leases_lost", "leases lost"),),
            withouts=(Form(label="10", does="beats come from the event loop", changes=_beats_of_the_loop()),),
        ),
    )


def _probes(sizes: PointSizes, label: str, server: str, called: str) -> Comparison:
    # The rows that are due have the lowest priority, those that are due later the usual one.
    low = Change(
        "benchmarks/sides/ours.py",
        "(task_type) select 'noop' from generate_series",
        "(task_type, priority) select 'noop', 1 from generate_series",
    )
    return Comparison(
        label=label,
        title=f"a probe per priority; claims of 100 beside {sizes.future:,} future rows of higher priority; {called}",
        server=server,
        program="sides.ours",
        # Few to drain first: the claims that are timed come after it.
        arguments={**SLOTS, "tasks": 500, "claims": True},
        database="future",
        metrics=(CLAIM_MS,),
        as_it_is=Form(changes=(low,)),
        withouts=(
            Form(
                label=label,
                does="one probe, order by priority desc, next_run_at",
                changes=(
                    low,
                    # The floors come with one row a priority: the first one stands for its queue.
                    Change(CLAIM, "where q.paused is not true", "where q.paused is not true and p.place = 1"),
                    Change(
                        CLAIM,
                        "where probe.fifo and t.queue = probe.queue and t.priority = probe.priority",
                        "where probe.fifo and t.queue = probe.queue",
                    ),
                    Change(CLAIM, "and (t.next_run_at, t.id) > (probe.cursor_at, probe.cursor_id)", ""),
                    Change(CLAIM, "order by t.next_run_at, t.id", "order by t.priority desc, t.next_run_at, t.id"),
                ),
            ),
        ),
    )


def _add_to_claim(condition: str) -> Change:
    floor = "and (t.next_run_at, t.id) > (probe.cursor_at, probe.cursor_id)"
    return Change(CLAIM, floor, f"{floor} {condition}")


def _beats_of_the_loop() -> tuple[Change, ...]:
    first = 'await in_thread(self.heartbeat.start, name="pgsched start")'
    loop = 'start("listen", self.listener.run_once),'
    method = "    def stop(self) -> None:\n"
    beat = (
        "    async def _beat(self) -> None:\n"
        "        await asyncio.sleep(self._settings.lease / 3)\n"
        "        self.heartbeat.run_once()\n\n"
    )
    return (
        Change(WORKER, first, "await asyncio.to_thread(self.heartbeat.run_once)"),
        Change(WORKER, loop, f'{loop} start("beat", self._beat),'),
        Change(WORKER, method, beat + method),
    )


def _whole_index() -> str:
    definition = _definition("create index tasks_due on", ";")
    return replace_once(definition, "where next_run_at is not null and enabled", "", "the index tasks_due")


def _notifying_trigger() -> str:
    definition = _definition("create function pgsched.prepare_task()", "end $$;")
    condition = (
        " and exists (select from pgsched.workers w\n                               where"
        " w.sleeping_until > new.next_run_at\n                                 and"
        " (w.queues @> array[new.queue::text] or new.queue like any (w.patterns)))"
    )
    always = replace_once(definition, condition, "", "the function prepare_task")
    return replace_once(always, "create function", "create or replace function", "the function prepare_task")


def _definition(beginning: str, end: str) -> str:
    """The one statement of the schema that begins so, to its end."""
    schema = "\n".join(migration.sql for migration in migrations())
    replace_once(schema, beginning, "", "the schema")
    rest = schema.partition(beginning)[2]
    return beginning + rest.partition(end)[0] + end

"""Which judgement belongs to which check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from pgsched.ops.doctor import foreign, schema, server, tasks, workers
from pgsched.ops.doctor.facts import Facts
from pgsched.ops.doctor.findings import Finding

Judge = Callable[[Facts], Iterator[Finding]]

OF_ANY_SCHEMA: Final[dict[str, Judge]] = {
    "schema_version": server.schema_version,
    "read_only": server.read_only,
    "server_version": server.server_version,
    "durability": server.durability,
    "connections": server.connections,
    "notification_queue": server.notification_queue,
    "pooler": server.pooler,
    "clock_skew": server.clock_skew,
    "old_transactions": server.old_transactions,
    "prepared_transactions": server.prepared_transactions,
    "replication_slots": server.replication_slots,
    "unseen": server.sight,
}
"""These judge the server, whatever the schema's version is."""
OF_OUR_SCHEMA: Final[dict[str, Judge]] = {
    "timezones": server.timezones,
    "wraparound": server.wraparound,
    "indexes": schema.indexes,
    "triggers": schema.triggers,
    "constraints": schema.constraints,
    "partitions": schema.partitions,
    "default_partition": schema.default_partition,
    "autovacuum": schema.autovacuum,
    "dead_rows": schema.dead_rows,
    "fillfactor": schema.fillfactor,
    "retention": schema.retention,
    "foreign_objects": foreign.foreign_objects,
    "role_settings": foreign.role_settings,
    "held_locks": foreign.held_locks,
    "no_worker": workers.no_worker,
    "silent_workers": workers.silent_workers,
    **{kind: partial(workers.told, kind) for kind in workers.ADVICE},
    "set_aside": workers.set_aside,
    "unserved_queues": tasks.unserved_queues,
    "unknown_types": tasks.unknown_types,
    "paused_queues": tasks.paused_queues,
    "stalled_schedules": tasks.stalled_schedules,
    "stuck_running": tasks.stuck_running,
    "orphaned": tasks.orphaned,
    "stuck_blocked": tasks.stuck_blocked,
    "silent_tasks": tasks.silent_tasks,
    "long_runs": tasks.long_runs,
    "dead_letters": tasks.dead_letters,
    "lost_attempts": tasks.lost_attempts,
    "late_starts": tasks.late_starts,
}
"""These need the tables as they are at this program's version."""

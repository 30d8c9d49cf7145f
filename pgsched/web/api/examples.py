"""The examples in the description of the API. Tests send every request and compare the shape of every answer."""

from __future__ import annotations

from typing import Any, Final

from pgsched.web.api.shapes import TaskShape

EMAIL: Final[dict[str, Any]] = {
    "task_type": "email",
    "payload": {"to": "ada@example.com", "subject": "hello"},
    "queue": "mail",
    "priority": 7,
    "idempotency_key": "welcome-ada",
    "delay_ms": 60000,
}
REPORT: Final[dict[str, Any]] = {"task_type": "report", "cron": "0 8 * * 1", "timezone": "Europe/Berlin"}
PING: Final[dict[str, Any]] = {"task_type": "ping", "every": "15m", "times": 10, "start": "2030-01-31T08:00:00Z"}
EDIT: Final[dict[str, Any]] = {"priority": 9, "tags": ["urgent"], "delay": "5m"}
GROUP: Final[dict[str, Any]] = {
    "name": "nightly",
    "steps": [{"task_type": "extract", "order": 1}, {"task_type": "load", "order": 2, "payload": {"table": "sales"}}],
}
BULK: Final[dict[str, Any]] = {"action": "retry", "filter": {"status": ["dead"], "queue": ["mail"]}, "dry_run": True}
LIMITS: Final[dict[str, Any]] = {"concurrency": 10, "rate": 100, "per": "1m"}
QUEUE_EDIT: Final[dict[str, Any]] = {"ageing": "10m", "events": True}
DEAD_RETRY: Final[dict[str, Any]] = {"queue": "mail"}
MADE: Final[dict[str, Any]] = {"outcome": "created", "differs": [], "warnings": []}
DEAD_PURGE: Final[dict[str, Any]] = {"queue": "mail", "older_than": "30d"}

TASK: Final[dict[str, Any]] = dict.fromkeys(TaskShape.model_fields) | {
    "id": 17,
    "task_type": "email",
    "queue": "mail",
    "priority": 7,
    "payload": {"to": "ada@example.com", "subject": "hello"},
    "metadata": {},
    "tags": [],
    "schedule_type": "one_time",
    "scheduled_for": "2026-01-31T08:01:00Z",
    "timezone": "UTC",
    "execution_count": 0,
    "on_missed": "once",
    "overlap": "skip",
    "enabled": True,
    "status": "pending",
    "next_run_at": "2026-01-31T08:01:00Z",
    "attempts": 0,
    "max_attempts": 3,
    "backoff": "exponential",
    "backoff_delay": "5 secs",
    "backoff_max": "3600 secs",
    "fencing_token": 0,
    "idempotency_key": "welcome-ada",
    "depends_on": [],
    "dependency_mode": "all",
    "on_dependency_dead": "cancel",
    "waiting_for": 0,
    "planned_from": "2026-01-31T08:00:00Z",
    "created_at": "2026-01-31T08:00:00Z",
    "updated_at": "2026-01-31T08:00:00Z",
}
DEAD: Final = TASK | {
    "status": "dead",
    "died_at": "2026-01-31T08:02:00Z",
    "next_run_at": None,
    "attempts": 3,
    "last_error": "ConnectionRefusedError: [Errno 111] Connection refused",
}
EXECUTION: Final[dict[str, Any]] = {
    "task_id": 17,
    "task_type": "email",
    "queue": "mail",
    "attempt": 1,
    "fencing_token": 1,
    "scheduled_for": "2026-01-31T08:01:00Z",
    "worker_id": "0197a2c4-2f1e-7c3a-8f5b-0d6a1c9e4b27",
    "status": "completed",
    "started_at": "2026-01-31T08:01:00.004000Z",
    "finished_at": "2026-01-31T08:01:00.016000Z",
    "duration_ms": 12.0,
    "result": {"sent": True},
    "error": None,
    "hostname": "worker-1",
    "pid": 4711,
    "run_by": None,
}
STATUS: Final = TASK | {
    "schedule": "once",
    "is_running": False,
    "running": None,
    "next_runs": ["2026-01-31T08:01:00Z"],
    "last_execution": None,
    "executions": [],
    "missed_ticks": [],
    "alerts": [],
    "awaits": [],
    "wakes_at": None,
    "version": "0123456789abcdef",
}
DURABLE_STEP: Final[dict[str, Any]] = {
    "task_id": 17,
    "began_at": "2026-01-31T08:01:00.005000Z",
    "tick_number": 1,
    "name": "charge",
    "key": "",
    "kind": "step",
    "status": "completed",
    "attempts": 1,
    "result": {"charge": "ch_4711"},
    "error": None,
    "child_id": None,
    "cancels_child": False,
    "event_id": None,
    "wakes_at": None,
    "started_at": "2026-01-31T08:01:00.006000Z",
    "finished_at": "2026-01-31T08:01:00.451000Z",
    "fencing_token": 1,
}
DURABLE_EVENT: Final[dict[str, Any]] = {
    "id": 3,
    "task_id": 17,
    "tick_number": 1,
    "name": "approved",
    "payload": {"by": "ada"},
    "key": "request-12",
    "sent_by": "web",
    "sent_at": "2026-01-31T08:05:00Z",
    "consumed_at": None,
}
EMIT: Final[dict[str, Any]] = {"payload": {"by": "ada"}, "event_key": "request-12"}
SENT: Final[dict[str, Any]] = {"id": 3}
RESTART: Final[dict[str, Any]] = {"from_step": "charge"}
MISSED: Final[dict[str, Any]] = {
    "task_id": 21,
    "reason": "skip",
    "ticks": 3,
    "first_tick": "2026-01-30T08:00:00Z",
    "next_tick": "2026-02-02T08:00:00Z",
    "noted_at": "2026-02-01T09:00:00Z",
}
LOG_ENTRY: Final[dict[str, Any]] = {
    "task_id": 17,
    "fencing_token": 1,
    "attempt": 1,
    "logged_at": "2026-01-31T08:01:00.010000Z",
    "level": "info",
    "message": "sent",
    "fields": {"bytes": 512},
}
NODE: Final[dict[str, Any]] = {
    "id": 22,
    "name": "nightly",
    "task_type": "pgsched.group",
    "status": "pending",
    "depends_on": [],
    "duration": None,
    "last_error": None,
    "children": [],
    "upstream": [],
    "dependents": [],
    "cut": False,
}
PREVIEW: Final[dict[str, Any]] = {
    "schedule": "at 08:00 on Monday, Europe/Berlin time; fixed times: what falls in a skipped hour runs right after "
    "it, in a repeated hour once, the first time",
    "ticks": [{"at": "2026-02-02T07:00:00Z", "local": "2026-02-02T08:00:00+01:00", "note": None}],
}
CHANGED: Final[dict[str, Any]] = {
    "action": "retry",
    "dry_run": True,
    "matched": 2,
    "changed": 2,
    "ids": [17, 18],
    "more": False,
    "next_cursor": None,
}
RETRY: Final[dict[str, Any]] = {"payload": {"to": "ada@example.com"}}
PATCH: Final[dict[str, Any]] = {"patch": {"cc": "bob@example.com"}, "filter": {"task_type": ["mail"]}, "dry_run": True}
EDITED: Final[dict[str, Any]] = {
    "dry_run": True,
    "matched": 2,
    "edited": 1,
    "ids": [17],
    "refused": 1,
    "refusals": [{"id": 18, "reason": "payload does not fit handler 'mail': missing argument 'cc'"}],
    "next_cursor": None,
}
RANGE: Final[dict[str, Any]] = {"from": "2026-01-30T00:00:00Z", "to": "2026-01-31T00:00:00Z", "dry_run": True}
STEPS: Final[dict[str, Any]] = {"steps": ["load", {"task_type": "tell", "name": "again", "after": ["load"]}]}
ADDED: Final[dict[str, Any]] = {"ids": [23, 24]}
BACKFILL: Final[dict[str, Any]] = {
    "dry_run": True,
    "ticks": [
        {"tick": "2026-01-30T08:00:00Z", "task_id": 17, "outcome": "ran"},
        {"tick": "2026-01-30T20:00:00Z", "task_id": None, "outcome": "run"},
    ],
}
CALENDAR: Final[dict[str, Any]] = {"name": "holidays", "days": ["12-25", "2030-04-19"], "schedules": 2}
VIEW: Final[dict[str, Any]] = {
    "name": "dead-bills",
    "query": "type:bill status:dead ended_after:24h",
    "saved_by": "Ann",
    "saved_at": "2030-01-01T08:00:00Z",
}
NEW_BULK_CHANGE: Final[dict[str, Any]] = {"action": "retry", "filter": {"q": "status:dead type:bill"}, "delay": 60}
BULK_CHANGE: Final[dict[str, Any]] = {
    "id": 3,
    "action": "retry",
    "described": "status:dead type:bill",
    "status": "waiting",
    "actor": "Ann",
    "role": "operator",
    "created_at": "2030-01-01T08:00:00Z",
    "starts_at": "2030-01-01T08:01:00Z",
    "ended_at": None,
    "expected": 100000,
    "before_id": None,
    "looked_at": 0,
    "changed": 0,
    "unsuited": [],
    "error": None,
    "starts_in": 60,
}
SETTINGS: Final[dict[str, Any]] = {
    "name": "mail",
    "paused": False,
    "ordering": "fifo",
    "limits": {"concurrency": 10},
    "ageing": None,
    "events": False,
    "retention": "7 days",
    "retention_count": None,
    "dead_retention": None,
    "dead_retention_count": None,
    "archive": None,
    "defaults": {"max_attempts": 5},
}
GENERAL: Final[dict[str, Any]] = {
    "retention": "7 days",
    "retention_count": 100000,
    "dead_retention": None,
    "dead_retention_count": None,
    "archive": False,
    "history_retention": "30 days",
    "unknown_types": "tell",
}
DATABASE: Final[dict[str, Any]] = {
    "state": "original",
    "problem": None,
    "system_identifier": "7312551044893250593",
    "database_oid": 16384,
    "database_name": "shop",
    "noted_system_identifier": "7312551044893250593",
    "noted_database_oid": 16384,
    "noted_database_name": "shop",
    "noted_at": "2026-01-05T08:00:00Z",
    "noted_by": "deploy",
    "held_at": None,
    "held_by": None,
}
GENERAL_EDIT: Final[dict[str, Any]] = {"retention": "7d", "history_retention": "30d", "archive": False}
PRUNE: Final[dict[str, Any]] = {"completed_older_than": "30d", "dry_run": True}
PRUNED: Final[dict[str, Any]] = {
    "dry_run": True,
    "complete": True,
    "queues": [{"queue": "mail", "completed": 1200, "cancelled": 3, "dead": 0}],
    "history": ["executions_20260101"],
    "history_bytes": 81920,
    "history_rows": 0,
    "kept": 0,
    "kept_by": None,
    "history_kept": [],
    "files": [],
}
QUEUE: Final[dict[str, Any]] = {
    "name": "mail",
    "paused": False,
    "ordering": "fifo",
    "limits": {},
    "ageing": None,
    "pending": 12,
    "due": 3,
    "running": 1,
    "dead": 2,
    "oldest_due_seconds": 0.8,
    "estimated": [],
}
HANDLER: Final[dict[str, Any]] = {
    "task_type": "email",
    "defaults": {"queue": "mail", "max_attempts": 5},
    "payload_schema": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
    "result_schema": None,
    "description": "Send one email.",
    "version": "2026.1",
    "strict": False,
    "durable": False,
    "registered_at": "2026-01-31T08:00:00Z",
    "seen_at": "2026-01-31T08:00:00Z",
    "retired_at": None,
    "versions": [{"version": "2026.1", "since": "2026-01-31T08:00:00+00:00"}],
    "workers": 2,
}
WORKER: Final[dict[str, Any]] = {
    "id": "0197a2c4-2f1e-7c3a-8f5b-0d6a1c9e4b27",
    "hostname": "worker-1",
    "pid": 4711,
    "queues": ["mail"],
    "patterns": [],
    "task_types": ["email"],
    "concurrency": 20,
    "running": 1,
    "started_at": "2026-01-31T07:00:00Z",
    "heartbeat_at": "2026-01-31T08:00:00Z",
    "lease": "30 secs",
    "sleeping_until": None,
    "alive": True,
    "troubles": [
        {
            "kind": "overdue_attempts",
            "object": "email",
            "since": "2026-01-31T07:58:31Z",
            "stops": False,
            "detail": "1 of 20 slots is held by attempts of email that should have ended: task 17",
        }
    ],
    "pgsched_version": "0.1.0",
    "code_version": "2026.1.3",
    "state": "active",
    "request": None,
    "requested_by": None,
    "requested_at": None,
}
PAUSED_WORKER: Final = WORKER | {
    "state": "paused",
    "request": "pause",
    "requested_by": "ada",
    "requested_at": "2026-01-31T08:00:00Z",
}
DRAINED_WORKER: Final = PAUSED_WORKER | {"state": "draining", "request": "drain"}
RUNNING: Final[dict[str, Any]] = {
    "id": 17,
    "task_type": "email",
    "queue": "mail",
    "attempt": 1,
    "max_attempts": 3,
    "progress": {"done": 3, "of": 10},
    "hostname": "worker-1",
    "pid": 4711,
    "seconds": 12.5,
    "worker_id": "0197a2c4-2f1e-7c3a-8f5b-0d6a1c9e4b27",
    "started_at": "2026-01-31T07:59:47Z",
}
DIAGNOSIS: Final[dict[str, Any]] = {
    "healthy": False,
    "checks": [{"check": "indexes", "state": "ok"}, {"check": "stalled_schedules", "state": "found"}],
    "findings": [
        {
            "check": "stalled_schedules",
            "severity": "error",
            "object": "mail",
            "problem": "1 schedule should have run up to 3 m ago and did not: task 17",
            "advice": "pgsched task show 17; pgsched worker list: which workers serve queue mail?",
        }
    ],
}
COUNT: Final[dict[str, Any]] = {"status": "pending", "number": 42, "exact": True}
STATS: Final[dict[str, Any]] = {
    "statuses": [COUNT],
    "queues": [QUEUE],
    "workers": [WORKER],
    "unhandled": [{"queue": "mail", "task_type": "sms", "due": 4}],
}

_PAUSED: Final[dict[str, Any]] = {
    "kind": "queue_paused",
    "text": "Queue mail is paused by ada.",
    "since": "2026-01-31T07:30:00Z",
    "until": None,
    "task_ids": [],
    "workers": [],
    "command": "pgsched queue resume mail",
}
WHY: Final[dict[str, Any]] = {
    "task_id": 17,
    "task_type": "email",
    "queue": "mail",
    "status": "pending",
    "is_ready": False,
    "summary": "Queue mail is paused by ada.",
    "reasons": [_PAUSED],
    "ahead": 12,
    "ahead_is_capped": False,
}
WHY_QUEUE: Final[dict[str, Any]] = {
    "queue": "mail",
    "is_ready": False,
    "summary": "Queue mail is paused by ada.",
    "reasons": [_PAUSED],
    "due": 340,
    "due_is_capped": False,
    "oldest_due_at": "2026-01-31T07:30:02Z",
    "forecast": {
        "kind": "grows",
        "text": "it grows by about 12 a minute",
        "due": 340,
        "per_minute": 12.0,
        "seconds_low": None,
        "seconds_high": None,
    },
}

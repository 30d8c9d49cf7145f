"""Examples of types and errors for the description of the API."""

from __future__ import annotations

from typing import Any, Final

TYPE: Final[dict[str, Any]] = {
    "task_type": "email",
    "processed": 7200,
    "completed": 7128,
    "failed": 70,
    "timed_out": 2,
    "cancelled": 0,
    "lost": 0,
    "snoozed": 0,
    "per_second": 2.0,
    "failed_share": 0.01,
    "run_mean": 0.21,
    "run_p50": 0.18,
    "run_p95": 0.42,
    "run_p99": 1.1,
    "run_max": 30.0,
    "wait_mean": 0.05,
    "wait_p50": 0.02,
    "wait_p95": 0.11,
    "wait_p99": 0.9,
    "wait_max": 4.2,
}
BUCKET: Final[dict[str, Any]] = {
    "at": "2026-01-31T08:00:00Z",
    "completed": 594,
    "failed": 6,
    "timed_out": 0,
    "cancelled": 0,
    "lost": 0,
    "snoozed": 0,
    "run_p50": 0.18,
    "run_p95": 0.42,
    "run_p99": 1.1,
    "wait_p50": 0.02,
    "wait_p95": 0.11,
    "wait_p99": 0.9,
}
BIN: Final[dict[str, Any]] = {"longer_than": 0.152, "up_to": 0.181, "runs": 2400, "waits": 12}
ERROR: Final[dict[str, Any]] = {
    "id": "5f0c2a9be1d47a63",
    "exception": "SMTPServerDisconnected",
    "message": "connection to <text> closed after <n> s",
    "number": 70,
    "first_seen": "2026-01-30T21:14:07Z",
    "last_seen": "2026-01-31T08:00:00Z",
    "task_types": ["email"],
    "queues": ["mail"],
    "versions": ["2026.1"],
    "task_id": 4711,
    "trend": [0, 3, 67],
}
DEPLOYMENT: Final[dict[str, Any]] = {"at": "2026-01-30T21:10:00Z", "version": "2026.1", "task_types": ["email"]}

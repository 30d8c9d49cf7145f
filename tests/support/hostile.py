"""Rows that hold one text in every column that may hold foreign text."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from tests.support.tables import add_worker, insert_task, set_dead


def fill(connection: psycopg.Connection[dict[str, Any]], text: str) -> list[int]:
    """Rows that hold the text in every column that may."""
    data = json.dumps({text: [text, {text: text}]})
    columns = {
        "task_type": text,
        "task_name": text,
        "queue": text,
        "payload": data,
        "metadata": data,
        "tags": [text],
        "tenant_id": text,
        "user_id": text,
        "created_by": text,
        "concurrency_key": text,
    }
    ids = [
        insert_task(connection, **columns, idempotency_key=text),
        insert_task(connection, **columns, cron_expression="0 8 * * *"),
        insert_task(connection, **columns),
    ]
    ids.append(insert_task(connection, **columns, depends_on=[ids[0]]))
    set_dead(connection, ids[2], error=f"{text}\n{text}")
    connection.execute("update pgsched.tasks set last_error = %s, progress = %s, result = %s", (text, data, data))
    for one in ids:
        connection.execute(
            """
            insert into pgsched.executions (
              task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at, error, result)
            values (%s, %s, %s, 1, 1, 'failed', now(), now(), %s, %s)
            """,
            (one, text, text, text, data),
        )
        connection.execute(
            """
            insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message, fields)
            values (%s, 1, 1, now(), %s, %s, %s)
            """,
            (one, text, text, data),
        )
    connection.execute(
        """
        insert into pgsched.durable_runs (task_id, tick_number, began_at, code_version, awaits, unasked)
        values (%s, 1, now(), %s, array['event:' || %s::text], array[%s::text])
        """,
        (ids[1], text, text, text),
    )
    for kind, status in (("step", "failed"), ("event", "waiting"), ("child", "completed"), ("sleep", "waiting")):
        connection.execute(
            """
            insert into pgsched.durable_steps (
              task_id, began_at, tick_number, name, key, kind, status, result, error, wakes_at, started_at, finished_at,
              fencing_token)
            select r.task_id, r.began_at, 1, %s, %s || %s::text, %s, %s, %s, %s, now(), now(),
              case when %s = 'waiting' then null else now() end, 1
            from pgsched.durable_runs r where r.task_id = %s
            """,
            (text, text, kind, kind, status, data, text, status, ids[1]),
        )
    connection.execute(
        "insert into pgsched.durable_events (task_id, tick_number, name, payload, key, sent_by)"
        " values (%s, 1, %s, %s, %s, %s)",
        (ids[1], text, data, text, text),
    )
    add_worker(connection, queues=[text], task_types=[text])
    connection.execute("update pgsched.workers set hostname = %s", (text,))
    return ids

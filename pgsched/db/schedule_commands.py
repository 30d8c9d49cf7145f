"""What a client asks of the database about schedules. Pure, as :mod:`pgsched.db.commands`."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pgsched.db.commands import Command
from pgsched.db.statements import load_statement
from pgsched.errors import InvalidTask
from pgsched.scheduled import Scheduled
from pgsched.spec import TaskSpec


def upsert(specs: Iterable[TaskSpec]) -> Command[list[Scheduled]]:
    """Insert tasks, or change those that have their keys to what is given. Raises InvalidTask for one without a key."""
    tasks = []
    for spec in specs:
        if spec.idempotency_key is None:
            raise InvalidTask(f'on_conflict="update" needs an idempotency_key, and a task {spec.task_type!r} has none')
        task = dict(spec.arguments())
        for name in ("payload", "metadata"):
            if name in task:
                task[name] = json.loads(task[name])
        tasks.append(task)
    return Command(
        load_statement("upsert_tasks"),
        {"tasks": json.dumps(tasks)},
        lambda rows: [Scheduled(row["id"], row["outcome"]) for row in rows],
    )

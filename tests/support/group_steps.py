"""Groups in tests: plans of steps that have names, and the steps that were made of them."""

from __future__ import annotations

from typing import Any

import psycopg

from pgsched.domain.workflow import step
from tests.support.engine import Engine, rows


def named(*names: str, **options: Any) -> list[Any]:
    """Steps of the type ``work``."""
    return [step("work", name=name, **options) for name in names]


async def drain(one: Engine) -> None:
    """Work until nothing is due."""
    while await one.work():
        pass


def steps_of(db: psycopg.Connection[dict[str, Any]], group_id: int) -> dict[str, dict[str, Any]]:
    """The rows of a group's steps, by their names."""
    found = rows(db, "select * from pgsched.tasks where parent_id = %s and observed order by id", group_id)
    return {row["task_name"]: row for row in found}

"""The database that poison is planted in, and what has become of the poisoned tasks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

from chaos.poison.kind import COMPLETED, DEAD, SET_ASIDE, WAITS, Act, Kind
from pgsched.ops.doctor.doctor import look
from tests.support.tables import database
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.faults.trial import Trial

LOCK_TRIES = 20
FINAL = ("completed", "dead", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What has become of a task so far."""

    id: int
    fate: str
    reason: str
    status: str


class Ground:
    """Plants kinds, and says what has become of their tasks."""

    def __init__(self, trial: Trial, role: str) -> None:
        self._trial = trial
        self._role = role

    def books(self, name: str = "poison") -> AbstractContextManager[psycopg.Connection[dict[str, Any]]]:
        """A connection of the owner, of this ``application_name``."""
        return database(make_conninfo(self._trial.dsn, application_name=name))

    def run(self, kind: Kind, statements: Sequence[str]) -> None:
        """Run statements as an operator who knows that tables are in use: none waits for a lock for long."""
        with self.books() as books:
            books.execute("set lock_timeout = '2s'")
            for statement in statements:
                for tries_left in reversed(range(LOCK_TRIES)):
                    try:
                        books.execute(kind.fill(statement, role=self._role))  # type: ignore[arg-type]
                        break
                    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                        if not tries_left:
                            raise

    def insert(self, kind: Kind, rows: int) -> list[int]:
        """Insert the tasks of a kind; returns their ids. Raises psycopg.Error when the database refuses them."""
        with self.books() as books:
            if kind.queue:
                books.execute(
                    "insert into pgsched.queues (name, limits, ordering) values (%s, %s::jsonb, %s)"
                    " on conflict do nothing",
                    (kind.queue, kind.limits, kind.ordering),
                )
            if kind.tasks:
                return [row["id"] for row in books.execute(kind.fill(kind.tasks)).fetchall()]  # type: ignore[arg-type]
            columns = {
                "task_type": f"'{kind.task_type}'",
                "payload": "%(payload)s::jsonb",
                "metadata": f"""'{{"poison": "{kind.name}"}}'""",
                "queue": f"'{kind.queue or 'default'}'",
            } | dict(kind.columns)
            statement = (
                f"insert into pgsched.tasks ({', '.join(columns)})"
                f" select {', '.join(columns.values())} from generate_series(1, %(rows)s) returning id"
            )
            values = {"payload": kind.payload, "rows": rows}
            books.execute("set pgsched.restoring = on")  # some are as no INSERT of today could make them
            return [row["id"] for row in books.execute(statement, values).fetchall()]  # type: ignore[arg-type]

    def insert_companions(self, kind: Kind) -> list[int]:
        """Insert tasks that share the queue of the poisoned ones."""
        with self.books() as books:
            rows = books.execute(
                "insert into pgsched.tasks (task_type, queue, payload)"
                " select 'steady', %s, '{\"number\": 0}' from generate_series(1, %s) returning id",
                (kind.queue, kind.companions),
            ).fetchall()
        return [row["id"] for row in rows]

    def act(self, kind: Kind, act: Act, ids: list[int]) -> None:
        """Run the action in a separate session, and return when it has ended."""
        if act.awaits:
            wait_until(
                lambda: {act.awaits} == {fate.status for fate in self.fates(ids).values()},
                timeout=30,
                message=f"the tasks of {kind.name} are {act.awaits}",
            )
        with self.books(f"poison {kind.name}") as books:
            with books.transaction():
                statement = kind.fill(act.statement, role=self._role)
                books.execute(statement, {"ids": ids} if "%(ids)s" in statement else None)  # type: ignore[arg-type]
                time.sleep(act.holds)
            if act.ends_sessions:
                books.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (self._role,)
                )
            if act.afterwards:
                time.sleep(act.seconds)
                books.execute(kind.fill(act.afterwards, role=self._role))  # type: ignore[arg-type]

    def fates(self, ids: Sequence[int]) -> Mapping[int, Fate]:
        """What has become of these tasks."""
        with self.books() as books:
            rows = books.execute(
                """
                select t.id, t.status, t.schedule_type, t.last_error, s.reason
                from pgsched.tasks t
                left join (select task_id, min(reason) as reason from pgsched.set_aside group by 1) s
                  on s.task_id = t.id
                where t.id = any(%s)
                """,
                (list(ids),),
            ).fetchall()
        return {row["id"]: _fate(row) for row in rows}

    def named(self) -> dict[str, list[str]]:
        """What the doctor says, by check."""
        said: dict[str, list[str]] = {}
        for finding in look(self._trial.dsn).findings:
            said.setdefault(finding.check, []).append(f"{finding.object}: {finding.problem}")
        return said

    def schedules(self, ids: Sequence[int]) -> set[int]:
        """Those of them that are recurring or repeating."""
        with self.books() as books:
            rows = books.execute(
                "select id from pgsched.tasks where id = any(%s) and schedule_type <> 'one_time'", (list(ids),)
            ).fetchall()
        return {row["id"] for row in rows}

    def children(self, ids: Sequence[int]) -> dict[int, int]:
        """The tasks that these have made, each with the id of its parent."""
        with self.books() as books:
            rows = books.execute(
                "select id, parent_id from pgsched.tasks where parent_id = any(%s)", (list(ids),)
            ).fetchall()
        return {row["id"]: row["parent_id"] for row in rows}

    def cancel(self, ids: Sequence[int]) -> None:
        """Cancel those that have not ended."""
        with self.books() as books:
            books.execute(
                "select pgsched.cancel(id) from pgsched.tasks"
                " where id = any(%s) and status not in ('completed', 'dead', 'cancelled')",
                (list(ids),),
            )

    def let_an_hour_pass(self) -> None:
        """The doctor then no longer speaks of what died before."""
        with self.books() as books:
            books.execute(
                "update pgsched.tasks set died_at = died_at - interval '2 hours'"
                " where died_at > now() - interval '1 hour'"
            )

    def delete(self, ids: Sequence[int]) -> None:
        """Take tasks away whose books do not add up, by their nature."""
        with self.books() as books:
            for table, column in (("tasks", "parent_id"), ("tasks", "id"), ("executions", "task_id")):
                books.execute(f"delete from pgsched.{table} where {column} = any(%s)", (list(ids),))  # type: ignore[arg-type]


def _fate(row: Mapping[str, Any]) -> Fate:
    status = row["status"]
    if row["reason"] is not None and status not in FINAL:
        fate = SET_ASIDE
    else:
        fate = {"dead": DEAD, "completed": COMPLETED}.get(status, WAITS)
    reason = row["reason"] if fate == SET_ASIDE else row["last_error"]
    return Fate(id=row["id"], fate=fate, reason=reason or "", status=status)

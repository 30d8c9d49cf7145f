"""Writes the results of claimed rows: outcome, history and next run in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from pgsched.db.adapt import BigInts, Doubles
from pgsched.db.session import Rows, Session, by_column
from pgsched.db.sql_files import load_statement
from pgsched.db.worker.decoding import fetch_rows
from pgsched.db.worker.durable import end_runs, suspend_commands
from pgsched.domain.attempt import Finish, LogLine, Missed


class LogEntry(NamedTuple):
    """A line that a handler logged, with the attempt it belongs to."""

    task_id: int
    fencing_token: int
    attempt: int
    line: LogLine


class Progress(NamedTuple):
    """The progress that a handler reported, with the claim it belongs to."""

    task_id: int
    fencing_token: int
    value: str
    """JSON text."""


class Announcement(NamedTuple):
    """The event of a finish for other programs, with the claim it belongs to."""

    task_id: int
    fencing_token: int
    body: str
    """JSON text."""


Command = tuple[Any, dict[str, Any]]
"""A statement and its parameters."""


async def write(
    session: Session,
    worker: UUID,
    finishes: Sequence[Finish],
    progress: Sequence[Progress],
    logs: Sequence[LogEntry],
    now: float,
    told: Sequence[Announcement] = (),
    then: tuple[Command, Callable[[Rows], None]] | None = None,
) -> int:
    """Write finishes, last progress and log lines in one transaction; returns how many finishes passed the fence.

    ``now`` is the worker's monotonic clock: the database is told how long ago things were, and keeps its own time.
    ``then`` is one more command of the transaction, and the function that receives its rows.
    """
    commands, counted = finish_commands(worker, finishes, progress, logs, now, told)
    if then is not None:
        commands.append(then[0])
    cursors = [await session.execute(*commands[0])] if len(commands) == 1 else await session.execute_all(commands)
    passed = 0
    for cursor in cursors[counted]:
        row = await cursor.fetchone()
        passed += row[0] if row else 0
    if then is not None:
        then[1](await fetch_rows(cursors[-1]))  # never an error: the transaction is committed
    return passed


def finish_commands(
    worker: UUID,
    finishes: Sequence[Finish],
    progress: Sequence[Progress],
    logs: Sequence[LogEntry],
    now: float,
    told: Sequence[Announcement] = (),
) -> tuple[list[Command], slice]:
    """Return the commands of :func:`write`, and which of them answer with how many finishes passed the fence."""
    common: list[Finish] = []
    others: list[Finish] = []
    suspended: list[Finish] = []
    for finish in sorted(finishes):
        (common if finish.plain else others if finish.suspension is None else suspended).append(finish)
    commands: list[Command] = []
    behind: list[Command] = []
    if told:
        commands.append(_notify_events(worker, told))  # first, as it is for rows that still run
    if progress:
        commands.append(_show_progress(worker, progress))  # likewise
    missed = [(finish, missed) for finish in others for missed in finish.missed]
    if missed:
        commands.append(insert_missed(worker, missed))  # likewise
    if logs:
        commands.append(_insert_logs(worker, logs, now))  # while they are not in the history
    for finish in others:
        if finish.steps is not None:  # first, as it is for a row that still runs, and locks its group after it
            commands.append(_add_steps(worker, finish))
    if suspended:
        records, behind = suspend_commands(worker, suspended, now)
        commands += records
    before = len(commands)
    if behind:
        commands.append(behind.pop(0))
    if common:
        commands.append((load_statement("finish_completed"), finish_times(common, worker, now)))
    if others:
        commands.append((load_statement("finish_tasks"), _any(others, worker, now)))
    counted = slice(before, len(commands))
    commands += behind
    if (over := end_runs(finishes)) is not None:
        commands.append(over)
    if ending := [finish for finish in others if finish.ends]:
        commands.append((load_statement("end_schedules"), _claims(ending)))
    return commands, counted


async def report(
    session: Session,
    worker: UUID,
    progress: Sequence[Progress],
    logs: Sequence[LogEntry],
    now: float,
    *,
    late: bool = False,
) -> None:
    """Write what running handlers report of themselves. ``late``: the ends of their attempts are in the history."""
    commands = []
    if progress:
        commands.append(_show_progress(worker, progress))
    if logs:
        commands.append(_insert_logs(worker, logs, now, late=late))
    await session.execute_all(commands)


async def find_recorded(session: Session, worker: UUID, finishes: Sequence[Finish]) -> set[tuple[int, int]]:
    """Return the (id, fencing_token) of those finishes that are in the history already."""
    rows = await session.fetch(load_statement("find_recorded"), worker=worker, **_claims(finishes))
    return {(row[0], row[1]) for row in rows}


def finish_times(finishes: Sequence[Finish], worker: UUID, now: float) -> dict[str, Any]:
    """The parameters that every finish has."""
    return {
        "worker": worker,
        **_claims(finishes),
        "queues": list({finish.queue for finish in finishes}),
        "started_ago": Doubles(now - finish.started for finish in finishes),
        "seconds": Doubles(finish.finished - finish.started for finish in finishes),
        # A null in the place of an array of nulls: unnest() fills up the shorter ones.
        "results": [finish.result for finish in finishes] if any(finish.result for finish in finishes) else None,
    }


def _any(finishes: Sequence[Finish], worker: UUID, now: float) -> dict[str, Any]:
    return {
        **finish_times(finishes, worker, now),
        "statuses": [finish.next_status for finish in finishes],
        "executions": [finish.execution for finish in finishes],
        "ticks": [finish.tick for finish in finishes],
        "next_ticks": [finish.next_tick for finish in finishes],
        "retries_in": [finish.retry_in for finish in finishes],
        "jitters": [finish.jitter for finish in finishes],
        "counted": [finish.counted for finish in finishes],
        "dead_lettered": [finish.dead_lettered for finish in finishes],
        "spawned": [finish.spawned for finish in finishes],
        "attempts": [finish.attempts for finish in finishes],
        "revisions": [finish.revision for finish in finishes],
        "ends": [finish.ends for finish in finishes],
        "errors": [finish.error for finish in finishes],
    }


async def find_locked(session: Session, worker: UUID, finishes: Sequence[Finish]) -> set[int]:
    """Return the ids of those tasks that are still the worker's and that another session has locked."""
    return {row[0] for row in await session.fetch(load_statement("find_locked"), worker=worker, **_claims(finishes))}


async def find_kept(session: Session, worker: UUID, finishes: Sequence[Finish]) -> set[int]:
    """Return the ids of those tasks that are the worker's even after their finish."""
    return {row[0] for row in await session.fetch(load_statement("find_kept"), worker=worker, **_claims(finishes))}


def _claims(finishes: Sequence[Finish]) -> dict[str, Any]:
    return {
        "ids": BigInts(finish.id for finish in finishes),
        "tokens": BigInts(finish.fencing_token for finish in finishes),
    }


def _show_progress(worker: UUID, progress: Sequence[Progress]) -> Command:
    columns = by_column(sorted(progress), "ids", "tokens", "values")
    return load_statement("show_progress"), {"worker": worker, **columns}


def insert_missed(worker: UUID, missed: Sequence[tuple[Finish, Missed]]) -> Command:
    """Return the command that notes ticks which were not run, in the transaction of what was done instead."""
    return load_statement("insert_missed_ticks"), {
        "worker": worker,
        "ids": [finish.id for finish, _ in missed],
        "tokens": [finish.fencing_token for finish, _ in missed],
        "reasons": [one.reason for _, one in missed],
        "counts": [one.ticks for _, one in missed],
        "sinces": [one.since for _, one in missed],
        "untils": [one.until for _, one in missed],
        "revisions": [finish.revision for finish, _ in missed],
    }


def _notify_events(worker: UUID, told: Sequence[Announcement]) -> Command:
    return load_statement("notify_events"), {"worker": worker, **by_column(sorted(told), "ids", "tokens", "bodies")}


def _add_steps(worker: UUID, finish: Finish) -> Command:
    given = {"worker": worker, "id": finish.id, "token": finish.fencing_token, "steps": finish.steps}
    return load_statement("add_steps_by"), given


def _insert_logs(worker: UUID, logs: Sequence[LogEntry], now: float, *, late: bool = False) -> Command:
    return load_statement("insert_logs"), {
        "late": late,
        "worker": worker,
        "ids": [entry.task_id for entry in logs],
        "tokens": [entry.fencing_token for entry in logs],
        "attempts": [entry.attempt for entry in logs],
        "ago": [now - entry.line.at for entry in logs],
        "levels": [entry.line.level for entry in logs],
        "messages": [entry.line.message for entry in logs],
        "fields": [entry.line.fields for entry in logs],
    }

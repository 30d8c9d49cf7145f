"""Commands of a measurement. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pgsched.db.query import Command, command


class Surroundings(NamedTuple):
    """Other activity at a server."""

    version: str
    standby: bool
    backend: int
    """The pid of this session, on the server's machine."""
    workers: int
    """Living ones."""
    due: int
    """Due tasks, counted to 1,000."""
    active: int
    """Sessions of others that are running a statement."""
    permitted: bool
    """Whether we may delete what we insert."""


class Storage(NamedTuple):
    """Bytes."""

    wal: int
    tasks: int
    indexes: int
    history: int


def ask_nothing() -> Command[bool]:
    """Make one round trip to the server."""
    return command("ask_nothing", lambda rows: bool(rows[0]["answered"]))


def commit_nothing(*, synchronous: bool) -> Command[None]:
    """Commit a few bytes, and wait until they are durable, or not."""
    return command("commit_nothing", lambda _rows: None, synchronous="on" if synchronous else "off")


def look_around() -> Command[Surroundings]:
    """Read the other activity."""
    return command("look_around", lambda rows: Surroundings(**rows[0]))


def server_settings(names: Sequence[str]) -> Command[dict[str, str]]:
    """Read settings of the server, in this order; unknown ones are missing."""
    return command("list_server_settings", lambda rows: {row["name"]: row["value"] for row in rows}, names=list(names))


def storage() -> Command[Storage]:
    """Read the size of data on disk, and the position in the WAL."""
    return command("measure_storage", lambda rows: Storage(**rows[0]))


def is_busy(queue: str) -> Command[bool]:
    """Read whether a queue still has work."""
    return command("watch_queue", lambda rows: bool(rows[0]["busy"]), queue=queue)


def returned(queue: str, task_type: str) -> Command[dict[int, Any]]:
    """Read the results of the tasks of one type in one queue, by id."""
    return command(
        "list_returned", lambda rows: {int(row["id"]): row["result"] for row in rows}, queue=queue, task_type=task_type
    )


def meddled(queue: str, since: datetime, workers: Sequence[UUID]) -> Command[tuple[int, int]]:
    """Count attempts at the tasks of a queue by other workers than these, and those that did not complete."""
    return command(
        "count_meddled",
        lambda rows: (int(rows[0]["strangers"]), int(rows[0]["unfinished"])),
        queue=queue,
        since=since,
        workers=list(workers),
    )


def delete_rows(queue: str, since: datetime) -> Command[int]:
    """Delete the tasks of a queue, their history since then, and the queue's settings; returns the number of tasks."""
    return command("delete_queue_rows", lambda rows: int(rows[0]["tasks"]), queue=queue, since=since)

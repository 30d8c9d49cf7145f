"""Notices of the database about tasks that it accepts: the task's type is not registered."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from psycopg import BaseConnection
from psycopg.errors import Diagnostic

from pgsched.domain.errors import UnknownTaskType

UNKNOWN_TYPE: Final = "PG001"
"""The SQLSTATE of the NOTICE."""

_heard: ContextVar[list[str] | None] = ContextVar("pgsched_heard", default=None)


@contextmanager
def hearing() -> Iterator[list[str]]:
    """Collect the notices of connections that :func:`note` listens to."""
    heard: list[str] = []
    before = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(before)


@contextmanager
def hearing_on(connection: object) -> Iterator[None]:
    """Listen to a psycopg connection that is not ours."""
    if not isinstance(connection, BaseConnection) or _heard.get() is None:
        yield
        return
    connection.add_notice_handler(note)
    try:
        yield
    finally:
        connection.remove_notice_handler(note)


def note(diagnostic: Diagnostic) -> None:
    """Collect a NOTICE, when it is ours and somebody listens."""
    heard = _heard.get()
    if heard is None or diagnostic.sqlstate != UNKNOWN_TYPE:
        return
    said = ". ".join(filter(None, (diagnostic.message_primary, diagnostic.message_hint)))
    if said not in heard:
        heard.append(said)


def warn(heard: list[str]) -> None:
    """Warn the caller, with :class:`pgsched.UnknownTaskType`."""
    for said in heard:
        warnings.warn(said, UnknownTaskType, stacklevel=3)

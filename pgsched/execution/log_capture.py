"""Stores what handlers log through Python's ``logging`` as log lines of their attempt.

A handler on the root logger finds the attempt that a record belongs to. Tasks that log nothing cost nothing.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from pgsched.domain.settings import CAPTURE_OFF
from pgsched.execution.context import Context

MAX_EXCEPTION_CHARACTERS = 4096
"""Maximum length of a traceback."""

_NOT_KEPT = ("pgsched", "asyncio", "psycopg")
_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

Find = Callable[[], Context | None]
"""Returns the context of the attempt that the caller belongs to, or None."""


class CaptureHandler(logging.Handler):
    """Appends records to the context of the attempt that made them."""

    def __init__(self, level: int, find: Find) -> None:
        super().__init__(level)
        self._find = find
        self.undo: Callable[[], None] | None = None
        """Restores the root logger."""

    def emit(self, record: logging.LogRecord) -> None:
        """Store a record, unless it belongs to no attempt or comes from pgsched, asyncio or psycopg."""
        if record.name.split(".", 1)[0] in _NOT_KEPT:
            return
        try:
            context = self._find()
            if context is not None:
                context.log_fields(record.getMessage(), record.levelname.lower(), _fields(record))
        except Exception:  # noqa: BLE001 - a record that cannot be formatted must not affect the code that logs it
            self.handleError(record)


def capture(level: str, find: Find) -> CaptureHandler | None:
    """Start storing records of ``level`` and above; None if it is off. ``find`` returns the context they belong to."""
    if level == CAPTURE_OFF:
        return None
    number = logging.getLevelNamesMapping()[level.upper()]
    handler = CaptureHandler(number, find)
    root = logging.getLogger()
    if root.level > number:
        handler.undo = _lower(root, number)
    root.addHandler(handler)
    return handler


def keep(handler: CaptureHandler | None) -> None:
    """Put the handler back if something removed it from the root logger."""
    root = logging.getLogger()
    if handler is not None and handler not in root.handlers:
        root.addHandler(handler)


def release(handler: CaptureHandler | None) -> None:
    """Stop storing records."""
    if handler is None:
        return
    root = logging.getLogger()
    root.removeHandler(handler)
    others = [other for other in root.handlers if isinstance(other, CaptureHandler)]
    if handler.undo is not None and others:
        others[0].undo, handler.undo = handler.undo, None  # another worker in this process is still capturing
    if handler.undo is not None:
        handler.undo()


def _lower(root: logging.Logger, level: int) -> Callable[[], None]:
    """Lower the root logger's level; filters keep the additional records away from its other handlers."""
    before, others = root.level, list(root.handlers)

    def as_before(record: logging.LogRecord) -> bool:
        if record.levelno >= before:
            return True
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and not logger.level:
            logger = logger.parent
        return logger is not None and logger is not root

    for other in others:
        other.addFilter(as_before)
    root.setLevel(level)

    def undo() -> None:
        root.setLevel(before)
        for other in others:
            other.removeFilter(as_before)

    return undo


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {"logger": record.name}
    fields.update((name, value) for name, value in record.__dict__.items() if name not in _USUAL)
    if record.exc_info and record.exc_info[0] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        fields["exception"] = text if len(text) <= MAX_EXCEPTION_CHARACTERS else text[-MAX_EXCEPTION_CHARACTERS:]
    return fields

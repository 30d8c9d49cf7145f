"""Structured logs on stderr: a console format on terminals, JSON lines elsewhere.

Logging never fails and never blocks: events that cannot be rendered or written are counted (:func:`errors`). Once a
command has called :func:`configure`, the output does not depend on how an application or a handler configures structlog
or ``logging``. In any other program pgsched's events go through structlog as that program has configured it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
from structlog.typing import Processor

from pgsched.observability.log_sink import Sink

LEVELS = ("debug", "info", "warning", "error")
LIBRARIES = ("asyncio", "concurrent.futures", "psycopg")
"""Loggers of the libraries that run inside a worker."""
OURS: Final = ("pgsched", *LIBRARIES)
FLUSH_SECONDS = 1.0
"""How long an exiting process waits for lines to be written."""

_USUAL: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""The attributes of every record; all others are ``extra``."""
_NUMBERS: Final = {level: logging.getLevelNamesMapping()[level.upper()] for level in LEVELS}
_RAISED: Final = (Exception, SystemExit)
"""What ``__str__``, a processor or a file may raise; a Ctrl-C must not be caught."""


class Logger:
    """Logs events with fields."""

    __slots__ = ("_name", "_theirs")

    def __init__(self, name: str) -> None:
        self._name = name
        self._theirs = structlog.stdlib.get_logger(name)

    def takes(self, level: str) -> bool:
        """Whether events of a level are written; in a program that has not called :func:`configure`, by ``logging``."""
        if (output := this_process.output) is not None:
            return output.takes(level)
        return logging.getLogger(self._name).isEnabledFor(_NUMBERS[level])

    def debug(self, event: str, **fields: Any) -> None:
        """Log an event for debugging."""
        self._say("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log a normal event."""
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log an event that may need attention."""
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log an event that needs attention."""
        self._say("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Like :meth:`error`, with the traceback of the current exception."""
        self._say("error", event, {"exc_info": True, **fields})

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        try:
            if (output := this_process.output) is not None:
                output.say(level, event, fields)
            else:
                getattr(self._theirs, level)(event, **fields)
        except _RAISED:
            this_process.lost(1)


def get_logger(name: str) -> Logger:
    """Return a module's logger. Programs that configure structlog themselves see ``name``."""
    return Logger(name)


def errors() -> int:
    """Return how many lines of this process were lost, or written without values that could not be rendered."""
    return this_process.errors


def configure(level: str, json: bool | None = None) -> None:
    """Send events of ``level`` and above to stderr, including those of the application and of ``logging``.

    ``json`` None means the console format on a terminal, JSON lines otherwise. Call it once per process, and again in a
    forked one only to change it. Raises ValueError for an unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"log level must be one of {', '.join(LEVELS)}, got {level}")
    release()
    on_terminal = sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
    as_json = not on_terminal if json is None else json
    number = _NUMBERS[level]
    stamps: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
    ]
    ends: list[Processor]
    # Plain tracebacks in both formats: structlog's own show local variables, payloads among them.
    if as_json:
        ends = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        colors = on_terminal and "NO_COLOR" not in os.environ
        plain = structlog.dev.plain_traceback
        ends = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    output = this_process.output = _Output(number, [*stamps, *ends])
    theirs: list[Processor] = [structlog.contextvars.merge_contextvars, _mark, *stamps]
    structlog.configure(
        processors=[*theirs, *ends],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *names: _Lines(output, *names),
        cache_logger_on_first_use=False,
    )
    handler = _Records(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=theirs,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ends],
        )
    )
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(number)


def mark_with(attempt_fields: Callable[[], Mapping[str, Any]]) -> None:
    """Add these fields to the application's log lines: those of the attempt that the caller is part of."""
    this_process.attempt_fields = attempt_fields


def contain_libraries() -> None:
    """Keep an application's logging handlers, filters and record factories from raising inside the libraries we call.

    Records lost that way are counted (:func:`errors`). Applies to the whole process, permanently.
    """
    for name in LIBRARIES:
        logger: Any = logging.getLogger(name)
        if "_log" not in vars(logger):
            logger._log = partial(_log_safely, logger._log)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait up to ``seconds`` until every line is written or lost; return whether it is."""
    output = this_process.output
    return output is None or output.flush(seconds)


def release() -> None:
    """Undo :func:`configure`, except for what an application has changed since."""
    root = logging.getLogger()
    root.handlers = [kept for kept in root.handlers if not isinstance(kept, _Records)]
    output, this_process.output = this_process.output, None
    if output is not None:
        output.close()


class _Process:
    """State of the whole process."""

    def __init__(self) -> None:
        self.output: _Output | None = None
        self.attempt_fields: Callable[[], Mapping[str, Any]] = dict
        """See :func:`mark_with`."""
        self.errors = 0
        self._counting = threading.RLock()

    def lost(self, lines: int) -> None:
        """Count lines that were lost or could not be rendered completely."""
        with self._counting:
            self.errors += lines

    def begin_copy(self) -> None:
        """Replace locks that another thread may have held when this process was forked."""
        self._counting = threading.RLock()
        if self.output is not None:
            self.output.begin_copy()


class _Output:
    """Writes lines to the file descriptor of stderr, or to a stream without one."""

    def __init__(self, number: int, processors: list[Processor]) -> None:
        self._number = number
        self._processors = processors
        self._sink: Sink | None = None
        with suppress(AttributeError, OSError, ValueError):  # stderr is missing or has no file descriptor
            self._sink = Sink(sys.stderr.fileno(), on_lost=this_process.lost, tell_lost=self._tell_lost)
        self._encoding = getattr(sys.stderr, "encoding", None) or "utf-8"

    def takes(self, level: str) -> bool:
        """Whether events of a level are written."""
        return _NUMBERS[level] >= self._number

    def say(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write one event, if its level is enabled."""
        if self.takes(level):
            self.write(self._render(level, event, fields))

    def write(self, text: str) -> None:
        """Write one line."""
        if self._sink is not None:
            self._sink.put(self._encoded(f"{text}\n"))
            return
        try:
            stream = sys.stderr  # looked up at each line: it may be replaced
            stream.write(self._encoded(f"{text}\n").decode(self._encoding))
            stream.flush()
        except _RAISED:
            this_process.lost(1)

    def flush(self, seconds: float) -> bool:
        """Like :func:`flush`."""
        return self._sink is None or self._sink.flush(seconds)

    def close(self) -> None:
        """Stop writing."""
        if self._sink is not None:
            self._sink.close()

    def begin_copy(self) -> None:
        """Reset in a forked process."""
        if self._sink is not None:
            self._sink.begin()

    def _render(self, level: str, event: str, fields: Mapping[str, Any]) -> str:
        try:
            return self._processed(level, {**fields, "event": event})
        except _RAISED:
            this_process.lost(1)
        shown = {name: _shown(value) for name, value in fields.items() if name != "exc_info"}
        if "exc_info" in fields:
            shown["exception"] = _shown(sys.exc_info()[0])
        return self._processed(level, {**shown, "event": event})

    def _processed(self, level: str, event: Any) -> str:
        for process in self._processors:
            event = process(None, level, event)
        return str(event)

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, "backslashreplace")

    def _tell_lost(self, lines: int) -> bytes:
        return self._encoded(self._render("warning", "log_lines_lost", {"count": lines}) + "\n")


class _Lines:
    """The logger that structlog writes the application's events with."""

    def __init__(self, output: _Output, name: object = None, *_more: object) -> None:
        self.name = name
        self.msg = output.write
        self.log = self.debug = self.info = self.warn = self.warning = self.msg
        self.fatal = self.failure = self.err = self.error = self.critical = self.exception = self.msg


class _Records(logging.Handler):
    """Writes the records of ``logging``. Without a lock, so that a slow record delays no other thread."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self._output = output

    def createLock(self) -> None:
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write one record that passes the filters; that of the base class needs a lock from Python 3.13 on."""
        passed: bool | logging.LogRecord = self.filter(record)
        if isinstance(passed, logging.LogRecord):
            record = passed
        if passed:
            self.emit(record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._output.write(self.format(record))
        except _RAISED:
            this_process.lost(1)


def _mark(logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add an application's logger name, ``extra`` and attempt to its event.

    Fields that the event has already stay.
    """
    record = event.get("_record")
    if record is None:
        if (name := getattr(logger, "name", None)) is not None:
            event.setdefault("logger", str(name))
    else:
        event.setdefault("logger", record.name)
        for key, value in record.__dict__.items():
            if key not in _USUAL:
                event.setdefault(key, value)
    if record is None or record.name.split(".", 1)[0] not in OURS:
        for key, value in this_process.attempt_fields().items():
            event.setdefault(key, value)
    return event


def _log_safely(log: Callable[..., None], *arguments: Any, stacklevel: int = 1, **more: Any) -> None:
    try:
        log(*arguments, stacklevel=stacklevel + 1, **more)  # skip this function's frame
    except _RAISED:
        this_process.lost(1)


def _shown(value: object) -> object:
    """Return the value if it can be rendered, otherwise a description of it."""
    shows: tuple[Callable[[Any], object], ...] = (repr, lambda value: json.dumps(value, default=str))
    try:
        for show in shows:
            show(value)
    except _RAISED:
        return f"a {type(value).__name__} that cannot be shown"
    return value


this_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=this_process.begin_copy)

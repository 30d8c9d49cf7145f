"""What pgsched says of itself: events for people on a terminal, JSON lines for machines, always on stderr.

Saying something never fails and never waits: what cannot be shown, written or kept is counted (:func:`errors`), and
whoever said it goes on. In the programs of the command line, once :func:`configure` was called, nothing of it depends
on how an application or a handler sets up structlog or ``logging``. In any other program pgsched's events go through
structlog as that program has configured it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
from structlog.typing import Processor

from pgsched.observability.log_sink import Sink

LEVELS = ("debug", "info", "warning", "error")
LIBRARIES = ("asyncio", "concurrent.futures", "psycopg")
"""Names of the loggers of what runs inside a worker."""
FLUSH_SECONDS = 1.0
"""How long a process that ends waits for lines that nobody reads."""

_NUMBERS: Final = {level: logging.getLevelNamesMapping()[level.upper()] for level in LEVELS}
_RAISED: Final = (Exception, SystemExit)
"""What a foreign ``__str__``, processor or file may raise; Ctrl-C in a command is nothing of the kind."""


class Logger:
    """Says what happened, as an event with fields."""

    __slots__ = ("_theirs",)

    def __init__(self, name: str) -> None:
        self._theirs = structlog.stdlib.get_logger(name)

    def debug(self, event: str, **fields: Any) -> None:
        """Say what only somebody who looks for a mistake wants to know."""
        self._say("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Say what happens in the ordinary course of things."""
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Say what somebody may have to look at."""
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Say what somebody has to look at."""
        self._say("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """As :meth:`error`, with the traceback of the exception that is being handled."""
        self._say("error", event, {"exc_info": True, **fields})

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        try:
            if (output := _process.output) is not None:
                output.say(level, event, fields)
            else:
                getattr(self._theirs, level)(event, **fields)
        except _RAISED:
            _process.lost(1)


def get_logger(name: str) -> Logger:
    """Return what a module says its events with. ``name`` is seen by programs that configured structlog themselves."""
    return Logger(name)


def errors() -> int:
    """Return how many lines of this process were lost, or written without what could not be shown."""
    return _process.errors


def configure(level: str, json: bool | None = None) -> None:
    """Send the events of ``level`` and above to stderr; those of the application and of ``logging`` join them.

    ``json`` None means: a console on a terminal, JSON lines otherwise. Call it once a process, and again in
    a forked one only to change it. Raises ValueError for an unknown level.
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
    # Plain tracebacks in both: structlog's own show the values of local variables, payloads among them.
    if as_json:
        ends = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        colors = on_terminal and "NO_COLOR" not in os.environ
        plain = structlog.dev.plain_traceback
        ends = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    output = _process.output = _Output(number, [*stamps, *ends])
    theirs: list[Processor] = [structlog.contextvars.merge_contextvars, *stamps]
    structlog.configure(
        processors=[*theirs, *ends],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_names: _Lines(output),
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


def contain_libraries() -> None:
    """Let no handler, filter or record factory of an application raise where a library logs while it works for us.

    What is not logged for that reason is counted (:func:`errors`). For the whole process, for good.
    """
    for name in LIBRARIES:
        logger: Any = logging.getLogger(name)
        if "_log" not in vars(logger):
            logger._log = partial(_log_safely, logger._log)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait until what was said is written or lost, ``seconds`` at most; returns whether it is so."""
    output = _process.output
    return output is None or output.flush(seconds)


def release() -> None:
    """Undo :func:`configure`, but for what an application has changed since."""
    root = logging.getLogger()
    root.handlers = [kept for kept in root.handlers if not isinstance(kept, _Records)]
    output, _process.output = _process.output, None
    if output is not None:
        output.close()


class _Process:
    """What is one for the whole process."""

    def __init__(self) -> None:
        self.output: _Output | None = None
        self.errors = 0
        self._counting = threading.RLock()

    def lost(self, lines: int) -> None:
        """Count lines that were lost or could not be shown as they are."""
        with self._counting:
            self.errors += lines

    def begin_copy(self) -> None:
        """Another thread may have held a lock when this process was forked."""
        self._counting = threading.RLock()
        if self.output is not None:
            self.output.begin_copy()


class _Output:
    """Where lines go: to the file descriptor of stderr, or to a stream that has none."""

    def __init__(self, number: int, processors: list[Processor]) -> None:
        self._number = number
        self._processors = processors
        self._sink: Sink | None = None
        with suppress(AttributeError, OSError, ValueError):  # there is no stderr, or it is a stream of Python's only
            self._sink = Sink(sys.stderr.fileno(), on_lost=_process.lost, tell_lost=self._tell_lost)
        self._encoding = getattr(sys.stderr, "encoding", None) or "utf-8"

    def say(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write one event, if its level is to be shown."""
        if _NUMBERS[level] >= self._number:
            self.write(self._render(level, event, fields))

    def write(self, text: str) -> None:
        """Write one line."""
        if self._sink is not None:
            self._sink.put(self._encoded(f"{text}\n"))
            return
        try:
            stream = sys.stderr  # that of the moment
            stream.write(self._encoded(f"{text}\n").decode(self._encoding))
            stream.flush()
        except _RAISED:
            _process.lost(1)

    def flush(self, seconds: float) -> bool:
        """As :func:`flush`."""
        return self._sink is None or self._sink.flush(seconds)

    def close(self) -> None:
        """Write nothing more."""
        if self._sink is not None:
            self._sink.close()

    def begin_copy(self) -> None:
        """This process was forked."""
        if self._sink is not None:
            self._sink.begin()

    def _render(self, level: str, event: str, fields: Mapping[str, Any]) -> str:
        try:
            return self._processed(level, {**fields, "event": event})
        except _RAISED:
            _process.lost(1)
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
    """What structlog writes with for the application."""

    def __init__(self, output: _Output) -> None:
        self.msg = output.write
        self.log = self.debug = self.info = self.warn = self.warning = self.msg
        self.fatal = self.failure = self.err = self.error = self.critical = self.exception = self.msg


class _Records(logging.Handler):
    """Writes the records of ``logging``. It has no lock: a record that takes long to format is nobody else's matter."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self._output = output

    def createLock(self) -> None:
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._output.write(self.format(record))
        except _RAISED:
            _process.lost(1)


def _log_safely(log: Callable[..., None], *arguments: Any, stacklevel: int = 1, **more: Any) -> None:
    try:
        log(*arguments, stacklevel=stacklevel + 1, **more)  # this function did not make the record
    except _RAISED:
        _process.lost(1)


def _shown(value: object) -> object:
    """Return the value if it can be shown, else what it is."""
    shows: tuple[Callable[[Any], object], ...] = (repr, lambda value: json.dumps(value, default=str))
    try:
        for show in shows:
            show(value)
    except _RAISED:
        return f"a {type(value).__name__} that cannot be shown"
    return value


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.begin_copy)

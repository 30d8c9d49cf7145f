"""Events go to stderr: for people on a terminal, as JSON lines otherwise."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import structlog

from pgsched.observability import logs


def test_events_are_json_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    structlog.get_logger().info("worker_started", queues=["mail"], lease=12.5)
    written = capsys.readouterr()
    assert written.out == ""
    (line,) = written.err.splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "worker_started", "level": "info", "queues": ["mail"], "lease": 12.5}


def test_events_are_lines_for_people_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=False)
    structlog.get_logger().info("worker_started", queues=["mail"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "worker_started" in line
    assert "queues=['mail']" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("json_lines", [True, False])
def test_records_of_the_standard_library_join_them(capsys: pytest.CaptureFixture[str], json_lines: bool) -> None:
    logs.configure("warning", json=json_lines)
    logging.getLogger("some.library").warning("the disk is %s", "full")
    logging.getLogger("some.library").info("not this")
    (line,) = capsys.readouterr().err.splitlines()
    assert "the disk is full" in line
    assert line.startswith("{") == json_lines


def test_events_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning")
    structlog.get_logger().info("not this")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("json_lines", [True, False])
def test_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str], json_lines: bool) -> None:
    logs.configure("info", json=json_lines)
    payload = {"password": "hunter" + str(2)}
    try:
        raise ValueError(f"no, {len(payload)}")
    except ValueError:
        structlog.get_logger().exception("attempt_failed")
    written = capsys.readouterr().err
    assert "ValueError: no, 1" in written
    assert "hunter2" not in written


def test_configuring_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    logs.configure("info")
    logging.getLogger("some.library").warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="log level must be one of debug, info, warning, error, got loud"):
        logs.configure("loud")


class Unshowable:
    """Nothing can be said of it."""

    def __repr__(self) -> str:
        raise SystemExit("no")

    __str__ = __repr__


def nested() -> list[object]:
    """A list that is too deep for anything that recurses."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize("json_lines", [True, False])
@pytest.mark.parametrize("value", [Unshowable(), {"in": [Unshowable()]}, nested(), "\ud800"], ids=type)
def test_a_value_that_cannot_be_shown_costs_no_more_than_itself(
    capsys: pytest.CaptureFixture[str], json_lines: bool, value: object
) -> None:
    logs.configure("info", json=json_lines)
    before = logs.errors()
    logs.get_logger("pgsched.test").warning("odd", value=value, task_id=7)
    (line,) = capsys.readouterr().err.splitlines()
    assert "odd" in line
    assert "task_id" in line
    assert logs.errors() - before == (not isinstance(value, str))


def test_an_exception_that_cannot_be_shown_is_still_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")

    class Odd(Exception):
        def __str__(self) -> str:
            raise SystemExit("no")

    try:
        raise Odd
    except Odd:
        logs.get_logger("pgsched.test").exception("failed", task_id=7)
    assert json.loads(capsys.readouterr().err)["task_id"] == 7


@pytest.mark.parametrize("stream", ["closed", "none", "raises"])
def test_a_stderr_that_takes_nothing_is_no_error(monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    class Raising(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    given = {"closed": closed, "none": None, "raises": Raising()}[stream]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    logs.configure("info")
    monkeypatch.setattr(sys, "stderr", given)
    before = logs.errors()
    logs.get_logger("pgsched.test").warning("to nobody")
    logging.getLogger("some.library").warning("to nobody")
    structlog.get_logger().warning("to nobody")
    assert logs.errors() - before == 3
    logs.configure("info")  # a process that is started so
    logs.get_logger("pgsched.test").warning("to nobody")
    assert logs.errors() - before == 4


def test_a_stream_that_lacks_a_letter_gets_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))
    logs.configure("info", json=False)
    logs.get_logger("pgsched.test").warning("größer", of="\ud800")
    assert rb"gr\xf6\xdfer" in raw.getvalue()
    assert rb"\ud800" in raw.getvalue()


def raising(*_arguments: object) -> str:
    raise RuntimeError("in a processor")


class Raising(logging.Handler):
    """A log handler with a mistake."""

    def emit(self, record: logging.LogRecord) -> None:
        raising(record)


def disturbances() -> dict[str, Callable[[], object]]:
    """What an application may do to logging."""
    root = logging.getLogger()
    return {
        "structlog configured": lambda: structlog.configure(processors=[raising], logger_factory=raising),
        "structlog reset": structlog.reset_defaults,
        "a name bound for all": lambda: structlog.contextvars.bind_contextvars(event="other", level=Unshowable()),
        "dictConfig": lambda: logging.config.dictConfig({"version": 1, "disable_existing_loggers": True}),
        "basicConfig": lambda: logging.basicConfig(force=True, level="CRITICAL"),
        "disabled": lambda: logging.disable(logging.CRITICAL),
        "shut down": logging.shutdown,
        "no handlers": root.handlers.clear,
        "a filter that raises": lambda: root.addFilter(raising),
        "a handler that raises": lambda: root.addHandler(Raising()),
        "its own records": lambda: logging.setLogRecordFactory(raising),
        "errors shown": lambda: setattr(logging, "raiseExceptions", True),
    }


@contextmanager
def disturbed(name: str) -> Iterator[None]:
    """An application has done this to logging."""
    factory, raises = logging.getLogRecordFactory(), logging.raiseExceptions
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    level, disabled = logging.root.level, {one for one in known if one.disabled}
    try:
        disturbances()[name]()
        yield
    finally:
        logging.setLogRecordFactory(factory)
        logging.raiseExceptions = raises
        logging.disable(logging.NOTSET)
        logging.root.filters.clear()
        logging.root.setLevel(level)
        for one in known:
            one.disabled = one in disabled
        structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("name", disturbances())
def test_what_an_application_does_to_logging_does_nothing_to_ours(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    logs.configure("info")
    with disturbed(name):
        logs.get_logger("pgsched.worker").info("worker_stopping", running=1)
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["running"]) == ("worker_stopping", "info", 1)


@pytest.mark.parametrize("library", logs.LIBRARIES)
@pytest.mark.parametrize("name", disturbances())
def test_nor_does_it_hurt_us_where_a_library_logs(name: str, library: str) -> None:
    logs.contain_libraries()
    with disturbed(name):
        logging.getLogger(library).warning("the connection is lost")


def test_what_a_library_could_not_log_is_counted_and_what_it_could_names_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logs.contain_libraries()
    logs.contain_libraries()
    logging.getLogger("psycopg").warning("the %s is lost", "connection")
    assert [(one.getMessage(), one.filename) for one in caplog.records] == [("the connection is lost", "test_logs.py")]
    before = logs.errors()
    with disturbed("a handler that raises"):
        logging.getLogger("psycopg").warning("the connection is lost")
    assert logs.errors() - before == 1


def test_where_nothing_is_configured_events_go_through_the_program_s_structlog() -> None:
    with structlog.testing.capture_logs() as seen:
        logs.get_logger("pgsched.locks").warning("lock_lost", name="x")
    assert seen == [{"event": "lock_lost", "log_level": "warning", "name": "x"}]


def test_and_what_that_raises_is_counted() -> None:
    structlog.configure(processors=[raising])
    before = logs.errors()
    logs.get_logger("pgsched.locks").warning("lock_lost")
    try:
        raise ValueError
    except ValueError:
        logs.get_logger("pgsched.locks").exception("lock_lost")
    assert logs.errors() - before == 2


# What applications log says where it comes from.


@pytest.fixture
def in_an_attempt() -> Iterator[None]:
    before = logs.this_process.attempt_fields
    logs.mark_with(lambda: {"task_id": 17, "attempt": 2})
    yield
    logs.this_process.attempt_fields = before


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    (line,) = capsys.readouterr().err.splitlines()
    event: dict[str, object] = json.loads(line)
    assert event.pop("timestamp")
    return event


def test_a_record_has_its_logger_extra_and_attempt(capsys: pytest.CaptureFixture[str], in_an_attempt: None) -> None:
    logs.configure("info")
    logging.getLogger("shop").info("order %s", 7, extra={"parcels": 2})
    assert said(capsys) == {
        "event": "order 7", "level": "info", "logger": "shop", "parcels": 2, "task_id": 17, "attempt": 2
    }  # fmt: skip


def test_an_event_of_structlog_has_its_logger_and_attempt(
    capsys: pytest.CaptureFixture[str], in_an_attempt: None
) -> None:
    logs.configure("info")
    structlog.get_logger("shop").info("sent", to="ann")
    assert said(capsys) == {
        "event": "sent", "level": "info", "logger": "shop", "to": "ann", "task_id": 17, "attempt": 2
    }  # fmt: skip


def test_what_a_record_says_by_itself_stays(capsys: pytest.CaptureFixture[str], in_an_attempt: None) -> None:
    logs.configure("info")
    logging.getLogger("shop").info("order", extra={"task_id": "mine", "event": "other", "logger": "other"})
    assert said(capsys) == {"event": "order", "level": "info", "logger": "shop", "task_id": "mine", "attempt": 2}


def test_records_of_libraries_are_of_no_attempt(capsys: pytest.CaptureFixture[str], in_an_attempt: None) -> None:
    logs.configure("info")
    logging.getLogger("psycopg.pool").warning("slow")
    assert said(capsys) == {"event": "slow", "level": "warning", "logger": "psycopg.pool"}


def test_whether_a_level_is_taken_is_known_before(capsys: pytest.CaptureFixture[str]) -> None:
    log, theirs = logs.get_logger("pgsched.worker"), logging.getLogger("pgsched.worker")
    logs.configure("info")
    assert (log.takes("debug"), log.takes("info")) == (False, True)
    logs.configure("debug")
    assert log.takes("debug")
    logs.release()  # as in a program that sets up its own logging
    theirs.setLevel("WARNING")
    assert not log.takes("debug")
    theirs.setLevel("DEBUG")
    assert log.takes("debug")
    theirs.setLevel("NOTSET")

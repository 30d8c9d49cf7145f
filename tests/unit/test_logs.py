"""Events go to stderr: for people on a terminal, as JSON lines otherwise."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from pgsched import logs


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


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

"""What `pgsched top` draws, and what keys do to it: plain values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from pgsched.cli.top_state import PANELS, SORTS, View, press, within
from pgsched.cli.top_terminal import keys_of
from pgsched.cli.top_view import TITLES, Screen, bar_of, draw, share_of
from pgsched.db.queries.activity import RunningTask
from pgsched.domain.interval import Interval
from pgsched.domain.worker_records import WorkerInfo
from pgsched.ops.activity import Activity, QueueActivity

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)


def queue(name: str = "mail", **fields: Any) -> QueueActivity:
    plain = {
        "paused": False,
        "waiting": 12,
        "due": 3,
        "oldest_due_seconds": 75.0,
        "running": 2,
        "slots": 20,
        "dead": 0,
        "rate": 4.25,
    }
    return QueueActivity(name=name, **(plain | fields))


def worker(**fields: Any) -> WorkerInfo:
    plain: dict[str, Any] = {
        "id": UUID(int=1),
        "hostname": "host-1",
        "pid": 4711,
        "queues": ["mail"],
        "patterns": ["tenant.%"],
        "task_types": ["email"],
        "concurrency": 20,
        "running": 2,
        "started_at": NOW,
        "heartbeat_at": NOW - timedelta(seconds=4),
        "lease": Interval(microseconds=30_000_000),
        "sleeping_until": None,
        "alive": True,
        "troubles": [],
    }
    return WorkerInfo(**(plain | fields))


def running(number: int = 17, **fields: Any) -> RunningTask:
    plain: dict[str, Any] = {
        "task_type": "email",
        "queue": "mail",
        "attempt": 1,
        "max_attempts": 3,
        "progress": {"done": 3, "of": 4},
        "hostname": "host-1",
        "pid": 4711,
        "seconds": 130.0,
    }
    return RunningTask(id=number, **(plain | fields))


def activity(**fields: Any) -> Activity:
    plain: dict[str, Any] = {
        "at": NOW,
        "server": "PostgreSQL 18.6",
        "ended": 100,
        "started_rate": 12.5,
        "ended_rate": 11.0,
        "queues": [queue()],
        "workers": [worker()],
        "running": [running()],
        "findings": [],
    }
    return Activity(**(plain | fields))


def drawn(screen: Screen) -> list[str]:
    """The lines of a picture."""
    console = Console(width=screen.width, height=screen.height or 25, force_terminal=False, no_color=True)
    with console.capture() as captured:
        console.print(draw(screen), end="")
    return [line.rstrip() for line in captured.get().removesuffix("\n").split("\n")]


def line_with(lines: list[str], word: str) -> str:
    plain = [" ".join(line.strip("│ ").split()) for line in lines]
    (line,) = [line for line in plain if word in line]
    return line


def test_picture_has_the_figures_of_all_of_it() -> None:
    lines = drawn(Screen(activity=activity(), place="db:5432/app", width=110, height=30))
    assert lines[0].split() == ["pgsched", "PostgreSQL", "18.6", "12:00:00", "UTC", "every", "2", "s", "db:5432/app"]
    assert lines[1].split("  ")[0] == " started/s 12.5"
    assert "finished/s 11.0" in lines[1]
    assert "workers 1" in lines[1]
    assert "all healthy" in lines[2]
    assert line_with(lines, "mail 12") == "mail 12 3 1 m 2 20 0 4.2 open"
    assert line_with(lines, "tenant") == "host-1 4711 mail, tenant.* 2/20 4 s ago online"
    assert line_with(lines, "17 email") == "17 email mail host-1 4711 2 m ████████░░ 75% 1/3"


def test_a_paused_queue_a_silent_worker_and_a_task_without_one_are_marked() -> None:
    lines = drawn(
        Screen(
            activity=activity(
                queues=[queue(paused=True)], workers=[worker(alive=False)], running=[running(hostname=None, pid=None)]
            ),
            width=110,
            height=30,
        )
    )
    assert line_with(lines, "mail 12").endswith("paused")
    assert line_with(lines, "tenant").endswith("offline")
    assert "gone" in line_with(lines, "17 email")


def test_the_worst_finding_is_in_the_header() -> None:
    findings = [
        {"check": "indexes", "severity": "error", "object": "tasks_due", "problem": "is missing"},
        {"check": "pooler", "severity": "hint", "object": "x", "problem": "y"},
    ]
    lines = drawn(Screen(activity=activity(findings=findings), width=110, height=30))
    assert lines[2] == " 1 error, 0 warnings: indexes (tasks_due): is missing"


def test_it_says_when_nobody_has_looked_what_is_wrong() -> None:
    assert (
        "no worker has checked the health yet"
        in drawn(Screen(activity=activity(findings=None), width=110, height=30))[2]
    )


def test_an_error_is_shown_above_what_was_last_seen() -> None:
    lines = drawn(Screen(activity=activity(), error="cannot connect\x1b[31m", width=110, height=30))
    assert lines[2] == " trying again: cannot connect [31m"
    assert any("host-1" in line for line in lines)


@pytest.mark.parametrize("size", [(20, 7), (40, 9), (80, 12), (80, 24), (200, 60)])
@pytest.mark.parametrize("panel", PANELS)
def test_picture_fits_its_terminal(size: tuple[int, int], panel: str) -> None:
    width, height = size
    many = activity(
        queues=[queue(f"queue-{n}" * 5) for n in range(30)],
        workers=[worker(pid=n) for n in range(30)],
        running=[running(n) for n in range(100)],
    )
    lines = drawn(Screen(activity=many, view=View(panel=panel), width=width, height=height))
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert any(TITLES[panel] in line for line in lines)


def test_what_somebody_wrote_into_the_table_cannot_command_the_terminal() -> None:
    evil = "\x1b]0;title\x07[red]x[/red]"
    lines = drawn(
        Screen(
            activity=activity(queues=[queue(evil)], running=[running(task_type=evil, progress=evil)]),
            width=150,
            height=30,
        )
    )
    assert "\x1b" not in "\n".join(lines)
    assert "[red]x[/red]" in "\n".join(lines)


def test_before_anything_was_seen_it_waits() -> None:
    assert "waiting for the database" in "\n".join(drawn(Screen(activity=None)))


@pytest.mark.parametrize(
    ("progress", "share", "shown"),
    [
        (None, None, ""),
        (0.5, 0.5, "█████░░░░░  50%"),
        ({"done": 1, "of": 4}, 0.25, "██░░░░░░░░  25%"),
        ({"done": 9, "total": 3}, 1.0, "██████████ 100%"),
        ({"percent": 40}, 0.4, "████░░░░░░  40%"),
        (7, None, "7"),
        ({"done": 1, "of": 0}, None, '{"done": 1, "of"'),
        ("half way through it all", None, "half way through"),
        (True, None, "yes"),
    ],
)
def test_progress_is_a_bar_where_it_says_of_what(progress: Any, share: float | None, shown: str) -> None:
    assert share_of(progress) == share
    assert bar_of(progress) == shown


def test_keys_have_names() -> None:
    assert keys_of("q\x1b[A\t\x1b[Z\x1b[5~\x1b[99;1Xs\x03") == ["q", "up", "tab", "back-tab", "page-up", "s", "ctrl-c"]


def test_keys_change_what_is_looked_at() -> None:
    view = View()

    def after(*keys: str) -> View:
        now = view
        for key in keys:
            pressed = press(now, key)
            assert pressed is not None
            now = pressed
        return now

    assert press(view, "q") is None
    assert press(view, "ctrl-c") is None
    assert after("tab").panel == "workers"
    assert after("back-tab").panel == "running"
    assert after("tab", "tab", "tab") == view
    assert after("s").sort_of("queues") == "ready"
    assert after("tab", "s").sort_of("queues") == "name"
    assert after(*["s"] * len(SORTS["queues"])) == view
    assert after("p").paused
    assert after("p", " ") == view
    assert after("?").help
    assert after("?", "s") == view, "any key leaves the help"
    assert after("down", "down", "up").top_of("queues") == 1
    assert after("up") == view
    assert after("page-down", "home") == view
    assert after("x") == view


def test_no_panel_is_scrolled_past_its_end() -> None:
    view = replace(View(), tops=(50, 3, 0))
    assert within(view, {"queues": 4, "workers": 10, "running": 0}).tops == (3, 3, 0)


@pytest.mark.parametrize(
    ("sort", "first"), [("name", "a"), ("ready", "b"), ("active", "c"), ("rate", "d"), ("latency", "e")]
)
def test_queues_are_sorted_by_what_was_chosen(sort: str, first: str) -> None:
    queues = [
        queue("e", oldest_due_seconds=9e4),
        queue("d", rate=100.0),
        queue("c", running=9),
        queue("b", due=9),
        queue("a"),
    ]
    view = View(sorts=(SORTS["queues"].index(sort), 0, 0))
    lines = drawn(Screen(activity=activity(queues=queues), view=view, width=100, height=30))
    at = next(number for number, line in enumerate(lines) if "Queues" in line)
    assert lines[at + 2].strip("│ ").startswith(first)
    assert f"by {sort}" in lines[at]

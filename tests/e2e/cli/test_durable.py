"""``pgsched task emit``, ``restart`` and ``show`` of durable tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgsched import Client
from pgsched.testing import drain
from tests.support.commands import pgsched
from tests.support.durable import dead_order, order_app, record_steps, waiting_order
from tests.support.tables import database, insert_task, set_completed


def events(dsn: str, task_id: int) -> list[tuple[str, Any, str | None]]:
    with Client(dsn) as client:
        return [(one.name, one.payload, one.key) for one in client.durable_events(task_id)]


def test_emit_sends_an_event_with_a_payload_and_a_key(dsn: str, tmp_path: Path) -> None:
    with Client(dsn) as client:
        task_id = client.schedule("order", idempotency_key="order-7")
        client.schedule("order", idempotency_key="17")
    file = tmp_path / "payload.json"
    file.write_text('["from", "a file"]', encoding="utf-8")
    for arguments in (
        (task_id, "approved"),
        ("order-7", "approved", '{"by": "Zoë"}', "--key", "click"),
        ("order-7", "approved", "2", "--key", "click"),
        ("order-7", "7", f"@{file}"),
    ):
        ended = pgsched("task", "emit", *arguments, dsn=dsn)
        assert (ended.code, ended.stderr) == (0, ""), ended
    assert (
        pgsched("task", "emit", "order-7", "x", "-", dsn=dsn, stdin="true").stdout
        == f"task {task_id}: event 5 is sent\n"
    )
    assert events(dsn, task_id) == [
        ("approved", None, None),
        ("approved", {"by": "Zoë"}, "click"),
        ("7", ["from", "a file"], None),
        ("x", True, None),
    ]
    assert pgsched("task", "emit", "--task-key", "17", "approved", "1", dsn=dsn).code == 0
    assert events(dsn, task_id + 1) == [("approved", 1, None)]


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        ((1,), 2, "Give the task, the name of the event, and its payload if it has one."),
        ((1, "a", "1", "2"), 2, "Give the task, the name of the event, and its payload if it has one."),
        (("--task-key", "1"), 2, "Give the name of the event, and its payload if it has one."),
        ((1, "a", "yes"), 2, "invalid JSON: Expecting value: line 1 column 1 (char 0)"),
        ((99, "a"), 1, "task 99 does not exist"),
        (("nobody", "a"), 1, "a task with the key 'nobody' does not exist"),
        ((1, "a"), 1, "task 1 is completed: no wait of it can take event 'a'"),
        ((1, "a" * 201), 1, "name must have 1 to 200 characters, got 201"),
        ((1, "a", "--key", ""), 1, "event_key must have 1 to 500 characters, got 0"),
    ],
)
def test_what_emit_refuses_is_told_in_one_line(
    dsn: str, arguments: tuple[object, ...], code: int, problem: str
) -> None:
    with database(dsn) as db:
        set_completed(db, insert_task(db, "order"))
    ended = pgsched("task", "emit", *arguments, dsn=dsn)
    assert ended.code == code
    assert problem in ended.stderr.splitlines()[-1]


def test_restart_asks_and_goes_on_from_a_step(dsn: str) -> None:
    app, ran = order_app(dsn)
    with Client(dsn) as client:
        task_id = dead_order(client, app)
        declined = pgsched("task", "restart", task_id, dsn=dsn, typed="n\n")
        assert f"Restart task {task_id} and discard all of its records?" in declined.stderr
        assert client.get(task_id).status == "dead"
        unanswered = pgsched("task", "restart", task_id, "--from", "book", "--from-key", "b", dsn=dsn)
        assert unanswered.code == 2
        assert f"Restart task {task_id} and discard its records from book [b] on?" in unanswered.stderr
        ended = pgsched("task", "restart", task_id, "--from", "book", "--from-key", "b", "--yes", dsn=dsn)
        assert (ended.code, ended.stdout) == (0, f"task {task_id}: will run again\n")
        client.update(task_id, {"order_id": 7})
        drain(app)
    assert ran == ["charge", "book a", "book b", "fail", "book b"]
    refused = pgsched("task", "restart", task_id, "--from", "nothing", "--yes", dsn=dsn)
    assert (refused.code, refused.error) == (1, f"task {task_id} has recorded no step 'nothing'")


def test_show_tells_what_is_recorded_awaited_and_sent(dsn: str) -> None:
    app, _ = order_app(dsn)
    with Client(dsn) as client:
        task_id = waiting_order(client, app)
        client.emit(task_id, "declined", {"by": "ada"}, event_key="click")
    shown = pgsched("task", "show", task_id, dsn=dsn)
    assert (shown.code, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert any(line.startswith("waiting for") and "event approved, until 20" in line for line in lines)
    at = next(place for place, line in enumerate(lines) if line.startswith("STEP"))
    assert lines[at].split() == [
        "STEP",
        "KEY",
        "KIND",
        "STATUS",
        "ATTEMPTS",
        "STARTED",
        "DURATION",
        "UNTIL",
        "RESULT",
        "ERROR",
    ]
    assert [line.split()[:3] for line in lines[at + 1 : at + 5]] == [
        ["charge", "-", "step"],
        ["book", "a", "step"],
        ["book", "b", "step"],
        ["approved", "-", "event"],
    ]
    event = next(line for line in lines if line.startswith("declined"))
    assert event.split()[1] == "click"
    assert event.endswith('{"by": "ada"}')
    found = pgsched("task", "show", task_id, "--json", dsn=dsn).json()
    assert found["awaits"] == ["event:approved"]
    assert found["wakes_at"] == found["durable_steps"][3]["wakes_at"]
    assert [one["result"] for one in found["durable_steps"]] == [{"charge": 7}, "a", "b", None]
    assert [one["payload"] for one in found["durable_events"]] == [{"by": "ada"}]


def test_show_names_each_thing_that_is_waited_for_and_cuts_results(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "order")
        record_steps(db, task_id, "long", status="failed", error="it broke\nhere", result='"' + "x" * 100 + '"')
        db.execute("update pgsched.tasks set status = 'blocked', next_run_at = null where id = %s", (task_id,))
        db.execute("update pgsched.durable_runs set awaits = '{event:a b:c,child:12}'")
    shown = pgsched("task", "show", task_id, dsn=dsn).stdout
    assert "event a b:c or task 12\n" in shown
    assert f' "{"x" * 59}…  it broke here\n' in shown
    assert "UNTIL" not in shown


def test_show_of_another_task_says_nothing_of_steps(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "mail")
    shown = pgsched("task", "show", task_id, dsn=dsn).stdout
    assert "STEP" not in shown
    assert "waiting for" not in shown


def test_show_says_until_when_the_run_of_a_schedule_sleeps(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "order", repeat_interval="1 day")
        db.execute("update pgsched.tasks set status = 'blocked', next_run_at = null")
        db.execute(
            "insert into pgsched.durable_runs (task_id, tick_number, began_at, awaits, wakes_at) "
            "values (%s, 1, now(), '{time}', now() + interval '1 hour')",
            (task_id,),
        )
    shown = pgsched("task", "show", task_id, dsn=dsn)
    assert shown.code == 0, shown
    assert any(line.startswith("waiting for") and "until 20" in line for line in shown.stdout.splitlines())

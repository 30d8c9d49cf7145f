"""``pgsched task``: add, list, show, and one line for each task that is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.commands import Ended, pgsched


def add(dsn: str, *arguments: object) -> int:
    ended = pgsched("task", "add", *arguments, dsn=dsn)
    assert (ended.code, ended.stderr) == (0, ""), ended
    return int(ended.stdout)


def show(dsn: str, task_id: int) -> dict[str, Any]:
    found: dict[str, Any] = pgsched("task", "show", task_id, "--json", dsn=dsn).json()
    return found


def execute(dsn: str, statement: Any, *values: object) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement, values)


def kill(dsn: str, task_id: int) -> None:
    """Make a task dead, as its last failed attempt does."""
    statement = "update pgsched.tasks set status = 'dead', next_run_at = null, died_at = now() where id = %s"
    execute(dsn, statement, task_id)


# Adding.


def test_add_prints_the_id_of_a_task_that_is_due_now(dsn: str) -> None:
    task = show(dsn, add(dsn, "greet"))
    assert (task["task_type"], task["status"], task["payload"]) == ("greet", "pending", {})
    assert task["next_run_at"] == task["scheduled_for"]


def test_add_takes_every_option_of_a_one_time_task(dsn: str) -> None:
    options = [
        *("--payload", '{"name": "Zoë", "n": [1, null]}', "--at", "2030-01-01T00:00:00Z"),
        *("--queue", "mail", "--priority", "9", "--key", "k1", "--name", "A greeting"),
        *("--tag", "a", "--tag", "b c", "--metadata", '{"source": "test"}', "--tenant", "t1", "--user", "u1"),
        *("--max-attempts", "7", "--backoff", "linear", "--backoff-delay", "2s", "--backoff-max", "1m"),
        *("--timeout", "30s", "--jitter", "0", "--disabled"),
    ]
    task = show(dsn, add(dsn, "greet", *options))
    expected = {
        "payload": {"name": "Zoë", "n": [1, None]},
        "queue": "mail",
        "priority": 9,
        "idempotency_key": "k1",
        "task_name": "A greeting",
        "tags": ["a", "b c"],
        "metadata": {"source": "test"},
        "tenant_id": "t1",
        "user_id": "u1",
        "max_attempts": 7,
        "backoff": "linear",
        "enabled": False,
        "schedule_type": "one_time",
    }
    assert {name: task[name] for name in expected} == expected
    assert task["scheduled_for"].startswith("2030-01-01T00:00:00")


def test_add_takes_every_option_of_a_recurring_task(dsn: str) -> None:
    task = show(
        dsn,
        add(
            dsn,
            *("digest", "--cron", "0 8 * * 1", "--timezone", "Europe/Berlin"),
            *("--start", "2030-07-01", "--end", "2030-12-31T12:00:00Z", "--on-missed", "all"),
            *("--catchup-window", "1d", "--overlap", "allow"),
        ),
    )
    assert (task["schedule_type"], task["cron_expression"]) == ("recurring", "0 8 * * 1")
    assert (task["timezone"], task["on_missed"], task["overlap"]) == ("Europe/Berlin", "all", "allow")
    assert task["start_date"].startswith("2030-06-30T22:00:00")  # midnight in Berlin
    assert task["end_date"].startswith("2030-12-31T12:00:00")


def test_add_takes_a_repeating_task(dsn: str) -> None:
    task = show(dsn, add(dsn, "poll", "--every", "90s", "--times", "5"))
    assert (task["schedule_type"], task["repeat_count"]) == ("repeating", 5)


def test_add_reads_the_payload_from_a_file_or_stdin(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"from": "a file"}')
    assert show(dsn, add(dsn, "greet", "--payload", f"@{file}"))["payload"] == {"from": "a file"}
    ended = pgsched("task", "add", "greet", "--payload", "-", dsn=dsn, stdin='{"from": "stdin"}')
    assert show(dsn, int(ended.stdout))["payload"] == {"from": "stdin"}


def test_add_with_a_known_key_prints_the_task_that_has_it(dsn: str) -> None:
    assert add(dsn, "greet", "--key", "once") == add(dsn, "greet", "--key", "once")


def test_add_json_prints_the_task(dsn: str) -> None:
    task = pgsched("task", "add", "greet", "--delay", "1h", "--json", dsn=dsn).json()
    assert (task.pop("outcome"), task.pop("differs")) == ("created", [])
    assert show(dsn, task["id"]).items() >= task.items()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cron", "61 * * * *"), ("minute", "61")),
        (("--cron", "* *"), ("5",)),
        (("--cron", "* * * * *", "--timezone", "Mars/Olympus"), ("timezone", "Mars/Olympus")),
        (("--at", "2030-01-01", "--timezone", "Mars/Olympus"), ("timezone", "Mars/Olympus")),
        (("--every", "3s", "--times", "-1"), ("times", "1")),
        (
            (
                "--every",
                "-3s",
            ),
            ("-3s",),
        ),
        (("--delay", "soon"), ("soon",)),
        (("--delay", "1s", "--at", "2030-01-01"), ("delay",)),
        (("--priority", "99"), ("priority", "between 1 and 10")),
        (("--max-attempts", "0"), ("max_attempts",)),
        (("--backoff", "sometimes"), ("backoff", "exponential")),
        (("--on-missed", "maybe"), ("on_missed",)),
        (("--payload", "[1]"), ("payload must be a JSON object", "[1]")),
        (("--payload", "null"), ("payload must be a JSON object", "null")),
        (("--metadata", "3"), ("metadata must be a JSON object", "3")),
    ],
)
def test_add_refuses_in_one_line_what_the_rules_refuse(
    dsn: str, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ended = pgsched("task", "add", "greet", *options, dsn=dsn)
    assert ended.code == 1
    assert all(word in ended.error for word in words), ended.error
    assert pgsched("task", "list", "--json", dsn=dsn).json() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--payload", "{name: 1}"), "Invalid value for '--payload': invalid JSON"),
        (("--payload", '{"n": NaN}'), "NaN is not a JSON value"),
        (("--payload", '{"a": {"n": 1, "n": 2}}'), "invalid JSON: an object has the key 'n' twice"),
        (("--metadata", '{"n": 1, "n": 2}'), "invalid JSON: an object has the key 'n' twice"),
        (("--payload", "@no-such-file"), "no-such-file cannot be read: No such file or directory"),
        (("--payload", "-"), "invalid JSON"),
        (("--at", "tomorrow"), "'tomorrow' is not a time: write it in ISO 8601"),
        (("--priority", "high"), "Invalid value for '--priority'"),
    ],
)
def test_add_with_a_value_that_cannot_be_read_is_wrong_usage(dsn: str, options: tuple[str, ...], message: str) -> None:
    ended = pgsched("task", "add", "greet", *options, dsn=dsn)
    assert ended.code == 2
    assert message in ended.error


# Listing and showing.


def test_list_shows_the_latest_first_as_a_table(dsn: str) -> None:
    first = add(dsn, "greet")
    second = add(dsn, "digest", "--cron", "0 8 * * 1", "--timezone", "Europe/Berlin")
    header, *rows = pgsched("task", "list", dsn=dsn).stdout.splitlines()
    assert " ".join(header.split()) == "ID TYPE QUEUE PRIORITY STATUS SCHEDULE NEXT RUN ATTEMPTS"
    assert [row.split()[0] for row in rows] == [str(second), str(first)]
    assert "cron 0 8 * * 1 Europe/Berlin" in rows[0]


def test_list_without_tasks_says_so(dsn: str) -> None:
    assert pgsched("task", "list", dsn=dsn).stdout == "no tasks\n"


def test_list_filters(dsn: str) -> None:
    plain = add(dsn, "greet")
    other = add(dsn, "digest", "--queue", "mail", "--tag", "x", "--tenant", "t1", "--every", "1h")
    execute(dsn, "update pgsched.tasks set parent_id = %s where id = %s", plain, other)

    def ids(*options: object) -> list[int]:
        return [task["id"] for task in pgsched("task", "list", *options, "--json", dsn=dsn).json()]

    assert ids() == [other, plain]
    for options in (
        ("--queue", "mail"),
        ("--type", "digest"),
        ("--schedule-type", "repeating"),
        ("--tag", "x"),
        ("--tenant", "t1"),
        ("--parent", plain),
        ("--limit", 1),
    ):
        assert ids(*options) == [other], options
    assert ids("--before-id", other) == [plain]
    assert ids("--status", "pending") == [other, plain]
    assert ids("--status", "dead") == []


def test_show_has_every_column_the_executions_and_the_log(dsn: str) -> None:
    task_id = add(dsn, "greet")
    execute(
        dsn,
        "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status,"
        " started_at, finished_at, duration_ms, error)"
        " values (%s, 'greet', 'default', 1, 1, 'failed', now(), now(), 12.5, %s)",
        task_id,
        "it broke\nTraceback \x1b[31m",
    )
    execute(
        dsn,
        "insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message)"
        " values (%s, 1, 1, now(), 'info', 'so far so good')",
        task_id,
    )
    ended = pgsched("task", "show", task_id, dsn=dsn)
    assert ended.code == 0
    for words in ("task_type", "greet", "fencing_token", "failed", "12 ms", "it broke", "so far so good"):
        assert words in ended.stdout
    assert "\x1b" not in ended.stdout
    task = show(dsn, task_id)
    assert (task["id"], task["executions"][0]["status"], task["logs"][0]["message"]) == (
        task_id,
        "failed",
        "so far so good",
    )


def test_show_tells_an_attempt_that_is_not_counted(dsn: str) -> None:
    task_id = add(dsn, "greet")
    execute(
        dsn,
        "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at,"
        " finished_at) values (%s, 'greet', 'default', 0, 1, 'lost', now(), now())",
        task_id,
    )
    assert "uncounted" in pgsched("task", "show", task_id, dsn=dsn).stdout
    assert show(dsn, task_id)["executions"][0]["attempt"] == 0


def test_show_of_an_unknown_task_is_not_found(dsn: str) -> None:
    ended = pgsched("task", "show", 424242, dsn=dsn)
    assert (ended.code, ended.error) == (1, "task 424242 does not exist")


# Changing.


def test_each_change_says_what_happened(dsn: str) -> None:
    task_id = add(dsn, "greet", "--delay", "1h")
    for command, said in [
        ("disable", "disabled"),
        ("disable", "was disabled already"),
        ("enable", "enabled"),
        ("enable", "was enabled already"),
        ("run", "due now"),
        ("cancel", "cancelled"),
        ("retry", "will run again"),
        ("delete", "deleted"),
    ]:
        ended = pgsched("task", command, task_id, *(("--yes",) if command == "delete" else ()), dsn=dsn)
        assert ended == Ended(0, f"task {task_id}: {said}\n", ""), command
    assert pgsched("task", "list", "--json", dsn=dsn).json() == []


def test_run_of_a_schedule_runs_a_copy(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "@daily")
    ended = pgsched("task", "run", task_id, dsn=dsn)
    (copy,) = pgsched("task", "list", "--parent", task_id, "--json", dsn=dsn).json()
    assert ended.stdout == f"task {task_id}: task {copy['id']} runs as its copy\n"


def test_changes_go_on_after_a_refusal_and_exit_with_1(dsn: str) -> None:
    first, done, last = add(dsn, "greet"), add(dsn, "greet"), add(dsn, "greet")
    pgsched("task", "cancel", done, dsn=dsn)
    ended = pgsched("task", "cancel", first, done, 424242, last, dsn=dsn)
    assert ended.code == 1
    assert ended.stdout == f"task {first}: cancelled\ntask {last}: cancelled\n"
    assert ended.stderr.splitlines() == [
        f"pgsched: task {done} is cancelled and cannot be cancelled",
        "pgsched: task 424242 does not exist",
    ]


@pytest.mark.parametrize("command", ["run", "enable", "disable", "cancel", "retry", "delete"])
def test_change_of_an_unknown_task_is_not_found(dsn: str, command: str) -> None:
    ended = pgsched("task", command, 424242, *(("--yes",) if command == "delete" else ()), dsn=dsn)
    assert (ended.code, ended.error) == (1, "task 424242 does not exist")


def test_retry_takes_a_dead_task(dsn: str) -> None:
    task_id = add(dsn, "greet")
    kill(dsn, task_id)
    assert pgsched("task", "retry", task_id, dsn=dsn).code == 0
    assert show(dsn, task_id)["status"] == "pending"


def test_retry_takes_another_payload(dsn: str) -> None:
    task_id = add(dsn, "greet", "--payload", '{"to": "ann"}')
    kill(dsn, task_id)
    assert pgsched("task", "retry", task_id, "--payload", "[1]", dsn=dsn).code == 1
    assert show(dsn, task_id)["status"] == "dead"
    ended = pgsched("task", "retry", task_id, "--payload", '{"to": "bob"}', dsn=dsn)
    assert (ended.code, ended.stdout) == (0, f"task {task_id}: will run again\n")
    assert show(dsn, task_id)["payload"] == {"to": "bob"}


def test_delete_asks_on_a_terminal(dsn: str) -> None:
    task_id = add(dsn, "greet")
    refused = pgsched("task", "delete", task_id, dsn=dsn, typed="n\n")
    assert (refused.code, refused.stdout) == (1, "")
    assert "Delete 1 task? [y/N]" in refused.stderr
    assert refused.stderr.endswith("pgsched: aborted\n")
    assert show(dsn, task_id)["status"] == "pending"
    assert pgsched("task", "delete", task_id, dsn=dsn, typed="y\n").code == 0
    assert pgsched("task", "show", task_id, dsn=dsn).code == 1


def test_delete_with_yes_asks_nothing(dsn: str) -> None:
    task_id = add(dsn, "greet")
    ended = pgsched("task", "delete", task_id, "--yes", dsn=dsn, typed="n\n")
    assert ended == Ended(0, f"task {task_id}: deleted\n", "")


# Edited by two at once.


def test_edit_with_the_version_that_was_shown_is_refused_once_somebody_else_has_edited(dsn: str) -> None:
    task_id = add(dsn, "greet", "--delay", "1h")
    version = show(dsn, task_id)["version"]
    first = pgsched("task", "edit", task_id, "--priority", 9, "--if-version", version, dsn=dsn)
    assert (first.code, first.stdout) == (0, f"task {task_id}: changed\n")
    second = pgsched("task", "edit", task_id, "--priority", 1, "--if-version", version, dsn=dsn)
    assert second.code == 1
    assert second.stderr.startswith(f"pgsched: somebody else has changed task {task_id}: the version is now ")
    assert show(dsn, task_id)["priority"] == 9

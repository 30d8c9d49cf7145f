"""Commands take a task by its id, by its key, or by ``--key``; ``task add`` says when a key is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgsched import Client
from tests.support.commands import pgsched
from tests.support.tables import database, set_dead


@pytest.mark.parametrize("name", [("invoice-7",), ("--key", "invoice-7"), ("--key", "4711"), ("a b/ü",), ("7up",)])
def test_one_task_is_named_by_its_key(dsn: str, name: tuple[str, ...]) -> None:
    with Client(dsn) as client:
        task_id = client.schedule("mail", idempotency_key=name[-1], delay="1h")
    assert pgsched("task", "show", *name, "--json", dsn=dsn).json()["id"] == task_id
    assert pgsched("task", "tree", *name, "--json", dsn=dsn).json()["id"] == task_id
    assert pgsched("group", "show", *name, "--json", dsn=dsn).json()["id"] == task_id
    for command, said in (("disable", "disabled"), ("enable", "enabled"), ("run", "due now"), ("cancel", "cancelled")):
        assert pgsched("task", command, *name, dsn=dsn).stdout == f"task {task_id}: {said}\n"
    assert pgsched("task", "retry", *name, dsn=dsn).stdout == f"task {task_id}: will run again\n"
    assert pgsched("task", "delete", *name, "--yes", dsn=dsn).stdout == f"task {task_id}: deleted\n"


def test_digits_alone_are_an_id(dsn: str) -> None:
    with Client(dsn) as client:
        client.schedule("mail", idempotency_key="4711")
    assert pgsched("task", "show", "4711", dsn=dsn).error == "task 4711 does not exist"


def test_edit_takes_the_task_s_key_as_a_word_or_by_an_option_of_its_own(dsn: str) -> None:
    with Client(dsn) as client:
        first = client.schedule("mail", idempotency_key="old")
        second = client.schedule("mail", idempotency_key="4711")
        assert pgsched("task", "edit", "old", "--key", "new", dsn=dsn).stdout == f"task {first}: changed\n"
        assert pgsched("task", "edit", "--task-key", "4711", "--priority", 9, dsn=dsn).code == 0
        assert (client.get(first).idempotency_key, client.get(second).priority) == ("new", 9)


def test_wait_and_the_commands_of_schedules_take_keys(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule("mail", idempotency_key="nightly", every="1h")
        dead = client.schedule("mail", idempotency_key="dead")
        set_dead(db, dead)
    assert f"task {task_id}: skips " in pgsched("schedule", "skip", "nightly", dsn=dsn).stdout
    assert f"task {task_id}: is due at " in pgsched("schedule", "replan", "--key", "nightly", dsn=dsn).stdout
    span = ("--from", "2026-01-01T00:00Z", "--to", "2026-01-01T01:00Z", "--dry-run")
    assert pgsched("schedule", "backfill", "nightly", *span, dsn=dsn).code == 0
    assert pgsched("task", "wait", "dead", dsn=dsn).error.startswith(f"task {dead} is dead")


def test_of_several_an_unknown_key_is_named_and_the_others_go_on(dsn: str) -> None:
    with Client(dsn) as client:
        one, two = (client.schedule("mail", idempotency_key=key) for key in ("one", "2"))
    ended = pgsched("task", "cancel", "one", "nobody", "--key", "2", dsn=dsn)
    assert ended.code == 1
    assert ended.stdout == f"task {one}: cancelled\ntask {two}: cancelled\n"
    assert ended.stderr == "pgsched: a task with the key 'nobody' does not exist\n"


def test_unknown_key_is_one_line(dsn: str) -> None:
    ended = pgsched("task", "show", "nobody", dsn=dsn)
    assert (ended.code, ended.error) == (1, "a task with the key 'nobody' does not exist")


# Adding.


def test_add_says_that_a_key_is_known_and_what_would_differ(dsn: str) -> None:
    first = pgsched("task", "add", "mail", "--key", "k", "--priority", 7, dsn=dsn)
    assert first.stderr == ""
    task_id = int(first.stdout)
    same = pgsched("task", "add", "mail", "--key", "k", "--priority", 7, dsn=dsn)
    assert (same.code, same.stdout, same.stderr) == (0, f"{task_id}\n", "")
    other = pgsched("task", "add", "post", "--key", "k", "--backoff-delay", "1m", "--cron", "@daily", dsn=dsn)
    assert (other.code, other.stdout) == (0, f"{task_id}\n")
    assert other.stderr == (
        f"pgsched: task {task_id} already has the key 'k' and is left unchanged; "
        "it differs in backoff-delay, cron, type\n"
    )
    listed = pgsched("task", "add", "post", "--key", "k", "--json", dsn=dsn)
    assert '"outcome": "existing"' in listed.stdout
    assert '"task_type"\n' in listed.stdout


def test_a_group_says_it_too(dsn: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"steps": [{"task_type": "a"}]}')
    assert pgsched("group", "add", plan, "--key", "g", dsn=dsn).stderr == ""
    plan.write_text('{"steps": [{"task_type": "b"}]}')
    ended = pgsched("group", "add", plan, "--key", "g", dsn=dsn)
    assert "already has the key 'g' and is left unchanged; it differs in payload\n" in ended.stderr


def test_add_refuses_a_key_where_the_type_should_stand(dsn: str) -> None:
    with Client(dsn) as client, database(dsn) as db:
        task_id = client.schedule("mail", idempotency_key="invoice-7")
        for options in ((), ("--key", "unknown")):
            ended = pgsched("task", "add", "invoice-7", *options, dsn=dsn)
            assert (ended.code, ended.error) == (
                1,
                f"task_type 'invoice-7' is the key of task {task_id} (mail), and no handler of this type is "
                "registered: 'pgsched task run' runs that task",
            )
        assert len(client.list_tasks()) == 1
        db.execute("insert into pgsched.handlers (task_type) values ('invoice-7')")
        assert pgsched("task", "add", "invoice-7", dsn=dsn).code == 0


def test_a_type_that_is_a_key_of_its_own_task_is_no_mistake(dsn: str) -> None:
    for _ in range(2):
        assert pgsched("task", "add", "nightly", "--key", "nightly", "--cron", "@daily", dsn=dsn).code == 0

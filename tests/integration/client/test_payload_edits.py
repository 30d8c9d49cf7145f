"""Payloads of many tasks that wait, changed by a merge patch: in SQL, Python, on the command line and by REST."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import App, AsyncClient, Client, InvalidTask
from pgsched.db.queries.payload_edits import EditedPayloads
from pgsched.db.session import Session
from pgsched.worker.registration import register
from tests.support.processes import PgschedRunner
from tests.support.tables import insert_task, set_dead, set_running, task_row
from tests.support.web_face import web

Connection = psycopg.Connection[dict[str, Any]]


def payload(db: Connection, task: int) -> Any:
    return task_row(db, task)["payload"]


def mail(db: Connection, **given: Any) -> int:
    return insert_task(db, "mail", payload=Jsonb(given or {"to": "ann", "cc": "bob"}))


async def register_strict(dsn: str) -> None:
    app = App()

    @app.task("mail", strict=True)
    def mail(to: str, cc: str = "") -> None: ...

    session = Session(dsn=dsn, name="test")
    await register(session, app.registry)
    await session.close()


# RFC 7396, appendix A: those whose patch is an object or not.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_is_that_of_the_rfc(db: Connection, target: Any, patch: Any, result: Any) -> None:
    row = db.execute("select pgsched.merge_patch(%s, %s) as merged", (Jsonb(target), Jsonb(patch))).fetchone()
    assert row == {"merged": result}


def test_what_waits_is_changed_and_nothing_else(db: Connection, client: Client) -> None:
    pending = mail(db)
    blocked = insert_task(db, "mail", payload=Jsonb({"cc": "x"}), depends_on=[pending])
    cron = insert_task(db, "mail", payload=Jsonb({"cc": "x"}), cron_expression="0 8 * * *")
    same = mail(db, to="dan")
    other = insert_task(db, "report", payload=Jsonb({"cc": "x"}))
    running, dead = mail(db), mail(db)
    set_running(db, running)
    set_dead(db, dead)
    ticking = insert_task(db, "mail", payload=Jsonb({"cc": "x"}), cron_expression="0 8 * * *")
    set_running(db, ticking)
    dry = client.edit_payloads({"cc": None}, dry_run=True, task_type=["mail"])
    assert (dry.edited, list(dry.ids)) == (4, sorted([pending, blocked, cron, ticking]))
    assert payload(db, pending) == {"to": "ann", "cc": "bob"}
    before = {one: task_row(db, one) for one in (pending, cron)}
    done = client.edit_payloads({"cc": None, "size": {"w": 1}}, task_type=["mail"])
    assert (done.matched, done.edited, done.refused) == (6, 5, 0)
    assert payload(db, pending) == {"to": "ann", "size": {"w": 1}}
    assert [payload(db, one) for one in (blocked, cron, ticking)] == [{"size": {"w": 1}}] * 3
    assert payload(db, same) == {"to": "dan", "size": {"w": 1}}
    assert payload(db, other) == {"cc": "x"}
    assert [payload(db, one) for one in (running, dead)] == [{"to": "ann", "cc": "bob"}] * 2
    for one, was in before.items():
        now = task_row(db, one)
        assert {name for name in now if now[name] != was[name]} == {"payload", "updated_at"}


async def test_batches_are_transactions_with_progress(dsn: str, db: Connection) -> None:
    tasks = [mail(db) for _ in range(5)]
    seen: list[EditedPayloads] = []

    def stop_after_two(so_far: EditedPayloads) -> None:
        seen.append(so_far)
        if len(seen) == 2:
            raise KeyboardInterrupt

    async with AsyncClient(dsn) as client:
        with pytest.raises(KeyboardInterrupt):
            await client.edit_payloads({"cc": None}, batch=2, on_batch=stop_after_two, task_type=["mail"])
        assert [one.edited for one in seen] == [2, 4]
        assert [payload(db, one) == {"to": "ann"} for one in tasks] == [False, True, True, True, True]
        rest = await client.edit_payloads({"cc": None}, batch=2, task_type=["mail"])
        assert (rest.edited, rest.matched) == (1, 5)


async def test_strict_types_are_checked_and_the_others_go_on(dsn: str, db: Connection, client: Client) -> None:
    good, bad = mail(db), mail(db, to="x")
    await register_strict(dsn)
    for dry in (True, False):
        done = client.edit_payloads({"to": None, "cc": 3}, dry_run=dry, task_type=["mail"])
        assert (done.edited, done.refused) == (0, 2)
        assert done.refusals[0] == (good, "payload does not fit handler 'mail': missing argument 'to'")
    db.execute("update pgsched.tasks set payload = payload where id = %s", (bad,))  # what is not changed is not checked
    done = client.edit_payloads({"cc": "z"}, task_type=["mail"])
    assert (done.edited, done.refused) == (2, 0)
    with pytest.raises(InvalidTask, match="payload does not fit handler 'mail': unexpected argument 'bcc'"):
        client.update(good, {"to": "a", "bcc": 1})


def test_what_is_no_edit_is_refused(client: Client) -> None:
    for patch, rule in (({}, "an object that changes something"), ([], "an object that changes something")):
        with pytest.raises(InvalidTask, match=rule):
            client.edit_payloads(patch, task_type=["mail"])  # type: ignore[arg-type]
    with pytest.raises(InvalidTask, match="must have a filter"):
        client.edit_payloads({"a": 1})
    with pytest.raises(InvalidTask, match="batch must be between 1 and 10000, got 0"):
        client.edit_payloads({"a": 1}, batch=0, task_type=["mail"])
    with pytest.raises(InvalidTask, match=r"patch\['a'\] must be JSON"):
        client.edit_payloads({"a": object()}, task_type=["mail"])


def test_in_sql(db: Connection) -> None:
    task, group = mail(db), insert_task(db, "pgsched.group", payload=Jsonb({"steps": [{"task_type": "mail"}]}))
    patch = Jsonb({"cc": 1, "steps": None})
    rows = db.execute(
        "select * from pgsched.edit_payloads(array(select id from pgsched.tasks), %s)", (patch,)
    ).fetchall()
    assert [(row["id"], row["refusal"]) for row in rows] == [
        (task, None),
        (group, "payload of a group: steps must be a list of one step or more"),
    ]
    assert payload(db, task) == {"to": "ann", "cc": 1}
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="patch must be an object, got array"):
        db.execute("select pgsched.edit_payloads('{1}', '[]')")


def test_the_command_asks_first_and_tells(run_pgsched: PgschedRunner, db: Connection) -> None:
    tasks = [mail(db) for _ in range(3)]
    asked = run_pgsched("task", "edit-payloads", '{"cc": null}', "--type", "mail")
    assert asked.wait() == 2
    assert "Change the payloads of 3 tasks?" in asked.stderr
    dry = run_pgsched("task", "edit-payloads", '{"cc": null}', "--type", "mail", "--dry-run")
    assert (dry.wait(), dry.stdout) == (0, "3 payloads would be changed\n")
    assert payload(db, tasks[0]) == {"to": "ann", "cc": "bob"}
    one = ("--contains", '{"cc": "bob"}', "--batch", "2", "--yes")
    done = run_pgsched("task", "edit-payloads", '{"cc": null}', "--type", "mail", *one)
    assert (done.wait(), done.stdout) == (0, "3 payloads changed\n")
    assert "2 payloads changed so far" in done.stderr
    assert [payload(db, task) for task in tasks] == [{"to": "ann"}] * 3


async def test_the_command_exits_with_1_for_refusals(run_pgsched: PgschedRunner, dsn: str, db: Connection) -> None:
    task = mail(db)
    await register_strict(dsn)
    ran = run_pgsched("task", "edit-payloads", '{"x": 1}', "--type", "mail", "--yes", "--json")
    assert ran.wait() == 1
    assert json.loads(ran.stdout) == {
        "dry_run": False,
        "edited": 0,
        "refused": 1,
        "refusals": [{"id": task, "reason": "payload does not fit handler 'mail': unexpected argument 'x'"}],
    }


async def test_by_rest_a_batch_at_a_time_with_an_entry(dsn: str, db: Connection) -> None:
    tasks = [mail(db) for _ in range(3)]
    body: dict[str, Any] = {"patch": {"cc": None}, "filter": {"task_type": ["mail"]}, "limit": 2}
    async with web(dsn) as http:
        dry = (await http.post("/api/v1/tasks/payloads", json=body | {"dry_run": True})).json()
        assert (dry["edited"], dry["ids"], dry["dry_run"]) == (2, tasks[1:], True)
        first = (await http.post("/api/v1/tasks/payloads", json=body)).json()
        assert (first["edited"], first["next_cursor"] is None) == (2, False)
        last = (await http.post("/api/v1/tasks/payloads", json=body | {"cursor": first["next_cursor"]})).json()
        assert (last["edited"], last["ids"], last["next_cursor"]) == (1, tasks[:1], None)
        entries = (await http.get("/api/v1/audit")).json()["items"]
        assert [one["action"] for one in entries] == ["tasks.edit_payloads"] * 2
        assert (entries[0]["after"], entries[0]["task_ids"]) == ({"edited": 1, "keys": ["cc"]}, tasks[:1])
        refused = await http.post("/api/v1/tasks/payloads", json={"patch": {"a": 1}, "filter": {}})
        assert (refused.status_code, "must have a filter" in refused.text) == (422, True)
    assert [payload(db, one) for one in tasks] == [{"to": "ann"}] * 3

"""Several databases on the command line: lists show all, changes are for one, and tenants are moved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgsched import ShardedClient
from tests.support.commands import Ended, pgsched
from tests.support.shards import NAMES, tenant_of, where

DOWN = "postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1"


@pytest.fixture
def client(shards: dict[str, str]) -> Any:
    with ShardedClient(shards) as made:
        yield made


def run(shards: dict[str, str], *arguments: object) -> Ended:
    given = [word for name, dsn in shards.items() for word in ("--dsn", f"{name}={dsn}")]
    return pgsched(*given, *arguments)


def test_lists_show_all_shards(shards: dict[str, str], client: ShardedClient) -> None:
    for shard in NAMES:
        client.schedule("mail", tenant_id=tenant_of(shard), queue="letters")
    ended = run(shards, "task", "list")
    assert ended.code == 0, ended
    header, *rows = ended.stdout.splitlines()
    assert header.split()[:2] == ["SHARD", "ID"]
    assert [row.split()[0] for row in rows] == list(NAMES)
    queues = run(shards, "queue", "list", "--output", "json").json()
    assert [(row["shard"], row["name"], row["pending"]) for row in queues] == [(name, "letters", 1) for name in NAMES]
    assert run(shards, "task", "list", "--output", "csv").stdout.startswith('"shard","id",')
    assert run(shards, "task", "list", "--type", "other").stdout == "no tasks\n"


def test_a_page_that_is_full_says_how_each_shard_goes_on(shards: dict[str, str], client: ShardedClient) -> None:
    for _ in range(2):
        client.schedule("mail", tenant_id=tenant_of("a"))
    ended = run(shards, "task", "list", "--limit", "1")
    assert "there may be more in shard a: --shard a … --cursor " in ended.stderr
    cursor = ended.stderr.rsplit(" ", 1)[1].strip()
    assert len(run(shards, "--shard", "a", "task", "list", "--cursor", cursor).stdout.splitlines()) == 2
    ended = run(shards, "task", "list", "--cursor", cursor)
    assert ended.code == 2
    assert "choose one with --shard a|b|c" in ended.error


def test_stats_and_doctor_and_migrate_are_for_each(shards: dict[str, str]) -> None:
    ended = run(shards, "stats")
    assert [line for line in ended.stdout.splitlines() if line.startswith("shard ")] == [
        "shard a",
        "shard b",
        "shard c",
    ]
    assert [one["shard"] for one in run(shards, "stats", "--json").json()] == list(NAMES)
    assert [one["shard"] for one in run(shards, "doctor", "--check", "schema_version", "--json").json()] == list(NAMES)
    ended = run(shards, "migrate")
    assert [line.split(": ")[0] for line in ended.stdout.splitlines()] == ["shard a", "shard b", "shard c"]


def test_a_shard_that_is_down_is_reported_and_the_others_are_shown(
    shards: dict[str, str], client: ShardedClient
) -> None:
    client.schedule("mail", tenant_id=tenant_of("a"))
    for command in (("task", "list"), ("stats",), ("doctor", "--check", "schema_version"), ("migrate",)):
        ended = run(shards | {"c": DOWN}, *command)
        assert ended.code == 1
        assert ended.stdout
        assert "pgsched: shard c is missing: " in ended.stderr
    ended = run({"a": DOWN, "b": DOWN}, "task", "list")
    assert ended.code == 1
    assert "shard a: " in ended.error
    assert "shard b: " in ended.error


def test_a_command_about_one_task_needs_its_shard_or_its_key(shards: dict[str, str], client: ShardedClient) -> None:
    placed = client.schedule("mail", tenant_id=tenant_of("b"), idempotency_key="k-1")
    assert run(shards, "task", "show", "k-1", "--json").json()["id"] == placed.id
    assert run(shards, "--shard", "b", "task", "show", placed.id, "--json").json()["id"] == placed.id
    ended = run(shards, "task", "show", placed.id)
    assert ended.code == 2
    assert f"task {placed.id} may exist in each database: choose one with --shard a|b|c" in ended.error
    ended = run(shards, "task", "show", "k-2")
    assert (ended.code, ended.error) == (1, "a task with the key 'k-2' does not exist in a, b, c")
    ended = run(shards, "queue", "pause", "letters")
    assert ended.code == 2
    assert "this command is for one database, and there are 3: choose one with --shard a|b|c" in ended.error
    ended = run(shards, "--shard", "d", "queue", "list")
    assert (ended.code, ended.error) == (2, "--shard must be one of a, b, c, got 'd'")


def test_a_tenant_is_moved(shards: dict[str, str], client: ShardedClient) -> None:
    tenant = tenant_of("a")
    client.schedule("mail", tenant_id=tenant, name="x")
    assert run(shards, "shard", "home", tenant).stdout == "a\n"
    ended = run(shards, "shard", "move", tenant, "--to", "c")
    assert ended.code == 0, ended
    assert ended.stdout.startswith(f"tenant {tenant}: moved 1 task from shard a to c in ")
    assert where(shards, tenant) == {"a": [], "b": [], "c": ["x"]}
    assert run(shards, "shard", "home", tenant).stdout == "c\n"
    ended = run(shards, "shard", "move", tenant, "--to", "c")
    assert ended.stdout == f"tenant {tenant} is in shard c already\n"
    moved = json.loads(run(shards, "shard", "move", tenant, "--to", "a", "--json").stdout)
    assert moved | {"seconds": 0} == {
        "tenant_id": tenant,
        "source": "c",
        "target": "a",
        "tasks": 1,
        "staying": 0,
        "seconds": 0,
    }


def test_shards_are_listed_and_made(shards: dict[str, str]) -> None:
    ended = run(shards, "shard", "init")
    assert ended.stdout == "shard a: hashed\nshard b: hashed\nshard c: hashed\n"
    run(shards, "shard", "move", tenant_of("a"), "--to", "b")
    found = run(shards, "shard", "list", "--json").json()
    assert [(one["name"], one["state"], one["moved_here"], one["moved_away"]) for one in found] == [
        ("a", "online", 0, 1),
        ("b", "online", 1, 0),
        ("c", "online", 0, 0),
    ]
    ended = run(shards | {"c": DOWN}, "shard", "list")
    assert ended.code == 1
    assert ended.stdout.splitlines()[3].split()[:2] == ["c", "offline"]
    ended = run({"a": shards["b"], "b": shards["a"], "c": shards["c"]}, "shard", "init")
    assert (ended.code, ended.error) == (2, "the database that is given as a is shard b")

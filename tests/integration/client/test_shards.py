"""Three databases as one system: clients send each task to the shard of its tenant or queue."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pgsched import (
    AsyncShardedClient,
    Client,
    ConfigError,
    DatabaseUnavailable,
    InvalidTask,
    ShardedClient,
    TaskNotFound,
    TaskSpec,
    TenantMoved,
    TenantMoving,
)
from pgsched.client.shards import Placed
from pgsched.domain.shards import hashed_shard, shard_key
from pgsched.ops.shards import Move, init_shards
from tests.support.servers import fresh_database
from tests.support.shards import NAMES, opened, tenant_of, where
from tests.support.tables import database

DOWN = "postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1"


@pytest.fixture
def sharded(shards: dict[str, str]) -> Iterator[ShardedClient]:
    with ShardedClient(shards) as client:
        yield client


def place(dsn: str, tenant: str, state: str, shard: str, peer: str = "a") -> None:
    with database(dsn) as connection:
        connection.execute(
            "insert into pgsched.placements values (%s, %s, %s, %s, 1)"
            " on conflict (tenant_id) do update set state = excluded.state",
            (tenant, state, shard, peer),
        )


def test_a_task_goes_to_the_shard_of_its_tenant_or_queue(shards: dict[str, str], sharded: ShardedClient) -> None:
    for tenant in map(tenant_of, NAMES):
        placed = sharded.schedule("mail", tenant_id=tenant, queue="any", name=tenant)
        assert placed.shard == hashed_shard(NAMES, shard_key(tenant)) == sharded.home(tenant)
        assert [name for name, found in where(shards, tenant).items() if found == [tenant]] == [placed.shard]
    assert sharded.schedule("mail", queue="q7").shard == hashed_shard(NAMES, "queue:q7")


def test_many_tasks_are_sent_to_their_shards_and_returned_in_order(sharded: ShardedClient) -> None:
    placed = sharded.schedule_many(TaskSpec(task_type="mail", payload={"n": n}, tenant_id=f"t{n}") for n in range(30))
    assert {one.shard for one in placed} == set(NAMES)
    assert [sharded.get(one).payload["n"] for one in placed] == list(range(30))


async def test_the_client_for_event_loops_does_the_same(shards: dict[str, str]) -> None:
    async with AsyncShardedClient(shards) as client:
        placed = await client.schedule("mail", tenant_id=tenant_of("b"), idempotency_key="k")
        assert placed.shard == "b"
        assert await client.find_key("k") == placed
        await client.cancel(placed)
        assert (await client.get(placed)).status == "cancelled"
        await client.retry(placed)
        assert [one.shard for one in await client.list_tasks()] == ["b"]
        with pytest.raises(TimeoutError):
            await client.wait(placed, timeout=0.01)
        assert await client.executions(placed) == []


def test_a_key_is_found_in_any_shard(sharded: ShardedClient) -> None:
    placed = sharded.schedule("mail", queue="q1", idempotency_key="k")
    assert sharded.find_key("k") == sharded.find_key("k", tenant_id="t1") == placed
    with pytest.raises(TaskNotFound, match="no task with the key 'other' exists in a, b, c"):
        sharded.find_key("other")


def test_lists_are_merged_with_the_latest_first(sharded: ShardedClient) -> None:
    for n in range(12):
        sharded.schedule("mail", name=f"{n:02}", tenant_id=f"t{n}")
    found = sharded.list_tasks(limit=5)
    assert [one.task.task_name for one in found] == ["11", "10", "09", "08", "07"]
    assert found.missing == {}
    with pytest.raises(InvalidTask, match="cursor belongs to one shard"):
        sharded.list_tasks(before_id=3)


def test_a_shard_that_is_down_affects_its_own_tasks_only(shards: dict[str, str]) -> None:
    with ShardedClient(shards) as client:
        placed = client.schedule("mail", tenant_id=tenant_of("a"), name="x")
        gone = client.schedule("mail", tenant_id=tenant_of("c"), name="y")
    with ShardedClient(shards | {"c": DOWN}) as client:
        assert client.schedule("mail", tenant_id=tenant_of("b")).shard == "b"
        assert client.get(placed).task_name == "x"
        for call in (lambda: client.schedule("mail", tenant_id=tenant_of("c")), lambda: client.get(gone)):
            with pytest.raises(DatabaseUnavailable, match=r"^shard c: "):
                call()
        with pytest.raises(DatabaseUnavailable, match=r"^shard c: "):
            client.find_key("nowhere")
        found = client.list_tasks()
        assert {one.shard for one in found} == {"a", "b"}
        assert list(found.missing) == ["c"]


def test_a_client_with_an_old_map_is_refused_and_follows_the_tenant(shards: dict[str, str]) -> None:
    tenant = tenant_of("a")
    with ShardedClient(shards) as client, Client(shards["a"]) as plain:
        assert client.schedule("mail", tenant_id=tenant, name="before").shard == "a"
        place(shards["a"], tenant, "left", "b")
        place(shards["b"], tenant, "here", "b")
        with pytest.raises(TenantMoved, match=f"^tenant {tenant} has moved to shard b$"):
            plain.schedule("mail", tenant_id=tenant)
        with pytest.raises(TenantMoved):
            plain.schedule_many([TaskSpec(task_type="mail", tenant_id=tenant)])
        assert client.schedule("mail", tenant_id=tenant, name="after").shard == "b"
        assert client.schedule_many([TaskSpec(task_type="mail", tenant_id=tenant, name="many")])[0].shard == "b"
    assert where(shards, tenant) == {"a": ["before"], "b": ["after", "many"], "c": []}


def test_the_tenant_that_a_default_gives_is_refused_too(shards: dict[str, str]) -> None:
    place(shards["a"], "ada", "left", "b")
    with Client(shards["a"]) as client, database(shards["a"]) as connection:
        connection.execute("insert into pgsched.task_defaults (kind, name, tenant_id) values ('queue', 'mail', 'ada')")
        with pytest.raises(TenantMoved):
            client.schedule("send", queue="mail")


def test_children_of_a_task_that_stayed_are_inserted_beside_it(shards: dict[str, str]) -> None:
    with Client(shards["a"]) as client:
        parent = client.schedule("mail", tenant_id="ada")
        place(shards["a"], "ada", "left", "b")
        assert client.get(client.run_now(parent)).tenant_id == "ada"
        with database(shards["a"]) as connection:
            connection.execute(
                "update pgsched.tasks set status = 'completed', completed_at = now(), next_run_at = null"
            )
        assert client.get(client.run_now(parent)).parent_id == parent


def test_tasks_with_a_key_wait_until_all_others_have_arrived(shards: dict[str, str]) -> None:
    tenant = tenant_of("a")
    place(shards["a"], tenant, "leaving", "b")
    place(shards["b"], tenant, "arriving", "b")
    with ShardedClient(shards, move_timeout=0.3) as client:
        assert client.schedule("mail", tenant_id=tenant).shard == "b"
        with pytest.raises(TenantMoving, match=f"tenant {tenant} is moving from shard a"):
            client.schedule("mail", tenant_id=tenant, idempotency_key="k")
        place(shards["b"], tenant, "here", "b")
        assert client.schedule("mail", tenant_id=tenant, idempotency_key="k").shard == "b"


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_transaction_with_an_older_snapshot_notices_a_move(shards: dict[str, str], isolation: str) -> None:
    with database(shards["a"]) as old, opened(shards) as databases:
        old.execute(f"begin isolation level {isolation}")
        old.execute("select count(*) from pgsched.placements")
        tenant = tenant_of("a")
        assert Move(databases, tenant, "b").run().source == "a"
        with pytest.raises(Exception, match="could not serialize access"):
            old.execute("insert into pgsched.tasks (task_type, tenant_id) values ('mail', %s)", (tenant,))


def test_databases_must_be_the_shards_that_their_names_say(shards: dict[str, str], dsn: str) -> None:
    with (
        ShardedClient(shards | {"a": shards["b"], "b": shards["a"]}) as client,
        pytest.raises(ConfigError, match="the database that is given as a is shard b"),
    ):
        client.schedule("mail")
    with ShardedClient({"a": dsn}) as client, pytest.raises(ConfigError, match="database a is not a shard yet"):
        client.schedule("mail")
    with (
        ShardedClient({name: shards[name] for name in "ab"}) as client,
        pytest.raises(ConfigError, match="there is no DSN for shard c"),
    ):
        client.schedule("mail")
    with pytest.raises(ConfigError, match="shard must be one of a, b, c, got 'd'"):
        ShardedClient(shards).shard("d")
    with pytest.raises(ConfigError, match="databases there must be at least one shard"):
        ShardedClient({})


def test_a_fourth_shard_changes_no_home(
    shards: dict[str, str], server_dsn: str, template_database: str, database_name: str
) -> None:
    with ShardedClient(shards) as client:
        before = {f"t{n}": client.home(f"t{n}") for n in range(50)}
    with fresh_database(server_dsn, f"{database_name}_d", template=template_database) as fourth:
        with opened(shards | {"d": fourth}) as databases:
            init_shards(databases)
        with ShardedClient(shards | {"d": fourth}) as client:
            assert {tenant: client.home(tenant) for tenant in before} == before
        with opened(shards) as databases, pytest.raises(ConfigError, match=re.escape("knows a shard d")):
            init_shards(databases)


def test_a_place_is_the_shard_and_the_id(sharded: ShardedClient) -> None:
    placed = sharded.schedule("mail", idempotency_key="k")
    again = sharded.schedule("mail", idempotency_key="k")
    assert placed == again == Placed(placed.shard, placed.id)
    assert again.id.outcome == "existing"  # type: ignore[attr-defined]

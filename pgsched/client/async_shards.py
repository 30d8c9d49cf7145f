"""The client for event loops of several databases that form one system: it chooses the shard of each task."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar, Unpack

from pgsched.client.async_client import AsyncClient
from pgsched.concurrency.async_primitives import sleep
from pgsched.db.databases import check_name
from pgsched.db.queries import shards as shard_commands
from pgsched.db.queries.task_search import ListOptions
from pgsched.domain.errors import (
    ConfigError,
    DatabaseUnavailable,
    InvalidTask,
    KeyStayed,
    TaskNotFound,
    TenantMoved,
    TenantMoving,
)
from pgsched.domain.records import Execution, Task
from pgsched.domain.scheduled import OnConflict, Scheduled
from pgsched.domain.shards import KnownShard, Placement, ShardMap, read_map
from pgsched.domain.task_spec import Defaults, Payloads, TaskOptions, TaskSpec, no_defaults
from pgsched.domain.unique import Unique
from pgsched.domain.validation import Duration
from pgsched.domain.wait import Waiting

T = TypeVar("T")

MOVE_SECONDS = 30.0
"""How long a call waits for a tenant that is being moved, unless ``move_timeout`` says otherwise."""
MOVE_PAUSE = 0.1
"""Seconds between two attempts meanwhile."""


class Placed(NamedTuple):
    """A task in a shard: both together identify it."""

    shard: str
    id: int


class Found(NamedTuple):
    """A task and the shard that it is in."""

    shard: str
    task: Task


class ShardedList(list[Found]):
    """Tasks of all shards that answered."""

    def __init__(self, items: Iterable[Found], missing: Mapping[str, DatabaseUnavailable]) -> None:
        super().__init__(items)
        self.missing = dict(missing)
        """The shards that did not answer, and why: their tasks are not in the list."""


class AsyncShardedClient:
    """A client for event loops of several databases: its methods are to be awaited.

    ``databases`` are the DSNs by the names of their shards, which ``pgsched shard init`` has stored in them. A task
    belongs to the shard of its ``tenant_id``, or of its queue if it has no tenant: docs/shards.md specifies how it is
    chosen. While a tenant is being moved, calls wait for at most ``move_timeout`` seconds, and then raise TenantMoving.
    The other arguments are those of :class:`pgsched.AsyncClient`, for each shard.

    A shard that is down affects calls for its own tasks, which raise DatabaseUnavailable with its name; lists contain
    the tasks of all others, and name those that are missing. ConfigError is raised when the databases are not the
    shards that the DSNs' names say.
    """

    def __init__(
        self,
        databases: Mapping[str, str],
        *,
        pool_size: int = 4,
        move_timeout: float = MOVE_SECONDS,
        defaults: Defaults = no_defaults,
        payloads: Payloads | None = None,
    ) -> None:
        if not databases:
            raise ConfigError("there must be at least one shard", field="databases")
        for name in databases:
            check_name(name)
        self._clients = {
            name: AsyncClient(dsn, pool_size=pool_size, defaults=defaults, payloads=payloads)
            for name, dsn in databases.items()
        }
        self._move_timeout = move_timeout
        self._map: ShardMap | None = None

    @property
    def shards(self) -> list[str]:
        """The names of the shards."""
        return list(self._clients)

    def shard(self, name: str) -> AsyncClient:
        """Return the client of one shard, for everything that this class has no method for. Raises ConfigError."""
        try:
            return self._clients[name]
        except KeyError:
            raise ConfigError(f"must be one of {', '.join(self._clients)}", field="shard", value=name) from None

    async def home(self, tenant_id: str | None = None, queue: str | None = None) -> str:
        """Return the shard of a tenant, or of a queue for tasks without a tenant. Raises DatabaseUnavailable."""
        return (await self._read_map()).home(tenant_id, queue)

    async def schedule(
        self,
        task_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        on_conflict: OnConflict = "return",
        unique: Unique | None = None,
        **options: Unpack[TaskOptions],
    ) -> Placed:
        """Schedule a task in the shard that it belongs to; otherwise like ``schedule`` of the client.

        The id is a :class:`Scheduled` with its outcome. An ``idempotency_key`` is unique within a tenant, or within a
        queue for tasks without a tenant.
        """

        async def send(client: AsyncClient) -> Scheduled:
            return await client.schedule(task_type, payload, on_conflict=on_conflict, unique=unique, **options)

        tenant_id, queue = options.get("tenant_id"), options.get("queue")
        try:
            name, scheduled = await self._at_home(tenant_id, queue, send)
        except KeyStayed:
            key = options.get("idempotency_key")
            if key is None or on_conflict not in ("return", "keep") or unique is not None:
                raise
            name, id = await self.find_key(key, tenant_id=tenant_id)
            return Placed(name, Scheduled(id, "existing"))
        return Placed(name, scheduled)

    async def schedule_many(self, specs: Iterable[TaskSpec]) -> list[Placed]:
        """Schedule many tasks at once, by one COPY per shard, and return where they are, in order.

        All of a shard's tasks are scheduled or none of them. When a shard fails, those of the shards before it, in the
        order of their first tasks, remain: use keys if you repeat the call.
        """
        given = list(specs)
        placed: dict[int, Placed] = {}
        deadline = time.monotonic() + self._move_timeout
        while len(placed) < len(given):
            shards = await self._read_map()
            parts: dict[str, list[int]] = {}
            for at, spec in enumerate(given):
                if at not in placed:
                    parts.setdefault(shards.home(spec.tenant_id, spec.queue), []).append(at)
            for name, places in parts.items():
                part = [given[at] for at in places]
                try:
                    ids = await self._on(name, partial(_schedule_many, specs=part))
                except (TenantMoved, TenantMoving) as error:
                    await self._wait_for_move(error, deadline)
                    break
                placed.update(zip(places, (Placed(name, id) for id in ids), strict=True))
        return [placed[at] for at in range(len(given))]

    async def find_key(self, key: str, *, tenant_id: str | None = None) -> Placed:
        """Return the task with an idempotency key: the tenant's shard is asked first, then all others.

        Raises TaskNotFound, and DatabaseUnavailable when no shard that answered has it and one did not answer.
        """
        names = list(self._clients)
        if tenant_id is not None:
            first = await self.home(tenant_id)
            names = [first, *(name for name in names if name != first)]
        missing: DatabaseUnavailable | None = None
        for name in names:
            try:
                return Placed(name, await self._on(name, lambda client: client.task_id(key)))
            except TaskNotFound:
                continue
            except DatabaseUnavailable as error:
                missing = error
        if missing is not None:
            raise missing
        raise TaskNotFound(f"no task with the key {key!r} exists in {', '.join(names)}")

    async def get(self, at: Placed) -> Task:
        """Return a task. Raises TaskNotFound."""
        return await self._on(at.shard, lambda client: client.get(at.id))

    async def executions(self, at: Placed) -> list[Execution]:
        """Return the attempts at a task in its shard, the latest first."""
        return await self._on(at.shard, lambda client: client.executions(at.id))

    async def wait(self, at: Placed, timeout: Duration | None = None) -> Any:
        """Wait until a task completes and return its result, as ``wait`` of the client."""
        Waiting(at.id, timeout, clock=time.monotonic)  # an invalid timeout is rejected before anything is sent
        return await self._on(at.shard, lambda client: client.wait(at.id, timeout))

    async def cancel(self, at: Placed) -> None:
        """Cancel a task. Raises TaskNotFound, and TransitionRefused when it is over."""
        await self._on(at.shard, lambda client: client.cancel(at.id))

    async def retry(self, at: Placed) -> None:
        """Give a dead or cancelled task all its attempts again. Raises TaskNotFound and TransitionRefused."""
        await self._on(at.shard, lambda client: client.retry(at.id))

    async def list_tasks(self, **options: Unpack[ListOptions]) -> ShardedList:
        """Return the latest matching tasks of all shards, the latest first; ``limit`` is that of the merged list.

        There are no cursors: for more pages list each shard by itself. A shard that is down is in ``missing``.
        """
        if options.get("cursor") is not None or options.get("before_id") is not None:
            raise InvalidTask("belongs to one shard: list that one by itself", field="cursor")
        found, missing = await self.on_all(lambda client: client.list_tasks(**options))
        merged = [Found(name, task) for name, tasks in found.items() for task in tasks]
        merged.sort(key=lambda one: one.task.created_at, reverse=True)
        return ShardedList(merged[: options.get("limit", 50)], missing)

    async def on_all(
        self, call: Callable[[AsyncClient], Awaitable[T]]
    ) -> tuple[dict[str, T], dict[str, DatabaseUnavailable]]:
        """Call a function with the client of each shard; return the results, and why the other shards are missing.

        Raises DatabaseUnavailable when all are.
        """
        found: dict[str, T] = {}
        missing: dict[str, DatabaseUnavailable] = {}
        for name in self._clients:
            try:
                found[name] = await self._on(name, call)
            except DatabaseUnavailable as error:
                missing[name] = error
        if not found:
            raise next(iter(missing.values()))
        return found, missing

    async def close(self) -> None:
        """Close the connections to all shards."""
        for client in self._clients.values():
            await client.close()

    async def _at_home(
        self, tenant_id: str | None, queue: str | None, call: Callable[[AsyncClient], Awaitable[T]]
    ) -> tuple[str, T]:
        deadline = time.monotonic() + self._move_timeout
        while True:
            name = await self.home(tenant_id, queue)
            try:
                return name, await self._on(name, call)
            except (TenantMoved, TenantMoving) as error:
                await self._wait_for_move(error, deadline)

    async def _wait_for_move(self, error: TenantMoved | TenantMoving, deadline: float) -> None:
        """Read the placements again at the next attempt; raise the error when the time is over."""
        self._map = None
        if time.monotonic() > deadline:
            raise error
        await sleep(MOVE_PAUSE)

    async def _on(self, name: str, call: Callable[[AsyncClient], Awaitable[T]]) -> T:
        client = self.shard(name)
        try:
            return await call(client)
        except DatabaseUnavailable as error:
            error.args = (f"shard {name}: {error}",)  # whatever its class needs to be made
            raise

    async def _read_map(self) -> ShardMap:
        """Return the map; it is read once, and again when a database refuses a tenant that has left it."""
        if self._map is None:
            said, _ = await self.on_all(_read)
            self._map = read_map(said)
            if unknown := set(self._map.hashed) - set(self._clients):
                self._map = None
                raise ConfigError(f"there is no DSN for shard {min(unknown)}")
        return self._map

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()


async def _schedule_many(client: AsyncClient, specs: list[TaskSpec]) -> list[int]:
    return await client.schedule_many(specs)


async def _read(client: AsyncClient) -> tuple[list[KnownShard], list[Placement]]:
    run = client.database.run
    return await run(shard_commands.list_shards()), await run(shard_commands.list_placements())

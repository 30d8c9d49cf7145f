"""Types and errors for pages: counters compared with an earlier period, cached for some seconds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple, TypeVar

from pgsched.client.async_client import AsyncClient
from pgsched.domain.counted import CountedTime, ErrorStats, TypeStats
from pgsched.web.services.cache import Cached

T = TypeVar("T")

SECONDS: Final = 15.0
"""How long a result is cached: workers count once a minute."""
MAX_KEPT: Final = 50
"""Maximum number of cached results: each range, comparison and queue is one."""
RANGES: Final = ("1h", "6h", "24h", "7d", "30d")
BESIDES: Final = ("day", "week", "none")
_LONG: Final = {"7d": "7d", "30d": "30d"}
"""Ranges that are compared with the period right before them: a day or a week earlier would overlap."""


def ago_of(within: str, beside: str) -> str | None:
    """Return how much earlier the compared period starts."""
    if beside == "none":
        return None
    return _LONG.get(within) or {"day": "1d", "week": "7d"}[beside]


class TypesLook(NamedTuple):
    """Every type in a period, and in the period before."""

    time: CountedTime
    now: list[TypeStats]
    before: dict[str, TypeStats]


class ErrorsLook(NamedTuple):
    """Groups of errors in a period, and their number in the period before."""

    time: CountedTime
    now: list[ErrorStats]
    before: dict[str, int]


class CountedLooks:
    """The cached results of one app."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._types: OrderedDict[tuple[Any, ...], Cached[TypesLook]] = OrderedDict()
        self._errors: OrderedDict[tuple[Any, ...], Cached[ErrorsLook]] = OrderedDict()

    async def types(self, within: str, ago: str | None, queue: str | None) -> TypesLook:
        """Return every type. Raises InvalidTask."""

        async def load() -> TypesLook:
            async with self._client.transaction() as one:
                before = [] if ago is None else await one.type_stats(within=within, ago=ago, queue=queue)
                return TypesLook(
                    await one.counted_time(within=within),
                    await one.type_stats(within=within, queue=queue),
                    {row.task_type: row for row in before},
                )

        return await _kept(self._types, (within, ago, queue), Cached(load, seconds=SECONDS)).get()

    async def errors(self, within: str, ago: str | None, task_type: str | None, queue: str | None) -> ErrorsLook:
        """Return the groups of errors. Raises InvalidTask."""

        async def load() -> ErrorsLook:
            async with self._client.transaction() as one:
                before = (
                    [] if ago is None else await one.errors(task_type=task_type, within=within, ago=ago, queue=queue)
                )
                return ErrorsLook(
                    await one.counted_time(within=within),
                    await one.errors(task_type=task_type, within=within, queue=queue),
                    {row.id: row.number for row in before},
                )

        return await _kept(self._errors, (within, ago, task_type, queue), Cached(load, seconds=SECONDS)).get()

    async def close(self) -> None:
        """Cancel the queries in progress."""
        for types in self._types.values():
            await types.close()
        for errors in self._errors.values():
            await errors.close()


def _kept(looks: OrderedDict[tuple[Any, ...], Cached[T]], key: tuple[Any, ...], new: Cached[T]) -> Cached[T]:
    """Return the cached result of this key; the least recently used one is evicted for a new one."""
    found = looks.setdefault(key, new)
    looks.move_to_end(key)
    while len(looks) > MAX_KEPT:
        looks.popitem(last=False)
    return found

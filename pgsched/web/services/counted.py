"""Types and errors for pages: what was counted, beside a time before, kept for some seconds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple, TypeVar

from pgsched.client.async_client import AsyncClient
from pgsched.domain.counted import CountedTime, ErrorStats, TypeStats
from pgsched.web.services.cache import Cached

T = TypeVar("T")

SECONDS: Final = 15.0
"""How long a look is kept: workers count once a minute."""
MAX_KEPT: Final = 50
"""Looks that are kept: each range, comparison and queue is one."""
RANGES: Final = ("1h", "6h", "24h", "7d", "30d")
BESIDES: Final = ("day", "week", "none")
_LONG: Final = {"7d": "7d", "30d": "30d"}
"""Ranges that stand beside the time right before them: a day or a week before would overlap."""


def ago_of(within: str, beside: str) -> str | None:
    """Return how long before a range the one begins that it is compared with."""
    if beside == "none":
        return None
    return _LONG.get(within) or {"day": "1d", "week": "7d"}[beside]


class TypesLook(NamedTuple):
    """Every type in a time, and in the time before."""

    time: CountedTime
    now: list[TypeStats]
    before: dict[str, TypeStats]


class ErrorsLook(NamedTuple):
    """Groups of errors in a time, and how many there were in the time before."""

    time: CountedTime
    now: list[ErrorStats]
    before: dict[str, int]


class CountedLooks:
    """The looks of one app."""

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
        """End the looks that are under way."""
        for types in self._types.values():
            await types.close()
        for errors in self._errors.values():
            await errors.close()


def _kept(looks: OrderedDict[tuple[Any, ...], Cached[T]], key: tuple[Any, ...], new: Cached[T]) -> Cached[T]:
    """Return the look that is kept under this key; the one that was asked for longest ago makes room for a new one."""
    found = looks.setdefault(key, new)
    looks.move_to_end(key)
    while len(looks) > MAX_KEPT:
        looks.popitem(last=False)
    return found

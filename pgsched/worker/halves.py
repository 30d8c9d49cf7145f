"""Finds the rows of a batch that the database rejects: the batch is halved until each of them stands alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Generic, TypeVar

from pgsched.db.error_mapping import RefusedByDatabase, RefusedByServer, is_passing
from pgsched.domain.errors import DatabaseUnavailable

T = TypeVar("T")

MAX_PASSING = 8
"""Items rejected alone for a transient reason after which the table is taken to be the cause, such as a lock on it."""
FEW = 10
"""When more rows than this are tried and all are rejected, the cause is taken to be the table, and none is ended."""

Refusals = list[tuple[T, Exception]]
"""Items, and why each of them was rejected."""


async def in_halves(
    items: Sequence[T], write: Callable[[Sequence[T]], Awaitable[None]], found: Refusals[T] | None = None
) -> Refusals[T]:
    """Write all items in as few statements as possible; returns those that were rejected alone, with the reason.

    Raises DatabaseUnavailable when the cause is not an item. By then some items may have been written, of which
    ``write`` must keep account, and some may have been rejected alone: these are in ``found``.
    """
    search = _Search(items, found)
    for part in search:
        try:
            await write(part)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is about these items
            search.refused(part, error)
    return search.alone


def in_halves_here(items: Sequence[T], write: Callable[[Sequence[T]], None]) -> Refusals[T]:
    """Like :func:`in_halves`, in a thread."""
    search = _Search(items, None)
    for part in search:
        try:
            write(part)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is about these items
            search.refused(part, error)
    return search.alone


class _Search(Generic[T]):
    """The parts still to be written, the first at the front."""

    def __init__(self, items: Sequence[T], found: Refusals[T] | None) -> None:
        self._parts: list[Sequence[T]] = [items] if items else []
        self.alone: Refusals[T] = [] if found is None else found

    def __iter__(self) -> Iterator[Sequence[T]]:
        while self._parts:
            yield self._parts.pop()

    def refused(self, part: Sequence[T], error: Exception) -> None:
        """Search for the item in the halves of this part. Raises the error when its cause is not an item."""
        if isinstance(error, DatabaseUnavailable) and not isinstance(error, (RefusedByDatabase, RefusedByServer)):
            raise error
        if len(part) > 1:
            middle = len(part) // 2
            self._parts += [part[middle:], part[:middle]]
            return
        if is_passing(error) and sum(is_passing(one) for _, one in self.alone) >= MAX_PASSING:
            raise DatabaseUnavailable(str(error)) from error
        self.alone.append((part[0], error))

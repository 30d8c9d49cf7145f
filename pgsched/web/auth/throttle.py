"""Throttling of wrong tokens: an address that sends several must wait, longer each time, before the next try."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE = 5
"""Number of wrong tokens of an address without a wait."""
FREE_FROM_ALL = 100
"""Number of wrong tokens from all addresses within :data:`FORGOTTEN_AFTER`, after which even the first one of an
address causes a wait."""
FIRST_WAIT = 1.0
"""Seconds; doubled after each further wrong token."""
LONGEST_WAIT = 300.0
FORGOTTEN_AFTER = 3600.0
"""Seconds without a wrong token after which those of an address are forgotten."""
MAX_ADDRESSES = 10_000
"""Maximum number of remembered addresses, those with the latest wrong tokens."""


@dataclass(slots=True)
class _Failures:
    number: int
    last_at: float
    closed_until: float


class Throttle:
    """The wrong tokens of each address. Nothing is awaited: check and update are one step."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: OrderedDict[str, _Failures] = OrderedDict()
        """Ordered by their latest wrong token, the latest last."""
        self._from_all = 0.0
        """Wrong tokens from all addresses; it drains evenly, :data:`FREE_FROM_ALL` in :data:`FORGOTTEN_AFTER`."""
        self._counted_at = clock()

    def __len__(self) -> int:
        """Return the number of remembered addresses."""
        return len(self._of)

    def seconds_to_wait(self, remote: str | None) -> int:
        """Return the seconds, rounded up, until the next token of an address is checked; 0: now."""
        found = self._of.get(_key(remote))
        return 0 if found is None else max(0, math.ceil(found.closed_until - self._clock()))

    def note_wrong(self, remote: str | None) -> None:
        """Count a wrong token."""
        now, key = self._clock(), _key(remote)
        self._forget_old(now)
        ran_out = (now - self._counted_at) * FREE_FROM_ALL / FORGOTTEN_AFTER
        self._from_all = min(max(self._from_all - ran_out, 0.0) + 1, 2.0 * FREE_FROM_ALL)
        self._counted_at = now
        found = self._of.setdefault(key, _Failures(0, now, now))
        found.number += 1
        found.last_at = now
        free = FREE if self._from_all <= FREE_FROM_ALL else 0
        if found.number > free:
            found.closed_until = now + min(FIRST_WAIT * 2.0 ** min(found.number - free - 1, 30), LONGEST_WAIT)
        self._of.move_to_end(key)
        if len(self._of) > MAX_ADDRESSES:
            self._of.popitem(last=False)

    def forget(self, remote: str | None) -> None:
        """Reset an address after a successful login."""
        self._of.pop(_key(remote), None)

    def _forget_old(self, now: float) -> None:
        while self._of:
            key, oldest = next(iter(self._of.items()))
            if now - oldest.last_at < FORGOTTEN_AFTER:
                return
            del self._of[key]


def _key(remote: str | None) -> str:
    """Return an address; for IPv6 its network of 64 bits, all of which one machine may have."""
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return remote or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))

"""Limits on open streams, per client and in total: no client can use up those of all others."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, NamedTuple

MAX_STREAMS: Final = 500
"""Streams of one process."""
MAX_OF_ONE: Final = 20
"""Streams of one session, or of one token from one address."""


class Client(NamedTuple):
    """The owner of a stream."""

    address: str
    """The client's address."""
    session: str
    """The client among those of its address: the session of a person, or the role of a token."""


class TooManyStreams(Exception):
    """No other stream can be opened; ``own``: because this client has too many itself."""

    def __init__(self, detail: str, *, own: bool) -> None:
        super().__init__(detail)
        self.own = own


class Place:
    """The place of one stream, to be released by :meth:`leave`."""

    def __init__(self, streams: Streams, client: Client) -> None:
        self._streams = streams
        self.client = client
        self.ended = asyncio.Event()
        """Set when the stream must end: another client needs its place, or its session was logged out."""

    def leave(self) -> None:
        """Release the place; calling it again has no effect."""
        self._streams.remove(self)


class Streams:
    """The streams of a process. At the limit, the client with the fewest takes the place of another client's stream.

    Addresses are compared first, then the sessions of one address: a person who logs in a thousand times from one
    machine only takes their own places.
    """

    def __init__(self, *, most: int = MAX_STREAMS, most_of_one: int = MAX_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._places: dict[Place, None] = {}  # Oldest first.

    def __len__(self) -> int:
        """Return their number."""
        return len(self._places)

    def join(self, client: Client) -> Place:
        """Give a place to a client. Raises TooManyStreams."""
        if sum(place.client == client for place in self._places) >= self._most_of_one:
            raise TooManyStreams(f"you already have {self._most_of_one} streams open: close one", own=True)
        if len(self._places) >= self._most:
            victim = self._richest(client)
            if victim is None:
                raise TooManyStreams(f"{self._most} streams are already open: try again later", own=False)
            victim.ended.set()
            self.remove(victim)
        place = Place(self, client)
        self._places[place] = None
        return place

    def remove(self, place: Place) -> None:
        """Release a place."""
        self._places.pop(place, None)

    def end_session(self, session: str) -> None:
        """End the streams of a session."""
        for place in [one for one in self._places if one.client.session == session]:
            place.ended.set()
            self.remove(place)

    def _richest(self, client: Client) -> Place | None:
        """Return the latest stream of the client with the most; None unless it keeps as many as ``client`` has."""
        if not self._places:
            return None
        addresses = Counter(place.client.address for place in self._places)
        address, number = addresses.most_common(1)[0]
        if number <= addresses[client.address] + 1:
            address = client.address
        sessions = Counter(place.client.session for place in self._places if place.client.address == address)
        if not sessions:
            return None
        session, number = sessions.most_common(1)[0]
        if address == client.address and number <= sessions[client.session] + 1:
            return None
        latest = Client(address, session)
        return next(place for place in reversed(self._places) if place.client == latest)

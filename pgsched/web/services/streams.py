"""How many streams there are, and whose: nobody can use up those of all others."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, NamedTuple

MAX_STREAMS: Final = 500
"""Streams of one process."""
MAX_OF_ONE: Final = 20
"""Streams of one session, or of one token from one address."""


class Client(NamedTuple):
    """Who has a stream."""

    address: str
    """Where he comes from."""
    session: str
    """Which of those who come from there: the session of a person, else the role of the token."""


class TooManyStreams(Exception):
    """There is no room for another stream; ``own``: since this client has so many itself."""

    def __init__(self, detail: str, *, own: bool) -> None:
        super().__init__(detail)
        self.own = own


class Place:
    """The place of one stream among them, to be given back by :meth:`leave`."""

    def __init__(self, streams: Streams, client: Client) -> None:
        self._streams = streams
        self.client = client
        self.ended = asyncio.Event()
        """Set when the stream is to end: somebody else needs its place, or its session was logged out."""

    def leave(self) -> None:
        """Give the place back; a second time does no harm."""
        self._streams.remove(self)


class Streams:
    """The streams of a process. When there are as many as may be, whoever has the fewest gets the place of another's.

    First addresses are compared, then the sessions of one address: somebody who logs in a thousand times from one
    machine takes places from himself.
    """

    def __init__(self, *, most: int = MAX_STREAMS, most_of_one: int = MAX_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._places: dict[Place, None] = {}  # the one that came first is the first

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def join(self, client: Client) -> Place:
        """Give a place to a client. Raises TooManyStreams."""
        if sum(place.client == client for place in self._places) >= self._most_of_one:
            raise TooManyStreams(f"you have {self._most_of_one} streams open already: close one", own=True)
        if len(self._places) >= self._most:
            victim = self._richest(client)
            if victim is None:
                raise TooManyStreams(f"{self._most} streams are open already: try again later", own=False)
            victim.ended.set()
            self.remove(victim)
        place = Place(self, client)
        self._places[place] = None
        return place

    def remove(self, place: Place) -> None:
        """Count a place no more."""
        self._places.pop(place, None)

    def end_session(self, session: str) -> None:
        """End the streams of a session."""
        for place in [one for one in self._places if one.client.session == session]:
            place.ended.set()
            self.remove(place)

    def _richest(self, client: Client) -> Place | None:
        """The latest stream of whoever has most; None unless that leaves him as many as ``client`` then has."""
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

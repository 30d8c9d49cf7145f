"""HTTP over one connection, with time limits for slow clients.

uvicorn closes connections that are idle after an answer. A client that connects and sends nothing, sends a request byte
by byte, or reads no answer would be waited for without end.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0
"""Time limit for the head of a request, after the connection or the previous answer."""
BODY_SECONDS: Final = 120.0
"""Time limit for the body of a request, after its head."""
STALL_SECONDS: Final = 60.0
"""A client that reads nothing of an answer for this long is considered gone."""

_HEAD, _BODY, _NOTHING = "head", "body", ""


class TimedProtocol(H11Protocol):
    """Closes a connection whose client is slower than that.

    The timer depends on the state of the client: IDLE, its head; SEND_BODY, its body; any other, none.
    """

    head_seconds = HEAD_SECONDS
    body_seconds = BODY_SECONDS
    stall_seconds = STALL_SECONDS

    def __init__(self, *arguments: Any, **given: Any) -> None:
        super().__init__(*arguments, **given)
        self._awaited = _NOTHING
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        super().connection_made(transport)
        self._follow()

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of an unread body."""
        super().on_response_complete()
        self._follow()

    def pause_writing(self) -> None:
        """The client reads less than we send."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read what it was sent."""
        super().resume_writing()
        self._end_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._await(_NOTHING)
        self._end_stall()

    def _follow(self) -> None:
        state = self.conn.their_state
        self._await(_HEAD if state is h11.IDLE else _BODY if state is h11.SEND_BODY else _NOTHING)

    def _await(self, what: str) -> None:
        if what == self._awaited:
            return
        self._awaited = what
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if what:
            seconds = self.head_seconds if what == _HEAD else self.body_seconds
            self._deadline = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

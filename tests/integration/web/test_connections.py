"""What a client of the server may do with its connection: how long it may take, and how many streams it may have."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from pgsched.web import WebSettings
from pgsched.web.server import serving
from pgsched.web.services.streams import Client, Streams, TooManyStreams
from pgsched.web.timed_protocol import TimedProtocol
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

HEAD = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"


@pytest.fixture
def place(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Host and port of a server that waits for nobody."""
    for name in ("head_seconds", "body_seconds", "stall_seconds"):
        monkeypatch.setattr(TimedProtocol, name, 0.3)
    with serving(dsn=dsn, settings=WebSettings(port=0)) as url:
        found = httpx.URL(url)
        yield str(found.host), int(found.port or 0)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", HEAD, HEAD + b"\r\ntoken=", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET "],
    ids=["nothing", "line", "head", "body", "second"],
)
def test_connection_that_sends_no_whole_request_is_closed(place: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(place, timeout=20) as one:
        one.sendall(sent)
        while one.recv(65536):
            pass  # what it is answered; then the end, or a timeout, which is an error here


def test_byte_now_and_then_keeps_no_connection(place: tuple[str, int]) -> None:
    ended = threading.Event()
    with socket.create_connection(place, timeout=20) as one:

        def drip() -> None:
            while not ended.wait(0.05):
                try:
                    one.sendall(b"x")
                except OSError:
                    return

        one.sendall(HEAD)
        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            while one.recv(65536):
                pass
        except ConnectionError:
            pass
        finally:
            ended.set()
            dripping.join()


def send_for_ever(one: socket.socket, request: bytes) -> None:
    while True:
        one.sendall(request)


def test_client_that_takes_no_answer_is_left(place: tuple[str, int]) -> None:
    request = b"GET /static/app.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(20)
        one.connect(place)
        with pytest.raises(ConnectionError):
            send_for_ever(one, request * 50)


def test_stream_goes_on_although_its_client_says_nothing(place: tuple[str, int]) -> None:
    with httpx.stream("GET", f"http://{place[0]}:{place[1]}/live", timeout=20) as answer:
        lines = answer.iter_lines()
        seen = [next(lines) for _ in range(3)]
        threading.Event().wait(1.0)  # longer than any request may take here
        assert seen[0].startswith("retry:")
        assert not answer.is_closed


# Streams.


def test_client_has_so_many_streams_and_another_has_them_still() -> None:
    streams = Streams(most=100, most_of_one=3)
    ann, bob = Client("10.0.0.1", "ann"), Client("10.0.0.1", "bob")
    places = [streams.join(ann) for _ in range(3)]
    with pytest.raises(TooManyStreams) as refused:
        streams.join(ann)
    assert refused.value.own
    assert len([streams.join(bob) for _ in range(3)]) == 3
    places[0].leave()
    places[0].leave()
    streams.join(ann)
    assert len(streams) == 6


def test_newcomer_gets_the_place_of_who_has_most() -> None:
    streams = Streams(most=10, most_of_one=100)
    mallory = [streams.join(Client("10.0.0.6", f"session {n}")) for n in range(10)]  # logged in ten times
    for n in range(1, 6):
        streams.join(Client(f"10.0.1.{n}", "viewer"))
    assert [place.ended.is_set() for place in mallory].count(True) == 5
    assert len(streams) == 10
    with pytest.raises(TooManyStreams):  # nobody is pushed out for the sake of who has as many
        streams.join(Client("10.0.0.6", "session 77"))


def test_sessions_behind_one_address_share_its_places() -> None:
    streams = Streams(most=6, most_of_one=100)
    mine = [streams.join(Client("10.0.0.1", "mallory")) for _ in range(6)]
    for _ in range(3):
        streams.join(Client("10.0.0.1", "ann"))
    assert [place.ended.is_set() for place in mine] == [False, False, False, True, True, True]
    with pytest.raises(TooManyStreams):
        streams.join(Client("10.0.0.1", "ann"))


@pytest.mark.parametrize("path", ["/live", "/api/v1/events"])
async def test_streams_of_one_token_are_limited(dsn: str, path: str) -> None:
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as http:
        front = http._transport.app.state.front  # type: ignore[attr-defined]
        front.streams = Streams(most=100, most_of_one=0)
        refused = await http.get(path)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
        front.streams = Streams(most=0, most_of_one=10)
        refused = await http.get(path)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        assert OPERATOR_TOKEN not in refused.text

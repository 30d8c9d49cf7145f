"""``pgsched.http``: requests to a server of the test, and to addresses that no request may reach."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote

import pytest

from pgsched.builtin import http, with_builtins
from pgsched.builtin.destinations import Destinations
from pgsched.builtin.http import Http
from pgsched.builtin.settings import Builtins
from pgsched.domain.errors import Discard, Retry
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry
from tests.support.engine import NOW, claimed, engine, history
from tests.support.http_server import Server, serving
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until, wait_until_async

PUBLIC_ONLY = Destinations.of(allow_private=False, entries=())
LOOPBACK = Destinations.of(allow_private=False, entries=("127.0.0.1",))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def context(**columns: Any) -> Context:
    return Context(
        task=claimed(**{"id": 7, "attempts": 2, **columns}),
        clock=monotonic,
        now=lambda: NOW,
        deadline=None,
        is_catchup=False,
    )


async def ask(url: str, allowed: Destinations = LOOPBACK, **payload: Any) -> dict[str, Any]:
    return await Http(allowed).handle(context(), url, **payload)


def asked(url: str, allowed: Destinations = LOOPBACK, **payload: Any) -> dict[str, Any]:
    return asyncio.run(asyncio.wait_for(ask(url, allowed, **payload), 15))


def url_of(server: Server, target: str = "/echo", host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.port}{target}"


Resolver = Callable[[dict[str, list[str]]], list[str]]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Answers names from a table; an address that is asked for again comes from the list's next place."""

    def use(table: dict[str, list[str]]) -> list[str]:
        looked_up: list[str] = []

        def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            looked_up.append(host)
            addresses = table[host][min(looked_up.count(host) - 1, len(table[host]) - 1)].split()
            return [
                (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
                for one in addresses
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return looked_up

    return use


# As a task.


async def test_task_makes_its_request_and_keeps_the_answer(dsn: str, server: Server) -> None:
    registry = with_builtins(Registry(), Builtins(http_allow=("127.0.0.1",)))
    with database(dsn) as db:
        payload = {"method": "POST", "url": url_of(server), "json": {"n": 1}, "headers": {"X-Mine": "yes"}}
        tasks = [insert_task(db, name, payload=json.dumps(payload)) for name in ("http", "pgsched.http")]
        async with engine(dsn, registry) as one:
            await one.work()
        for task_id in tasks:
            row = task_row(db, task_id)
            assert row["status"] == "completed", row["last_error"]
            assert row["result"]["status"] == 200
            assert row["result"]["body"]["body"] == '{"n":1}'
            assert row["result"]["headers"]["content-type"] == "application/json"
    assert [(one.method, one.headers["X-Mine"]) for one in server.asked] == [("POST", "yes")] * 2


async def test_server_that_asks_to_come_back_is_asked_again_after_that(dsn: str, server: Server) -> None:
    registry = with_builtins(Registry(), Builtins(http_allow=("127.0.0.1",)))
    with database(dsn) as db:
        payload = json.dumps({"url": url_of(server, "/status/503?retry-after=300")})
        task_id = insert_task(db, "http", payload=payload, backoff="fixed", backoff_delay="1 second")
        async with engine(dsn, registry) as one:
            await one.work()
        row = task_row(db, task_id)
        (attempt,) = history(db, task_id)
        assert (row["status"], attempt["status"]) == ("pending", "failed")
        assert "answered 503, expected 2xx" in row["last_error"]
        wait = row["next_run_at"] - attempt["finished_at"]
        assert timedelta(seconds=299) < wait < timedelta(seconds=301)


async def test_refused_address_makes_the_task_dead_at_once(dsn: str, server: Server) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "http", payload=json.dumps({"url": url_of(server)}))
        async with engine(dsn, with_builtins(Registry(), Builtins(http=True))) as one:
            await one.work()
        row = task_row(db, task_id)
    assert (row["status"], row["attempts"]) == ("dead", 1)
    assert "leads to 127.0.0.1, a loopback address, which this worker refuses" in row["last_error"]
    assert server.asked == []


async def test_cancelled_task_hangs_up(dsn: str, server: Server) -> None:
    registry = with_builtins(Registry(), Builtins(http_allow=("127.0.0.1",)))
    with database(dsn) as db:
        task_id = insert_task(db, "http", payload=json.dumps({"url": url_of(server, "/hang")}))
        async with engine(dsn, registry) as one:
            await one.claim()
            await one.started()
            await wait_until_async(lambda: bool(server.asked), message="the request has come")
            leased = one.leased_tasks.get(task_id)
            assert leased is not None
            one.leased_tasks.abandon(leased)
            await wait_until_async(lambda: not one.worker.executor.running, message="its slot is free")


# What is sent, what comes back.


def test_server_learns_which_task_and_attempt_it_is(server: Server) -> None:
    asked(url_of(server), method="POST", body="x")
    asked(url_of(server), method="GET")
    post, get = (one.headers for one in server.asked)
    assert (post["Pgsched-Task-Id"], post["Pgsched-Attempt"], post["User-Agent"]) == ("7", "2", "pgsched")
    assert post["Idempotency-Key"] == "pgsched-7-20300601T120000.000000Z"
    assert "Idempotency-Key" not in get
    assert post["Host"] == f"127.0.0.1:{server.port}"


def test_header_of_the_task_wins(server: Server) -> None:
    asked(url_of(server), method="POST", headers={"idempotency-key": "mine", "user-agent": "me"})
    (headers,) = (one.headers for one in server.asked)
    found = {name.lower(): value for name, value in headers.items()}
    assert (found["idempotency-key"], found["user-agent"]) == ("mine", "me")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_method_is_sent(server: Server, method: str) -> None:
    assert asked(url_of(server), method=method)["body"]["method"] == method


def test_head_has_no_body(server: Server) -> None:
    assert asked(url_of(server, "/size/100"), method="HEAD")["body"] == ""


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ('{"a": [1, "ü"]}', {"a": [1, "ü"]}),
        ("null", None),
        ("no json", "no json"),
        ('{"a": NaN}', '{"a": NaN}'),
        ('"\\u0000"', '"\\u0000"'),
        ("[" * 200 + "]" * 200, "[" * 200 + "]" * 200),
    ],
)
def test_json_is_kept_as_json_if_the_database_can_hold_it(server: Server, text: str, body: Any) -> None:
    assert asked(url_of(server, f"/json?text={quote(text)}"))["body"] == body


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "utf-16"])
def test_text_is_read_in_its_charset(server: Server, charset: str) -> None:
    assert asked(url_of(server, f"/text/{charset}"))["body"] == "grüße"


@pytest.mark.parametrize(("size", "kept", "is_cut"), [(65_536, 65_536, False), (65_537, 65_536, True)])
def test_body_is_bounded(server: Server, size: int, kept: int, is_cut: bool) -> None:
    result = asked(url_of(server, f"/size/{size}"))
    assert (len(result["body"]), result.get("truncated", False)) == (kept, is_cut)


def test_body_in_chunks_is_put_together(server: Server) -> None:
    assert asked(url_of(server, "/chunked"))["body"] == "first second"


def test_only_few_headers_are_kept(server: Server) -> None:
    result = asked(url_of(server, "/status/200?etag=5&set-cookie=secret&location=/x"))
    assert result["headers"] == {"etag": "5", "location": "/x", "content-length": "10"}


# What fails.


def test_unexpected_status_fails_with_the_answer(server: Server) -> None:
    with pytest.raises(Retry) as failed:
        asked(url_of(server, "/status/500?token=secret"))
    assert str(failed.value) == f"GET {url_of(server, '/status/500')}: answered 500, expected 2xx: status 500"


def test_status_that_is_expected_is_none(server: Server) -> None:
    assert asked(url_of(server, "/status/404"), expect=["2xx", 404])["status"] == 404


@pytest.mark.parametrize(
    ("target", "delay"),
    [
        ("/status/429?retry-after=7", 7),
        ("/status/503?retry-after=0", 0),
        ("/status/503?retry-after=999999999999", 86_400),
        ("/status/503?retry-after=soon", None),
        ("/status/503", None),
        ("/status/500?retry-after=7", None),
    ],
)
def test_retry_after_is_the_delay_of_a_busy_server_only(server: Server, target: str, delay: float | None) -> None:
    with pytest.raises(Retry) as failed:
        asked(url_of(server, target))
    assert failed.value.delay == delay


def test_retry_after_may_be_a_date(server: Server) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with pytest.raises(Retry) as failed:
        asked(url_of(server, f"/status/503?retry-after={quote(date)}"))
    assert failed.value.delay is not None
    assert 3500 < failed.value.delay <= 3600


def test_redirect_is_not_followed(server: Server) -> None:
    with pytest.raises(Retry, match="answered 302, expected 2xx; redirects are not followed"):
        asked(url_of(server, f"/status/302?location={quote(url_of(server))}"))
    assert len(server.asked) == 1


@pytest.mark.parametrize("target", ["/hang", "/drip"])
def test_timeout_is_that_of_the_whole_request(server: Server, target: str) -> None:
    with pytest.raises(Retry, match=r"no answer within 0\.3 s$"):
        asked(url_of(server, target), timeout=0.3)


def test_answer_that_ends_too_early_fails(server: Server) -> None:
    with pytest.raises(Retry, match="IncompleteRead"):
        asked(url_of(server, "/short"))


def test_server_that_is_not_there_fails() -> None:
    with serving() as gone:
        url = url_of(gone)
    with pytest.raises(Retry, match="ConnectionRefusedError"):
        asked(url)


def test_name_that_nobody_knows_fails() -> None:
    with pytest.raises(Retry, match="gaierror"):
        asked("http://no-such-host.invalid/")


def test_proxies_of_the_environment_are_ignored(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("127.0.0.1") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, url_of(proxy, ""))
        asked(url_of(server))
        assert (len(server.asked), proxy.asked) == (1, [])


# Where it may go.


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "0",
        "[::]",
        "localhost",
        "169.254.169.254",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "10.0.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[64:ff9b::7f00:1]",
    ],
)
def test_special_address_is_refused_however_it_is_written(server: Server, host: str) -> None:
    with pytest.raises(Discard, match=r"leads to .+ address, which this worker refuses"):
        asked(url_of(server, host=host), PUBLIC_ONLY)
    assert server.asked == []


def test_the_same_requests_come_through_when_loopback_is_allowed(server: Server) -> None:
    """The control of the test above: without the rule these forms do lead to the server."""
    allowed = Destinations.of(allow_private=True, entries=())
    for host in ("127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost"):
        asked(url_of(server, host=host), allowed)
    assert len(server.asked) == 5


def test_name_is_looked_up_once_and_the_checked_address_is_used(resolver: Resolver) -> None:
    """A name that leads elsewhere when it is looked up again: whoever connects by name goes there."""
    looked_up = resolver({"rebinding.test": ["127.0.0.1", "127.0.0.2"]})
    with serving("127.0.0.1") as checked, serving("127.0.0.2", checked.port) as other:
        asked(url_of(checked, host="rebinding.test"))
        assert (len(checked.asked), len(other.asked), looked_up) == (1, 0, ["rebinding.test"])
        assert checked.asked[0].headers["Host"] == f"rebinding.test:{checked.port}"
        # The control: a client that looks the name up once more does go to the other address.
        by_name = HTTPConnection("rebinding.test", checked.port)
        by_name.request("GET", "/echo")
        by_name.getresponse().read()
        by_name.close()
        assert (len(checked.asked), len(other.asked)) == (1, 1)


def test_name_that_leads_to_a_special_address_is_refused(resolver: Resolver, server: Server) -> None:
    resolver({"inner.test": ["127.0.0.1"]})
    with pytest.raises(Discard, match=r"inner\.test:\d+/echo: leads to 127\.0\.0\.1, a loopback address"):
        asked(url_of(server, host="inner.test"), PUBLIC_ONLY)


def test_of_several_addresses_only_allowed_ones_are_tried(resolver: Resolver, server: Server) -> None:
    resolver({"mixed.test": ["127.0.0.2 ::1 127.0.0.1"]})
    with serving("127.0.0.2", server.port) as refused:
        asked(url_of(server, host="mixed.test"))
        assert (len(server.asked), len(refused.asked)) == (1, 0)


def test_next_address_is_tried_when_one_does_not_answer(resolver: Resolver, server: Server) -> None:
    resolver({"two.test": ["127.0.0.3 127.0.0.1"]})
    allowed = Destinations.of(allow_private=False, entries=("127.0.0.0/8",))
    assert asked(url_of(server, host="two.test"), allowed)["status"] == 200


def test_host_that_is_allowed_by_name_may_be_on_loopback(resolver: Resolver, server: Server) -> None:
    resolver({"inner.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})
    allowed = Destinations.of(allow_private=False, entries=("inner.test",))
    assert asked(url_of(server, host="inner.test"), allowed)["status"] == 200
    with pytest.raises(Discard):
        asked(url_of(server, host="other.test"), allowed)


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for pinned.test, with its key, signed by itself."""
    file = tmp_path_factory.mktemp("tls") / "pinned.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=pinned.test "
        "-addext subjectAltName=DNS:pinned.test -addext basicConstraints=critical,CA:true"
    )
    made = subprocess.run([*command.split(), "-keyout", file, "-out", f"{file}.crt"], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def tls_server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setattr(http, "_tls", lambda: ssl.create_default_context(cafile=str(certificate)))
    with serving(tls=context) as server:
        yield server


def test_certificate_is_checked_against_the_name_and_the_name_is_sent(resolver: Resolver, tls_server: Server) -> None:
    looked_up = resolver({"pinned.test": ["127.0.0.1"]})
    result = asked(f"https://pinned.test:{tls_server.port}/echo")
    assert (result["status"], tls_server.tls_name, looked_up) == (200, "pinned.test", ["pinned.test"])


def test_certificate_for_another_name_fails(resolver: Resolver, tls_server: Server) -> None:
    resolver({"other.test": ["127.0.0.1"]})
    with pytest.raises(Retry, match=r"SSLCertVerificationError.+other\.test"):
        asked(f"https://other.test:{tls_server.port}/echo")
    assert tls_server.asked == []


def test_certificate_that_nobody_signed_fails(
    resolver: Resolver, tls_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_tls", ssl.create_default_context)
    resolver({"pinned.test": ["127.0.0.1"]})
    with pytest.raises(Retry, match="SSLCertVerificationError"):
        asked(f"https://pinned.test:{tls_server.port}/echo")


def test_timeout_ends_a_handshake_too(resolver: Resolver) -> None:
    """A server that accepts and says nothing."""
    resolver({"pinned.test": ["127.0.0.1"]})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Retry, match=re.escape("no answer within 0.3 s")):
            asked(f"https://pinned.test:{port}/", timeout=0.3)


def test_no_thread_is_left_waiting(server: Server) -> None:
    """After a timeout the thread that waited for the answer ends."""

    async def main() -> None:
        with pytest.raises(Retry):
            await Http(LOOPBACK).handle(context(), url_of(server, "/hang"), timeout=0.2)
        await wait_until_async(
            lambda: not [one for one in threading.enumerate() if one.name.startswith(http.THREAD)],
            message="no thread is busy",
        )

    asyncio.run(main())
    wait_until(lambda: len(server.asked) == 1)

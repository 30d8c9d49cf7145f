"""``pgsched web``: the real command, asked over a real socket."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from functools import partial

import httpx
import pytest

from tests.support.commands import pgsched
from tests.support.processes import PgschedProcess, PgschedRunner
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

get, post = partial(httpx.get, timeout=60), partial(httpx.post, timeout=60)  # a busy machine takes its time
TOKEN = "operator-token-of-the-tests"


def address(process: PgschedProcess) -> str:
    return process.wait_for_output(r'"url": "(http://[^"]+)/"')[1]


def test_it_answers_until_sigterm_and_ends_in_order(run_pgsched: PgschedRunner) -> None:
    process = run_pgsched("web", "--port", "0")
    url = address(process)
    assert get(f"{url}/readyz").text == "ok\n"
    assert get(f"{url}/api/v1/openapi.json").json()["info"]["title"] == "pgsched"
    assert process.stop() == 0, process.output
    assert "web_stopped" in process.stderr
    assert "Traceback" not in process.output


def test_ctrl_c_ends_it_too(run_pgsched: PgschedRunner) -> None:
    process = run_pgsched("web", "--port", "0")
    address(process)
    process.signal(signal.SIGINT, group=True)
    assert process.wait() == 0, process.output
    assert "Traceback" not in process.output


def test_stop_does_not_wait_for_ever_for_a_connection_that_stays(run_pgsched: PgschedRunner) -> None:
    process = run_pgsched("web", "--port", "0")
    url = address(process)
    with httpx.Client(timeout=60) as http:
        assert http.get(f"{url}/healthz").status_code == 200  # and the connection is kept
        assert process.stop() == 0, process.output


def test_streams_are_ended_when_it_stops(run_pgsched: PgschedRunner) -> None:
    process = run_pgsched("web", "--port", "0")
    url = address(process)
    with httpx.stream("GET", f"{url}/api/v1/events", timeout=30) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: listening"
        assert process.stop() == 0, process.output
        assert "event: listening" not in list(lines)  # it ends, and was not cut off
    assert "Cancel" not in process.stderr
    assert "Traceback" not in process.stderr


def test_token_is_asked_for_and_neither_it_nor_a_query_is_logged(run_pgsched: PgschedRunner) -> None:
    process = run_pgsched("web", "--port", "0", "--host", "0.0.0.0", env={"PGSCHED_OPERATOR_TOKEN": TOKEN})
    url = address(process).replace("0.0.0.0", "127.0.0.1")
    assert get(f"{url}/api/v1/openapi.json?secret=in-the-query").status_code == 401
    assert get(f"{url}/api/v1/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert process.stop() == 0, process.output
    assert "request_refused" in process.stderr
    assert TOKEN not in process.output
    assert "in-the-query" not in process.output


@pytest.mark.parametrize(
    ("proxies", "believed"),
    [("", False), ("10.9.9.9", False), ("127.0.0.1", True), ("10.9.9.9, 127.0.0.0/8", True)],
)
def test_forwarded_headers_are_believed_of_proxies_that_were_named(
    run_pgsched: PgschedRunner, proxies: str, believed: bool
) -> None:
    options = ("--trusted-proxies", proxies, "--path-prefix", "/jobs", "--operator-token", TOKEN)
    process = run_pgsched("web", "--port", "0", *options, env={"FORWARDED_ALLOW_IPS": "*"})
    url = address(process)
    origin = url.removesuffix("/jobs")
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "Origin": origin}
    done = post(f"{origin}/login", data={"token": TOKEN}, headers=headers)  # the proxy took the prefix off
    assert (done.status_code, done.headers["location"]) == (303, "/jobs/")
    parts = done.headers["set-cookie"].split("; ")
    assert ("Secure" in parts, "Path=/jobs" in parts) == (believed, True)
    remote = "203.0.113.7" if believed else "127.0.0.1"
    process.wait_for_output(f'"remote": "{remote}".*"logged_in"|"logged_in".*"remote": "{remote}"')
    assert process.stop() == 0, process.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trusted-proxies", "everybody"), "trusted_proxies must be IP addresses or networks such as 10.0.0.0/8"),
        (("--host", "0.0.0.0"), "host 0.0.0.0 can be reached from other machines: set operator_token"),
        (("--operator-token", "short"), "operator_token must have 16 to 500 characters, got 5"),
        (("--path-prefix", "jobs"), "path_prefix must begin with /"),
        (("--host", "127.0.0.1.x.invalid"), "host 127.0.0.1.x.invalid can be reached from other machines"),
    ],
)
def test_setting_that_makes_no_sense_is_wrong_usage(dsn: str, arguments: tuple[str, ...], message: str) -> None:
    ended = pgsched("web", *arguments, dsn=dsn)
    assert ended.code == 2
    assert message in ended.error


def test_port_that_is_taken_is_told_in_one_line(dsn: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = pgsched("web", "--port", port, dsn=dsn)
    assert ended.code == 2
    assert ended.error == f"host 127.0.0.1 and port {port} cannot be served: Address already in use"


def test_database_without_the_schema_is_told_in_one_line(empty_dsn: str) -> None:
    ended = pgsched("web", "--port", 0, dsn=empty_dsn)
    assert (ended.code, ended.error) == (1, "the database has no pgsched schema: run 'pgsched migrate'")


def test_dev_serves_the_dashboard_and_takes_it_down_with_the_worker(run_pgsched: PgschedRunner, dsn: str) -> None:
    process = run_pgsched("--dsn", dsn, "dev", "--metrics-port", "0", "--web-port", "0")
    url = process.wait_for_output(r"^dashboard: +(http://\S+)/$")[1]
    assert get(f"{url}/readyz").text == "ok\n"
    assert process.stop() == 0, process.output
    with pytest.raises(httpx.ConnectError):
        get(f"{url}/readyz")


def binds(one: socket.socket, port: int) -> bool:
    with suppress(OSError):
        one.bind(("127.0.0.1", port))
        return True
    return False


def test_dev_takes_a_free_port_when_the_usual_one_is_taken(run_pgsched: PgschedRunner, dsn: str) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(AssertionError):  # somebody has it for good, which is as good
            wait_until(lambda: binds(taken, 8080), timeout=20, message="no other test has the port")
            taken.listen()
        process = run_pgsched("--dsn", dsn, "dev", "--metrics-port", "0")
        url = process.wait_for_output(r"^dashboard: +(http://\S+)/ \(port 8080 is taken\)$")[1]
        assert not url.endswith(":8080")
        assert get(f"{url}/healthz").text == "ok\n"
        assert process.stop() == 0, process.output


def test_several_databases_are_served_and_one_may_be_down(run_pgsched: PgschedRunner, dsn: str) -> None:
    away = "postgresql://127.0.0.1:1/away"
    process = run_pgsched("--dsn", f"here={dsn}", "--dsn", away, "web", "--port", "0")
    url = address(process)
    found = {one["name"]: one["up"] for one in get(f"{url}/api/v1/databases").json()["databases"]}
    assert found == {"here": True, "away": False}
    assert get(f"{url}/here/api/v1/tasks").status_code == 200
    assert process.stop() == 0, process.output
    assert "database_down" in process.stderr
    assert "web_unprotected" in process.stderr


def test_several_databases_by_the_environment(run_pgsched: PgschedRunner) -> None:
    away = "a=postgresql://127.0.0.1:1/x b=postgresql://127.0.0.1:1/y"
    process = run_pgsched("web", "--port", "0", env={"PGSCHED_DSN": away})
    assert process.wait() == 1  # none of them answers
    assert "cannot connect to PostgreSQL at 127.0.0.1:1/y" in process.stderr


def test_several_databases_need_different_names(dsn: str) -> None:
    ended = pgsched("--dsn", dsn, "--dsn", dsn, "stats")
    assert ended.code == 2
    assert "two --dsn have the name" in ended.error

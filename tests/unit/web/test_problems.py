from __future__ import annotations

import asyncio
import pickle

import pytest
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from pgsched.domain.errors import (
    DatabaseUnavailable,
    InvalidTask,
    PgschedError,
    ReadOnlyDatabase,
    TaskNotFound,
    TransitionRefused,
)
from pgsched.web.auth.access import AccessDenied
from pgsched.web.auth.guard import check_same_site, is_own_origin
from pgsched.web.problems import problem_of
from pgsched.web.services.cache import Cached


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidTask("priority must be between 1 and 10, got 99"), 422),
        (TaskNotFound("task 7 does not exist"), 404),
        (TransitionRefused("task 7 is running"), 409),
        (ReadOnlyDatabase("the database takes no changes"), 503),
        (AccessDenied(403, "no"), 403),
    ],
)
def test_error_of_ours_says_what_it_says(error: Exception, status: int) -> None:
    problem = problem_of(error).as_dict()
    assert (problem["status"], problem["detail"]) == (status, str(error))
    assert problem["type"] == "about:blank"
    assert problem["title"]


@pytest.mark.parametrize("error", [PgschedError("the database refused: secret"), RuntimeError("secret")])
def test_error_that_nobody_expected_says_nothing_of_its_cause(error: Exception) -> None:
    problem = problem_of(error)
    assert problem.status == 500
    assert "secret" not in str(problem.as_dict())


def test_invalid_task_names_field_and_rule() -> None:
    problem = problem_of(InvalidTask("must be between 1 and 10", field="priority", value=99))
    assert (problem.field, problem.rule) == ("priority", "priority must be between 1 and 10")
    assert problem.detail == "priority must be between 1 and 10, got 99"


@pytest.mark.parametrize(
    ("error", "message", "field"),
    [
        (InvalidTask("must have 1 to 100 characters", field="queue"), "queue must have 1 to 100 characters", "queue"),
        (
            InvalidTask("must be at least 1", field="max_attempts").within("steps[2]"),
            "steps[2]: max_attempts must be at least 1",
            "max_attempts",
        ),
        (
            InvalidTask("must be text", field="tags", subject="each of tags", value="x" * 200),
            f"each of tags must be text, got '{'x' * 99}…",
            "tags",
        ),
        (InvalidTask("nothing to change was given"), "nothing to change was given", None),
        (InvalidTask(""), "", None),
    ],
)
def test_error_knows_its_field_and_reads_as_one_line(error: InvalidTask, message: str, field: str | None) -> None:
    problem = problem_of(pickle.loads(pickle.dumps(error)))
    assert (str(error), problem.detail, problem.field) == (message, message, field)
    assert (problem.rule is None) == (field is None)


# Requests of other sites.


def asked(method: str, **headers: str) -> HTTPConnection:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "method": method, "headers": sent})


COOKIE = "pgsched_session=x"


@pytest.mark.parametrize(
    "connection",
    [
        asked("GET", host="jobs", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document"),
        asked("POST", host="jobs"),
        asked("POST", host="jobs", sec_fetch_site="same-origin", cookie=COOKIE),
        asked("POST", host="jobs", sec_fetch_site="none", cookie=COOKIE),
        asked("POST", host="jobs", origin="https://jobs", cookie=COOKIE),
        asked("POST", host="jobs:8080", origin="http://jobs:8080"),
    ],
)
def test_request_of_our_own_or_of_a_program_is_let_through(connection: HTTPConnection) -> None:
    check_same_site(connection)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "same-site", "origin": "http://jobs"},
        {"origin": "http://evil"},
        {"origin": "http://jobs:8080"},
        {"origin": "null"},
        {"origin": "http://[bad"},
        {"origin": "http://jobs:99999"},
        {"cookie": COOKIE},
    ],
)
def test_request_of_another_site_changes_nothing(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(AccessDenied) as refused:
        check_same_site(asked(method, host="jobs", **headers))
    assert refused.value.status == 403


def test_default_ports_are_left_out_or_not() -> None:
    assert is_own_origin("https://jobs", Headers({"host": "jobs:443"}))
    assert is_own_origin("http://jobs:80", Headers({"host": "jobs"}))
    assert not is_own_origin("https://jobs", Headers({"host": "jobs:80"}))


# What is kept for a while.


async def test_many_who_ask_at_once_wait_for_one_load() -> None:
    loads = 0
    go = asyncio.Event()

    async def load() -> int:
        nonlocal loads
        loads += 1
        await go.wait()
        return loads

    cached = Cached(load, seconds=10, clock=lambda: 0.0)
    asking = [asyncio.ensure_future(cached.get()) for _ in range(5)]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*asking) == [1] * 5


async def test_value_is_loaded_again_when_it_is_old_or_forgotten() -> None:
    now, loads = 0.0, 0

    async def load() -> int:
        nonlocal loads
        loads += 1
        if loads == 3:
            raise DatabaseUnavailable("gone")
        return loads

    cached = Cached(load, seconds=2, clock=lambda: now)
    assert [await cached.get(), await cached.get()] == [1, 1]
    now = 4.0
    assert await cached.get() == 2
    cached.forget()
    with pytest.raises(DatabaseUnavailable):
        await cached.get()
    assert await cached.get() == 4


async def test_value_that_is_not_very_old_is_given_while_it_is_renewed() -> None:
    now, loads = 0.0, 0

    async def load() -> int:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        if loads == 3:
            raise DatabaseUnavailable("gone")
        return loads

    async def settled() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    cached = Cached(load, seconds=2, clock=lambda: now)
    assert await cached.get() == 1
    now = 3.0
    assert await cached.get() == 1
    await settled()
    assert await cached.get() == 2
    now = 6.0
    assert await cached.get() == 2  # and the load fails, which nobody waits for
    await settled()
    now = 7.0
    assert await cached.get() == 4


async def test_load_that_began_before_a_change_is_not_kept() -> None:
    loads = 0
    go = asyncio.Event()

    async def load() -> int:
        nonlocal loads
        loads += 1
        mine = loads
        await go.wait()
        return mine

    cached = Cached(load, seconds=10, clock=lambda: 0.0)
    early = asyncio.ensure_future(cached.get())
    await asyncio.sleep(0)
    cached.forget()
    late = asyncio.ensure_future(cached.get())
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(early, late) == [1, 2]
    assert await cached.get() == 2

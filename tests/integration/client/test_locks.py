"""Locks by name: one holder at a time, whoever dies; the SQL functions and both clients."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import DatabaseUnavailable, InvalidLock, LockLost, LockNotAcquired
from tests.support import guards
from tests.support.processes import CHECKOUT
from tests.support.tables import database
from tests.support.waiting import wait_until, wait_until_async

pytestmark = pytest.mark.slow

Database = psycopg.Connection[dict[str, Any]]


def expire(db: Database, name: str) -> None:
    """Let a lock's time be over, as if its holder had not renewed it."""
    db.execute("update pgsched.locks set locked_until = clock_timestamp() where name = %s", (name,))


# One holder.


def test_lock_is_held_by_one_and_free_afterwards(client: Client) -> None:
    with client.lock("report", ttl=30) as held:
        assert client.lock("report").try_acquire() is None
        assert not held.lost
        (listed,) = client.locks()
        assert (listed.name, listed.fencing_token, listed.held) == ("report", held.fencing_token, True)
        assert listed.holder is not None
        assert listed.holder.endswith(f":{os.getpid()}")
        lasts = (listed.locked_until - listed.acquired_at).total_seconds()
        assert 29 < lasts <= 30.1
    assert client.locks() == []
    again = client.lock("report").try_acquire()
    assert again is not None
    again.release()


def test_other_names_are_other_locks(client: Client) -> None:
    with client.lock("a"), client.lock("b"):
        assert {one.name for one in client.locks()} == {"a", "b"}


def test_with_waits_until_the_lock_is_free(client: Client) -> None:
    first = client.lock("report").try_acquire()
    assert first is not None
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(client.lock("report", timeout=10).acquire)
        assert not second.done()
        first.release()
        held = second.result(10)
    assert held.fencing_token > first.fencing_token
    held.release()


@pytest.mark.parametrize(("timeout", "said"), [(0, "lock 'report' is not free"), (0.2, "not free within 0.2 s")])
def test_with_gives_up_after_the_timeout(client: Client, timeout: float, said: str) -> None:
    with client.lock("report"), pytest.raises(LockNotAcquired, match=said), client.lock("report", timeout=timeout):
        pytest.fail("two are inside")


def test_the_last_look_is_at_the_end_of_the_timeout(client: Client, dsn: str) -> None:
    """A lock that becomes free shortly before the timeout is got."""
    with database(dsn) as db:
        held = client.lock("report").try_acquire()
        assert held is not None
        db.execute("update pgsched.locks set locked_until = clock_timestamp() + interval '0.6 seconds'")
        with client.lock("report", timeout=1.2) as second:
            assert second.fencing_token > held.fencing_token
        held.release()


def test_lock_that_is_free_is_got_without_waiting(client: Client) -> None:
    with client.lock("report", timeout=0) as held:
        assert not held.lost


def test_error_in_the_with_gives_the_lock_back(client: Client) -> None:
    with pytest.raises(ZeroDivisionError), client.lock("report"):
        _ = 1 / 0
    assert client.locks() == []


def test_release_may_be_called_again(client: Client) -> None:
    held = client.lock("report").try_acquire()
    assert held is not None
    assert (held.release(), held.release(), held.lost) == (True, False, False)


def test_object_cannot_wait_for_itself(client: Client) -> None:
    lock = client.lock("report")
    with lock, pytest.raises(RuntimeError, match="this object is in a with already"), lock:
        pytest.fail("it is entered twice")
    with lock:
        pass


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": ""}, "lock name must have 1 to 200 characters, got 0"),
        ({"name": "x" * 201}, "lock name must have 1 to 200 characters, got 201"),
        ({"name": "a\nb"}, "lock name must not contain control characters, got 'a\\nb'"),
        ({"name": 5}, "lock name must be text, got 5"),
        ({"name": "a", "ttl": 0.5}, "lock 'a': ttl must be between 1 and 86400 seconds, got 0.5"),
        ({"name": "a", "ttl": float("nan")}, "lock 'a': ttl must be between 1 and 86400 seconds, got nan"),
        ({"name": "a", "ttl": "30"}, "lock 'a': ttl must be between 1 and 86400 seconds, got '30'"),
        ({"name": "a", "timeout": -1}, "lock 'a': timeout must be seconds from 0 or None, got -1"),
    ],
)
def test_lock_that_makes_no_sense_is_refused(client: Client, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidLock) as refused:
        client.lock(**arguments)
    assert str(refused.value) == said


# Tokens.


def test_token_grows_with_every_acquisition(client: Client, dsn: str) -> None:
    tokens = []
    for _ in range(3):
        with client.lock("report") as held:
            tokens.append(held.fencing_token)
    abandoned = client.lock("report").try_acquire()
    assert abandoned is not None
    with database(dsn) as db:
        expire(db, "report")
        with client.lock("report") as held:
            tokens += [abandoned.fencing_token, held.fencing_token]
    assert tokens == sorted(set(tokens))
    abandoned.release()


def test_token_does_not_go_back_when_rows_are_deleted(client: Client, dsn: str) -> None:
    with client.lock("report") as first:
        pass
    with database(dsn) as db:
        db.execute("delete from pgsched.locks")
    with client.lock("report") as second:
        assert second.fencing_token > first.fencing_token


def test_tokens_of_many_contenders_grow_in_the_order_of_their_turns(dsn: str) -> None:
    """Threads that take turns note their token while they are inside: the notes are in order, and none is lost."""
    inside: list[int] = []
    busy = threading.Lock()

    def contend(_number: int) -> None:
        with Client(dsn, pool_size=2) as client:
            for _ in range(5):
                with client.lock("turn", ttl=10) as held:
                    assert busy.acquire(blocking=False), "two are inside"
                    inside.append(held.fencing_token)
                    busy.release()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(contend, range(6)))
    assert len(inside) == 30
    assert inside == sorted(set(inside))


# Renewal and loss.


def test_lock_is_renewed_for_as_long_as_it_is_held(client: Client) -> None:
    with client.lock("report", ttl=1) as held:
        (before,) = client.locks()
        wait_until(lambda: client.locks()[0].locked_until > before.locked_until, message="it is renewed")
        ends = monotonic() + 1.2
        wait_until(lambda: monotonic() > ends, message="its first ttl is over")
        assert not held.lost
        held.check()
        assert client.lock("report").try_acquire() is None


def test_lock_that_was_broken_is_lost_at_the_next_renewal(client: Client) -> None:
    held = client.lock("report", ttl=1.5).try_acquire()
    assert held is not None
    assert client.break_lock("report") is True
    assert held.wait_lost(10) is True
    assert held.lost
    with pytest.raises(
        LockLost, match=rf"^lock 'report' was lost while it was held \(fencing token {held.fencing_token}\)$"
    ):
        held.check()
    assert held.release() is False
    assert held.lost
    assert client.break_lock("report") is False


def test_with_whose_lock_was_lost_raises_at_its_end(client: Client) -> None:
    with pytest.raises(LockLost), client.lock("report"):
        client.break_lock("report")


def test_with_whose_lock_was_lost_keeps_its_own_error(client: Client) -> None:
    def work() -> None:
        with client.lock("report"):
            client.break_lock("report")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        work()


def test_lost_lock_of_another_is_not_given_back(client: Client) -> None:
    first = client.lock("report").try_acquire()
    assert first is not None
    client.break_lock("report")
    second = client.lock("report").try_acquire()
    assert second is not None
    assert first.release() is False
    assert [one.fencing_token for one in client.locks()] == [second.fencing_token]
    second.release()


def test_lock_that_cannot_be_renewed_is_lost_before_it_is_free(client: Client, dsn: str) -> None:
    """The holder, cut off from the database, counts its lock as lost before anybody else can have it."""
    with Client(dsn) as cut_off:
        held = cut_off.lock("report", ttl=2).try_acquire()
        assert held is not None
        cut_off._database.close()
        assert client.lock("report").try_acquire() is None
        assert held.wait_lost(10) is True
        with database(dsn) as db:
            row = db.execute("select locked_until > clock_timestamp() as held from pgsched.locks").fetchone()
        assert row == {"held": True}
        with client.lock("report", timeout=10) as second:
            assert second.fencing_token > held.fencing_token
        with pytest.raises(DatabaseUnavailable):
            held.release()


def test_waiting_for_a_loss_ends_with_the_release(client: Client) -> None:
    held = client.lock("report").try_acquire()
    assert held is not None
    assert held.wait_lost(0.05) is False
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(held.wait_lost)
        held.release()
        assert waiting.result(10) is False


# Processes.

HOLDER = """
    import sys
    from pgsched import Client

    client = Client(sys.argv[1])
    with client.lock("report", ttl=float(sys.argv[2])) as held:
        print(held.fencing_token, flush=True)
        sys.stdin.read()
"""

INSIDE = """
    import os, sys
    from pgsched import Client

    client = Client(sys.argv[1])
    for _ in range(10):
        with client.lock("inside", ttl=5) as held:
            # Fails if the file is there: somebody else is inside.
            os.close(os.open(sys.argv[2], os.O_CREAT | os.O_EXCL))
            with open(sys.argv[3], "a") as turns:
                turns.write(f"{held.fencing_token}\\n")
            os.unlink(sys.argv[2])
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        file = tmp_path / f"script_{len(processes)}.py"
        file.write_text(textwrap.dedent(script))
        process = subprocess.Popen(
            [sys.executable, str(file), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def token_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_processes_are_never_inside_together(
    start: Callable[..., subprocess.Popen[str]], dsn: str, tmp_path: Path
) -> None:
    flag, turns = tmp_path / "flag", tmp_path / "turns"
    processes = [start(INSIDE, dsn, flag, turns) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    tokens = [int(line) for line in turns.read_text().splitlines()]
    assert len(tokens) == 30
    assert tokens == sorted(set(tokens))


def test_killed_holder_loses_its_lock_after_the_ttl_and_not_before(
    start: Callable[..., subprocess.Popen[str]], client: Client, dsn: str
) -> None:
    holder = start(HOLDER, dsn, 2)
    token = token_of(holder)
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    (left,) = client.locks()
    with client.lock("report", ttl=2, timeout=20) as held:
        (taken,) = client.locks()
        assert taken.acquired_at >= left.locked_until
        assert held.fencing_token > token


def test_stopped_holder_finds_its_lock_lost_when_it_wakes(
    start: Callable[..., subprocess.Popen[str]], client: Client, dsn: str
) -> None:
    holder = start(HOLDER, dsn, 1)
    token = token_of(holder)
    holder.send_signal(signal.SIGSTOP)
    with client.lock("report", timeout=20) as held:
        assert held.fencing_token > token
        holder.send_signal(signal.SIGCONT)
        assert holder.stdin is not None
        holder.stdin.close()
        assert holder.wait(10) == 1  # LockLost at the end of its with
        assert not held.lost
        assert [one.fencing_token for one in client.locks()] == [held.fencing_token]


# The event loop.


async def test_async_lock_is_held_by_one_and_free_afterwards(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        async with client.lock("report", ttl=1) as held:
            assert await client.lock("report").try_acquire() is None
            (before,) = await client.locks()

            async def renewed() -> bool:
                return (await client.locks())[0].locked_until > before.locked_until

            await wait_until_async(renewed, message="it is renewed")
            assert not held.lost
        assert await client.locks() == []


async def test_async_contenders_take_turns(dsn: str) -> None:
    inside: list[int] = []
    alone = asyncio.Lock()

    async def contend(client: AsyncClient) -> None:
        async with client.lock("turn", ttl=10) as held:
            assert not alone.locked(), "two are inside"
            async with alone:
                inside.append(held.fencing_token)
                await asyncio.sleep(0)

    async with AsyncClient(dsn) as client:
        await asyncio.gather(*(contend(client) for _ in range(10)))
    assert len(inside) == 10
    assert inside == sorted(set(inside))


async def test_async_lock_that_was_broken_is_lost(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        held = await client.lock("report", ttl=1.5).acquire()
        assert await held.wait_lost(0.05) is False
        assert await client.break_lock("report") is True
        assert await held.wait_lost() is True
        assert (held.lost, await held.release()) == (True, False)


async def test_async_with_whose_lock_was_lost_raises_at_its_end(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        with pytest.raises(LockLost):
            async with client.lock("report"):
                await client.break_lock("report")


async def test_async_wait_gives_up_after_the_timeout(dsn: str) -> None:
    async with AsyncClient(dsn) as client, client.lock("report"):
        with pytest.raises(LockNotAcquired):
            await client.lock("report", timeout=0.1).acquire()


async def test_async_with_that_is_cancelled_gives_the_lock_back(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        entered = asyncio.Event()

        async def leased() -> None:
            async with client.lock("report"):
                entered.set()
                await asyncio.sleep(60)

        holding = asyncio.create_task(leased())
        await entered.wait()
        holding.cancel()
        await asyncio.wait([holding])
        assert holding.cancelled()
        assert await client.locks() == []


async def test_async_acquisition_that_is_cancelled_leaves_no_lock(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        await client.locks()  # connected
        for number in range(12):
            taking = asyncio.create_task(client.lock(f"lock {number}").acquire())
            for _ in range(number):
                await asyncio.sleep(0)
            taking.cancel()
            await asyncio.wait([taking])
            if not taking.cancelled():
                await taking.result().release()
        assert await client.locks() == []


# SQL.


def test_functions_lock_renew_and_unlock(dsn: str) -> None:
    owner, other = uuid4(), uuid4()
    with database(dsn) as db:

        def ask(call: str, *parameters: Any) -> Any:
            row = db.execute(f"select pgsched.{call} as answer", parameters).fetchone()  # type: ignore[call-overload]
            assert row is not None
            return row["answer"]

        token = ask("lock('x', %s)", owner)
        assert isinstance(token, int)
        assert ask("lock('x', %s)", other) is None
        assert ask("lock('x', %s)", owner) == token  # the answer to the first call was lost
        assert ask("renew_lock('x', %s, '1 minute')", owner) is True
        assert ask("renew_lock('x', %s)", other) is False
        assert ask("unlock('x', %s)", other) is False
        assert ask("unlock('x', %s)", owner) is True
        assert ask("unlock('x', %s)", owner) is False
        assert ask("lock('x', %s, '1 minute', 'me')", other) > token


def test_lock_that_is_over_cannot_be_renewed_but_taken(dsn: str) -> None:
    owner, other = uuid4(), uuid4()
    with database(dsn) as db:
        db.execute("select pgsched.lock('x', %s)", (owner,))
        expire(db, "x")
        row = db.execute("select pgsched.renew_lock('x', %s) as kept", (owner,)).fetchone()
        assert row == {"kept": False}
        row = db.execute("select pgsched.lock('x', %s) as token", (other,)).fetchone()
        assert row is not None
        assert row["token"] is not None


def test_lock_in_an_open_transaction_keeps_nobody_waiting(dsn: str, client: Client) -> None:
    with database(dsn) as db, db.transaction():
        db.execute("select pgsched.lock('x', %s)", (uuid4(),))
        assert client.lock("x").try_acquire() is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("lock(null, gen_random_uuid())", "lock name must have 1 to 200 characters, got null"),
        ("lock('', gen_random_uuid())", "lock name must have 1 to 200 characters, got 0"),
        ("lock(E'a\\nb', gen_random_uuid())", 'lock name must not contain control characters, got "a\\nb"'),
        ("lock('x', null)", "lock 'x': owner must be a uuid, got null"),
        ("lock('x', gen_random_uuid(), '2 days')", "lock 'x': ttl must be between 1 second and 1 day, got 2 days"),
        ("renew_lock('x', gen_random_uuid(), null)", "lock 'x': ttl must be between 1 second and 1 day, got null"),
    ],
)
def test_function_refuses_what_makes_no_sense(dsn: str, call: str, said: str) -> None:
    with database(dsn) as db, pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute(f"select pgsched.{call}")  # type: ignore[call-overload]
    assert refused.value.diag.message_primary == said


# The guards.

GUARDS = {
    guards.only_the_owner_renews_a_lock: ("renew_lock", {" and l.owner = renew_lock.owner": ""}),
    guards.only_the_owner_gives_a_lock_back: ("unlock", {" and l.owner = unlock.owner": ""}),
    guards.a_lock_that_is_over_is_not_renewed: ("renew_lock", {" and l.locked_until > clock_timestamp()": ""}),
    guards.a_lock_is_not_taken_from_its_holder: (
        "lock",
        {
            "if held.owner <> lock.owner then": "if false then",
            "where l.locked_until <= clock_timestamp() or l.owner = excluded.owner": "",
        },
    ),
}
each_guard = pytest.mark.parametrize("check", GUARDS, ids=lambda check: check.__name__)


@each_guard
def test_the_guard_holds(dsn: str, check: Callable[[str], None]) -> None:
    check(dsn)


@each_guard
def test_the_check_notices_that_the_guard_is_gone(dsn: str, check: Callable[[str], None]) -> None:
    function, guards_of_it = GUARDS[check]
    with database(dsn) as db:
        row = db.execute(
            """
            select pg_get_functiondef(oid) as text
            from pg_proc
            where pronamespace = 'pgsched'::regnamespace and proname = %s
            """,
            (function,),
        ).fetchone()
        assert row is not None
        text = row["text"]
        for guard, instead in guards_of_it.items():
            assert guard in text, f"{function} has no {guard!r} any more: update this control"
            text = text.replace(guard, instead)
        db.execute(text)
    with pytest.raises(AssertionError):
        check(dsn)

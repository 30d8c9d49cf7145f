"""Programs that fork with a client in use: each process has sessions of its own, and no answer is another's.

Each program runs in a process of its own and prints what came of it. Checked against a client that goes on in the copy
with its parent's connections: ids are mixed up, requests fail, locks are never given.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.tables import database

pytestmark = pytest.mark.slow

PROGRAM = """
import asyncio, json, multiprocessing, os, signal, sys, threading, time
from pgsched import App
from pgsched.errors import LockLost, LockNotAcquired, PgschedError

dsn, told = sys.argv[1], sys.argv[2]
signal.alarm(120)
app = App(dsn=dsn)

@app.task("mail")
def mail(n: str) -> None: ...

def in_copies(count, work):
    "What the work returns in so many forked processes at once."
    pipes = []
    for number in range(count):
        reads, writes = os.pipe()
        if os.fork() == 0:
            try:
                answer = work(number)
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(writes, json.dumps(answer).encode())
            os._exit(0)
        os.close(writes)
        pipes.append(reads)
    answers = []
    for reads in pipes:
        with os.fdopen(reads) as lines:
            answers.append(json.loads(lines.read() or "null"))
    return answers

def schedule(number, client=None):
    "Ids of ten tasks, and whether each id is that of its own task."
    client = client or app.client()
    right = 0
    for n in range(10):
        name = f"{number}.{n}"
        right += client.get(client.schedule("mail", {"n": name})).payload == {"n": name}
    return right

def schedule_async(number):
    async def work():
        client = app.async_client()
        right = 0
        for n in range(10):
            name = f"{number}.{n}"
            right += (await client.get(await client.schedule("mail", {"n": name}))).payload == {"n": name}
        return right
    return asyncio.run(work())

def backend(client):
    with client.database._connection() as connection:
        return connection.info.backend_pid

def tell(**what):
    print(json.dumps(what), flush=True)
"""

CASES = {
    "fork": """
before = schedule("parent"); session = backend(app.client())
answers = in_copies(6, schedule)
tell(answers=answers, same=backend(app.client()) == session, after=schedule("again"), before=before)
""",
    "fork of an async client": """
before = schedule_async("parent")
answers = in_copies(6, schedule_async)
tell(answers=answers, same=True, after=schedule_async("again"), before=before)
""",
    "fork while the loop runs": """
async def main():
    client = app.async_client()
    await client.schedule("mail", {"n": "first"})
    process = await asyncio.to_thread(in_copies, 6, schedule_async)
    await client.schedule("mail", {"n": "last"})
    return process
answers = asyncio.run(main())
tell(answers=answers, same=True, after=10, before=10)
""",
    "multiprocessing": """
before = schedule("parent"); session = backend(app.client())
with multiprocessing.get_context("fork").Pool(6) as pool:
    answers = pool.map(schedule, range(6), chunksize=1)
tell(answers=answers, same=backend(app.client()) == session, after=schedule("again"), before=before)
""",
    "fork of a fork": """
before = schedule("parent"); session = backend(app.client())
answers = in_copies(2, lambda number: [schedule(number), *in_copies(2, lambda n: schedule(f"{number}{n}"))])
tell(answers=sum(answers, []), same=backend(app.client()) == session, after=schedule("again"), before=before)
""",
    "fork in a thread, others at work": """
before = schedule("parent"); session = backend(app.client())
ends, wrong, answers = threading.Event(), [], []
def busy():
    while not ends.is_set():
        if schedule(threading.get_ident()) != 10: wrong.append(1)
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
forking = threading.Thread(target=lambda: answers.extend(in_copies(6, schedule)))
forking.start(); forking.join()
ends.set()
for thread in threads: thread.join()
tell(answers=answers, same=not wrong, after=schedule("again"), before=before)
""",
    "fork while another thread holds our locks": """
before = schedule("parent"); session = backend(app.client())
held, ends = threading.Event(), threading.Event()
def hold():
    pool = app.client().database._pool
    with app._lock, app.client_lock_free(), pool._lock:
        held.set(); ends.wait()
App.client_lock_free = lambda self: self._client.database._lock
client = app._client
App.client = lambda self: self._client
thread = threading.Thread(target=hold); thread.start(); held.wait()
def work(number):
    with app._lock:
        return schedule(number)
answers = in_copies(2, work)
ends.set(); thread.join()
tell(answers=answers, same=backend(client) == session, after=schedule("again"), before=before)
""",
    "closed in the copy": """
before = schedule("parent"); session = backend(app.client())
def work(number):
    app.close()
    return schedule(number)
answers = in_copies(2, work)
tell(answers=answers, same=backend(app.client()) == session, after=schedule("again"), before=before)
""",
    "the copy exits as any program": """
before = schedule("parent"); session = backend(app.client())
if os.fork() == 0:
    sys.exit(0)
os.wait()
tell(answers=[10], same=backend(app.client()) == session, after=schedule("again"), before=before)
""",
    "fork within a transaction": """
before = schedule("parent"); session = backend(app.client())
def work(number):
    try:
        inside.schedule("mail", {"n": "of nobody"})
    except PgschedError:
        pass
    return schedule(number)
with app.client().transaction() as inside:
    inside.schedule("mail", {"n": "inside"})
    answers = in_copies(2, work)
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
tell(answers=answers, same=backend(app.client()) == session, after=schedule("again"), before=before)
""",
    "the copy outlives its parent": """
before = schedule("parent")
reads, writes = os.pipe()
if os.fork():
    os._exit(0)
os.close(reads)
tell(answers=[schedule(1)], same=True, after=10, before=before)
""",
}


def run(program: str, dsn: str, told: str = "") -> dict[str, Any]:
    """The last line that a program printed."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM + program, dsn, told]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("case", CASES)
def test_copies_and_their_parent_schedule_by_sessions_of_their_own(dsn: str, case: str) -> None:
    told = run(CASES[case], dsn)
    assert set(told["answers"]) == {10}, told
    assert (told["before"], told["after"], told["same"]) == (10, 10, True)
    with database(dsn) as db:
        names = [row["n"] for row in db.execute("select payload->>'n' as n from pgsched.tasks")]
    assert "of nobody" not in names


def test_first_use_in_the_copies_is_fresh_too(dsn: str) -> None:
    told = run("tell(answers=in_copies(6, schedule))", dsn)
    assert told["answers"] == [10] * 6


def test_sessions_of_the_parent_end_with_it_though_a_copy_lives(dsn: str) -> None:
    program = """
schedule("parent"); session = backend(app.client())
if os.fork():
    os._exit(0)
deadline = time.monotonic() + 60
gone = False
while not gone and time.monotonic() < deadline:
    with app.client().database._connection() as connection:
        row = connection.execute("select count(*) from pg_stat_activity where pid = %s", (session,)).fetchone()
    gone = row[0] == 0
    time.sleep(0.05)
tell(gone=gone)
"""
    assert run(program, dsn) == {"gone": True}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_lock_of_the_parent_is_not_held_by_a_copy(dsn: str, kind: str) -> None:
    program = """
def look(held):
    seen = [held.lost, held.remaining == 0, held.inherited]
    try:
        held.check()
    except LockLost as error:
        seen.append(str(error))
    return seen

def work(number):
    seen = look(held)
    if told == "sync":
        seen += [held.wait_lost(timeout=5), held.release()]
    try:
        app.client().lock("one", timeout=0).acquire()
    except LockNotAcquired:
        seen.append("still the parent's")
    return seen

def leave(number):
    with lock_entered:
        pass

async def main():
    global held
    held = await app.async_client().lock("one", ttl=5).acquire()
    answers = await asyncio.to_thread(in_copies, 2, work)
    released = await held.release()
    return answers, released

if told == "sync":
    held = app.client().lock("one", ttl=5).acquire()
    answers = in_copies(2, work)
    time.sleep(0)
    kept = not held.lost
    released = held.release()
else:
    answers, released = asyncio.run(main())
    kept = True
tell(answers=answers, kept=kept, released=released)
"""
    told = run(program, dsn, kind)
    more = [True, False] if kind == "sync" else []
    reason = "lock 'one' was taken by the process that this one was forked from: it is not ours"
    assert told == {
        "answers": [[True, True, True, reason, *more, "still the parent's"]] * 2,
        "kept": True,
        "released": True,
    }


def test_copy_may_take_the_lock_with_the_same_object_and_leaves_the_parents_with_block_with_an_error(dsn: str) -> None:
    program = """
lock = app.client().lock("one", ttl=5, timeout=30)

def again(number):
    with lock as own:
        return own.fencing_token

def leaves():
    with lock as held:
        if os.fork() == 0:
            return "copy"
        os.wait()
        return [held.lost, held.fencing_token]

reads, writes = os.pipe()
me = os.getpid()
try:
    mine = leaves()
except LockLost as error:
    assert os.getpid() != me
    os.write(writes, str(error).encode())
    os._exit(0)
os.close(writes)
tell(mine=mine, copy=os.read(reads, 1000).decode(), later=in_copies(2, again))
"""
    told = run(program, dsn)
    assert told["mine"] == [False, 1]
    assert "it is not ours" in told["copy"]
    assert sorted(told["later"]) == [2, 3]

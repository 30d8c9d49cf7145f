"""Values that nobody expects, through every face: each is taken or refused with one line, nothing half-done, and no
worker minds what was taken.

``PGSCHED_FUZZ_CASES`` says how many values are tried of each kind.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers
from tests.support.tables import database
from tests.support.web_face import web

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("PGSCHED_FUZZ_CASES", "20"))
LONG = 1000
MIB = 1024 * 1024

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["\0", "\ud800", "\U0001f600", "a\nb", "'; drop table pgsched.tasks; --", ""]
)
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(10**308), 2**63, 1e308, -1.7e308, 5e-324, float("nan"), float("inf"), -0.0])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
EXTREMES = [
    "",
    "{",
    "null",
    "[]",
    '"text"',
    "{} {}",
    "\ufeff{}",
    "{'a': 1}",
    '{"a": NaN}',
    '{"a": Infinity}',
    '{"a": -Infinity}',
    '{"a": 1, "a": 2}',
    '{"a": 1e308}',
    '{"a": 1e309}',
    '{"a": -1e400}',
    '{"a": 1e-400}',
    '{"a": ' + "9" * 308 + "}",
    '{"a": ' + "9" * 400 + "}",
    '{"a": ' + "9" * 5000 + "}",
    '{"a": "\\u0000"}',
    '{"\\u0000": 1}',
    '{"a": "\\\\u0000"}',
    '{"a": "\\ud800"}',
    '{"a": "\\ude00\\ud83d"}',
    '{"a": "\\ud83d\\ude00"}',
    '{"a": ' + "[" * 99 + "]" * 99 + "}",
    '{"a": ' + "[" * 100 + "]" * 100 + "}",
    '{"a": ' + "[" * 3000 + "]" * 3000 + "}",
    '{"a": "' + "x" * (MIB - 100) + '"}',
    '{"a": "' + "x" * MIB + '"}',
]
"""Texts that may or may not be a payload."""


def fuzz(cases: int, strategy: st.SearchStrategy[Any], attempt: Callable[[Any], None]) -> None:
    """Try so many values; always the same ones, but in the long form."""

    @settings(
        max_examples=cases,
        database=None,
        derandomize=cases < LONG,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(value: Any) -> None:
        attempt(value)

    each()


def one_line(message: str) -> None:
    assert message.strip(), "an empty refusal"
    assert "\n" not in message.strip(), message
    assert "internal error" not in message, message
    assert "Traceback" not in message, message
    assert len(message) < 1000, f"{len(message)} characters"


class Faces:
    """One payload through SQL, Python, the command line and REST."""

    def __init__(
        self,
        dsn: str,
        db: psycopg.Connection[dict[str, Any]],
        client: Client,
        loop: asyncio.Runner,
        http: httpx.AsyncClient,
    ) -> None:
        self.dsn, self.db, self.client, self.loop, self.http = dsn, db, client, loop, http

    def sql(self, text: str) -> None:
        try:
            self.db.execute("insert into pgsched.tasks (task_type, payload) values ('mail', %s::text::jsonb)", (text,))
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.StatementTooComplex) as error:
            raise Refused(error.diag.message_primary or str(error)) from None
        except UnicodeEncodeError:
            raise Refused("no UTF-8") from None

    def python(self, text: str) -> None:
        try:
            payload = json.loads(text)
        except (ValueError, RecursionError):
            raise Refused("no JSON") from None
        try:
            self.client.schedule("mail", payload)
        except InvalidTask as error:
            raise Refused(str(error)) from None

    def cli(self, text: str) -> None:
        ended = pgsched("task", "add", "mail", "--payload", "-", dsn=self.dsn, stdin=text)
        if ended.code != 0:
            assert ended.code in (1, 2), ended
            raise Refused(ended.error)

    def rest(self, text: str) -> None:
        body = ('{"task_type": "mail", "payload": ' + text + "}").encode("utf-8", "surrogatepass")
        headers = {"Content-Type": "application/json"}
        answer = self.loop.run(self.http.post("/api/v1/tasks", content=body, headers=headers))
        if answer.status_code != 201:
            assert answer.status_code in (400, 413, 422), answer.text[:300]
            raise Refused(answer.json()["detail"])

    def check(self, text: str) -> None:
        """Each face takes it, and then it is there as it was, or refuses it, and then nothing is there."""
        self.db.execute("truncate pgsched.tasks")
        last = 0
        for face in (self.sql, self.python, self.cli, self.rest):
            refused = None
            try:
                face(text)
            except Refused as error:
                refused = str(error)
                one_line(refused)
            found = self.db.execute(
                "select id, payload::jsonb as payload from pgsched.tasks where id > %s", (last,)
            ).fetchall()
            assert len(found) == (refused is None), (face.__name__, refused, text[:200])
            if found:
                last = found[0]["id"]
                assert same(found[0]["payload"], text), (face.__name__, text[:200])
        self.work(text)

    def work(self, text: str) -> None:
        """A worker runs whatever was taken to its end."""
        seen: list[dict[str, Any]] = []

        def handler(**payload: Any) -> None:
            seen.append(payload)

        async def go() -> None:
            async with engine(self.dsn, handlers(mail=handler)) as one:
                await one.work()

        self.loop.run(go())
        left = self.db.execute(
            "select status::text, last_error from pgsched.tasks where status <> 'completed'"
        ).fetchall()
        assert left == [], (left, text[:200])
        assert all(same(payload, text) for payload in seen), text[:200]


def same(payload: Any, text: str) -> bool:
    """Whether a payload is what the text says. Null is none; PostgreSQL writes 1e308 in full, as a whole number."""
    said = json.loads(text)
    if said is None or payload == said:
        return payload == (said or {})
    return bool(json.loads(json.dumps(payload), parse_int=float) == json.loads(text, parse_int=float))


class Refused(Exception):
    """A face did not take it; the text is what it said."""


@pytest.fixture
def faces(dsn: str) -> Any:
    with database(dsn) as db, Client(dsn, pool_size=1) as client, asyncio.Runner() as loop:
        face = web(dsn)
        yield Faces(dsn, db, client, loop, loop.run(face.__aenter__()))
        loop.run(face.__aexit__(None, None, None))


def test_an_extreme_payload_is_run_or_refused_with_one_line(faces: Faces) -> None:
    for text in EXTREMES:
        faces.check(text)


def payload_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


PAYLOADS = st.dictionaries(TEXTS, VALUES, max_size=4).map(payload_text) | VALUES.map(payload_text)


def test_any_payload_is_run_or_refused_with_one_line(faces: Faces) -> None:
    fuzz(CASES // 2, PAYLOADS, faces.check)


@pytest.mark.long
def test_a_thousand_payloads_are_run_or_refused_with_one_line(faces: Faces) -> None:
    fuzz(LONG, PAYLOADS, faces.check)


# Every column of the table, by a plain INSERT.

WORDS = st.sampled_from(
    [
        "0", "-1", "1", "10", "11", "32768", "2147483648", "1e400", "NaN", "infinity", "-infinity", "now", "epoch",
        "0001-01-01 BC", "9999-12-31 23:59:59+00", "294276-01-01", "2030-02-30",
        "1 second", "-1 second", "1 month -1 day",
        "178000000 years", "1 microsecond", "{}", "[]", "null", "{1,2}", "{null}", "true", "f", "pending", "running",
        "blocked", "completed", "dead", "cancelled", "one_time", "recurring",
        "repeating", "* * * * *", "@daily", "60 * * * *",
        "* * * * * *", "0 0 31 2 *", "*/0 * * * *", "Europe/Berlin", "posix/UTC", "utc",
        "once", "skip", "all", "any", "allow",
        "exponential", "fixed", "cancel", "run", "wait",
        "pgsched.group", '{"steps": []}', '{"steps": [{"task_type": "mail"}]}',
        '{"a": [1, {"b": null}]}', "mail",
        "00000000-0000-0000-0000-000000000001", "9223372036854775807", "\u202e", "a b",
    ]
)  # fmt: skip
CELLS = st.none() | WORDS | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
NOT_PLAYED = ("observed", "fired", "waiting_for", "declared", "id")
"""What only functions of the schema write, and the identity."""


def test_any_row_is_run_or_refused_with_one_line(dsn: str) -> None:
    fuzz_rows(dsn, CASES * 2)


@pytest.mark.long
def test_thousands_of_rows_are_run_or_refused_with_one_line(dsn: str) -> None:
    fuzz_rows(dsn, LONG * 5)


def fuzz_rows(dsn: str, cases: int) -> None:
    with database(dsn) as db, asyncio.Runner() as loop:
        columns = [
            row["column_name"]
            for row in db.execute(
                "select column_name from information_schema.columns"
                " where table_schema = 'pgsched' and table_name = 'tasks' order by ordinal_position"
            )
            if row["column_name"] not in NOT_PLAYED
        ]
        taken = 0

        def attempt(values: dict[str, str | None]) -> None:
            nonlocal taken
            values = {"task_type": "mail"} | values
            statement = psycopg.sql.SQL("insert into pgsched.tasks ({}) values ({})").format(
                psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, values)),
                psycopg.sql.SQL(", ").join(map(psycopg.sql.Literal, values.values())),
            )
            try:
                db.execute(statement)
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                one_line(error.diag.message_primary or "")
                return
            taken += 1
            loop.run(work(dsn))
            left = db.execute(
                "select * from pgsched.tasks t where status = 'running' and locked_by = any (select w.worker_id"
                " from pgsched.executions w) or (next_run_at <= now() and enabled and status = 'pending'"
                " and task_type = 'mail' and queue = 'default' and attempts = 0 and scheduled_for <= now())"
            ).fetchall()
            assert left == [], (values, left)
            db.execute("truncate pgsched.tasks, pgsched.executions, pgsched.dependencies")

        fuzz(cases, st.dictionaries(st.sampled_from(columns), CELLS, min_size=1, max_size=3), attempt)
        assert taken > cases / 20, f"only {taken} of {cases} rows were taken: the fuzz shows little"


async def work(dsn: str) -> None:
    """Plan, run, and run again what is due at once."""

    def handler(**payload: Any) -> None:
        return None

    async with engine(dsn, handlers(mail=handler)) as one:
        for _ in range(3):
            await one.work()


# Arguments of the command line.

OPTIONS = (
    "--at", "--delay", "--cron", "--every", "--times", "--timezone", "--start", "--end",
    "--queue", "--priority", "--key",
    "--name", "--tag", "--metadata", "--tenant", "--user", "--max-attempts",
    "--backoff", "--backoff-delay", "--timeout",
    "--on-missed", "--catchup-window", "--overlap", "--jitter", "--depends-on", "--concurrency-key", "--payload",
)  # fmt: skip
ARGUMENTS = st.dictionaries(st.sampled_from(OPTIONS), WORDS | st.text(max_size=20), min_size=1, max_size=3)


def test_any_argument_is_taken_or_refused_with_one_line(dsn: str) -> None:
    fuzz_arguments(dsn, CASES)


@pytest.mark.long
def test_thousands_of_arguments_are_taken_or_refused_with_one_line(dsn: str) -> None:
    fuzz_arguments(dsn, LONG * 3)


def fuzz_arguments(dsn: str, cases: int) -> None:
    with database(dsn) as db:

        def attempt(arguments: dict[str, str]) -> None:
            db.execute("truncate pgsched.tasks, pgsched.dependencies")
            given = [f"{name}={value}" for name, value in arguments.items() if not value.startswith(("@", "-"))]
            ended = pgsched("task", "add", "mail", *given, dsn=dsn)
            assert ended.code in (0, 1, 2), ended
            if ended.code:
                one_line(ended.error)
            found = db.execute("select count(*) as n from pgsched.tasks").fetchall()
            assert found[0]["n"] == (ended.code == 0), ended

        fuzz(cases, ARGUMENTS, attempt)


# Negative controls: a refusal of several lines, and a row that was taken although it was refused, are found.


def test_a_refusal_of_two_lines_is_found() -> None:
    with pytest.raises(AssertionError):
        one_line("no\nTraceback")


def test_a_payload_that_a_face_takes_and_refuses_is_found(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(text: str) -> None:
        Faces.sql(faces, text)
        raise Refused("no")

    monkeypatch.setattr(faces, "python", both)
    with pytest.raises(AssertionError, match="no"):
        faces.check("{}")

"""Spans from the caller's schedule to the execution, and what the worker tells of itself by OpenTelemetry."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from pgsched import Context, Discard, DurableContext, Retry, Snooze, TaskSpec
from pgsched.client.async_client import AsyncClient
from pgsched.domain.errors import InvalidTask
from pgsched.domain.workflow import chain, group, step
from pgsched.observability.tracing import MAX_BAGGAGE
from tests.support.engine import expire_leases, make_due
from tests.support.spans import Traced, attributes, header_of, id_of, links_of, parent_of, trace_of
from tests.support.tables import database, insert_task, task_row

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALLER_TRACE, CALLER_SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


@pytest.fixture
def traced(dsn: str) -> Iterator[Traced]:
    made = Traced(dsn)
    yield made
    made.app.close()


def current() -> int:
    """The span that the caller runs in."""
    return trace.get_current_span().get_span_context().span_id


def metadata(dsn: str, task_id: int) -> dict[str, str]:
    with database(dsn) as connection:
        row = connection.execute("select metadata::jsonb as m from pgsched.tasks where id = %s", (task_id,)).fetchone()
    assert row is not None
    return dict(row["m"])


# The caller's side.


def test_schedule_is_a_producer_span_of_the_caller_and_the_task_carries_it(dsn: str, traced: Traced) -> None:
    with traced.tracer.start_as_current_span("request"):
        task_id = traced.app.client().schedule("mail", {"secret": "hunter2"}, queue="letters")
    sent, request = traced.spans()
    assert (sent.name, sent.kind, parent_of(sent)) == ("schedule letters", SpanKind.PRODUCER, id_of(request))
    assert attributes(sent) == {
        "messaging.system": "pgsched",
        "messaging.operation.type": "send",
        "messaging.operation.name": "schedule",
        "messaging.destination.name": "letters",
        "messaging.message.id": str(task_id),
        "pgsched.task_type": "mail",
    }
    assert metadata(dsn, task_id) == {"traceparent": header_of(sent)}
    assert "hunter2" not in sent.to_json()


def test_client_without_tracing_carries_nothing(dsn: str) -> None:
    traced = Traced(dsn)
    traced.app.tracing = None
    with traced.tracer.start_as_current_span("request"):
        task_id = traced.app.client().schedule("mail")
    traced.app.close()
    assert metadata(dsn, task_id) == {}
    assert [span.name for span in traced.spans()] == ["request"]


def test_other_metadata_and_small_baggage_stay_and_large_baggage_does_not(dsn: str, traced: Traced) -> None:
    client = traced.app.client()
    token = contexts.attach(baggage.set_baggage("tenant", "7"))
    small = client.schedule("mail", metadata={"why": "asked"})
    contexts.detach(token)
    token = contexts.attach(baggage.set_baggage("tenant", "7" * MAX_BAGGAGE))
    large = client.schedule("mail")
    contexts.detach(token)
    found = metadata(dsn, small)
    assert (found["why"], found["baggage"]) == ("asked", "tenant=7")
    assert list(metadata(dsn, large)) == ["traceparent"]


def test_context_that_a_task_brings_is_kept_and_linked(dsn: str, traced: Traced) -> None:
    task_id = traced.app.client().schedule("mail", metadata={"traceparent": CALLER})
    assert metadata(dsn, task_id) == {"traceparent": CALLER}
    assert links_of(traced.span("schedule")) == [CALLER_SPAN]


def test_many_tasks_are_one_span_and_all_carry_it(dsn: str, traced: Traced) -> None:
    ids = traced.app.client().schedule_many(TaskSpec(task_type="mail", payload={"n": n}) for n in range(3))
    sent = traced.span("schedule")
    assert (sent.name, attributes(sent)["messaging.batch.message_count"]) == ("schedule", 3)
    assert {metadata(dsn, one)["traceparent"][36:52] for one in ids} == {f"{id_of(sent):016x}"}


@pytest.mark.parametrize("many", [False, True])
def test_task_in_the_callers_transaction_carries_the_span(dsn: str, traced: Traced, many: bool) -> None:
    with psycopg.connect(dsn) as connection:
        client = traced.app.client()
        if many:
            (task_id,) = client.schedule_many([TaskSpec(task_type="mail")], connection=connection)
        else:
            task_id = client.schedule("mail", connection=connection)
    assert metadata(dsn, task_id)["traceparent"][36:52] == f"{id_of(traced.span('schedule')):016x}"


async def test_async_client_and_transaction_do_the_same(dsn: str, traced: Traced) -> None:
    async with AsyncClient(dsn, tracing=traced.app.tracing) as client:
        one = await client.schedule("mail")
        (two,) = await client.schedule_many([TaskSpec(task_type="mail")])
        async with client.transaction() as inside:
            three = await inside.schedule_group(group(step("mail")))
    first, second, third = traced.spans("schedule")
    for task_id, span in ((one, first), (two, second), (three, third)):
        assert metadata(dsn, task_id)["traceparent"][36:52] == f"{id_of(span):016x}"


def test_refused_task_is_an_error_without_what_was_given(traced: Traced) -> None:
    client = traced.app.client()
    known = client.schedule("mail")
    traced.forget()
    with pytest.raises(InvalidTask):
        client.schedule("mail", depends_on=[known + 999], tags=["hunter2"])
    sent = traced.span("schedule")
    assert sent.status.status_code is StatusCode.ERROR
    assert attributes(sent)["error.type"] == "InvalidTask"
    assert "hunter2" not in sent.to_json()


# The worker's side.


async def test_attempt_is_a_consumer_span_below_the_schedule(dsn: str, traced: Traced) -> None:
    seen: list[int] = []

    @traced.app.task("mail")
    async def mail(secret: str) -> None:
        await asyncio.sleep(0)
        seen.append(current())

    task_id = mail.schedule(secret="hunter2", queue="letters")
    async with traced.worker(dsn, queues=("letters",)) as one:
        await one.work()
        worker = str(one.worker.identity.id)
    sent, span = traced.spans()
    assert (span.name, span.kind, span.status.status_code) == ("process letters", SpanKind.CONSUMER, StatusCode.UNSET)
    assert (trace_of(span), parent_of(span), links_of(span)) == (trace_of(sent), id_of(sent), [id_of(sent)])
    told = attributes(span)
    assert seen == [id_of(span)]
    assert told.pop("pgsched.scheduled_for")
    assert told == {
        "messaging.system": "pgsched",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "letters",
        "messaging.message.id": str(task_id),
        "messaging.client.id": worker,
        "pgsched.task_type": "mail",
        "pgsched.attempt": 1,
        "pgsched.max_attempts": 3,
        "pgsched.fencing_token": 1,
        "pgsched.outcome": "completed",
    }
    assert "hunter2" not in span.to_json()


async def test_plain_handler_runs_in_the_span_and_what_it_schedules_goes_on_with_the_trace(
    dsn: str, traced: Traced
) -> None:
    seen: list[int] = []

    @traced.app.task("first")
    def first() -> None:
        seen.append(current())
        traced.app.client().schedule("second")

    @traced.app.task("second")
    async def second() -> None:
        seen.append(current())

    first.schedule()
    async with traced.worker(dsn) as one:
        await one.work()
        await one.work()
    schedule, inner, outer, last = traced.spans()
    assert len({trace_of(span) for span in traced.spans()}) == 1
    assert [span.name for span in (inner, outer)] == ["schedule default", "process default"]
    assert (parent_of(outer), parent_of(inner), parent_of(last)) == (id_of(schedule), id_of(outer), id_of(inner))
    assert seen == [id_of(outer), id_of(last)]


async def test_attempts_side_by_side_each_have_their_own_span(dsn: str, traced: Traced) -> None:
    gate = asyncio.Event()
    seen: dict[int, set[int]] = {}

    @traced.app.task("mail")
    async def mail(ctx: Context) -> None:
        seen[ctx.id] = {current()}
        await asyncio.to_thread(lambda: seen[ctx.id].add(current()))
        if len(seen) == 10:
            gate.set()
        await gate.wait()
        seen[ctx.id].add(current())

    ids = traced.app.client().schedule_many([TaskSpec(task_type="mail")] * 10)
    async with traced.worker(dsn) as one:
        await one.work()
        assert current() == 0
    spans = traced.spans("process")
    assert {int(attributes(span)["messaging.message.id"]): {id_of(span)} for span in spans} == seen
    assert sorted(seen) == ids


async def test_sql_insert_with_a_traceparent_and_baggage_is_part_of_that_trace(dsn: str, traced: Traced) -> None:
    seen: list[object] = []

    @traced.app.task("mail")
    async def mail() -> None:
        seen.append(baggage.get_baggage("tenant"))

    with database(dsn) as connection:
        carried = json.dumps({"traceparent": CALLER, "tracestate": "vendor=1", "baggage": "tenant=7"})
        insert_task(connection, "mail", metadata=carried)
        insert_task(connection, "mail", metadata=json.dumps({"traceparent": "nonsense", "tracestate": 7}))
    async with traced.worker(dsn) as one:
        await one.work()
    span, stray = sorted(traced.spans("process"), key=lambda span: int(attributes(span)["messaging.message.id"]))
    assert (trace_of(span), parent_of(span)) == (CALLER_TRACE, CALLER_SPAN)
    assert span.context is not None
    assert span.context.trace_state.to_header() == "vendor=1"
    assert (parent_of(stray), links_of(stray)) == (None, [])
    assert seen == ["7", None]


async def test_failure_is_an_error_with_its_exception_and_retries_are_spans_of_the_same_trace(
    dsn: str, traced: Traced
) -> None:
    @traced.app.task("mail", max_attempts=2)
    async def mail(secret: str) -> None:
        raise ValueError("no luck")

    task_id = mail.schedule(secret="hunter2")
    async with traced.worker(dsn) as one:
        await one.work()
        with database(dsn) as connection:
            make_due(connection, task_id)
        await one.work()
    sent, first, second = traced.spans()
    for span, attempt, outcome in ((first, 1, "failed"), (second, 2, "dead")):
        assert (trace_of(span), parent_of(span)) == (trace_of(sent), id_of(sent))
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no luck")
        told = attributes(span)
        assert (told["pgsched.attempt"], told["pgsched.outcome"], told["error.type"]) == (
            attempt,
            outcome,
            "ValueError",
        )
        (event,) = span.events
        details = dict(event.attributes or {})
        assert (event.name, details["exception.type"], details["exception.message"]) == (
            "exception",
            "ValueError",
            "no luck",
        )
        assert "raise ValueError" in str(details["exception.stacktrace"])
        assert "hunter2" not in span.to_json()
    (noted, _) = traced.app.client().logs(task_id)
    assert noted.message == "trace"
    assert noted.fields == {"traceparent": header_of(first)}


async def test_retry_discard_and_timeout_say_so(dsn: str, traced: Traced) -> None:
    @traced.app.task("again")
    async def again() -> None:
        raise Retry(60, "later")

    @traced.app.task("never")
    def never() -> None:
        raise Discard("senseless")

    @traced.app.task("slow", timeout="50ms")
    async def slow() -> None:
        await asyncio.sleep(60)

    @traced.app.task("picky")
    async def picky(number: Any) -> None: ...

    for task_type in ("again", "never", "slow", "picky"):
        traced.app.client().schedule(task_type)
    async with traced.worker(dsn) as one:
        await one.work()
    found = {attributes(span)["pgsched.task_type"]: span for span in traced.spans("process")}
    assert {
        name: (attributes(span)["pgsched.outcome"], attributes(span)["error.type"]) for name, span in found.items()
    } == {
        "again": ("failed", "Retry"),
        "never": ("dead", "Discard"),
        "slow": ("timed_out", "timed_out"),
        "picky": ("dead", "discarded"),
    }


async def test_a_snoozed_attempt_says_so(dsn: str, traced: Traced) -> None:
    @traced.app.task("soon")
    async def soon() -> None:
        raise Snooze(60)

    traced.app.client().schedule("soon")
    async with traced.worker(dsn) as one:
        await one.work()
    (span,) = traced.spans("process")
    assert attributes(span)["pgsched.outcome"] == "snoozed"


async def test_a_step_is_a_span_of_its_attempt(dsn: str, traced: Traced) -> None:
    async def pay() -> None: ...

    async def fail() -> None:
        raise ValueError("no")

    @traced.app.task("order", durable=True)
    async def order(ctx: DurableContext) -> None:
        await ctx.step("pay", pay)
        await ctx.step("fail", fail, max_attempts=1)

    traced.app.client().schedule("order")
    async with traced.worker(dsn) as one:
        await one.work()
    (attempt,) = traced.spans("process")
    steps = [span for span in traced.spans() if span.name.startswith("step ")]
    assert [(span.name, attributes(span)["pgsched.step"]) for span in steps] == [
        ("step pay", "pay"),
        ("step fail", "fail"),
    ]
    assert all(span.parent is not None and span.parent.span_id == attempt.context.span_id for span in steps)
    assert attributes(steps[1])["error.type"] == "ValueError"


async def test_tick_of_a_schedule_begins_a_trace_that_its_retries_go_on_with(dsn: str, traced: Traced) -> None:
    fails = [True, False, False]

    @traced.app.task("report")
    async def report() -> None:
        if fails.pop(0):
            raise ValueError("not yet")

    task_id = traced.app.client().schedule("report", every="1h", start=None)
    async with traced.worker(dsn) as one:
        await one.work()
        for _ in range(2):
            with database(dsn) as connection:
                make_due(connection, task_id)
            await one.work()
    sent, first, retry, second = traced.spans()
    assert [attributes(span)["pgsched.outcome"] for span in (first, retry, second)] == [
        "failed",
        "completed",
        "completed",
    ]
    assert links_of(first) == links_of(retry) == links_of(second) == [id_of(sent)]
    assert (parent_of(first), parent_of(second)) == (None, None)
    assert (trace_of(retry), parent_of(retry)) == (trace_of(first), id_of(first))
    assert len({trace_of(span) for span in (sent, first, second)}) == 3


async def test_steps_of_a_group_and_what_depends_on_it_are_one_trace(dsn: str, traced: Traced) -> None:
    @traced.app.task("step")
    async def run_step() -> None: ...

    client = traced.app.client()
    whole = client.schedule_group(
        group(chain(step("step", name="one", metadata={"own": 1}), step("step", name="two"))), name="both"
    )
    with database(dsn) as connection:
        after = insert_task(connection, "step", depends_on=[whole])
    async with traced.worker(dsn) as one:
        for _ in range(6):
            await one.work()
    sent, fired, first, second, last = traced.spans()
    assert len({trace_of(span) for span in traced.spans()}) == 1
    assert (fired.name, parent_of(fired), parent_of(first), parent_of(second)) == (
        "fire default",
        id_of(sent),
        id_of(fired),
        id_of(fired),
    )
    assert (parent_of(last), attributes(last)["messaging.message.id"]) == (id_of(sent), str(after))
    assert metadata(dsn, int(attributes(first)["messaging.message.id"]))["own"] == 1


async def test_each_tick_of_a_scheduled_group_is_a_trace_with_its_steps(dsn: str, traced: Traced) -> None:
    @traced.app.task("step")
    async def run_step() -> None: ...

    task_id = traced.app.client().schedule_group(group(step("step", name="a"), step("step", name="b")), every="1h")
    async with traced.worker(dsn) as one:
        for tick in range(2):
            if tick:
                with database(dsn) as connection:
                    make_due(connection, task_id)
            for _ in range(6):
                await one.work()
    (sent,) = traced.spans("schedule")
    fires, steps = traced.spans("fire"), traced.spans("process")
    assert (len(fires), len(steps)) == (2, 4)
    for fire in fires:
        assert (parent_of(fire), links_of(fire)) == (None, [id_of(sent)])
        assert trace_of(fire) != trace_of(sent)
        assert len([one for one in steps if trace_of(one) == trace_of(fire) and parent_of(one) == id_of(fire)]) == 2


async def test_transactional_handler_ends_its_span_with_what_became_of_the_commit(dsn: str, traced: Traced) -> None:
    @traced.app.task("pay", transactional=True, max_attempts=1)
    async def pay(ctx: Context, breaks: bool) -> None:
        await ctx.connection.execute(
            "create table if not exists paid (id int primary key deferrable initially deferred)"
        )
        await ctx.connection.execute("insert into paid values (1)")
        if breaks:
            await ctx.connection.execute("insert into paid values (1)")

    pay.schedule(breaks=False)
    pay.schedule(breaks=True)
    async with traced.worker(dsn) as one:
        await one.claim(1)
        await one.run()
        await one.claim(1)
        await one.run()
    good, bad = traced.spans("process")
    assert [attributes(span)["pgsched.outcome"] for span in (good, bad)] == ["completed", "dead"]
    assert bad.status.status_code is StatusCode.ERROR


async def test_lost_attempt_ends_its_span_as_lost(dsn: str, traced: Traced) -> None:
    began = asyncio.Event()

    @traced.app.task("mail")
    async def mail() -> None:
        began.set()
        await asyncio.sleep(60)

    task_id = mail.schedule()
    async with traced.worker(dsn) as one:
        await one.claim()
        await one.started()
        await began.wait()
        leased = one.leased_tasks.get(task_id)
        assert leased is not None
        one.leased_tasks.abandon(leased)
        await one.run()
        with database(dsn) as connection:
            expire_leases(connection)
        assert len(await one.claim()) == 1
        began.clear()
        await one.started()
        await began.wait()
    lost, released = traced.spans("process")
    assert [attributes(span)["pgsched.outcome"] for span in (lost, released)] == ["lost", "released"]


async def test_worker_metrics_are_seen_through_the_meter(dsn: str, traced: Traced) -> None:
    @traced.app.task("mail", max_attempts=1)
    async def mail(fails: bool) -> None:
        if fails:
            raise ValueError("no luck")

    mail.schedule(fails=False)
    mail.schedule(fails=True)
    async with traced.worker(dsn) as one:
        await one.work()
        assert one.worker.table_gauges is not None
        await one.worker.table_gauges.run_once()
        found = traced.metrics()
    sums: dict[Any, Any] = {
        dict(point.attributes).get("error.type"): point.count for point in found["messaging.process.duration"]
    }
    assert sums == {None: 1, "ValueError": 1}
    assert [point.value for point in found["messaging.client.sent.messages"]] == [2]
    assert [point.value for point in found["messaging.client.consumed.messages"]] == [2]
    assert [point.count for point in found["messaging.client.operation.duration"]] == [2]
    outcomes = {dict(point.attributes)["outcome"]: point.value for point in found["pgsched.executions"]}
    assert (outcomes["completed"], outcomes["dead"]) == (1, 1)
    assert [point.value for point in found["pgsched.slots"]] == [20]
    dead = [point.value for point in found["pgsched.tasks"] if dict(point.attributes)["status"] == "dead"]
    assert dead == [1]


def test_nothing_of_opentelemetry_is_loaded_without_tracing() -> None:
    program = """
import sys
import pgsched, pgsched.worker.supervisor, pgsched.worker.child_process, pgsched.cli
from pgsched.worker.traces import load_traces
pgsched.App().client()
load_traces(None)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
pgsched.App(otel=True)
assert "opentelemetry" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_missing_extra_is_told_in_one_line() -> None:
    program = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import pgsched
try:
    pgsched.App(otel=True)
except pgsched.ConfigError as error:
    print(error)
from pgsched.cli import main
sys.exit(main(["worker", "--otel", "--http"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    said = 'OpenTelemetry is not installed: pip install "pgsched[otel]"'
    assert (done.stdout, done.stderr, done.returncode) == (f"{said}\n", f"pgsched: {said}\n", 2)


# What fails in it stops nothing.


class Broken(SpanProcessor):
    """Raises at one of the steps of a span, or at both."""

    def __init__(self, *steps: str) -> None:
        self._steps = steps

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        if "start" in self._steps:
            raise RuntimeError("at the start of a span")

    def on_end(self, span: ReadableSpan) -> None:
        if "end" in self._steps:
            raise RuntimeError("at the end of a span")


@pytest.mark.parametrize("steps", [("start",), ("end",), ("start", "end")])
async def test_span_processors_that_raise_cost_no_task_and_no_outcome(dsn: str, traced: Traced, steps: Any) -> None:
    @traced.app.task("mail")
    async def mail(ctx: Context) -> str:
        ctx.log("begun")
        if ctx.attempt == 1:
            raise Retry(0)
        return "sent"

    @traced.app.task("plain", transactional=True)
    def plain(ctx: Context) -> str:
        return "sent"

    traced.provider.add_span_processor(Broken(*steps))
    client = traced.app.client()
    ids = [client.schedule("mail"), *client.schedule_many([TaskSpec(task_type="mail"), TaskSpec(task_type="plain")])]
    ids.append(await traced.app.async_client().schedule("plain"))
    client.schedule_group(group(step("mail"), step("plain")))
    with pytest.raises(InvalidTask):
        client.schedule("")
    with database(dsn) as db:
        async with traced.worker(dsn) as one:
            while await one.work():
                pass
        assert {row["status"] for row in db.execute("select status from pgsched.tasks").fetchall()} == {"completed"}
        results = db.execute("select result from pgsched.tasks where id = any(%s)", (ids,)).fetchall()
        assert [row["result"] for row in results] == ["sent"] * 4
    assert traced.app.tracing is not None
    assert traced.app.tracing.quietly.failures > 0
    await traced.app.close_async()


async def test_meters_that_raise_cost_no_outcome_either(
    dsn: str, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    @traced.app.task("mail")
    async def mail() -> None: ...

    def broken(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("in the meter")

    tracing = traced.app.tracing
    assert tracing is not None
    monkeypatch.setattr(tracing.meter, "create_observable_gauge", broken)
    with database(dsn) as db:
        async with traced.worker(dsn) as one:
            traces = one.worker.traces
            for instrument in (traces.consumed, tracing.sent_messages):
                monkeypatch.setattr(instrument, "add", broken)
            for histogram in (traces.processed, tracing.send_durations):
                monkeypatch.setattr(histogram, "record", broken)
            task_id = traced.app.client().schedule("mail")
            await one.work()
        assert task_row(db, task_id)["status"] == "completed"

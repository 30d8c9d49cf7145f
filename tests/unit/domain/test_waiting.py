"""Why a task waits, case by case, from facts alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from pgsched.domain.interval import Interval
from pgsched.domain.waiting.facts import Ahead, Fleet, QueueFacts, SetAside, TaskFacts, Upstream
from pgsched.domain.waiting.reasons import SOFT
from pgsched.domain.waiting.task import judge_task
from pgsched.domain.worker_records import WorkerInfo, WorkerTrouble

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
LATER, BEFORE = NOW + timedelta(hours=1), NOW - timedelta(hours=1)
ID, OTHER = UUID(int=1), UUID(int=2)
TASK = TaskFacts(
    now=NOW, id=17, task_type="mail", queue="letters", priority=5, status="pending", enabled=True,
    schedule_type="one_time", overlap="skip", next_run_at=BEFORE, end_date=None, expires_at=None, ended_at=None,
    started_at=None, locked_by=None, locked_until=None, held_in_advance=False, attempts=0, max_attempts=3, note=None,
    needs_version=None, concurrency_key=None, dependency_mode="all", waiting_for=0, upstream=[], is_durable=False,
    awaits=[], wakes_at=None, locked_by_transaction=False, set_aside=[],
)  # fmt: skip
QUEUE = QueueFacts(
    now=NOW, name="letters", paused=False, paused_at=None, paused_by=None, ordering="fifo", has_ageing=False,
    concurrency=None, concurrency_used=0, concurrency_per_key=None, key_used=0, rate=None, rate_used=0,
    rate_again_at=None, rate_per_key=None, key_rate_used=0, key_rate_again_at=None, per="1 second", cost=1, holders=[],
    key_holders=[],
)  # fmt: skip
TROUBLE = WorkerTrouble(kind="lost_slots", object="", since=BEFORE, stops=True, detail="2 free slots begin nothing")


def worker(**fields: Any) -> WorkerInfo:
    plain = WorkerInfo(
        id=ID, hostname="host", pid=1, queues=["letters"], patterns=[], task_types=["mail"], concurrency=5, running=3,
        started_at=BEFORE, heartbeat_at=NOW, lease=Interval(microseconds=30_000_000), sleeping_until=None, alive=True,
        troubles=[], state="active",
    )  # fmt: skip
    return replace(plain, **fields)


def judge(
    task: dict[str, Any] | None = None,
    queue: dict[str, Any] | None = None,
    workers: list[WorkerInfo] | None = None,
    ahead: int = 0,
) -> list[tuple[str, str]]:
    """The kinds and texts of the reasons; none for a task that is ready."""
    facts, fleet = replace(TASK, **task or {}), [worker()] if workers is None else workers
    asked = replace(QUEUE, **queue or {})
    why = judge_task(facts, asked, Fleet(fleet, "letters", "mail"), Ahead(number=ahead, is_capped=False))
    assert why.is_ready == (not why.reasons)
    return [(one.kind, one.text) for one in why.reasons]


CASES: list[tuple[dict[str, Any], str]] = [
    ({"task": {"enabled": False}}, "disabled"),
    ({"task": {"next_run_at": None}}, "not_due"),
    ({"task": {"next_run_at": LATER}}, "not_before"),
    ({"task": {"next_run_at": LATER, "schedule_type": "recurring"}}, "not_before"),
    ({"task": {"next_run_at": LATER, "note": "failed", "attempts": 1}}, "backoff"),
    ({"task": {"next_run_at": LATER, "note": "snoozed"}}, "snoozed"),
    ({"task": {"next_run_at": LATER, "note": "newer_code", "needs_version": "2"}}, "newer_code"),
    ({"task": {"next_run_at": LATER, "is_durable": True}}, "sleeping"),
    (
        {"task": {"status": "blocked", "next_run_at": None, "is_durable": True, "awaits": ["event:paid"]}},
        "durable_wait",
    ),
    ({"task": {"status": "blocked", "next_run_at": None, "upstream": [Upstream(id=5, status="dead")]}}, "blocked_by"),
    ({"task": {"status": "blocked", "next_run_at": None, "dependency_mode": "each"}}, "following"),
    ({"task": {"status": "running", "locked_until": LATER}}, "running"),
    ({"task": {"status": "running", "locked_until": LATER, "held_in_advance": True}}, "held_in_advance"),
    ({"task": {"status": "completed", "next_run_at": None, "schedule_type": "recurring"}}, "completed"),
    ({"task": {"status": "dead", "next_run_at": None}}, "dead"),
    ({"task": {"locked_by_transaction": True}}, "locked"),
    ({"task": {"set_aside": [SetAside(worker_id=ID, operation="claim", tries=2, since=BEFORE)]}}, "set_aside"),
    ({"queue": {"paused": True}}, "queue_paused"),
    ({"queue": {"concurrency": 2, "concurrency_used": 2}}, "queue_limit"),
    ({"queue": {"rate": 10, "rate_used": 8, "cost": 3}}, "rate_limit"),
    ({"task": {"concurrency_key": "a"}, "queue": {"concurrency_per_key": 1, "key_used": 1}}, "key_limit"),
    ({"task": {"concurrency_key": "a"}, "queue": {"rate_per_key": 1, "key_rate_used": 1}}, "key_rate_limit"),
    ({"workers": []}, "no_worker"),
    ({"workers": [worker(alive=False)]}, "no_worker"),
    ({"workers": [worker(queues=["other"])]}, "no_worker"),
    ({"workers": [worker(task_types=["report"])]}, "no_handler"),
    ({"workers": [worker(state="paused")]}, "workers_paused"),
    ({"workers": [worker(state="draining")]}, "workers_paused"),
    ({"workers": [worker(troubles=[TROUBLE])]}, "worker_troubles"),
    ({"workers": [worker(running=5)]}, "slots_full"),
    ({"ahead": 2}, "behind"),
    ({"queue": {"concurrency": 3, "concurrency_used": 2}, "ahead": 1}, "behind"),
]


@pytest.mark.parametrize(("given", "kind"), CASES, ids=lambda one: one if isinstance(one, str) else "")
def test_each_case_has_its_reason_and_no_other(given: dict[str, Any], kind: str) -> None:
    assert [found for found, _ in judge(**given)] == [kind]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ahead": 1},
        {"task": {"status": "running", "locked_until": BEFORE}},  # the lease of a worker that died has run out
        {"task": {"set_aside": [SetAside(worker_id=OTHER, operation="claim", tries=2, since=BEFORE)]}},
        {"task": {"set_aside": [SetAside(worker_id=ID, operation="finish", tries=2, since=BEFORE)]}},
        {"task": {"concurrency_key": None}, "queue": {"concurrency_per_key": 1, "key_used": 1}},
        {"queue": {"rate": 10, "rate_used": 0, "cost": 30}},  # what costs more than a rate costs all of it
        {"workers": [worker(state=None)]},  # a worker of an earlier pgsched
        {"workers": [worker(task_types=["*"])]},
        {"workers": [worker(state="paused"), worker(id=OTHER)]},
        {"workers": [worker(queues=[], patterns=["let%"])]},
    ],
)
def test_nothing_is_said_to_keep_what_may_be_claimed(given: dict[str, Any]) -> None:
    assert judge(**given) == []


def test_reasons_come_in_the_order_in_which_they_have_to_go() -> None:
    found = judge({"enabled": False, "next_run_at": LATER}, {"paused": True}, [])
    assert [kind for kind, _ in found] == ["disabled", "not_before", "queue_paused", "no_worker"]


def test_a_catch_all_leaves_a_type_to_whoever_has_a_handler() -> None:
    catch_all, elsewhere = worker(task_types=["*"]), worker(id=OTHER, queues=["letters"], state="paused")
    assert [kind for kind, _ in judge(workers=[catch_all, elsewhere])] == ["workers_paused"]
    assert judge(workers=[catch_all, replace(elsewhere, queues=["far"])]) == []
    assert judge(workers=[catch_all, replace(elsewhere, alive=False)]) == []


def test_those_waited_for_are_named_with_how_they_stand() -> None:
    upstream = [Upstream(id=5, status="running"), Upstream(id=6, status="dead")]
    given = {"status": "blocked", "next_run_at": None, "upstream": upstream, "waiting_for": 4}
    assert judge(given)[0][1] == "It waits for #5 (running), #6 (dead) and 2 more."
    assert judge(given | {"dependency_mode": "any"})[0][1].startswith("It waits for one of #5")


def test_only_what_passes_by_itself_is_uncertain() -> None:
    assert {"slots_full", "behind"} == SOFT

"""What must be true of durable handlers, in every state and of every step, and what is an end."""

from __future__ import annotations

from collections.abc import Callable

from tests.spec.durable import (
    AWAITED,
    BLOCKED,
    BODIES,
    CANCELLER,
    CHILD,
    COMPLETED,
    DONE,
    ENDED,
    EVENT,
    FAILED,
    FINAL,
    KNOWN_LATE,
    NOBODY,
    NONE,
    OPEN,
    RUNNING,
    SURVIVOR,
    THERE,
    TRANSACTIONAL,
    Rules,
    Size,
    State,
    Step,
    first,
    holder,
    steps,
)
from tests.spec.search import Specification


def _nothing_lost(state: State, size: Size) -> bool:
    if state.task.status != BLOCKED:
        return True
    kinds = {size.asks[ask] for ask in state.run.awaits}
    mail = EVENT in kinds and any(a.phase == THERE and a.consumed == NOBODY for a in state.arrivals[:-1])
    return not mail and not (CHILD in kinds and state.arrivals[-1].phase == THERE)


def _blocked_awaits(state: State, size: Size) -> bool:
    awaits = state.run.awaits
    return (state.task.status == BLOCKED) == bool(awaits) and all(size.asks[ask] in AWAITED for ask in awaits)


def _consumed_with_its_record(state: State, size: Size) -> bool:
    records = state.records
    consumers = {n: a.consumed for n, a in enumerate(state.arrivals[:-1]) if a.consumed >= 0}
    events = {record.event: ask for ask, record in enumerate(records) if record.event != NOBODY}
    return consumers == events and len(events) == sum(record.event != NOBODY for record in records)


def _written_with_its_record(state: State, size: Size) -> bool:
    return all(
        state.effects[ask] == (state.records[ask].status == COMPLETED)
        for ask, kind in enumerate(size.asks)
        if kind == TRANSACTIONAL
    )


def _one_child(state: State, size: Size) -> bool:
    return all(
        state.effects[ask] == (state.records[ask].status != NONE) for ask, kind in enumerate(size.asks) if kind == CHILD
    )


def _goes_on_by_records(state: State, size: Size) -> bool:
    handler = holder(state)
    return handler is None or all(
        state.records[ask].status == (FAILED if phase == KNOWN_LATE else COMPLETED)
        and state.records[ask].event == event
        for ask, (phase, event) in enumerate(handler.asks)
        if phase in DONE
    )


def _attempts_are_kept(state: State, size: Size) -> bool:
    task = state.task
    return task.status in ENDED or task.attempts == state.failures + (task.status == RUNNING)


def _retried_afresh(state: State, size: Size) -> bool:
    failed = any(size.asks[ask] in BODIES and record.status == FAILED for ask, record in enumerate(state.records))
    return not failed or state.task.status in (RUNNING, *ENDED)


def _completed_with_all(state: State, size: Size) -> bool:
    return state.task.status != COMPLETED or all(record.status in FINAL for record in state.records)


def _no_circle(state: State, size: Size) -> bool:
    # The finish of a child has locked the child and waits for its parent; a cancel has locked the parent.
    return state.locker != CANCELLER or state.arrivals[-1].phase != OPEN


INVARIANTS: dict[str, Callable[[State, Size], bool]] = {
    "a blocked task awaits nothing that has already arrived": _nothing_lost,
    "a task is blocked if and only if it awaits an event or a child": _blocked_awaits,
    "an event is consumed if and only if one wait has it in its record": _consumed_with_its_record,
    "the writes of a transactional step exist if and only if its record does": _written_with_its_record,
    "a child exists if and only if its step is recorded, and only one": _one_child,
    "the holder of the row's token continues only from what is recorded": _goes_on_by_records,
    "failed, lost and running attempts are counted, but no resumes": _attempts_are_kept,
    "no task waits with a permanently failed step: the next attempt runs it again": _retried_afresh,
    "a task is completed only with a record of everything that it called": _completed_with_all,
    "no two transactions wait for each other": _no_circle,
}
"""What is true of every state."""


def _tokens_grow(before: State, step: Step, after: State) -> bool:
    return after.task.token >= before.task.token + (step.name == "claim")


def _runs_once(before: State, step: Step, after: State) -> bool:
    if not step.name.startswith("begin") or step.token != before.task.token or before.task.status != RUNNING:
        return True
    return before.records[step.ask].status != COMPLETED


RETRIES = ("fail", "retry manually")
"""What leaves a step that has failed to the next attempt."""


def _records_stay(before: State, step: Step, after: State) -> bool:
    if before.records == after.records or step.name == "restart":
        return True
    return all(
        old == new or old.status not in FINAL or (step.name in RETRIES and old.status == FAILED)
        for old, new in zip(before.records, after.records, strict=True)
    )


def _consumed_stays(before: State, step: Step, after: State) -> bool:
    return all(
        old.consumed in (NOBODY, new.consumed) or step.name == "restart"
        for old, new in zip(before.arrivals, after.arrivals, strict=True)
    )


def _only_the_holder_records(before: State, step: Step, after: State) -> bool:
    consumed = [a.consumed for a in before.arrivals] != [a.consumed for a in after.arrivals]
    if (before.records, before.run.number, before.effects) == (
        after.records,
        after.run.number,
        after.effects,
    ) and not consumed:
        return True
    if step.name == "retry manually":
        return before.effects == after.effects and not consumed
    return before.task.status == RUNNING and step.token in (before.task.token, NOBODY)


def _live_leases_are_respected(before: State, step: Step, after: State) -> bool:
    old, new = before.task, after.task
    kept = (old.status, old.owner, old.token, old.attempts) == (new.status, new.owner, new.token, new.attempts)
    if not old.live or kept or step.name in ("cancel", "cancel with the child"):
        return True
    return step.worker == old.owner and step.token in (old.token, NOBODY)


def _ends_are_final(before: State, step: Step, after: State) -> bool:
    return (
        before.task.status not in ENDED
        or step.name == "retry manually"
        or (before.task, before.run) == (after.task, after.run)
    )


STEP_INVARIANTS: dict[str, Callable[[State, Step, State], bool]] = {
    "the token never decreases, and every claim has a larger one": _tokens_grow,
    "no holder of the row's token begins a recorded step": _runs_once,
    "a record never changes: a result, an event, a timeout": _records_stay,
    "an event stays consumed by the wait that consumed it": _consumed_stays,
    "only the holder of a running task's token records": _only_the_holder_records,
    "a live lease is taken away only by a cancellation": _live_leases_are_respected,
    "a task that has ended changes only by a manual retry": _ends_are_final,
}
"""What is true of every step."""

NOT_COUNTED_ON = (
    "crash",
    "cancel",
    "lock the task to cancel it",
    "insert the event",
    "restart",
    "retry manually",
    "beat",
)
"""What need not happen for a run to end. Time passes, transactions that are open end, and the others die."""


def _ended(state: State) -> bool:
    return state.task.status in ENDED


def _leads_on(step: Step) -> bool:
    if step.worker in (SURVIVOR, NOBODY):
        return step.name not in NOT_COUNTED_ON
    return step.name.startswith("crash")


DURABLE = Specification(
    rules=Rules(),
    first=first,
    steps=steps,
    invariants=INVARIANTS,
    step_invariants=STEP_INVARIANTS,
    ended=_ended,
    leads_on=_leads_on,
)

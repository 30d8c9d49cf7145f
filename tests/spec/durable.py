"""The specification of durable handlers: record, suspend, emit, settle, wake, time out, resume, cancel, restart.

One durable task, its child, its mailbox, two workers, senders and upkeep. A step is one transaction, or, where the
order of locks and snapshots matters, one part of it; between two steps anything may happen. What is not committed is
seen by nobody, and whoever holds the task's row lock lets the others wait. Records hold it shared, all others alone.

A worker that is stopped or cut off is one that takes no step for long; when its lease runs out meanwhile, it goes on
without knowing. Time is only this: a live lease may run out, and the deadline of a wait may pass, at any moment.

:class:`Rules` says which of the rules hold; the search finds what breaks when one is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

PENDING, RUNNING, BLOCKED = "pending", "running", "blocked"
COMPLETED, DEAD, CANCELLED = "completed", "dead", "cancelled"
"""Statuses of a task; COMPLETED is one of a record too."""
ENDED = (COMPLETED, DEAD, CANCELLED)
NONE, WAITING, FAILING, FAILED = "none", "waiting", "failing", "failed"
"""Statuses of a record. A wait that timed out is FAILED."""
FINAL = (COMPLETED, FAILED)

STEP, TRANSACTIONAL, SLEEP, EVENT, CHILD = "step", "transactional step", "sleep", "event", "child"
"""What a handler asks for."""
BODIES = (STEP, TRANSACTIONAL)
AWAITED = (EVENT, CHILD)

IDLE, WELL, BADLY, GOT, LATE, REACHED = "idle", "ran well", "ran badly", "got", "late", "reached"
BACKOFF, CREATED, WAITS, WRITING, UNSURE = "backoff", "created", "waits", "writing", "unsure"
KNOWN, KNOWN_LATE, KNOWN_FAILED = "known", "known late", "known failed"
"""How far a handler is with one of its asks."""
DONE = (KNOWN, KNOWN_LATE)
WENT_WELL = 0
"""Of what is UNSURE: it was a result that was to be recorded."""
TO_RECORD = {WELL: COMPLETED, GOT: COMPLETED, REACHED: COMPLETED, LATE: FAILED}

CLAIMED, LIVE, RECHECKED, LOCKED, READY = "claimed", "live", "rechecked", "locked", "ready"
"""How far a handler is: the last three are parts of a suspend."""

ABSENT, DUE, OPEN, ASKED, DELIVERING, THERE = "absent", "due", "open", "asked", "delivering", "there"
"""How far an event or a child is: OPEN is inserted or ended, and not committed."""

NOBODY = -1
FORMER = -2
"""Who consumed an event: a run that ``restart_with`` has ended."""
CANCELLER = 100
SENDER = 10
"""Who has locked the row: a worker, a cancel, or SENDER and the number of the event (or of the child)."""
SURVIVOR = 0
"""The worker that does not crash for good."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules that make it safe; each is a condition in a statement, or the order of two."""

    growth: bool = True
    """A claim raises the token."""
    record_fenced: bool = True
    """A record asks for owner, token and status."""
    record_locks: bool = True
    """A record holds the row lock (``for share``) from its fence to its commit."""
    suspend_fenced: bool = True
    """A suspend asks for owner, token and status."""
    finish_fenced: bool = True
    """A finish and a ``restart_with`` ask for owner, token and status."""
    running: bool = True
    """All of these ask whether the task is running."""
    together: bool = True
    """What a transactional step writes is committed with its record; else before it."""
    child_together: bool = True
    """A child is inserted with the record of its step; else before it."""
    consumed_together: bool = True
    """An event is marked consumed with the record of its wait; else before it."""
    consumed_once: bool = True
    """An event is marked consumed where it is not consumed."""
    recorded_once: bool = True
    """A record that is final, or has a child, is never written over."""
    timeout_recorded: bool = True
    """A wait that timed out is recorded before the handler goes on."""
    looked_up: bool = True
    """After a COMMIT without an answer, what it did is looked up; else it is taken to have failed."""
    look_up_waits: bool = True
    """Who looks that up takes the row lock alone, and so waits for the transaction in doubt."""
    resumes_recorded: bool = True
    """A resume takes the recorded steps from their records."""
    rechecked: bool = True
    """A suspend looks for what it awaits before it commits."""
    recheck_locked: bool = True
    """It looks by a snapshot that is newer than its row lock."""
    uncounted: bool = True
    """A suspend gives the attempt back."""
    delivered_at_commit: bool = True
    """A sender looks at the task at its commit; else at its insert."""
    deliver_locks: bool = True
    """A sender locks the task's row till its commit, whatever its status; else only to wake it."""
    settle_locks: bool = True
    """The finish of a child does so too."""
    pending_locked: bool = True
    """Both lock a pending task too: it may be claimed and suspended before they commit."""
    looks_locked: bool = True
    """Both look by a snapshot that is newer than their row lock."""
    upkeep_rechecks: bool = True
    """Upkeep asks again under the row lock whether the deadline of a blocked task has passed."""
    timed_out: bool = True
    """Upkeep wakes blocked tasks whose deadline has passed."""
    cascade_apart: bool = True
    """A cancel cancels the child in another transaction than the parent."""
    failed_again: bool = True
    """An attempt that a failed step has ended leaves that step to the next attempt to be run again."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a world is searched. What could go on for ever happens so often at most."""

    program: tuple[tuple[str, ...], ...]
    """What the handler asks for, one after the other; what stands in one tuple side by side."""
    events: int = 0
    """How many are sent, all of the name that every wait awaits."""
    workers: int = 2
    max_attempts: int = 2
    step_attempts: int = 2
    faults: int = 1
    """A lease that runs out under its holder, a worker or sender that crashes, a COMMIT whose answer is lost."""
    failures: int = 0
    """Of steps."""
    cancels: int = 0
    restarts: int = 0
    """By ``restart_with``."""
    retries: int = 0
    """By hand."""

    @cached_property
    def asks(self) -> tuple[str, ...]:
        """What the handler asks for, flat; each is known by its place."""
        return tuple(kind for stage in self.program for kind in stage)

    @cached_property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """The places of what is asked for side by side."""
        ends = [sum(map(len, self.program[: n + 1])) for n in range(len(self.program))]
        return tuple(tuple(range(end - len(stage), end)) for stage, end in zip(self.program, ends, strict=True))


class Left(NamedTuple):
    """What may still happen of that."""

    faults: int
    failures: int
    cancels: int
    restarts: int
    retries: int


class Task(NamedTuple):
    """The row of ``pgsched.tasks``."""

    status: str = PENDING
    owner: int = NOBODY
    live: bool = False
    """The lease has not run out."""
    token: int = 0
    attempts: int = 0
    asleep: bool = False
    """Pending, and due only when one of the run's deadlines has passed."""


class Run(NamedTuple):
    """The row of ``pgsched.durable_runs``."""

    number: int = 0
    awaits: tuple[int, ...] = ()
    """Of a blocked run: the asks for events and children that it waits for."""
    wakes: tuple[int, ...] = ()
    """Of a suspended run: the asks that have a deadline."""


class Record(NamedTuple):
    """A row of ``pgsched.durable_steps``."""

    status: str = NONE
    attempts: int = 0
    event: int = NOBODY


NOTHING = Record()


class Arrival(NamedTuple):
    """An event of the mailbox, or the child (the last): what may arrive for the task."""

    phase: str = ABSENT
    consumed: int = NOBODY
    """Which ask has consumed the event."""
    stale: tuple[int, ...] = ()
    """What the task awaited when the sender began to wait for its lock."""


class Writing(NamedTuple):
    """The open transaction of a record."""

    ask: int
    worker: int
    """NOBODY: whose worker has lost its connection, or crashed."""
    token: int
    record: Record


class Handler(NamedTuple):
    """A handler that runs, or thinks so."""

    token: int
    attempt: int
    phase: str
    asks: tuple[tuple[str, int], ...]
    """How far it is with each, and by which event."""
    found: bool = False
    """What the recheck of its suspend has found."""


GONE = Handler(NOBODY, 0, "gone", ())
"""Of a worker that crashed and does not come back."""


class State(NamedTuple):
    """What is committed, who is in the middle of what, what may still come."""

    task: Task
    run: Run
    records: tuple[Record, ...]
    effects: tuple[int, ...]
    """How often each ask's body has written to the database for good; of a child: how many there are."""
    passed: tuple[bool, ...]
    """Whose deadline has passed."""
    arrivals: tuple[Arrival, ...]
    failures: int
    """How many attempts of the run have failed or were lost."""
    locker: int
    """Who has locked the task's row alone."""
    writings: tuple[Writing, ...]
    """Who has locked it shared."""
    upkeep: bool
    """Upkeep has found that the task is to be woken, and has not done so yet."""
    handlers: tuple[Handler | None, ...]
    left: Left


class Step(NamedTuple):
    """What happened, who did it, for which ask, and by which claim."""

    name: str
    worker: int = NOBODY
    ask: int = NOBODY
    token: int = NOBODY


Next = tuple[Step, State]


def first(size: Size) -> State:
    """The task after its insert."""
    asks = len(size.asks)
    return State(
        task=Task(),
        run=Run(),
        records=(NOTHING,) * asks,
        effects=(0,) * asks,
        passed=(False,) * asks,
        arrivals=(Arrival(),) * (size.events + 1),
        failures=0,
        locker=NOBODY,
        writings=(),
        upkeep=False,
        handlers=(None,) * size.workers,
        left=Left(size.faults, size.failures, size.cancels, size.restarts, size.retries),
    )


def steps(state: State, rules: Rules, size: Size) -> Iterator[Next]:
    """Every step that may be the next."""
    yield from _time(state, size)
    for worker, handler in enumerate(state.handlers):
        if handler == GONE:
            continue
        yield from _claims(state, worker, rules, size)
        if handler is not None:
            yield from _crashes(state, worker, handler)
            yield from _goes_on(state, worker, handler, rules, size)
    for writing in state.writings:
        yield from _commits(state, writing, rules, size)
    for number in range(size.events + 1):
        yield from _arrives(state, number, rules, size)
    yield from _upkeep(state, rules)
    yield from _cancels(state, rules)
    if state.left.retries and state.task.status in (DEAD, CANCELLED) and _free(state, rules):
        again = state._replace(task=_freed(state.task._replace(attempts=0), PENDING), failures=0)
        yield Step("retry manually"), _less(_retried(again, rules, size), "retries")


# Time, and what breaks.


def _time(state: State, size: Size) -> Iterator[Next]:
    task = state.task
    if task.live:
        lapsed = state._replace(task=task._replace(live=False))
        if holder(state) is None:
            yield Step("expire"), lapsed
        elif state.left.faults:
            yield Step("expire"), _less(lapsed, "faults")
    if task.status in ENDED:
        return
    owner = holder(state)
    for ask, kind in enumerate(size.asks):
        if state.passed[ask] or kind == CHILD:
            continue
        waits = owner is not None and owner.phase != CLAIMED and owner.asks[ask][0] in (IDLE, WAITS)
        if state.records[ask].status in (WAITING, FAILING) or (
            waits and owner is not None and kind not in BODIES and ask in _stage(owner, size)
        ):
            yield Step("time passes", ask=ask), state._replace(passed=_put(state.passed, ask, True))


def holder(state: State) -> Handler | None:
    """The handler that runs by the present claim, if any does."""
    task = state.task
    handler = state.handlers[task.owner] if task.owner >= 0 else None
    return handler if handler is not None and handler.token == task.token and task.status == RUNNING else None


def _crashes(state: State, worker: int, handler: Handler) -> Iterator[Next]:
    after = _dropped(state, worker)
    if holder(state) != handler:
        yield Step("crash", worker), after
    elif state.left.faults:
        yield Step("crash", worker), _less(after, "faults")
    elif worker != SURVIVOR:
        yield Step("crash for good", worker), after._replace(handlers=_put(after.handlers, worker, GONE))


def _dropped(state: State, worker: int) -> State:
    """Without its handler: the server rolls back what it had not committed, unless its COMMIT was on its way."""
    writings = tuple(w._replace(worker=NOBODY) if w.worker == worker else w for w in state.writings)
    locker = NOBODY if state.locker == worker else state.locker
    return state._replace(handlers=_put(state.handlers, worker, None), writings=writings, locker=locker)


# Claim, resume and the handler's way.


def _free(state: State, rules: Rules) -> bool:
    """Whether the task's row can be locked alone."""
    return state.locker == NOBODY and not (state.writings and rules.record_locks)


def _claims(state: State, worker: int, rules: Rules, size: Size) -> Iterator[Next]:
    task = state.task
    lost = task.status == RUNNING
    due = task.status == PENDING and (not task.asleep or any(state.passed[ask] for ask in state.run.wakes))
    if not (due or (lost and not task.live)) or not _free(state, rules):
        return
    token = task.token + rules.growth
    claimed = _dropped(state, worker)
    claimed = claimed._replace(
        task=Task(RUNNING, worker, True, token, task.attempts + 1),
        run=state.run._replace(awaits=(), wakes=()),
        failures=state.failures + lost,
        handlers=_put(claimed.handlers, worker, Handler(token, task.attempts + 1, CLAIMED, ())),
    )
    yield Step("claim", worker, token=token), claimed


def _goes_on(state: State, worker: int, handler: Handler, rules: Rules, size: Size) -> Iterator[Next]:
    task = state.task
    if task.status == RUNNING and not task.live and task.token == handler.token and _free(state, rules):
        yield Step("beat", worker), state._replace(task=task._replace(live=True))
    if handler.phase == CLAIMED:
        if handler.attempt > size.max_attempts:  # every attempt was lost: it is not run once more
            buried = state
            if _passes(state, handler, rules.finish_fenced, rules):
                buried = state._replace(task=_freed(task, DEAD))
            if _free(state, rules):
                yield Step("bury", worker), _dropped(buried, worker)
        else:
            asks = tuple(_loaded(state.records[ask], kind, rules) for ask, kind in enumerate(size.asks))
            yield Step("resume", worker), _holding(state, worker, handler._replace(phase=LIVE, asks=asks))
        return
    stage = _stage(handler, size)
    if handler.phase == LIVE:
        for ask in stage:
            yield from _asks(state, worker, handler, ask, rules, size)
        yield from _finishes(state, worker, handler, stage, rules, size)
    yield from _suspends(state, worker, handler, stage, rules, size)


def _loaded(record: Record, kind: str, rules: Rules) -> tuple[str, int]:
    """What a resume makes of a record."""
    if record.status == COMPLETED and (rules.resumes_recorded or kind not in BODIES):
        return KNOWN, record.event
    if record.status == FAILED:
        return (KNOWN_FAILED if kind in BODIES else KNOWN_LATE), NOBODY
    if record.status == FAILING:
        return BACKOFF, NOBODY
    return (CREATED if record.status == WAITING and kind == CHILD else IDLE), NOBODY


def _stage(handler: Handler, size: Size) -> tuple[int, ...]:
    """What the handler is at: what it asks for next and does not know yet."""
    for stage in size.stages:
        missing = tuple(ask for ask in stage if handler.asks[ask][0] not in DONE)
        if missing:
            return missing
    return ()


def _asks(state: State, worker: int, handler: Handler, ask: int, rules: Rules, size: Size) -> Iterator[Next]:
    """What the handler does about one of its asks."""
    kind, (phase, event) = size.asks[ask], handler.asks[ask]

    def now(phase: str, event: int = NOBODY) -> State:
        return _at(state, worker, ask, phase, event)

    def step(name: str) -> Step:
        return Step(name, worker, ask, handler.token)

    if phase == UNSURE:
        if not rules.looked_up:
            yield step("treat it as failed"), now(IDLE)
        elif _free(state, rules) or not rules.look_up_waits:
            record = state.records[ask]
            if kind == STEP and record.status not in FINAL and event == WENT_WELL:
                yield step("look it up"), now(WELL)  # it has run; only its record is missing
            else:
                yield step("look it up"), now(*_loaded(record, kind, rules))
    elif phase == BADLY:
        attempts = state.records[ask].attempts + 1
        status = FAILING if attempts < size.step_attempts else FAILED
        yield from _records(state, worker, ask, Record(status, attempts), rules, size)
    elif phase in TO_RECORD:
        record = Record(TO_RECORD[phase], state.records[ask].attempts, event)
        yield from _records(state, worker, ask, record, rules, size)
    elif kind in BODIES and phase in (IDLE, BACKOFF):
        well = now(WELL)
        if kind == TRANSACTIONAL and not rules.together:
            well = _effect(well, ask)
        yield step("begin, and succeed"), well
        if state.left.failures:
            yield step("begin, and fail"), _less(now(BADLY), "failures")
    elif kind == SLEEP and state.passed[ask]:
        yield step("sleep is over"), now(REACHED)
    elif kind == EVENT and phase in (IDLE, WAITS):
        event = _oldest(state)
        if event != NOBODY:
            yield step("see the event"), now(GOT, event)
        elif phase == IDLE:
            yield step("see no event"), now(WAITS)
        elif state.passed[ask]:
            yield step("time out"), now(LATE if rules.timeout_recorded else KNOWN_LATE)
    elif kind == CHILD and phase == IDLE:
        yield from _records(state, worker, ask, Record(WAITING), rules, size)
    elif kind == CHILD and phase in (CREATED, WAITS):
        if state.arrivals[-1].phase == THERE:
            yield step("see the child's end"), now(REACHED)
        elif phase == CREATED:
            yield step("see no end"), now(WAITS)


def _oldest(state: State) -> int:
    """The first event of the mailbox that is committed and not consumed."""
    events = enumerate(state.arrivals[:-1])
    return next((n for n, event in events if event.phase == THERE and event.consumed == NOBODY), NOBODY)


# Record: fence, step, consumed event and effect in one transaction.


def _passes(state: State, handler: Handler, fenced: bool, rules: Rules) -> bool:
    task = state.task
    return not fenced or (task.token == handler.token and (task.status == RUNNING or not rules.running))


def _records(state: State, worker: int, ask: int, record: Record, rules: Rules, size: Size) -> Iterator[Next]:
    """Begin the transaction. It waits for those that hold the row lock alone, write this step or consume this event."""
    handler = state.handlers[worker]
    assert handler is not None
    step = Step("record", worker, ask, handler.token)
    same = (w for w in state.writings if w.ask == ask or (w.record.event == record.event != NOBODY))
    if state.locker != NOBODY or any(same):
        return
    if not _passes(state, handler, rules.record_fenced, rules):
        yield step._replace(name="record, refused"), _dropped(state, worker)
        return
    kept = state.records[ask]
    recorded = kept.status in FINAL or (record.status == WAITING and kept.status != NONE)
    if recorded and rules.recorded_once:
        yield step._replace(name="find it recorded"), _at(state, worker, ask, *_loaded(kept, size.asks[ask], rules))
        return
    if record.event != NOBODY:
        arrival = state.arrivals[record.event]
        if arrival.consumed != NOBODY and rules.consumed_once:
            yield step._replace(name="find it consumed"), _at(state, worker, ask, IDLE)
            return
        if not rules.consumed_together:
            state = _arrival(state, record.event, arrival._replace(consumed=ask))
    if record.status == WAITING and not rules.child_together:
        state = _created(state, ask)
    after = _at(state, worker, ask, WRITING)
    writings = tuple(sorted((*state.writings, Writing(ask, worker, handler.token, record))))
    yield step, after._replace(writings=writings)


def _commits(state: State, writing: Writing, rules: Rules, size: Size) -> Iterator[Next]:
    """End the transaction of a record."""
    kind = size.asks[writing.ask]
    closed = state._replace(writings=tuple(w for w in state.writings if w != writing))
    done = _written(closed, writing, rules, size)
    step = Step("commit the record", writing.worker, writing.ask, writing.token)
    if writing.worker == NOBODY:
        yield step._replace(name="commit the record late"), done
        yield Step("roll back", ask=writing.ask), closed
        return
    known = _loaded(writing.record, kind, Rules())
    yield step, _at(done, writing.worker, writing.ask, *known)
    if state.left.faults:
        # Whether it is still open, committed or rolled back: the worker cannot know.
        went = WENT_WELL if writing.record.status == COMPLETED else NOBODY
        unsure = _less(_at(state, writing.worker, writing.ask, UNSURE, went), "faults")
        orphan = tuple(sorted(w if w != writing else w._replace(worker=NOBODY) for w in state.writings))
        yield Step("lose the connection", writing.worker, writing.ask), unsure._replace(writings=orphan)


def _written(state: State, writing: Writing, rules: Rules, size: Size) -> State:
    ask, record = writing.ask, writing.record
    kind = size.asks[ask]
    if record.event != NOBODY and rules.consumed_together:
        state = _arrival(state, record.event, state.arrivals[record.event]._replace(consumed=ask))
    if record.status == COMPLETED and kind == TRANSACTIONAL and rules.together:
        state = _effect(state, ask)
    if record.status == WAITING and rules.child_together:
        state = _created(state, ask)
    return state._replace(records=_put(state.records, ask, record))


def _created(state: State, ask: int) -> State:
    return _arrival(_effect(state, ask), len(state.arrivals) - 1, Arrival(DUE))


# Suspend: update, recheck, commit.


def _suspends(
    state: State, worker: int, handler: Handler, stage: tuple[int, ...], rules: Rules, size: Size
) -> Iterator[Next]:
    early = rules.rechecked and not rules.recheck_locked
    if handler.phase == LIVE:
        if not stage or not all(_may_wait(state, handler, ask, size) for ask in stage):
            return
        if early:
            rechecked = handler._replace(phase=RECHECKED, found=_there(state, stage, size))
            yield Step("recheck", worker), _holding(state, worker, rechecked)
            return
    if handler.phase in (LIVE, RECHECKED) and _free(state, rules):
        if _passes(state, handler, rules.suspend_fenced, rules):
            phase = LOCKED if rules.rechecked and not early else READY
            locked = _holding(state, worker, handler._replace(phase=phase))
            yield Step("update to suspend", worker), locked._replace(locker=worker)
        else:
            yield Step("suspend, refused", worker), _dropped(state, worker)
    if handler.phase == LOCKED:
        ready = handler._replace(phase=READY, found=_there(state, stage, size))
        yield Step("recheck", worker), _holding(state, worker, ready)
    if handler.phase == READY:
        done = _suspended(state, stage, handler, rules, size)._replace(locker=NOBODY)
        yield Step("commit the suspend", worker, token=handler.token), _dropped(done, worker)
        if state.left.faults:
            back = _holding(done, worker, handler._replace(phase=LIVE, found=False))
            yield Step("commit the suspend, unanswered", worker, token=handler.token), _less(back, "faults")


def _may_wait(state: State, handler: Handler, ask: int, size: Size) -> bool:
    """Whether a handler has nothing to do about an ask but to wait, as far as it knows."""
    kind, phase = size.asks[ask], handler.asks[ask][0]
    if kind != CHILD and state.passed[ask]:
        return False
    return phase in (WAITS, BACKOFF) or (kind == SLEEP and phase == IDLE)


def _there(state: State, stage: tuple[int, ...], size: Size) -> bool:
    """Whether something that one of these awaits is committed."""
    return any(
        (size.asks[ask] == EVENT and _oldest(state) != NOBODY)
        or (size.asks[ask] == CHILD and state.arrivals[-1].phase == THERE)
        for ask in stage
    )


def _suspended(state: State, stage: tuple[int, ...], handler: Handler, rules: Rules, size: Size) -> State:
    task = state.task
    awaits = tuple(ask for ask in stage if size.asks[ask] in AWAITED)
    wakes = tuple(ask for ask in stage if size.asks[ask] != CHILD)
    records = tuple(
        Record(WAITING) if ask in stage and record.status == NONE else record
        for ask, record in enumerate(state.records)
    )
    attempts = task.attempts - rules.uncounted
    if handler.found:
        task, run = Task(PENDING, token=task.token, attempts=attempts), state.run._replace(awaits=(), wakes=())
    else:
        status = BLOCKED if awaits else PENDING
        task = Task(status, token=task.token, attempts=attempts, asleep=not awaits)
        run = state.run._replace(awaits=awaits, wakes=wakes)
    return state._replace(task=task, run=run, records=records)


def _woken(state: State) -> State:
    task = state.task._replace(status=PENDING, owner=NOBODY, live=False, asleep=False)
    return state._replace(task=task, run=state.run._replace(awaits=(), wakes=()))


# Emit, and the end of a child: what happened and the wake-up are committed together.


def _arrives(state: State, number: int, rules: Rules, size: Size) -> Iterator[Next]:
    arrival, child = state.arrivals[number], number == size.events
    locks = rules.settle_locks if child else rules.deliver_locks
    locks = locks and (rules.pending_locked or state.task.status != PENDING)
    at_once = not child and not rules.delivered_at_commit
    if arrival.phase == DUE or (arrival.phase == ABSENT and not child and _sent_before(state, number)):
        name = "end the child" if child else "insert the event"
        opened = _arrival(state, number, arrival._replace(phase=OPEN))
        if not at_once:
            yield Step(name), opened
        elif not locks and not _awaited(state, number, state.run.awaits, size):
            yield Step(name), _arrival(state, number, arrival._replace(phase=DELIVERING))
        elif _free(state, rules):
            yield Step(name), _delivering(state, number)
    if arrival.phase in (OPEN, ASKED, DELIVERING) and state.left.faults:
        again = _arrival(state, number, Arrival(DUE if child else ABSENT))
        locker = NOBODY if state.locker == SENDER + number else state.locker
        yield Step("lose the child" if child else "lose the sender"), _less(again, "faults")._replace(locker=locker)
    if arrival.phase == OPEN:
        who = "child" if child else "sender"
        if not locks and not _awaited(state, number, state.run.awaits, size):
            yield Step(f"check without a lock ({who})"), _arrival(state, number, arrival._replace(phase=DELIVERING))
        elif not rules.looks_locked:
            asked = arrival._replace(phase=ASKED, stale=state.run.awaits)
            yield Step(f"check, and wait for the lock ({who})"), _arrival(state, number, asked)
        elif _free(state, rules):
            yield Step(f"lock the task ({who})"), _delivering(state, number)
    if arrival.phase == ASKED and _free(state, rules):
        yield Step("get the lock"), _delivering(state, number)
    if arrival.phase == DELIVERING:
        awaits = state.run.awaits if rules.looks_locked else arrival.stale
        there = _arrival(state, number, Arrival(THERE))
        locker = NOBODY if state.locker == SENDER + number else state.locker
        if state.locker == SENDER + number and _awaited(state, number, awaits, size):
            there = _woken(there)
        yield Step("commit the end of the child" if child else "commit the event"), there._replace(locker=locker)


def _sent_before(state: State, number: int) -> bool:
    """Events are alike: they are sent in their order, and committed in any."""
    return all(a.phase != ABSENT for a in state.arrivals[:number])


def _delivering(state: State, number: int) -> State:
    arrival = state.arrivals[number]._replace(phase=DELIVERING)
    return _arrival(state, number, arrival)._replace(locker=SENDER + number)


def _awaited(state: State, number: int, awaits: tuple[int, ...], size: Size) -> bool:
    """Whether the committed row is blocked in a wait for this."""
    kind = CHILD if number == size.events else EVENT
    return state.task.status == BLOCKED and any(size.asks[ask] == kind for ask in awaits)


# Upkeep, and a cancel.


def _upkeep(state: State, rules: Rules) -> Iterator[Next]:
    late = state.task.status == BLOCKED and any(state.passed[ask] for ask in state.run.wakes)
    if not state.upkeep and late and rules.timed_out:
        yield Step("upkeep finds a deadline"), state._replace(upkeep=True)
    if state.upkeep and _free(state, rules):
        after = _woken(state) if late or not rules.upkeep_rechecks else state
        yield Step("upkeep wakes"), after._replace(upkeep=False)


def _cancels(state: State, rules: Rules) -> Iterator[Next]:
    task, child = state.task, state.arrivals[-1]
    gone = state._replace(task=_freed(task._replace(token=task.token + 1), CANCELLED))
    gone = gone._replace(run=state.run._replace(awaits=(), wakes=()))
    last = len(state.arrivals) - 1
    if state.left.cancels and task.status not in ENDED and _free(state, rules):
        if rules.cascade_apart:
            yield Step("cancel"), _less(gone, "cancels")
        else:
            yield Step("lock the task to cancel it"), _less(state._replace(locker=CANCELLER), "cancels")
    if state.locker == CANCELLER and child.phase in (ABSENT, DUE, THERE):
        over = _arrival(gone, last, Arrival(THERE)) if child.phase == DUE else gone
        yield Step("cancel with the child"), over._replace(locker=NOBODY)
    if task.status == CANCELLED and child.phase == DUE and rules.cascade_apart:
        yield Step("cancel the child"), _arrival(state, last, Arrival(THERE))


# The end of an attempt.


def _finishes(
    state: State, worker: int, handler: Handler, stage: tuple[int, ...], rules: Rules, size: Size
) -> Iterator[Next]:
    if not _free(state, rules):
        return
    passes = _passes(state, handler, rules.finish_fenced, rules)
    task = state.task

    def step(name: str, after: State) -> Next:
        return Step(name, worker, token=handler.token), _dropped(after if passes else state, worker)

    if not stage:
        yield step("complete", state._replace(task=_freed(task, COMPLETED)))
    if any(handler.asks[ask][0] in (WRITING, UNSURE) for ask in stage):
        return
    if any(handler.asks[ask][0] == KNOWN_FAILED for ask in stage):
        failed = state._replace(failures=state.failures + 1)
        if task.attempts >= size.max_attempts:
            yield step("fail for good", failed._replace(task=_freed(task, DEAD)))
        else:
            failed = failed._replace(task=_freed(task, PENDING))
            yield step("fail", _retried(failed, rules, size))
    elif state.left.restarts:
        arrivals = tuple(a._replace(consumed=FORMER) if a.consumed != NOBODY else a for a in state.arrivals)
        nothing = first(size)
        afresh = state._replace(
            task=_freed(task._replace(attempts=0), PENDING),
            run=Run(state.run.number + 1),
            records=nothing.records,
            effects=nothing.effects,
            passed=nothing.passed,
            arrivals=arrivals,
            failures=0,
        )
        yield step("restart", _less(afresh, "restarts"))


def _retried(state: State, rules: Rules, size: Size) -> State:
    """What is left of the records for the next attempt."""
    if not rules.failed_again:
        return state
    again = (kind in BODIES and record.status == FAILED for kind, record in zip(size.asks, state.records, strict=True))
    return state._replace(
        records=tuple(NOTHING if fails else kept for fails, kept in zip(again, state.records, strict=True))
    )


def _freed(task: Task, status: str) -> Task:
    return Task(status, token=task.token, attempts=task.attempts)


# Small changes.


T = TypeVar("T")


def _put(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _holding(state: State, worker: int, handler: Handler) -> State:
    return state._replace(handlers=_put(state.handlers, worker, handler))


def _at(state: State, worker: int, ask: int, phase: str, event: int = NOBODY) -> State:
    """Where the worker's handler is with one of its asks."""
    handler = state.handlers[worker]
    assert handler is not None
    return _holding(state, worker, handler._replace(asks=_put(handler.asks, ask, (phase, event))))


def _arrival(state: State, number: int, arrival: Arrival) -> State:
    return state._replace(arrivals=_put(state.arrivals, number, arrival))


def _effect(state: State, ask: int) -> State:
    return state._replace(effects=_put(state.effects, ask, state.effects[ask] + 1))


def _less(state: State, what: str) -> State:
    return state._replace(left=state.left._replace(**{what: getattr(state.left, what) - 1}))

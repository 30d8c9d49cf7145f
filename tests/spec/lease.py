"""The specification of claim, lock, lease, expiry and fence: every step there is, as a function from state to states.

A worker takes a row in one of two ways. It leases it: the claim is committed before the handler starts. Or it locks it,
in a transaction that stays open, and the handler starts at once; what ends soon is finished in that transaction, and
what does not gets its lease in it.

One row and a few workers. A step is what one statement, or one event, changes at once; between two steps anything may
happen. A worker that is stopped, slow or cut off is one that takes no step for long, so it needs no rule of its own.
Time is only this: a live lease may run out at any moment. Rows do not know of one another, so one is enough.

:class:`Rules` says which of the rules hold; the search finds what breaks when one is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.spec.search import Specification

PENDING, RUNNING, COMPLETED, DEAD, CANCELLED = "pending", "running", "completed", "dead", "cancelled"
WAITS, RUNS, WENT_WELL, FAILED, SNOOZED, GIVEN_UP = "waits", "runs", "went well", "failed", "snoozed", "given up"
OUTCOMES = (WENT_WELL, FAILED, SNOOZED)
UNCOUNTED = "lost, not counted"
"""In the history: an attempt that was lost with the transaction that had locked its row."""
NOT_COUNTED = (UNCOUNTED, SNOOZED)
"""In the history: attempts that do not count."""
ENDED = (COMPLETED, DEAD, CANCELLED)
NOBODY = -1
DEAD_BOOT = -2
"""The owner of a lease whose process is no more: one that starts again has a new name."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules that make it safe; each is a condition in a statement, or what a statement sets."""

    fence: bool = True
    """A finish, a beat and a release ask for the token of their claim."""
    growth: bool = True
    """A claim raises the token."""
    lease: bool = True
    """A claim passes by a row whose lease has not run out."""
    takeover: bool = True
    """A claim takes a row whose lease has run out."""
    running: bool = True
    """A finish, a beat and a release ask whether the row is running."""
    cancel_growth: bool = True
    """A cancel raises the token."""
    counted_at_claim: bool = True
    """An attempt is counted when it begins; else when it ends."""
    together: bool = True
    """What a transactional handler writes is committed with its outcome; else before it."""
    lost_noted: bool = True
    """A claim that takes a row over writes the lost attempt into the history."""
    holds_remembered: bool = True
    """What a worker gives back because it does not know it is never what it has begun and then given up."""
    last_at_once: bool = True
    """A row with one attempt left is not held in advance."""
    lost_at_once: bool = True
    """A row whose last worker was lost is not held in advance."""
    locks_passed_by: bool = True
    """A claim, a cancel and a retry pass by, or wait for, a row that a transaction has locked."""
    last_leased: bool = True
    """A row with one attempt left is leased, not locked."""
    touched_leased: bool = True
    """A row that was locked by a transaction that ended without a word of it is leased, not locked."""
    taken_over_leased: bool = True
    """A row whose lease has run out is leased, not locked."""
    tokens_drawn: bool = True
    """A token comes from a sequence, which a lost transaction does not turn back; else it is the row's, plus one."""
    lock_is_the_fence: bool = True
    """What is written in the transaction of a lock is lost with it; else it would be sent again on a new connection."""
    outcome_looked_up: bool = True
    """After a COMMIT without an answer, what it did is looked up; else it is taken to have failed."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a world is searched. What could go on for ever happens so often at most."""

    workers: int = 2
    ticks: int = 1
    """1: a one-time task. More: a repeating one with so many ticks."""
    max_attempts: int = 2
    faults: int = 3
    """A lease that runs out under its holder, a holder that crashes or gives up, a transaction that is lost, a claim or
    a COMMIT whose answer is lost."""
    releases: int = 1
    cancels: int = 1
    retries: int = 1
    """By hand."""
    snoozes: int = 0
    """A handler that asks to be run later."""


class Left(NamedTuple):
    """What may still happen of that."""

    faults: int
    releases: int
    cancels: int
    retries: int
    snoozes: int


class Row(NamedTuple):
    """What the table holds."""

    status: str = PENDING
    owner: int = NOBODY
    live: bool = False
    """The lease has not run out."""
    token: int = 0
    attempts: int = 0
    ticks: int = 0
    """How many are over (``execution_count``): the number of the present one."""
    unbegun: bool = False
    """It is held in advance, and not known to have begun (``unbegun_token`` is the row's token)."""
    locker: int = NOBODY
    """Whose open transaction has locked it."""
    touched: bool = False
    """A transaction had locked this version of the row, and ended without writing it (``xmax`` is not 0)."""


class LeasedTask(NamedTuple):
    """What one worker knows of one claim of it."""

    token: int
    attempt: int
    tick: int
    phase: str
    locked: bool = False
    """It is held by a lock: as far as the worker knows, nothing of this claim is in the table."""


GONE = LeasedTask(NOBODY, 0, 0, "gone")
"""Of a worker that crashed and does not come back."""
SURVIVOR = 0
"""The worker that does not."""


class Entry(NamedTuple):
    """One attempt in the history."""

    token: int
    tick: int
    status: str


class State(NamedTuple):
    """A row, its history, what its transactional handler has committed, what the workers hold, what may still come."""

    row: Row
    history: tuple[Entry, ...]
    effects: tuple[int, ...]
    """How often each tick's handler has written to the database for good."""
    leased_tasks: tuple[LeasedTask | None, ...]
    since: int
    """The token when the attempts last began to be counted afresh."""
    starts: int
    """How often the handler was started since, interrupted starts that were given back not counted."""
    uncounted: int
    """How many attempts were lost since that were not counted: locked, or not known to have begun."""
    drawn: int
    """The greatest token that any claim was given."""
    left: Left


class Step(NamedTuple):
    """What happened, who did it, and with which hold."""

    name: str
    worker: int = NOBODY
    leased: LeasedTask | None = None


Next = tuple[Step, State]


def first(size: Size) -> State:
    """The row after its insert."""
    return State(
        row=Row(),
        history=(),
        effects=(0,) * size.ticks,
        leased_tasks=(None,) * size.workers,
        since=0,
        starts=0,
        uncounted=0,
        drawn=0,
        left=Left(size.faults, size.releases, size.cancels, size.retries, size.snoozes),
    )


def steps(state: State, rules: Rules, size: Size) -> Iterator[Next]:
    """Every step that may be the next."""
    row = state.row
    if row.live:
        lapsed = state._replace(row=row._replace(live=False))
        if not _in_hand(state, row.owner):
            yield Step("expire"), lapsed
        elif state.left.faults:
            yield Step("expire"), _one_less(lapsed, "faults")
    for worker in range(size.workers):
        yield from _claims(state, worker, rules, size)
        leased = state.leased_tasks[worker]
        if leased is not None and leased != GONE:
            crashed = _crashed(state, worker, None)
            if not _in_hand(state, worker):
                yield Step("crash", worker), crashed
            elif state.left.faults:
                yield Step("crash", worker), _one_less(crashed, "faults")
            elif worker != SURVIVOR:
                yield Step("crash for good", worker), _crashed(state, worker, GONE)
            if leased.locked:
                yield from _goes_on_locked(state, worker, leased, rules, size)
            else:
                yield from _goes_on(state, worker, leased, rules, size)
        if leased is None or not leased.locked:
            yield from _returns_unheld(state, worker, rules)
    yield from _by_hand(state, rules)


# What a worker does without holding the row.


def _claims(state: State, worker: int, rules: Rules, size: Size) -> Iterator[Next]:
    row = state.row
    free = row.status == PENDING or (row.status == RUNNING and rules.takeover and not row.live)
    holds = state.leased_tasks[worker]
    if holds == GONE or not (free or (row.status == RUNNING and not rules.lease)):
        return
    if holds is not None and holds.locked:
        return  # it asks what became of its transaction before it claims again
    if row.locker != NOBODY and rules.locks_passed_by:
        return
    lost = row.status == RUNNING
    counts = not (lost and row.unbegun)
    history = state.history
    if lost and rules.lost_noted and counts:
        history = _with(history, Entry(row.token, row.ticks, "lost"))
    token = (max(state.drawn, row.token) if rules.tokens_drawn else row.token) + rules.growth
    attempts = row.attempts + (rules.counted_at_claim and counts)
    attempt = attempts if rules.counted_at_claim else attempts + 1
    if _may_lock(row, attempt, lost=lost, rules=rules, size=size):
        taken = state._replace(row=row._replace(locker=worker), drawn=max(token, state.drawn))
        yield Step("lock", worker), _holding(taken, worker, LeasedTask(token, attempt, row.ticks, WAITS, locked=True))
    delicate = lost or row.touched
    may_wait = (attempt < size.max_attempts or not rules.last_at_once) and not (delicate and rules.lost_at_once)
    for unbegun, how in ((False, "claim"), (True, "claim in advance"))[: 1 + may_wait]:
        claimed = state._replace(
            row=Row(RUNNING, worker, True, token, attempts, row.ticks, unbegun),
            history=history,
            uncounted=state.uncounted + (not counts),
            drawn=max(token, state.drawn),
        )
        # What this worker had of an older claim is given up: a late outcome is that of another worker.
        yield Step(how, worker), _holding(claimed, worker, LeasedTask(token, attempt, row.ticks, WAITS))
        if state.left.faults:
            yield Step(f"{how}, unanswered", worker), _one_less(_holding(claimed, worker, None), "faults")


def _may_lock(row: Row, attempt: int, *, lost: bool, rules: Rules, size: Size) -> bool:
    """Whether a claim may lock the row and leave the lease for later."""
    if attempt >= size.max_attempts and rules.last_leased:
        return False
    return not (row.touched and rules.touched_leased) and not (lost and rules.taken_over_leased)


def _returns_unheld(state: State, worker: int, rules: Rules) -> Iterator[Next]:
    """After an unanswered claim: what is leased to this worker and not in its hands goes back."""
    row = state.row
    leased = state.leased_tasks[worker]
    held = leased is not None and leased.token == row.token
    if held and leased is not None and leased.phase == GIVEN_UP:
        held = rules.holds_remembered
    if state.left.releases and row.status == RUNNING and row.owner == worker and not held:
        yield Step("release unheld", worker), _released(state)


# What a worker does with a row that it has locked.


def _goes_on_locked(state: State, worker: int, leased: LeasedTask, rules: Rules, size: Size) -> Iterator[Next]:
    row = state.row
    open_ = row.locker == worker

    def now(phase: str) -> State:
        return _holding(state, worker, leased._replace(phase=phase))

    if leased.phase == WAITS and open_:
        started = now(RUNS)
        yield Step("start", worker, leased), started._replace(starts=state.starts + (leased.token > state.since))
    if leased.phase == RUNS:
        yield Step("succeed", worker, leased), now(WENT_WELL)
        yield Step("fail", worker, leased), now(FAILED)
        if state.left.snoozes:
            yield Step("snooze", worker, leased), _one_less(now(SNOOZED), "snoozes")
    if open_:
        begun = leased.phase != WAITS
        in_lease = row._replace(
            status=RUNNING,
            owner=worker,
            live=True,
            token=leased.token,
            attempts=leased.attempt,
            unbegun=not begun,
            locker=NOBODY,
            touched=False,
        )
        if leased.phase in (WAITS, RUNS):
            written = state._replace(row=in_lease)
            yield Step("lease late", worker, leased), _holding(written, worker, leased._replace(locked=False))
            if state.left.faults:
                yield Step("lease late, unanswered", worker, leased), _one_less(written, "faults")
        if leased.phase in OUTCOMES:
            written = _finished(state._replace(row=in_lease), leased, rules, size)
            yield Step("finish within", worker, leased), _holding(written, worker, None)
            if state.left.faults:
                yield Step("finish within, unanswered", worker, leased), _one_less(written, "faults")
        if state.left.faults:
            yield Step("lose the transaction", worker, leased), _one_less(_unlocked(state, worker), "faults")
        return
    if not rules.lock_is_the_fence and leased.phase in OUTCOMES:
        resent = state._replace(row=row._replace(status=RUNNING, owner=worker, token=leased.token))
        yield Step("send again", worker, leased), _holding(_finished(resent, leased, rules, size), worker, None)
    # Its transaction has ended, and it does not know how: it looks for its token in the row and in the history.
    if row.status == RUNNING and row.token == leased.token and row.owner == worker and rules.outcome_looked_up:
        yield Step("find the lease", worker, leased), _holding(state, worker, leased._replace(locked=False))
        return
    dropped = _holding(state, worker, None)
    if any(entry.token == leased.token for entry in state.history) and rules.outcome_looked_up:
        yield Step("find the end", worker, leased), dropped
    else:
        noted = dropped._replace(history=_with(state.history, Entry(leased.token, leased.tick, UNCOUNTED)))
        yield Step("drop what was lost", worker, leased), noted


def _unlocked(state: State, worker: int) -> State:
    """The server has ended a transaction that had locked the row: nothing of it is left but its mark."""
    leased = state.leased_tasks[worker]
    begun = leased is not None and leased.phase != WAITS and leased.token > state.since
    row = state.row._replace(locker=NOBODY, touched=True)
    return state._replace(row=row, uncounted=state.uncounted + begun)


# What a worker does with a row that it has leased.


def _goes_on(state: State, worker: int, leased: LeasedTask, rules: Rules, size: Size) -> Iterator[Next]:
    row = state.row
    passes = (row.token == leased.token or not rules.fence) and (row.status == RUNNING or not rules.running)

    def now(phase: str) -> State:
        return _holding(state, worker, leased._replace(phase=phase))

    if leased.phase == WAITS:
        if leased.attempt > size.max_attempts:  # every attempt was lost: it is not run once more
            dead_lettered = _tick_over(state, size, died=True) if passes else state
            yield Step("bury", worker, leased), _holding(dead_lettered, worker, None)
        else:
            started = now(RUNS)
            yield Step("start", worker, leased), started._replace(starts=state.starts + (leased.token > state.since))
    if leased.phase in (WAITS, RUNS) and passes and state.left.faults:
        # It does not reach the database: for all it knows its lease has run out.
        yield Step("give up", worker, leased), _one_less(now(GIVEN_UP), "faults")
    if leased.phase == RUNS and row.unbegun and passes:
        yield Step("mark begun", worker, leased), state._replace(row=row._replace(unbegun=False))
    if leased.phase == RUNS:
        well = now(WENT_WELL)
        if not rules.together:
            well = _effect(well, leased.tick)
        yield Step("succeed", worker, leased), well
        yield Step("fail", worker, leased), now(FAILED)
        if state.left.snoozes:
            yield Step("snooze", worker, leased), _one_less(now(SNOOZED), "snoozes")
    if leased.phase in (WAITS, RUNS):
        yield from _gives_back(state, worker, leased, passes)
    if leased.phase in OUTCOMES:
        written = _finished(state, leased, rules, size) if passes else state
        yield Step("finish", worker, leased), _holding(written, worker, None)
        if passes:
            yield Step("finish, unanswered", worker, leased), written
    if row.status == RUNNING and not row.live and passes and leased.phase != GIVEN_UP:
        yield Step("beat", worker, leased), state._replace(row=row._replace(live=True))
    if not passes and leased.phase in (WAITS, RUNS):
        yield Step("abandon", worker, leased), _holding(state, worker, None)


def _gives_back(state: State, worker: int, leased: LeasedTask, passes: bool) -> Iterator[Next]:
    """At the end of a worker: what waits, and what had to be interrupted."""
    if not state.left.releases:
        return
    after = state
    if passes:
        given_back = leased.phase == RUNS and leased.token > state.since
        after = _released(state)._replace(starts=state.starts - given_back)
    yield Step("release", worker, leased), _holding(after, worker, None)


def _finished(state: State, leased: LeasedTask, rules: Rules, size: Size) -> State:
    """A finish that passed the fence."""
    if leased.phase == SNOOZED:
        row = _freed(state.row)._replace(status=PENDING, attempts=leased.attempt - 1)
        history = _with(state.history, Entry(leased.token, leased.tick, SNOOZED))
        return state._replace(row=row, history=history, uncounted=state.uncounted + (leased.token > state.since))
    status = "completed" if leased.phase == WENT_WELL else "failed"
    noted = state._replace(history=_with(state.history, Entry(leased.token, leased.tick, status)))
    if leased.phase == WENT_WELL:
        return _tick_over(_effect(noted, leased.tick) if rules.together else noted, size, died=False)
    if leased.attempt >= size.max_attempts:
        return _tick_over(noted, size, died=True)
    attempts = leased.attempt
    return noted._replace(row=_freed(noted.row)._replace(status=PENDING, attempts=attempts))


def _tick_over(state: State, size: Size, *, died: bool) -> State:
    """The tick was completed or died: a one-time task ends, a schedule goes on."""
    row = _freed(state.row)
    if size.ticks == 1 and died:
        return state._replace(row=row._replace(status=DEAD, attempts=min(row.attempts, size.max_attempts)))
    ticks = row.ticks + 1
    attempts = row.attempts if size.ticks == 1 else 0
    status = COMPLETED if ticks >= size.ticks else PENDING
    row = row._replace(status=status, ticks=ticks, attempts=attempts)
    since = state.since if size.ticks == 1 else max(state.drawn, row.token)
    return state._replace(row=row, since=since, starts=0, uncounted=0)


def _released(state: State) -> State:
    row = state.row
    attempts = max(row.attempts - 1, 0)
    return _one_less(state._replace(row=_freed(row)._replace(status=PENDING, attempts=attempts)), "releases")


def _freed(row: Row) -> Row:
    return row._replace(owner=NOBODY, live=False, unbegun=False, locker=NOBODY, touched=False)


# What people do.


def _by_hand(state: State, rules: Rules) -> Iterator[Next]:
    row = state.row
    if row.locker != NOBODY and rules.locks_passed_by:
        return  # they wait for the lock
    if state.left.cancels and row.status in (PENDING, RUNNING):
        history = state.history
        if row.status == RUNNING:
            history = _with(history, Entry(row.token, row.ticks, "cancelled"))
        gone = _freed(row)._replace(status=CANCELLED, token=row.token + rules.cancel_growth)
        yield Step("cancel"), _one_less(state._replace(row=gone, history=history), "cancels")
    if state.left.retries and (row.status in (DEAD, CANCELLED) or (row.status == PENDING and row.attempts > 0)):
        again = row._replace(status=PENDING, attempts=0, touched=False)
        afresh = state._replace(row=again, since=max(state.drawn, row.token), starts=0, uncounted=0)
        yield Step("retry manually"), _one_less(afresh, "retries")


def _holding(state: State, worker: int, leased: LeasedTask | None) -> State:
    return state._replace(leased_tasks=(*state.leased_tasks[:worker], leased, *state.leased_tasks[worker + 1 :]))


def _in_hand(state: State, worker: int) -> bool:
    """Whether a worker has leased or locked the row, and knows that it has."""
    row, leased = state.row, state.leased_tasks[worker] if worker >= 0 else None
    if leased is None or leased == GONE:
        return False
    if leased.locked:
        return row.locker == worker
    return row.owner == worker and leased.token == row.token and leased.phase != GIVEN_UP


def _crashed(state: State, worker: int, leased: LeasedTask | None) -> State:
    if state.row.locker == worker:
        state = _unlocked(state, worker)
    row = state.row
    return _holding(state._replace(row=row._replace(owner=DEAD_BOOT) if row.owner == worker else row), worker, leased)


def _one_less(state: State, what: str) -> State:
    return state._replace(left=state.left._replace(**{what: getattr(state.left, what) - 1}))


def _effect(state: State, tick: int) -> State:
    return state._replace(effects=(*state.effects[:tick], state.effects[tick] + 1, *state.effects[tick + 1 :]))


def _with(history: tuple[Entry, ...], entry: Entry) -> tuple[Entry, ...]:
    return tuple(sorted((*history, entry)))


# What must be true.


def _completed(state: State, tick: int) -> int:
    return sum(entry.tick == tick and entry.status == "completed" for entry in state.history)


def _one_row_a_claim(state: State, size: Size) -> bool:
    return len({entry.token for entry in state.history}) == len(state.history)


def _completed_once(state: State, size: Size) -> bool:
    return all(_completed(state, tick) <= 1 for tick in range(size.ticks))


def _exactly_once(state: State, size: Size) -> bool:
    return all(state.effects[tick] == _completed(state, tick) for tick in range(size.ticks))


def _nothing_after(state: State, size: Size) -> bool:
    ends = {entry.tick: entry.token for entry in state.history if entry.status == "completed"}
    counted = (entry for entry in state.history if entry.status != UNCOUNTED)
    return all(entry.token <= ends.get(entry.tick, entry.token) for entry in counted)


def _behind_the_token(state: State, size: Size) -> bool:
    return all(entry.token <= state.row.token for entry in state.history if entry.status != UNCOUNTED)


def _one_holder(state: State, size: Size) -> bool:
    row = state.row
    holders = [
        worker for worker, leased in enumerate(state.leased_tasks) if leased is not None and leased.token == row.token
    ]
    return row.status != RUNNING or holders in ([], [row.owner])


def _ends_are_right(state: State, size: Size) -> bool:
    row, done = state.row, sum(_completed(state, tick) for tick in range(size.ticks))
    if size.ticks == 1:
        return (row.status == COMPLETED) == (done == 1)
    over = row.ticks == size.ticks
    return done <= row.ticks <= size.ticks and (row.status == COMPLETED) == over


def _attempts_are_kept(state: State, size: Size) -> bool:
    row = state.row
    if row.status not in (PENDING, RUNNING):
        return True
    counted = sum(entry.token > state.since and entry.status not in NOT_COUNTED for entry in state.history)
    return counted == row.attempts - (row.status == RUNNING)


def _no_start_too_many(state: State, size: Size) -> bool:
    return state.starts <= size.max_attempts + state.uncounted


def _few_uncounted(state: State, size: Size) -> bool:
    # What is released makes its attempt once more, and so does what is snoozed, which is not counted itself.
    released, snoozed = size.releases - state.left.releases, size.snoozes - state.left.snoozes
    return state.uncounted <= size.max_attempts - 1 + released + 2 * snoozed


INVARIANTS: dict[str, Callable[[State, Size], bool]] = {
    "a claim has at most one row in the history": _one_row_a_claim,
    "a tick is completed at most once": _completed_once,
    "the writes of a transactional handler exist exactly as often as its tick is completed": _exactly_once,
    "no execution of a tick follows its completion": _nothing_after,
    "no attempt in the history has a larger token than the row": _behind_the_token,
    "only the owner of the lease holds the row's token": _one_holder,
    "a row is completed if and only if its ticks have ended": _ends_are_right,
    "every counted attempt is in the history": _attempts_are_kept,
    "no tick is started more often than max_attempts allows, apart from uncounted attempts": _no_start_too_many,
    "each attempt except the last goes uncounted at most once": _few_uncounted,
}
"""What is true of every state."""


def _tokens_are_given_once(before: State, step: Step, after: State) -> bool:
    claimed = step.name.startswith(("claim", "lock"))
    given = after.row.token if step.name.startswith("claim") else after.drawn
    return not claimed or given > before.drawn


def _locks_are_respected(before: State, step: Step, after: State) -> bool:
    return before.row.locker == NOBODY or before.row == after.row or step.worker == before.row.locker


def _token_never_goes_back(before: State, step: Step, after: State) -> bool:
    return after.row.token >= before.row.token


def _history_only_grows(before: State, step: Step, after: State) -> bool:
    return set(before.history) <= set(after.history) and len(before.history) <= len(after.history)


def _live_leases_are_respected(before: State, step: Step, after: State) -> bool:
    same = after.row._replace(owner=NOBODY) == before.row._replace(owner=NOBODY)
    return not before.row.live or same or step.name in ("expire", "cancel") or step.worker == before.row.owner


def _only_the_holder_writes(before: State, step: Step, after: State) -> bool:
    if step.leased is None or (before.row, before.history) == (after.row, after.history):
        return True
    if step.name == "drop what was lost":  # it notes its own end, and leaves the row alone
        return before.row == after.row
    if step.leased.locked:
        return before.row.locker == step.worker
    return before.row.owner == step.worker and before.row.token == step.leased.token


def _ends_are_final(before: State, step: Step, after: State) -> bool:
    return before.row.status not in ENDED or after.row == before.row or step.name == "retry manually"


STEP_INVARIANTS: dict[str, Callable[[State, Step, State], bool]] = {
    "the token never decreases": _token_never_goes_back,
    "no two claims have the same token": _tokens_are_given_once,
    "the history only grows": _history_only_grows,
    "a locked row is changed only by its locker": _locks_are_respected,
    "a live lease is taken away only by a cancellation": _live_leases_are_respected,
    "only the holder of the row's token writes its outcome": _only_the_holder_writes,
    "a task that has ended changes only by a manual retry": _ends_are_final,
}
"""What is true of every step."""


# What a search needs to know.

PATIENT = (
    *("claim", "lock", "start", "succeed", "finish", "finish within", "bury"),
    *("find the lease", "find the end", "drop what was lost"),
)
"""What the worker that is left does to bring a row to its end. Beside that leases run out, transactions are lost, and
the others die."""


def _ended(state: State) -> bool:
    return state.row.status in ENDED


def _leads_on(step: Step) -> bool:
    if step.name in ("expire", "lose the transaction", "crash for good"):
        return True
    return step.worker == SURVIVOR and step.name in PATIENT


LEASE = Specification(
    rules=Rules(),
    first=first,
    steps=steps,
    invariants=INVARIANTS,
    step_invariants=STEP_INVARIANTS,
    ended=_ended,
    leads_on=_leads_on,
)

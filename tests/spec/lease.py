"""The specification of claim, lease, expiry and fence: every step there is, as a function from state to states.

One row and a few workers. A step is what one statement, or one event, changes at once; between two steps anything may
happen. A worker that is stopped, slow or cut off is one that takes no step for long, so it needs no rule of its own.
Time is only this: a live lease may run out at any moment. Rows do not know of one another, so one is enough.

:class:`Rules` says which of the rules hold; the search finds what breaks when one is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

PENDING, RUNNING, COMPLETED, DEAD, CANCELLED = "pending", "running", "completed", "dead", "cancelled"
WAITS, RUNS, WENT_WELL, FAILED, GIVEN_UP = "waits", "runs", "went well", "failed", "given up"
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


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a world is searched. What could go on for ever happens so often at most."""

    workers: int = 2
    ticks: int = 1
    """1: a one-time task. More: a repeating one with so many ticks."""
    max_attempts: int = 2
    faults: int = 3
    """A lease that runs out under its holder, a holder that crashes or gives up, a claim whose answer is lost."""
    releases: int = 1
    cancels: int = 1
    retries: int = 1
    """By hand."""


class Left(NamedTuple):
    """What may still happen of that."""

    faults: int
    releases: int
    cancels: int
    retries: int


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


class LeasedTask(NamedTuple):
    """What one worker knows of one claim of it."""

    token: int
    attempt: int
    tick: int
    phase: str


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
    """How many attempts were lost since that were not counted, because they were not known to have begun."""
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
        left=Left(size.faults, size.releases, size.cancels, size.retries),
    )


def steps(state: State, rules: Rules, size: Size) -> Iterator[Next]:
    """Every step that may be the next."""
    row = state.row
    if row.live:
        lapsed = state._replace(row=row._replace(live=False))
        if not _in_hand(state):
            yield Step("expire"), lapsed
        elif state.left.faults:
            yield Step("expire"), _one_less(lapsed, "faults")
    for worker in range(size.workers):
        yield from _claims(state, worker, rules, size)
        leased = state.leased_tasks[worker]
        if leased is not None and leased != GONE:
            crashed = _crashed(state, worker, None)
            if not _in_hand(state) or row.owner != worker:
                yield Step("crash", worker), crashed
            elif state.left.faults:
                yield Step("crash", worker), _one_less(crashed, "faults")
            elif worker != SURVIVOR:
                yield Step("crash for good", worker), _crashed(state, worker, GONE)
            yield from _goes_on(state, worker, leased, rules, size)
        yield from _returns_unheld(state, worker, rules)
    yield from _by_hand(state, rules)


# What a worker does without holding the row.


def _claims(state: State, worker: int, rules: Rules, size: Size) -> Iterator[Next]:
    row = state.row
    free = row.status == PENDING or (row.status == RUNNING and rules.takeover and not row.live)
    if state.leased_tasks[worker] == GONE or not (free or (row.status == RUNNING and not rules.lease)):
        return
    lost = row.status == RUNNING
    counts = not (lost and row.unbegun)
    history = state.history
    if lost and rules.lost_noted and counts:
        history = _with(history, Entry(row.token, row.ticks, "lost"))
    token, attempts = row.token + rules.growth, row.attempts + (rules.counted_at_claim and counts)
    attempt = attempts if rules.counted_at_claim else attempts + 1
    may_wait = (attempt < size.max_attempts or not rules.last_at_once) and not (lost and rules.lost_at_once)
    for unbegun, how in ((False, "claim"), (True, "claim in advance"))[: 1 + may_wait]:
        claimed = state._replace(
            row=Row(RUNNING, worker, True, token, attempts, row.ticks, unbegun),
            history=history,
            uncounted=state.uncounted + (not counts),
        )
        # What this worker had of an older claim is given up: a late outcome is that of another worker.
        yield Step(how, worker), _holding(claimed, worker, LeasedTask(token, attempt, row.ticks, WAITS))
        if state.left.faults:
            yield Step(f"{how}, unanswered", worker), _one_less(_holding(claimed, worker, None), "faults")


def _returns_unheld(state: State, worker: int, rules: Rules) -> Iterator[Next]:
    """After an unanswered claim: what is leased to this worker and not in its hands goes back."""
    row = state.row
    leased = state.leased_tasks[worker]
    held = leased is not None and leased.token == row.token
    if held and leased is not None and leased.phase == GIVEN_UP:
        held = rules.holds_remembered
    if state.left.releases and row.status == RUNNING and row.owner == worker and not held:
        yield Step("release unheld", worker), _released(state)


# What a worker does with a row in hand.


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
        yield Step("go well", worker, leased), well
        yield Step("fail", worker, leased), now(FAILED)
    if leased.phase in (WAITS, RUNS):
        yield from _gives_back(state, worker, leased, passes)
    if leased.phase in (WENT_WELL, FAILED):
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
    return state._replace(row=row, since=state.since if size.ticks == 1 else row.token, starts=0, uncounted=0)


def _released(state: State) -> State:
    row = state.row
    attempts = max(row.attempts - 1, 0)
    return _one_less(state._replace(row=_freed(row)._replace(status=PENDING, attempts=attempts)), "releases")


def _freed(row: Row) -> Row:
    return row._replace(owner=NOBODY, live=False, unbegun=False)


# What people do.


def _by_hand(state: State, rules: Rules) -> Iterator[Next]:
    row = state.row
    if state.left.cancels and row.status in (PENDING, RUNNING):
        history = state.history
        if row.status == RUNNING:
            history = _with(history, Entry(row.token, row.ticks, "cancelled"))
        gone = _freed(row)._replace(status=CANCELLED, token=row.token + rules.cancel_growth)
        yield Step("cancel"), _one_less(state._replace(row=gone, history=history), "cancels")
    if state.left.retries and (row.status in (DEAD, CANCELLED) or (row.status == PENDING and row.attempts > 0)):
        again = row._replace(status=PENDING, attempts=0)
        afresh = state._replace(row=again, since=row.token, starts=0, uncounted=0)
        yield Step("retry by hand"), _one_less(afresh, "retries")


def _holding(state: State, worker: int, leased: LeasedTask | None) -> State:
    return state._replace(leased_tasks=(*state.leased_tasks[:worker], leased, *state.leased_tasks[worker + 1 :]))


def _in_hand(state: State) -> bool:
    """Whether the owner of the lease knows that it has the row."""
    leased = state.leased_tasks[state.row.owner] if state.row.owner >= 0 else None
    return leased is not None and leased.token == state.row.token and leased.phase != GIVEN_UP


def _crashed(state: State, worker: int, leased: LeasedTask | None) -> State:
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
    return all(entry.token <= ends.get(entry.tick, entry.token) for entry in state.history)


def _behind_the_token(state: State, size: Size) -> bool:
    return all(entry.token <= state.row.token for entry in state.history)


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
    return sum(entry.token > state.since for entry in state.history) == row.attempts - (row.status == RUNNING)


def _no_start_too_many(state: State, size: Size) -> bool:
    return state.starts <= size.max_attempts + state.uncounted


def _few_uncounted(state: State, size: Size) -> bool:
    # What is released makes its attempt once more.
    return state.uncounted <= size.max_attempts - 1 + (size.releases - state.left.releases)


INVARIANTS: dict[str, Callable[[State, Size], bool]] = {
    "a claim has one row in the history at most": _one_row_a_claim,
    "a tick is completed once at most": _completed_once,
    "what a transactional handler writes is there exactly as often as its tick is completed": _exactly_once,
    "nothing of a tick comes after its completion": _nothing_after,
    "no attempt in the history is ahead of the row's token": _behind_the_token,
    "only the owner of the lease holds the row's token": _one_holder,
    "a row is completed if and only if its ticks are over": _ends_are_right,
    "every attempt that was counted is in the history": _attempts_are_kept,
    "no tick is started more often than max_attempts says, but for attempts that are not counted": _no_start_too_many,
    "each attempt but the last goes uncounted once at the most": _few_uncounted,
}
"""What is true of every state."""


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
    return before.row.owner == step.worker and before.row.token == step.leased.token


def _ends_are_final(before: State, step: Step, after: State) -> bool:
    return before.row.status not in ENDED or after.row == before.row or step.name == "retry by hand"


STEP_INVARIANTS: dict[str, Callable[[State, Step, State], bool]] = {
    "the token never goes back": _token_never_goes_back,
    "the history only grows": _history_only_grows,
    "a lease that has not run out is taken from nobody, but by a cancel": _live_leases_are_respected,
    "only who holds the row's token writes what comes of it": _only_the_holder_writes,
    "what has ended stays as it is, but for a retry by hand": _ends_are_final,
}
"""What is true of every step."""

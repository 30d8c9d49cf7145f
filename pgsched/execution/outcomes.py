"""The outcome of an attempt, from what the handler returned or raised, wherever it ran."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from time import monotonic

from pgsched.domain.attempt import Outcome
from pgsched.domain.errors import Discard, Finished, HandlerFailed, InvalidTask, Retry, Snooze
from pgsched.domain.json_text import encode_json
from pgsched.domain.plain_values import plain
from pgsched.domain.storable import storable, text_of
from pgsched.execution.callables import unrun
from pgsched.execution.failure_rules import FailureRules, delay_of
from pgsched.execution.handler_types import HandlerTypes

MAX_ERROR_CHARACTERS = 16_384
"""Maximum length of an error with its traceback."""

MAX_REPR_CHARACTERS = 8192
"""Maximum length of the text that stands for a part of a result that cannot be stored."""
MAX_WARNINGS = 10
"""Maximum number of such parts that a warning names."""

_PLAIN = (dict, list, str, int, float, bool)
_OURS = ("pgsched.execution.", "pgsched.worker.child_process", "pgsched.testing.", "asyncio.")
"""Modules whose frames are left out of tracebacks, since they do not help the handler's author."""


def completed(value: object, started: float, types: HandlerTypes | None = None) -> Outcome:
    """The handler returned ``value``, annotated by ``types``.

    What cannot be stored is stored as text, with a warning: the work is done, and a retry would return the same, and
    might bill a customer twice.
    """
    if value is None:
        return Outcome("completed", started, monotonic())
    warning = None
    if types is not None and (typed := types.result) is not None:
        if type(value) not in _PLAIN and (what := unrun(value)) is not None:  # a validator would consume it
            return _unrun(what, started)
        result, warning = typed.encode(value)
        if result is not None:
            return Outcome("completed", started, monotonic(), result=result, warning=warning)
    try:
        result = encode_json(value, "result")
    except InvalidTask as error:
        if (what := unrun(value)) is not None:
            return _unrun(what, started)
        result, warning = _as_text(value, error, warning)
    return Outcome("completed", started, monotonic(), result=result, warning=warning)


def _unrun(what: str, started: float) -> Outcome:
    return raised(TypeError(f"the handler returned {what}, which nothing runs"), started)


def _as_text(value: object, error: InvalidTask, warning: str | None) -> tuple[str, str | None]:
    """Return a result with text in place of what JSON does not have, and a warning where that loses information."""
    said = [] if warning is None else [warning]

    def foreign(path: str, item: object) -> str:
        if len(said) < MAX_WARNINGS:
            said.append(f"{path} is a {type(item).__name__}, stored as text")
        return storable(item if isinstance(item, str) else _repr(item), MAX_REPR_CHARACTERS)

    try:
        text = encode_json(plain(value, "result", foreign), "result")
    except Exception as still:  # noqa: BLE001 - a foreign value may raise anything when it is used
        reason = still if isinstance(still, InvalidTask) else error
        said = [f"{reason}: stored as text"]
        text = encode_json(storable(_repr(value), MAX_REPR_CHARACTERS), "result")
    return text, "; ".join(said) or None


def _repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:  # noqa: BLE001 - a foreign __repr__ may raise anything
        return f"a {type(value).__name__} that cannot be printed"


def timed_out(timeout: float | None, started: float) -> Outcome:
    """The handler exceeded its timeout."""
    return Outcome("timed_out", started, monotonic(), error=f"timed out after {timeout:g} s")


def raised(
    error: BaseException, started: float, rules: FailureRules | None = None, types: HandlerTypes | None = None
) -> Outcome:
    """The handler raised ``error``; ``rules`` decide by its type, ``types`` are those of its annotations.

    In an exception group Discard takes precedence over Retry (the one with the longest delay), Retry over Snooze, that
    over Finished, and Finished over anything else. By type, discarding takes precedence over the longest delay.
    """
    try:
        return error.outcome if isinstance(error, HandlerFailed) else _judged(error, started, rules, types)
    except BaseException as fault:  # noqa: BLE001 - a foreign exception may raise anything when it is used
        text = f"{type(error).__name__}, which cannot be shown: {type(fault).__name__}"
        return Outcome("failed", started, monotonic(), error=storable(text, MAX_ERROR_CHARACTERS))


def _judged(error: BaseException, started: float, rules: FailureRules | None, types: HandlerTypes | None) -> Outcome:
    asked = max(_leaves(error), key=_weight)
    if isinstance(asked, Finished):
        return _finished(asked, error, started, types)
    if not isinstance(asked, Retry | Discard | Snooze):
        text = describe(error)
        return (
            Outcome("failed", started, monotonic(), error=text)
            if rules is None
            else _ruled(rules, error, text, started)
        )
    text = f"{next(kind for kind in (Retry, Discard, Snooze) if isinstance(asked, kind)).__name__}: {text_of(asked)}"
    if asked is not error:
        text = f"{text}\n\n{describe(error)}"
    text = storable(text, MAX_ERROR_CHARACTERS)
    if isinstance(asked, Discard):
        return Outcome("discarded", started, monotonic(), error=text)
    status = "snoozed" if isinstance(asked, Snooze) else "failed"
    return Outcome(status, started, monotonic(), error=text, retry_delay=asked.delay)


def _ruled(rules: FailureRules, error: BaseException, text: str, started: float) -> Outcome:
    """Return what follows from the types of what was raised."""
    leaves = [leaf for leaf in _leaves(error) if not isinstance(leaf, BaseExceptionGroup)]
    verdicts = [(leaf, rules.verdict(leaf)) for leaf in leaves]
    if any(verdict.discards for _, verdict in verdicts):
        return Outcome("discarded", started, monotonic(), error=text)
    delays: list[float] = []
    for leaf, verdict in verdicts:
        try:
            delay = delay_of(verdict.delay, leaf)
        except Exception as fault:  # noqa: BLE001 - reported with the error; the task's own backoff decides
            first, *rest = text.split("\n", 1)
            told = f"{first} (backoff_on failed: {type(fault).__name__}: {text_of(fault)})"
            text = storable("\n".join([told, *rest]), MAX_ERROR_CHARACTERS)
        else:
            delays += [] if delay is None else [delay]
    return Outcome("failed", started, monotonic(), error=text, retry_delay=max(delays, default=None))


def _finished(asked: Finished, error: BaseException, started: float, types: HandlerTypes | None) -> Outcome:
    """The schedule has ended. Other exceptions of the group are stored with the attempt."""
    outcome = completed(asked.result, started, types)
    if outcome.status != "completed":
        return outcome
    others = [leaf for leaf in _leaves(error) if not isinstance(leaf, Finished | BaseExceptionGroup)]
    return outcome._replace(ends=True, error=describe(error) if others else None)


def describe(error: BaseException) -> str:
    """Return the error in one line and its traceback from the handler's frame on, in a form PostgreSQL can store."""
    trace = error.__traceback__
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(_OURS):
        trace = trace.tb_next
    summary = "".join(traceback.format_exception_only(error)).strip()
    lines = "".join(traceback.format_exception(type(error), error, trace)) if trace else ""
    return storable(f"{summary}\n\n{lines}".strip(), MAX_ERROR_CHARACTERS)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and, if it is a group, all those nested in it."""
    pending = [error]
    while pending:
        one = pending.pop()
        yield one
        if isinstance(one, BaseExceptionGroup):
            pending += reversed(one.exceptions)


def _weight(error: BaseException) -> tuple[int, float]:
    """The precedence of an exception in a group."""
    if isinstance(error, Discard):
        return 4, 0.0
    if isinstance(error, Retry):
        return 3, error.delay if isinstance(error.delay, int | float) else -1.0
    if isinstance(error, Snooze):
        return 2, error.delay if isinstance(error.delay, int | float) else -1.0
    if isinstance(error, Finished):
        return 1, 0.0
    return 0, 0.0

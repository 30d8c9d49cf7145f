"""What follows from an exception by its type: whether it is retried, and after how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pgsched.domain.errors import InvalidTask, RegistrationError
from pgsched.domain.validation import Duration, interval_of

MAX_SNOOZES = 100
"""Default for how often in a row a handler may snooze."""
MAX_DELAY = 366 * 86400
"""Maximum delay, in seconds."""

Delay = Duration | Callable[[BaseException], Duration | None]
"""Seconds or an interval, or a function of the exception that returns one; None uses the task's backoff."""
Types = type[BaseException] | Iterable[type[BaseException]]


class Verdict(NamedTuple):
    """What follows from one exception."""

    discards: bool
    delay: Delay | None = None


@dataclass(frozen=True, kw_only=True)
class FailureRules:
    """The rules of one handler. The nearest base class of an exception decides, as in a chain of ``except``."""

    verdicts: Mapping[type[BaseException], Verdict]
    discards_others: bool = False
    """Whether only some types are retried."""
    max_snoozes: int = MAX_SNOOZES

    def verdict(self, error: BaseException) -> Verdict:
        """Return what follows from an exception."""
        for kind in type(error).__mro__:
            if (found := self.verdicts.get(kind)) is not None:
                return found
        return Verdict(self.discards_others)


def failure_rules(
    name: str,
    *,
    retry_on: Types | None = None,
    discard_on: Types = (),
    backoff_on: Mapping[type[BaseException], Delay] | None = None,
    max_snoozes: int | None = None,
) -> FailureRules | None:
    """Return the rules that a handler is registered with, None without any.

    Raises RegistrationError for a value that is not an exception type, a type that two options contradict each other
    about, an invalid delay, and a number of snoozes below 0.
    """
    retried = () if retry_on is None else _types(name, "retry_on", retry_on)
    discarded = _types(name, "discard_on", discard_on)
    delays = dict(backoff_on or {})
    _types(name, "backoff_on", delays)
    for option, kinds in (("retry_on", retried), ("backoff_on", delays)):
        if both := [kind.__name__ for kind in discarded if kind in kinds]:
            raise RegistrationError(f"{name}: {both[0]} is in discard_on and in {option}, which exclude each other")
    for kind, delay in delays.items():
        if not callable(delay):
            try:
                seconds_of(delay)
            except (InvalidTask, ValueError) as error:
                raise RegistrationError(f"{name}: backoff_on of {kind.__name__}: {error}") from None
    if max_snoozes is not None and (isinstance(max_snoozes, bool) or max_snoozes < 0):
        raise RegistrationError(f"{name}: max_snoozes must be at least 0, got {max_snoozes}")
    if retry_on is None and not discarded and not delays and max_snoozes is None:
        return None
    return FailureRules(
        verdicts={
            **{kind: Verdict(True) for kind in discarded},
            **{kind: Verdict(False) for kind in retried},
            **{kind: Verdict(False, delay) for kind, delay in delays.items()},
        },
        discards_others=retry_on is not None,
        max_snoozes=MAX_SNOOZES if max_snoozes is None else max_snoozes,
    )


def delay_of(delay: Delay | None, error: BaseException) -> float | None:
    """Return a delay in seconds. Raises ValueError, InvalidTask, and what a function of the user raises."""
    given = delay(error) if callable(delay) else delay
    return None if given is None else seconds_of(given)


def seconds_of(delay: Duration) -> float:
    """Return a delay in seconds. Raises InvalidTask, and ValueError for one that is negative or too long."""
    seconds = interval_of("delay", delay).seconds
    if not 0 <= seconds <= MAX_DELAY:
        raise ValueError(f"delay must be between 0 seconds and 366 days, got {delay}")
    return seconds


def _types(name: str, option: str, given: Types) -> tuple[type[BaseException], ...]:
    kinds = (given,) if isinstance(given, type) else tuple(given)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise RegistrationError(f"{name}: {option} must hold exception types, got {kind!r:.100}")
    return kinds

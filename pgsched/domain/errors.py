"""Every error pgsched raises, one class a cause.

As text each is one line that names the object, the value and the rule that was broken, so that the command line, a log
or an HTTP answer can show it as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pgsched.domain.attempt import Outcome
    from pgsched.domain.records import Task

_LONGEST_SHOWN = 100


class PgschedError(Exception):
    """The base of every error raised by pgsched."""


class InvalidValue(PgschedError):
    """A value that breaks a rule. It knows the ``field``, the ``rule`` and, where it may be shown, the ``value``.

    As text: ``priority must be between 1 and 10, got 99``.
    """

    def __init__(
        self, rule: str, *, field: str | None = None, value: object = ..., subject: str | None = None, place: str = ""
    ) -> None:
        """``rule`` is what the field must be; without a field it is a whole sentence.

        ``value`` is quoted, cut when it is long; left out, the text names none. ``subject`` is what the text calls the
        field, ``place`` what it is a part of.
        """
        super().__init__(rule)
        self.rule = rule
        self.field = field
        self.value = value
        self.subject = field if subject is None else subject
        self.place = place

    @classmethod
    def of(cls, error: InvalidValue, **changes: Any) -> Self:
        """Return the same as an error of this class, with some of its data changed."""
        data = {name: getattr(error, name) for name in ("rule", "field", "value", "subject", "place")}
        return cls(**(data | changes))

    def within(self, place: str) -> Self:
        """Return the error of a part of ``place``: ``task 3: priority must be between 1 and 10``."""
        return self.of(self, place=f"{place}: {self.place}")

    @property
    def sentence(self) -> str:
        """The rule with its subject, without the value."""
        return f"{self.place}{self.subject} {self.rule}" if self.subject else f"{self.place}{self.rule}"

    def __str__(self) -> str:
        """One line."""
        return self.sentence if self.value is ... else f"{self.sentence}, got {shown(self.value)}"


class Described(str):
    """What an error says instead of a value, which is long, secret or better told in words: as it is."""

    __slots__ = ()


def shown(value: object) -> str:
    """A value as errors quote it, cut when it is long."""
    if isinstance(value, Described):
        return value
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


class InvalidTask(InvalidValue):
    """A task, queue or payload that the rules of the table refuse."""


class KeyTaken(InvalidTask):
    """Another task has the idempotency key: ``key``, and its ``id`` where that is known."""

    def __init__(self, rule: str, *, key: str = "", id: int | None = None, **data: Any) -> None:
        super().__init__(rule, **data)
        self.key = key
        self.id = id

    @classmethod
    def of(cls, error: InvalidValue, **changes: Any) -> Self:
        """Return the same of a part of something, with its key and id."""
        return super().of(error, **({name: getattr(error, name) for name in ("key", "id")} | changes))


class InvalidCron(InvalidTask):
    """A cron expression that cannot be read, or that can never fire."""


class InvalidTimezone(InvalidTask):
    """A time zone that is not a name of the IANA time zone database."""


class InvalidLock(InvalidValue):
    """A lock's name or time that the rules of the table refuse."""


class LockNotAcquired(PgschedError):
    """Somebody else had the lock for as long as we waited."""


class LockLost(PgschedError):
    """A lock was not renewed in time, or was broken, while it was held."""


class TaskNotFound(PgschedError):
    """No task has this id."""


class CalendarNotFound(PgschedError):
    """No calendar has this name."""


class ViewNotFound(PgschedError):
    """No saved view has this name."""


class TaskFailed(PgschedError):
    """A task that was waited for is dead or was cancelled: ``task``, and its ``error`` if it has one."""

    def __init__(self, task: Task) -> None:
        error = task.last_error or ""
        super().__init__(f"task {task.id} is {task.status}: {error}".split("\n", 1)[0].removesuffix(": "))
        self.task = task
        self.error = task.last_error


class TransitionRefused(PgschedError):
    """The task's present status does not allow what was asked, or a schedule names the calendar to be deleted."""


class VersionConflict(PgschedError):
    """Somebody else has edited what was to be changed: its ``version`` is not the ``expected`` one."""

    def __init__(self, what: str, *, version: str | None, expected: str) -> None:
        """``what`` names the object; without a ``version`` it is not there."""
        super().__init__(
            f"{what} is not there, expected one with the version {shown(expected)}"
            if version is None
            else f"somebody else has changed {what}: the version is now {shown(version)}, expected {shown(expected)}"
        )
        self.version = version
        self.expected = expected


class ConfigError(InvalidValue):
    """A flag or an environment variable that makes no sense."""


class DatabaseUnavailable(PgschedError):
    """The DSN leads to no server that lets us in."""


class ReadOnlyDatabase(DatabaseUnavailable):
    """The server takes no changes: it is a standby, or set to be read only."""


class PermissionRefused(PgschedError):
    """The database's role may not do what was asked."""


class SchemaMismatch(PgschedError):
    """The database's schema is older or newer than this program."""


class UnfitDatabase(SchemaMismatch):
    """The database cannot hold what tasks hold, whatever its schema."""


class SchemaLocked(PgschedError):
    """A migration did not get a lock that it needs for as long as it was to try."""


class RegistrationError(PgschedError):
    """A handler that cannot be registered as it was declared."""


class LifespanFailed(PgschedError):
    """What handlers share could not be opened, or is gone while the worker runs."""


class HandlerFailed(Exception):
    """What middleware sees of a handler that failed in a child process, or ended its schedule: its ``outcome``."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__((outcome.error or outcome.status).split("\n", 1)[0])
        self.outcome = outcome


class PayloadMismatch(PgschedError):
    """A payload that does not fit the signature or the annotations of its handler."""


def in_logs(error: str) -> str:
    """Return the first line of a task's error, without the values of a payload that does not fit: logs have none."""
    line = error.split("\n", 1)[0]
    if line.startswith("payload does not fit handler ") and (", got " in line or " is refused: " in line):
        return line[: line.index(": ")] + ": its last_error says where"
    return line


class ResultMismatch(PgschedError):
    """A stored result that does not fit the return annotation of its handler."""


class UnknownTaskType(UserWarning):
    """A task was scheduled whose type no worker has registered; it waits for one that does."""


class NotTransactional(PgschedError):
    """A handler asked for the connection of its transaction and has none."""


class DurableError(PgschedError):
    """A durable handler asked for what the rules of its run refuse: a name twice, too large a result."""


class StepFailed(PgschedError):
    """A step of a durable run failed for good: it used up its attempts, or a child did not complete.

    It is raised again whenever the run goes on, until a retry of the whole task runs the step again. ``step`` is its
    name, ``error`` says why.
    """

    def __init__(self, step: str, error: str, key: str = "") -> None:
        named = f"{step!r}" if not key else f"{step!r} with the key {key!r}"
        super().__init__(f"step {named} failed: {error}")
        self.step = step
        self.key = key
        self.error = error


class ChildFailed(StepFailed):
    """A child of a durable run is dead, cancelled or deleted: its ``status``."""

    def __init__(self, step: str, error: str, key: str = "", *, status: str = "dead") -> None:
        super().__init__(step, error, key)
        self.status = status


class EventTimeout(PgschedError, TimeoutError):
    """No event came in time: its ``event``. The outcome of a wait is recorded; a retry of the whole task waits anew."""

    def __init__(self, event: str, key: str = "") -> None:
        super().__init__(f"no event {event!r} came in time")
        self.event = event
        self.key = key


class Suspended(BaseException):
    """Ends a plain durable handler while its run is suspended. It runs again from the start, with what it recorded."""


class Retry(Exception):
    """Raised by a handler: this attempt failed, try again after ``delay`` seconds.

    Without a delay the task's backoff policy decides. The attempt counts like any other failed one.
    """

    delay: float | None = None

    def __init__(self, delay: float | None = None, reason: str = "the handler asked for a retry") -> None:
        super().__init__(reason)
        if delay is not None and not 0 <= delay <= 366 * 86400:
            raise ValueError(f"delay must be between 0 seconds and 366 days, got {delay}")
        self.delay = delay


class Snooze(Exception):
    """Raised by a handler: run this attempt again after ``delay`` seconds, and do not count it.

    For what is not the task's fault, as a 429. After ``max_snoozes`` of them in a row it counts as a failed attempt.
    """

    delay: float = 0.0

    def __init__(self, delay: float, reason: str = "the handler asked to be run later") -> None:
        super().__init__(reason)
        if not 0 <= delay <= 366 * 86400:
            raise ValueError(f"delay must be between 0 seconds and 366 days, got {delay}")
        self.delay = delay


class Finished(Exception):
    """Raised by a handler: this attempt is completed with ``result``, and its schedule is over.

    A one-time task is completed with the result, as if the handler had returned it. A tick that is a task of its own
    (``overlap="allow"``) ends the schedule that it belongs to.
    """

    result: Any = None

    def __init__(self, result: Any = None) -> None:
        super().__init__("the handler ended its schedule")
        self.result = result


class Discard(Exception):
    """Raised by a handler: this task is dead at once, whatever attempts it has left."""

    def __init__(self, reason: str = "the handler discarded the task") -> None:
        super().__init__(reason)

"""Every error pgsched raises, one class per cause.

The text of each is one line that names the object, the value and the rule that was broken, so that the command line, a
log or an HTTP response can show it unchanged.
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
        """``rule`` is what the field must be; without a field it is a complete sentence.

        ``value`` is quoted and truncated when it is long; when it is left out the text names no value. ``subject`` is
        the text's name for the field, ``place`` the object that the field belongs to.
        """
        super().__init__(rule)
        self.rule = rule
        self.field = field
        self.value = value
        self.subject = field if subject is None else subject
        self.place = place

    @classmethod
    def of(cls, error: InvalidValue, **changes: Any) -> Self:
        """Return a copy of this error, of the same class, with some of its data changed."""
        data = {name: getattr(error, name) for name in ("rule", "field", "value", "subject", "place")}
        return cls(**(data | changes))

    def within(self, place: str) -> Self:
        """Return this error as an error of a part of ``place``: ``task 3: priority must be between 1 and 10``."""
        return self.of(self, place=f"{place}: {self.place}")

    @property
    def sentence(self) -> str:
        """The rule with its subject, without the value."""
        return f"{self.place}{self.subject} {self.rule}" if self.subject else f"{self.place}{self.rule}"

    def __str__(self) -> str:
        """One line."""
        return self.sentence if self.value is ... else f"{self.sentence}, got {shown(self.value)}"


class Described(str):
    """Text that an error shows verbatim in place of a value that is long or secret."""

    __slots__ = ()


def shown(value: object) -> str:
    """Return a value as errors quote it, truncated when it is long."""
    if isinstance(value, Described):
        return value
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


class InvalidTask(InvalidValue):
    """A task, queue or payload that violates the rules of the table."""


class KeyTaken(InvalidTask):
    """Another task already uses the idempotency key: ``key``, and the ``id`` of that task where it is known."""

    def __init__(self, rule: str, *, key: str = "", id: int | None = None, **data: Any) -> None:
        super().__init__(rule, **data)
        self.key = key
        self.id = id

    @classmethod
    def of(cls, error: InvalidValue, **changes: Any) -> Self:
        """Return this error as an error of a part of something, with its key and id."""
        return super().of(error, **({name: getattr(error, name) for name in ("key", "id")} | changes))


class InvalidCron(InvalidTask):
    """A cron expression that cannot be parsed, or that can never fire."""


class InvalidTimezone(InvalidTask):
    """A time zone that the IANA time zone database does not contain."""


class InvalidLock(InvalidValue):
    """The name or the duration of a lock violates the rules of the table."""


class LockNotAcquired(PgschedError):
    """Another holder kept the lock for as long as the caller was willing to wait."""


class LockLost(PgschedError):
    """A lock was not renewed in time, or was broken by somebody, while it was held."""


class TaskNotFound(PgschedError):
    """No task has this id."""


class CalendarNotFound(PgschedError):
    """No calendar has this name."""


class ViewNotFound(PgschedError):
    """No saved view has this name."""


class ErrorNotFound(PgschedError):
    """No error with this id has occurred."""


class WorkerNotFound(PgschedError):
    """No registered worker has this id."""


class TaskFailed(PgschedError):
    """A task that the caller waited for is dead or cancelled: ``task``, and its ``error`` if it has one."""

    def __init__(self, task: Task) -> None:
        error = task.last_error or ""
        super().__init__(f"task {task.id} is {task.status}: {error}".split("\n", 1)[0].removesuffix(": "))
        self.task = task
        self.error = task.last_error


class TransitionRefused(PgschedError):
    """The task's current status does not allow the change, or a schedule uses the calendar that is to be deleted."""


class TenantMoved(TransitionRefused):
    """The tenant was moved to another database, which takes its tasks now."""


class TenantMoving(TransitionRefused):
    """The tenant is moving to this database, which takes its tasks with a key as soon as all others have arrived."""


class KeyStayed(TransitionRefused):
    """The idempotency key is that of a task that stayed in another database when its tenant was moved."""


class VersionConflict(PgschedError):
    """Somebody else has edited the object meanwhile: its ``version`` is not the ``expected`` one."""

    def __init__(self, what: str, *, version: str | None, expected: str) -> None:
        """``what`` names the object; it does not exist when ``version`` is None."""
        super().__init__(
            f"{what} does not exist, expected version {shown(expected)}"
            if version is None
            else f"somebody else has changed {what}: the version is now {shown(version)}, expected {shown(expected)}"
        )
        self.version = version
        self.expected = expected


class ConfigError(InvalidValue):
    """A flag or an environment variable with an invalid value."""


class DatabaseUnavailable(PgschedError):
    """The DSN leads to no server that accepts a connection."""


class ReadOnlyDatabase(DatabaseUnavailable):
    """The server is read-only: a standby, or configured to be."""


class ImpairedDatabase(DatabaseUnavailable):
    """The server answers, but its disk is full, read-only or broken, or it has reached another limit."""

    def __init__(self, trouble: str, said: str) -> None:
        """``trouble``: what is wrong with the server, in a sentence that anybody may read; ``said``: its own words."""
        super().__init__(f"{trouble}: {said}")
        self.trouble = trouble


class PermissionRefused(PgschedError):
    """The database role lacks the rights for this operation."""


class SchemaMismatch(PgschedError):
    """The database's schema is older or newer than this program."""


class UnfitDatabase(SchemaMismatch):
    """The database cannot store what tasks contain, whatever its schema."""


class CopiedDatabase(PgschedError):
    """The tasks belong to another database, of which this is a copy, or workers are held back from this one."""


class SchemaLocked(PgschedError):
    """A migration did not obtain a lock within the time that it was given."""


class RegistrationError(PgschedError):
    """A handler with an invalid declaration."""


class LifespanFailed(PgschedError):
    """A resource that handlers share could not be opened, or was lost while the worker ran."""


class HandlerFailed(Exception):
    """What middleware sees of a handler that failed in a child process or ended its schedule: its ``outcome``."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__((outcome.error or outcome.status).split("\n", 1)[0])
        self.outcome = outcome


class PayloadMismatch(PgschedError):
    """A payload that does not fit the signature or the annotations of its handler."""


def in_logs(error: str) -> str:
    """Return the first line of a task's error, without the values of an invalid payload, which must not be logged."""
    line = error.split("\n", 1)[0]
    if line.startswith("payload does not fit handler ") and (", got " in line or " is refused: " in line):
        return line[: line.index(": ")] + ": its last_error says where"
    return line


class ResultMismatch(PgschedError):
    """A stored result that does not fit the return annotation of its handler."""


class UnknownTaskType(UserWarning):
    """A task was scheduled whose type no worker has registered; it waits until one does."""


class NotTransactional(PgschedError):
    """A handler used the connection of its transaction but has none."""


class DurableError(PgschedError):
    """A durable handler broke a rule of its run, for example by using a name twice or returning too large a result."""


class StepFailed(PgschedError):
    """A step of a durable run failed for good: it used up its attempts, or a child did not complete.

    It is raised again whenever the run resumes, until a retry of the whole task runs the step again. ``step`` is its
    name, ``error`` the reason.
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
    """No such ``event`` arrived in time. The outcome of a wait is recorded; a retry of the task waits again."""

    def __init__(self, event: str, key: str = "") -> None:
        super().__init__(f"no event {event!r} arrived in time")
        self.event = event
        self.key = key


class Suspended(BaseException):
    """Ends a plain durable handler while its run is suspended. It later runs again from the start, with its records."""


class Retry(Exception):
    """Raised by a handler to fail this attempt and try again after ``delay`` seconds.

    Without a delay the task's backoff policy decides. The attempt counts like any other failed one.
    """

    delay: float | None = None

    def __init__(self, delay: float | None = None, reason: str = "the handler asked for a retry") -> None:
        super().__init__(reason)
        if delay is not None and not 0 <= delay <= 366 * 86400:
            raise ValueError(f"delay must be between 0 seconds and 366 days, got {delay}")
        self.delay = delay


class Snooze(Exception):
    """Raised by a handler to run this attempt again after ``delay`` seconds without counting it.

    It is for causes that are not the task's fault, such as a 429 response. After ``max_snoozes`` consecutive snoozes it
    counts as a failed attempt.
    """

    delay: float = 0.0

    def __init__(self, delay: float, reason: str = "the handler asked to be run later") -> None:
        super().__init__(reason)
        if not 0 <= delay <= 366 * 86400:
            raise ValueError(f"delay must be between 0 seconds and 366 days, got {delay}")
        self.delay = delay


class Finished(Exception):
    """Raised by a handler to complete this attempt with ``result`` and end its schedule.

    A one-time task completes with the result, as if the handler had returned it. A tick that is a task of its own
    (``overlap="allow"``) ends the schedule that it belongs to.
    """

    result: Any = None

    def __init__(self, result: Any = None) -> None:
        super().__init__("the handler ended its schedule")
        self.result = result


class Discard(Exception):
    """Raised by a handler to make this task dead at once, whatever attempts it has left."""

    def __init__(self, reason: str = "the handler discarded the task") -> None:
        super().__init__(reason)

"""Bodies of requests that describe tasks, and their translation to options of the client."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, WithJsonSchema

from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.unique import Unique
from pgsched.domain.validation import RULES, WORDS, refused, whole
from pgsched.web.api.values import Duration, Moment, StrictModel

SHORT: Final = {rule.parameter: name for name, rule in RULES.items() if rule.parameter not in (name, "run_at")} | {
    "scheduled_for": "at"
}
"""Columns that also have a shorter name: the name of the option of ``schedule()``."""
MAX_DELAY_MS: Final = 10**14
"""Above the longest delay that a task may have, which is 1,000 years."""

_delay_ms = whole(0, MAX_DELAY_MS, rule=f"be between 0 and {MAX_DELAY_MS}")

Object = Annotated[dict[str, Any], WithJsonSchema({"type": "object"})]
Text = StrictStr | None
Whole = StrictInt | None
Number = StrictInt | StrictFloat | None


def _words(option: str) -> dict[str, Any]:
    return {"enum": [*WORDS[option], None]}


class TaskFields(StrictModel):
    """The fields that a new task and an edit have in common. Their rules are those of the table's columns."""

    payload: Object | None = Field(None, description="The keyword arguments of the handler.")
    task_name: Text = Field(None, description="A label for people.")
    name: Text = Field(None, description="Short name of task_name.")
    scheduled_for: Moment | None = Field(None, description="When a one-time task is due; the default is now.")
    at: Moment | None = Field(None, description="Short name of scheduled_for.")
    delay: Duration | None = Field(None, description="Delay from now until a one-time task is due.")
    delay_ms: Whole = Field(None, description="The same delay in milliseconds.", json_schema_extra={"minimum": 0})
    cron_expression: Text = Field(None, description="Makes the task recurring.")
    cron: Text = Field(None, description="Short name of cron_expression.")
    timezone: Text = Field(None, description="An IANA time zone; the default is UTC.")
    repeat_interval: Duration | None = Field(None, description="Makes the task repeating.")
    every: Duration | None = Field(None, description="Short name of repeat_interval.")
    repeat_count: Whole = Field(None, description="The number of ticks; unlimited when omitted.")
    times: Whole = Field(None, description="Short name of repeat_count.")
    start_date: Moment | None = Field(None, description="No tick before this time.")
    start: Moment | None = Field(None, description="Short name of start_date.")
    end_date: Moment | None = Field(None, description="No tick after this time.")
    end: Moment | None = Field(None, description="Short name of end_date.")
    queue: Text = Field(None, description="The default is `default`.")
    priority: Whole = Field(
        None, description="1 to 10; 10 runs first.", json_schema_extra={"minimum": 1, "maximum": 10}
    )
    idempotency_key: Text = Field(None, description="Of several requests with the same key only one creates a task.")
    tags: list[StrictStr] | None = None
    metadata: Object | None = None
    tenant_id: Text = None
    user_id: Text = None
    created_by: Text = None
    max_attempts: Whole = Field(None, description="1 to 1,000; the default is 3.")
    backoff: Text = Field(None, json_schema_extra=_words("backoff"))
    backoff_delay: Duration | None = None
    backoff_max: Duration | None = Field(None, description="The longest delay; not shorter than the first.")
    backoff_factor: Number = Field(
        None, description="The factor by which an exponential delay grows; the default is 2."
    )
    backoff_jitter: Number = Field(
        None, description="Random spread of the delays, as a fraction of them; the default is 0.2."
    )
    timeout: Duration | None = Field(None, description="Timeout of one attempt.")
    on_missed: Text = Field(None, json_schema_extra=_words("on_missed"))
    catchup_window: Duration | None = None
    overlap: Text = Field(None, json_schema_extra=_words("overlap"))
    jitter: Duration | None = None
    enabled: StrictBool | None = Field(None, description="False: paused.")
    parent_id: Whole = None
    depends_on: list[StrictInt] | None = Field(None, description="The ids of the tasks that this task waits for.")
    dependency_mode: Text = Field(None, json_schema_extra=_words("dependency_mode"))
    on_dependency_dead: Text = Field(None, json_schema_extra=_words("on_dependency_dead"))
    concurrency_key: Text = None
    alert_if_no_success_for: Duration | None = Field(None, description="Silent: no success for this long.")
    alert_if_running_for: Duration | None = Field(None, description="Too long: an attempt runs for this long.")
    expires_at: Moment | None = Field(
        None, description="A one-time task that has not started by this time is cancelled."
    )


class UniqueFields(StrictModel):
    """When a task is not created because a similar one exists; {} stands for the defaults."""

    by: list[StrictStr] | None = Field(
        None,
        description="What similar tasks of a type have in common: payload (the default), payload.KEY, queue.",
    )
    within: Duration | None = Field(
        None, description="A task also blocks others for this long after its creation, unless it is cancelled."
    )
    states: list[StrictStr] | None = Field(
        None, description="The statuses in which a task blocks others; the default is pending, blocked and running."
    )
    debounce: Duration | None = Field(
        None, description="The task starts this long after the last call; each call changes the waiting task."
    )
    max_wait: Duration | None = Field(
        None, description="With debounce: the task starts at most this long after the first call."
    )

    def rule(self) -> Unique:
        """Return the client's rule. Raises InvalidTask, naming field, rule and value."""
        try:
            return Unique(**self.model_dump())
        except InvalidTask as error:
            raise InvalidTask.of(error, field=f"unique.{error.field}") from None


class NewTask(TaskFields):
    """A task to schedule. Only task_type is required; null means the same as omitting a field."""

    task_type: StrictStr = Field(description="The type of the task, which selects its handler.")
    unique: UniqueFields | None = Field(None, description="Create no task when a similar one exists; see docs/keys.md.")


class TaskEdit(TaskFields):
    """The fields to change; null clears a field that may be empty."""


_STEPS: Final = "The steps, each with at least a task_type, or only a task_type; see docs/workflows.md."


class Retrying(StrictModel):
    """What changes when a task is retried."""

    payload: Object | None = Field(None, description="The new payload; the task keeps its payload when omitted.")


class NewGroup(TaskFields):
    """A group of steps, one-time or as a schedule."""

    payload: None = Field(None, description="Not allowed: a group has steps instead.")
    steps: list[Object | StrictStr] = Field(description=_STEPS)
    unique: UniqueFields | None = Field(
        None, description="Create no group when a similar one exists; see docs/keys.md."
    )


class NewSteps(StrictModel):
    """Steps to add to a group."""

    steps: list[Object | StrictStr] = Field(description=_STEPS)


def unique_of(body: NewTask | NewGroup) -> Unique | None:
    """Return the uniqueness rule of a body; None when it has none. Raises InvalidTask."""
    return None if body.unique is None else body.unique.rule()


def options_of(body: TaskFields, *, empties: bool) -> dict[str, Any]:
    """Return the client's options for a body; where null ``empties``, a null becomes None.

    Raises InvalidTask when an option is given under both of its names.
    """
    options: dict[str, Any] = {}
    said_by: dict[str, str] = {}
    for name in sorted(body.model_fields_set - {"task_type", "steps", "payload", "unique"}):
        value = getattr(body, name)
        if value is None and not empties:
            continue
        option = "delay" if name == "delay_ms" else SHORT.get(name, name)
        if option in said_by:
            raise refused(name, f"not be given together with {said_by[option]}: they are the same option", ...)
        said_by[option] = name
        if name == "delay_ms" and value is not None:
            value = Interval(microseconds=1000 * _delay_ms(name, value))
        options[option] = value
    return options

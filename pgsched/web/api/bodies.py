"""The bodies of requests that describe tasks, and the options of the client that they stand for."""

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
"""The columns that have a shorter name as well: those of the options of ``schedule()``."""
MAX_DELAY_MS: Final = 10**14
"""More than the 1,000 years that a delay may have."""

_delay_ms = whole(0, MAX_DELAY_MS, rule=f"be between 0 and {MAX_DELAY_MS}")

Object = Annotated[dict[str, Any], WithJsonSchema({"type": "object"})]
Text = StrictStr | None
Whole = StrictInt | None
Number = StrictInt | StrictFloat | None


def _words(option: str) -> dict[str, Any]:
    return {"enum": [*WORDS[option], None]}


class TaskFields(StrictModel):
    """What both a new task and an edit may say. The rules are those of the table's columns."""

    payload: Object | None = Field(None, description="The keyword arguments of the handler.")
    task_name: Text = Field(None, description="A label for people.")
    name: Text = Field(None, description="Short for task_name.")
    scheduled_for: Moment | None = Field(None, description="When a one-time task is due; now when left out.")
    at: Moment | None = Field(None, description="Short for scheduled_for.")
    delay: Duration | None = Field(None, description="How long from now a one-time task is due.")
    delay_ms: Whole = Field(None, description="The same in milliseconds.", json_schema_extra={"minimum": 0})
    cron_expression: Text = Field(None, description="Makes the task recurring.")
    cron: Text = Field(None, description="Short for cron_expression.")
    timezone: Text = Field(None, description="An IANA zone; UTC when left out.")
    repeat_interval: Duration | None = Field(None, description="Makes the task repeating.")
    every: Duration | None = Field(None, description="Short for repeat_interval.")
    repeat_count: Whole = Field(None, description="So many ticks; for ever when left out.")
    times: Whole = Field(None, description="Short for repeat_count.")
    start_date: Moment | None = Field(None, description="No tick before.")
    start: Moment | None = Field(None, description="Short for start_date.")
    end_date: Moment | None = Field(None, description="No tick after.")
    end: Moment | None = Field(None, description="Short for end_date.")
    queue: Text = Field(None, description="`default` when left out.")
    priority: Whole = Field(
        None, description="1 to 10; 10 runs first.", json_schema_extra={"minimum": 1, "maximum": 10}
    )
    idempotency_key: Text = Field(None, description="Of several requests with the same key only one makes a task.")
    tags: list[StrictStr] | None = None
    metadata: Object | None = None
    tenant_id: Text = None
    user_id: Text = None
    created_by: Text = None
    max_attempts: Whole = Field(None, description="1 to 1,000; 3 when left out.")
    backoff: Text = Field(None, json_schema_extra=_words("backoff"))
    backoff_delay: Duration | None = None
    backoff_max: Duration | None = Field(None, description="The longest delay; at least the first.")
    backoff_factor: Number = Field(None, description="By what an exponential delay grows; 2 when left out.")
    backoff_jitter: Number = Field(None, description="Spread of the delays, as a share of them; 0.2 when left out.")
    timeout: Duration | None = Field(None, description="Of one attempt.")
    on_missed: Text = Field(None, json_schema_extra=_words("on_missed"))
    catchup_window: Duration | None = None
    overlap: Text = Field(None, json_schema_extra=_words("overlap"))
    jitter: Duration | None = None
    enabled: StrictBool | None = Field(None, description="False: paused.")
    parent_id: Whole = None
    depends_on: list[StrictInt] | None = Field(None, description="The ids of tasks to wait for.")
    dependency_mode: Text = Field(None, json_schema_extra=_words("dependency_mode"))
    on_dependency_dead: Text = Field(None, json_schema_extra=_words("on_dependency_dead"))
    concurrency_key: Text = None
    alert_if_no_success_for: Duration | None = Field(None, description="Silent: no success for so long.")
    alert_if_running_for: Duration | None = Field(None, description="Too long: an attempt runs for so long.")
    expires_at: Moment | None = Field(
        None, description="A one-time task that has not started by then is cancelled instead."
    )


class UniqueFields(StrictModel):
    """When a task is not made because there is one like it; {} stands for the defaults."""

    by: list[StrictStr] | None = Field(
        None, description="What makes two tasks of a type alike: payload (the default), payload.KEY, queue."
    )
    within: Duration | None = Field(
        None, description="One also holds for so long from when it was made, unless cancelled."
    )
    states: list[StrictStr] | None = Field(
        None, description="In which statuses one holds; pending, blocked and running when left out."
    )
    debounce: Duration | None = Field(
        None, description="It starts so long after the last call; each one changes the task that waits."
    )
    max_wait: Duration | None = Field(None, description="With debounce: at the latest so long after the first call.")

    def rule(self) -> Unique:
        """Return the rule of the client. Raises InvalidTask, naming field, rule and value."""
        try:
            return Unique(**self.model_dump())
        except InvalidTask as error:
            raise InvalidTask.of(error, field=f"unique.{error.field}") from None


class NewTask(TaskFields):
    """A task to schedule. Only task_type is required; null is the same as left out."""

    task_type: StrictStr = Field(description="Which handler runs it.")
    unique: UniqueFields | None = Field(None, description="Make none where there is one like it; see docs/keys.md.")


class TaskEdit(TaskFields):
    """The fields to change; null empties one that may be empty."""


_STEPS: Final = "The steps, each with a task_type at least, or nothing but that; see docs/workflows.md."


class Retrying(StrictModel):
    """With what a task is tried again."""

    payload: Object | None = Field(None, description="Its payload from now on; the one that it has when left out.")


class NewGroup(TaskFields):
    """A group of steps, once or as a schedule."""

    payload: None = Field(None, description="A group has steps instead.")
    steps: list[Object | StrictStr] = Field(description=_STEPS)
    unique: UniqueFields | None = Field(None, description="Make none where there is one like it; see docs/keys.md.")


class NewSteps(StrictModel):
    """Steps to be added to a group."""

    steps: list[Object | StrictStr] = Field(description=_STEPS)


def unique_of(body: NewTask | NewGroup) -> Unique | None:
    """Return the rule of a body; None when it has none. Raises InvalidTask."""
    return None if body.unique is None else body.unique.rule()


def options_of(body: TaskFields, *, empties: bool) -> dict[str, Any]:
    """Return the options of the client for what a body says; where null ``empties``, None for what is null.

    Raises InvalidTask when something is said twice.
    """
    options: dict[str, Any] = {}
    said_by: dict[str, str] = {}
    for name in sorted(body.model_fields_set - {"task_type", "steps", "payload", "unique"}):
        value = getattr(body, name)
        if value is None and not empties:
            continue
        option = "delay" if name == "delay_ms" else SHORT.get(name, name)
        if option in said_by:
            raise refused(name, f"not be given beside {said_by[option]}: they are one and the same", ...)
        said_by[option] = name
        if name == "delay_ms" and value is not None:
            value = Interval(microseconds=1000 * _delay_ms(name, value))
        options[option] = value
    return options

"""The options of a task as generated clients have them, and the statements that these send.

Each statement is one text with JSON as its parameters, so it does not matter how a driver writes arrays and intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pgsched.domain.validation import WORDS

Kind = Literal["text", "integer", "number", "boolean", "time", "interval", "texts", "id", "ids", "object"]

_SQL: Final[dict[Kind, str]] = {
    "text": "t ->> '{name}'",
    "integer": "(t ->> '{name}')::integer",
    "number": "(t ->> '{name}')::float8",
    "boolean": "(t ->> '{name}')::boolean",
    "time": "(t ->> '{name}')::timestamptz",
    "interval": "(t ->> '{name}')::interval",
    "texts": "case when t ? '{name}' then array(select jsonb_array_elements_text(t -> '{name}')) end",
    "id": "(t ->> '{name}')::bigint",
    "ids": "case when t ? '{name}' then array(select jsonb_array_elements_text(t -> '{name}')::bigint) end",
    "object": "t -> '{name}'",
}


@dataclass(frozen=True)
class Option:
    """One option: the argument of ``pgsched.schedule`` that it is, and what it says."""

    name: str
    kind: Kind
    says: str

    @property
    def words(self) -> tuple[str, ...]:
        """The texts that it may be; empty: any."""
        return WORDS.get(self.name, ())

    def argument(self) -> str:
        """The argument of ``pgsched.schedule`` in SQL, from the JSON of the task."""
        return f"{self.name} => {_SQL[self.kind].format(name=self.name)}"


OPTIONS: Final = (
    Option("queue", "text", "The queue; of the handler or 'default' when left out."),
    Option("priority", "integer", "1 to 10; 10 runs first."),
    Option("run_at", "time", "When a one-time task is due; now when left out."),
    Option("delay", "interval", "How long from now a one-time task is due; instead of run_at."),
    Option("idempotency_key", "text", "Of several calls with the same key only one makes a task."),
    Option("cron_expression", "text", "Makes the task recurring, as '0 8 * * mon-fri'."),
    Option("timezone", "text", "The IANA time zone of the schedule."),
    Option("repeat_interval", "interval", "Makes the task repeating."),
    Option("repeat_count", "integer", "How often a repeating task runs."),
    Option("start_date", "time", "No tick of the schedule before."),
    Option("end_date", "time", "No tick of the schedule after."),
    Option("task_name", "text", "A label for people."),
    Option("tags", "texts", "Labels to filter by."),
    Option("metadata", "object", "Any JSON object, which handlers do not get as arguments."),
    Option("tenant_id", "text", "The tenant that the task is for."),
    Option("user_id", "text", "The user that the task is for."),
    Option("created_by", "text", "Who or what made the task."),
    Option("max_attempts", "integer", "1 to 1,000."),
    Option("backoff", "text", "How delays between attempts grow."),
    Option("backoff_delay", "interval", "The first delay between attempts."),
    Option("backoff_max", "interval", "The longest delay between attempts."),
    Option("backoff_factor", "number", "By what an exponential delay grows."),
    Option("backoff_jitter", "number", "Spread of the delays, as a share of them."),
    Option("timeout", "interval", "Of one attempt."),
    Option("on_missed", "text", "Which missed ticks are run."),
    Option("catchup_window", "interval", "Ticks missed longer ago are not run."),
    Option("overlap", "text", "Whether ticks of a schedule may run at the same time."),
    Option("jitter", "interval", "Spreads ticks over this time."),
    Option("enabled", "boolean", "False: it does not run before it is enabled."),
    Option("parent_id", "id", "The task that it belongs to."),
    Option("depends_on", "ids", "The tasks that it waits for."),
    Option("dependency_mode", "text", "Which of them it waits for."),
    Option("on_dependency_dead", "text", "What becomes of it when one of them is dead."),
    Option("concurrency_key", "text", "Limits of its queue count tasks with the same key together."),
    Option("alert_if_no_success_for", "interval", "It is in trouble without a success for this long."),
    Option("alert_if_running_for", "interval", "It is in trouble when an attempt runs for this long."),
    Option("expires_at", "time", "A one-time task that has not started by then is cancelled."),
)
CONFLICTS: Final = ("return", "keep", "update", "replace", "raise")

_ARGUMENTS: Final = ",\n  ".join(
    ["task_type => t ->> 'task_type'", "payload => t -> 'payload'", *(one.argument() for one in OPTIONS)]
)

SCHEDULE: Final = f"""\
select pgsched.schedule(
  {_ARGUMENTS}
)::text as id, 'created' as outcome, '[]' as differs from (select $1::text::jsonb as t) as task"""  # noqa: S608
"""Makes a task of its JSON, ``$1``."""
_GIVEN: Final = "s.id::text as id, s.outcome, to_json(s.differs)::text as differs"
BY_KEY: Final = f"select {_GIVEN} from pgsched.schedule_by_key($1::text::jsonb, $2::text) as s"  # noqa: S608
"""The same with an idempotency_key; ``$2``: what becomes of a task that has it."""
UNIQUE: Final = f"""\
select {_GIVEN} from (select $3::text::jsonb as u) as given, pgsched.schedule_unique(
  $1::text::jsonb,
  by => case when u ? 'by' then array(select jsonb_array_elements_text(u -> 'by')) end,
  within => (u ->> 'within')::interval,
  states => case when u ? 'states' then array(select jsonb_array_elements_text(u -> 'states')) end,
  debounce => (u ->> 'debounce')::interval,
  max_wait => (u ->> 'max_wait')::interval,
  on_conflict => $2::text
) as s"""  # noqa: S608
"""The same of a task that is unique by what it is; ``$3``: the rule."""

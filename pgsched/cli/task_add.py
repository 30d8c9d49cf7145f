"""``pgsched task add`` and ``pgsched task edit``, and the options of a task, most of which a group has too."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast, get_args

import click
from click.shell_completion import CompletionItem

from pgsched.cli.errors import say_error
from pgsched.cli.options import (
    instant,
    json_option,
    option_group,
    queue_option,
    read_ids,
    read_json_object,
    read_moment,
)
from pgsched.cli.output import first_line, say, say_json
from pgsched.cli.session import pass_client
from pgsched.cli.task_name import task_argument
from pgsched.domain.errors import InvalidTask, PgschedError, TaskNotFound, shown
from pgsched.domain.scheduled import OnConflict, Scheduled
from pgsched.domain.settings import dsn_from
from pgsched.domain.task_filters import STATUSES
from pgsched.domain.task_spec import TaskOptions
from pgsched.domain.unique import Unique
from pgsched.domain.validation import RULES, checked

if TYPE_CHECKING:
    from pgsched.client.client import Client

retry_options = option_group(
    click.option("--max-attempts", type=int, help="Number of attempts before the task is dead."),
    click.option("--backoff", metavar="POLICY", help="exponential, linear or fixed."),
    click.option("--backoff-delay", metavar="DURATION", help="The first delay."),
    click.option("--backoff-max", metavar="DURATION", help="The maximum delay; at least the first."),
    click.option("--backoff-factor", type=float, help="The factor of an exponential backoff; 2."),
    click.option("--backoff-jitter", type=float, help="Random spread of the delays, as a fraction; 0.2, 0 for none."),
    click.option("--timeout", metavar="DURATION", help="Maximum duration of one attempt."),
)
"""How often and when attempts are repeated, and how long one may take."""
group_options = option_group(
    click.option(
        "--at",
        metavar="TIME",
        callback=read_moment,
        help="Run once at this time (ISO 8601; without an offset in --timezone).",
    ),
    click.option("--delay", metavar="DURATION", help="Run once after this delay: 90s, 15m, 2h, 1d."),
    click.option(
        "--cron",
        metavar="EXPRESSION",
        help="Run by a cron expression: 5 fields, or 6 with seconds first, and options such as days=both.",
    ),
    click.option("--every", metavar="DURATION", help="Run at this interval."),
    click.option("--times", type=int, help="With --every: the number of runs."),
    click.option("--timezone", metavar="ZONE", help="The schedule's IANA time zone."),
    click.option("--start", metavar="TIME", callback=read_moment, help="No tick before this time."),
    click.option("--end", metavar="TIME", callback=read_moment, help="No tick after this time."),
    queue_option("The queue."),
    click.option("--priority", type=int, help="1 to 10; 10 runs first."),
    click.option("--key", help="Idempotency key, unique among tasks; adding a known one prints the existing task."),
    click.option("--name", help="A label for people."),
    click.option("--tag", "tags", multiple=True, help="A label to filter by; may be repeated."),
    click.option(
        "--metadata", metavar="JSON", callback=read_json_object, help="A JSON object with additional information."
    ),
    click.option("--tenant", help="The organisation that the task belongs to."),
    click.option("--user", help="The person that the task belongs to."),
    retry_options,
    click.option("--on-missed", metavar="POLICY", help="What to do with missed ticks: once, skip or all."),
    click.option("--catchup-window", metavar="DURATION", help="Do not run missed ticks older than this."),
    click.option("--overlap", metavar="POLICY", help="What to do with a tick while the last one runs: skip or allow."),
    click.option("--jitter", metavar="DURATION", help="Delay each start by a random time up to this."),
    click.option("--depends-on", metavar="IDS", callback=read_ids, help="Run after these tasks: 1,2."),
    click.option(
        "--dependency-mode",
        metavar="MODE",
        help="Wait for all of them or any; each: follow one schedule, tick by tick.",
    ),
    click.option(
        "--on-dependency-dead", metavar="POLICY", help="What to do if one of them is dead: cancel, run or wait."
    ),
    click.option("--concurrency-key", metavar="KEY", help="The key of the queue's per-key limits."),
    click.option("--alert-if-no-success-for", metavar="DURATION", help="Alert if no attempt completes for this long."),
    click.option("--alert-if-running-for", metavar="DURATION", help="Alert if an attempt runs for this long."),
    click.option(
        "--expires-at",
        metavar="TIME",
        callback=read_moment,
        help="Cancel a one-time task that has not started by this time.",
    ),
)
"""Every option of a group, whose payload is the plan of its steps."""
default_options = option_group(
    click.option("--priority", type=int, help="1 to 10; 10 runs first."),
    click.option("--tag", "tags", multiple=True, help="A label to filter by; may be repeated."),
    retry_options,
    click.option("--on-missed", metavar="POLICY", help="What to do with missed ticks: once, skip or all."),
    click.option("--overlap", metavar="POLICY", help="What to do with a tick while the last one runs: skip or allow."),
    click.option(
        "--on-dependency-dead", metavar="POLICY", help="What to do if a dependency is dead: cancel, run or wait."
    ),
    click.option("--concurrency-key", metavar="KEY", help="The key of the queue's per-key limits."),
)
"""Options that a queue may say for all of its tasks."""
task_options = option_group(
    click.option(
        "--payload",
        metavar="JSON",
        callback=read_json_object,
        help="The handler's arguments: a JSON object, @file, or - for stdin.",
    ),
    group_options,
)
"""Every option of a task."""
disabled_option = click.option("--disabled", is_flag=True, help="Add it disabled.")

conflict_option = click.option(
    "--on-conflict",
    type=click.Choice(get_args(OnConflict)),
    default="return",
    help="What to do with the task that already has the --key: return it as it is (or keep), update it to the given "
    "options, replace it by a new task, or raise an error.",
)

unique_options = option_group(
    click.option("--unique", is_flag=True, help="Add no task if one of the same type and payload waits or runs."),
    click.option(
        "--unique-by",
        "unique_by",
        metavar="PART",
        multiple=True,
        help="What makes two tasks of a type alike: payload (the default), payload.KEY or queue; may be repeated.",
    ),
    click.option(
        "--within", metavar="DURATION", help="Add none for this long after one was added, even if it is over."
    ),
    click.option(
        "--unique-state",
        "unique_states",
        type=click.Choice(STATUSES),
        multiple=True,
        help="Add none while one has this status; may be repeated. The defaults are pending, blocked and running.",
    ),
    click.option(
        "--debounce",
        metavar="DURATION",
        help="Run this long after the last call; each call changes the task that waits.",
    ),
    click.option(
        "--max-wait", metavar="DURATION", help="With --debounce: run at the latest this long after the first."
    ),
)
"""When a task is not added because there is one like it."""

_COLUMNS = {"key": "idempotency_key", "tenant": "tenant_id", "user": "user_id"}
_WORDS = {column: word for word, column in _COLUMNS.items()}
_KEPT = ("cron", "every", "created_by", "parent_id", "backoff_factor", "backoff_jitter")
CLEARABLE = {
    _WORDS.get(name, name).replace("_", "-"): name
    for name, rule in RULES.items()
    if rule.may_be_empty and name not in _KEPT
}
"""Options that can be unset, by their names on the command line."""


def lacks_zone(given: dict[str, Any]) -> bool:
    """Whether a naive time was given without a zone."""
    times = [value for value in given.values() if isinstance(value, datetime)]
    return given["timezone"] is None and any(time.tzinfo is None for time in times)


def chosen_options(given: dict[str, Any], *, zone: str | None = None) -> TaskOptions:
    """Return the given options as the client takes them; its defaults apply to the others.

    Naive times are read in ``--timezone``, else in ``zone``, else in UTC.
    """
    zone = given.get("timezone") or zone
    chosen: dict[str, Any] = {"enabled": False} if given.pop("disabled", False) else {}
    for name, value in given.items():
        if value is None or value == ():
            continue
        if isinstance(value, datetime):
            value = instant(value, zone)
        chosen[_COLUMNS.get(name, name)] = list(value) if isinstance(value, tuple) else value
    return cast("TaskOptions", chosen)  # one option of the command for each


def _complete_type(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the registered types; none where the database cannot be asked."""
    from pgsched.client.client import Client  # imported late: help needs no database

    dsn = context.find_root().params.get("dsn")
    try:
        with Client(dsn_from(os.environ, dsn)) as client:
            found = client.handlers()
    except PgschedError:
        return []
    return [
        CompletionItem(one.task_type, help=first_line(one.description))
        for one in found
        if one.task_type.startswith(begun) and one.retired_at is None
    ]


@click.command()
@click.argument("task_type", metavar="TYPE", shell_complete=_complete_type)
@task_options
@disabled_option
@conflict_option
@unique_options
@json_option
@pass_client
def add(client: Client, /, task_type: str, payload: Any, as_json: bool, on_conflict: OnConflict, **given: Any) -> None:
    """Add a task and print its id.

    Without --at, --delay, --cron or --every it is due immediately. Omitted options have the defaults of the
    handler, the queue or the table. If a task already has the --key, and other values of the given options, it
    says so on stderr. With --on-conflict update or replace it also prints whether the task was created, updated,
    unchanged or replaced. With --unique, or any of the options beside it, it also prints whether the task was created,
    existing or updated.
    """
    _refuse_key_as_type(client, task_type)
    unique = take_unique(given)
    options = chosen_options(given)
    scheduled = client.schedule(task_type, payload, on_conflict=on_conflict, unique=unique, **options)
    say_differs(scheduled, given["key"])
    if as_json:
        differs = sorted(RULES[name].parameter for name in scheduled.differs)
        say_json(client.get(scheduled).as_dict() | {"outcome": scheduled.outcome, "differs": differs})
    else:
        say_outcome(scheduled, on_conflict, unique)


def take_unique(given: dict[str, Any]) -> Unique | None:
    """Return the rule of the unique options, and take them from the others; None if none was given."""
    wanted = given.pop("unique")
    by, states = given.pop("unique_by"), given.pop("unique_states")
    rule = {
        "by": list(by) or None,
        "states": list(states) or None,
        **{name: given.pop(name) for name in ("within", "debounce", "max_wait")},
    }
    return Unique(**rule) if wanted or any(value is not None for value in rule.values()) else None


def say_outcome(scheduled: Scheduled, on_conflict: OnConflict, unique: Unique | None) -> None:
    """Print the id, and what became of the task where something else than returning a known one was asked for."""
    tells = unique is not None or on_conflict in ("update", "replace")
    say(f"{scheduled} {scheduled.outcome}" if tells else str(scheduled))


def say_differs(scheduled: Scheduled, key: str | None) -> None:
    """Say on stderr that a task was there already, with another definition than the given one."""
    if scheduled.differs:
        differs = ", ".join(map(_word_of, scheduled.differs))
        known = "is there already" if key is None else f"has the key {shown(key)} already"
        say_error(f"task {scheduled} {known} and stays as it is; it differs in {differs}")


def _word_of(name: str) -> str:
    return _WORDS.get(name, name).replace("_", "-").removeprefix("task-")


def _refuse_key_as_type(client: Client, task_type: str) -> None:
    """Refuse the key of a task where its type should stand: that would make a task that nobody runs."""
    checked("task_type", task_type)
    try:
        known = client.get(key=task_type)
    except TaskNotFound:
        return
    if known.task_type == task_type or any(one.task_type == task_type for one in client.handlers()):
        return
    rule = (
        f"is the key of task {known.id} ({known.task_type}), and no handler of this type is registered: "
        f"'pgsched task run' runs that task"
    )
    raise InvalidTask(f"{shown(task_type)} {rule}", field="task_type")


@click.command()
@task_argument("--task-key")
@task_options
@click.option(
    "--clear", type=click.Choice(sorted(CLEARABLE)), multiple=True, help="Unset this option; may be repeated."
)
@click.option(
    "--if-version",
    metavar="VERSION",
    help="Change nothing if somebody has edited the task since it had this version, as 'task show' prints it.",
)
@json_option
@pass_client
def edit(
    client: Client,
    /,
    task_id: int,
    payload: Any,
    if_version: str | None,
    as_json: bool,
    clear: tuple[str, ...],
    **given: Any,
) -> None:
    """Change the given options of a task, and no others. An edited schedule is replanned.

    A running attempt is not disturbed; the next run uses the new values. A time without an offset is in --timezone, or
    else in the task's zone.
    """
    for name in clear:
        if given[name.replace("-", "_")] is not None:
            raise click.UsageError(f"Give either --{name} or --clear {name}.", click.get_current_context())
    zone = client.get(task_id).timezone if lacks_zone(given) else None
    options: Any = chosen_options(given, zone=zone) | {CLEARABLE[name]: None for name in clear}
    client.update(task_id, payload, if_version=if_version, **options)
    if as_json:
        say_json(client.get(task_id).as_dict())
    else:
        say(f"task {task_id}: changed")

"""``pgsched task add`` and ``pgsched task edit``, and the options of tasks and groups."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from pgsched.cli.errors import say_error
from pgsched.cli.options import (
    examples,
    json_option,
    option_group,
    queue_option,
    read_ids,
    read_json_object,
    type_argument,
)
from pgsched.cli.output import say, say_done, say_json
from pgsched.cli.session import pass_client
from pgsched.cli.task_name import task_argument
from pgsched.cli.times import instant, read_moment
from pgsched.domain.errors import InvalidTask, TaskNotFound, shown
from pgsched.domain.scheduled import OnConflict, Scheduled
from pgsched.domain.task_filters import STATUSES
from pgsched.domain.task_spec import TaskOptions
from pgsched.domain.unique import Unique
from pgsched.domain.validation import RULES, checked

if TYPE_CHECKING:
    from pgsched.client.client import Client

retry_options = option_group(
    click.option("--max-attempts", type=int, help="Number of attempts after which the task is dead."),
    click.option(
        "--backoff", metavar="POLICY", help="How the delay between attempts grows: exponential, linear or fixed."
    ),
    click.option("--backoff-delay", metavar="DURATION", help="The delay after the first attempt."),
    click.option("--backoff-max", metavar="DURATION", help="The maximum delay, not shorter than the first."),
    click.option("--backoff-factor", type=float, help="The factor of an exponential backoff, as 2."),
    click.option("--backoff-jitter", type=float, help="Random spread of the delays as a fraction, as 0.2; 0 for none."),
    click.option("--timeout", metavar="DURATION", help="Maximum duration of one attempt."),
)
"""How often and when attempts are repeated, and how long one may take."""
group_options = option_group(
    click.option(
        "--at",
        metavar="TIME",
        callback=read_moment,
        help="Run once at this time: ISO 8601 (without an offset: in --timezone), or +2h.",
    ),
    click.option("--delay", metavar="DURATION", help="Run once after this delay: 90s, 15m, 2h, 1d."),
    click.option(
        "--cron",
        metavar="EXPRESSION",
        help="Run on a cron schedule: 5 fields, or 6 with seconds first, and options such as days=both.",
    ),
    click.option("--every", metavar="DURATION", help="Run at this interval."),
    click.option("--times", type=int, help="With --every: the number of runs."),
    click.option("--timezone", metavar="ZONE", help="The schedule's IANA time zone."),
    click.option("--start", metavar="TIME", callback=read_moment, help="No tick before this time."),
    click.option("--end", metavar="TIME", callback=read_moment, help="No tick after this time."),
    queue_option("The queue."),
    click.option("--priority", type=int, help="1 to 10; 10 runs first."),
    click.option("--key", help="Idempotency key, unique among tasks. If a task has it, that task's id is printed."),
    click.option("--name", help="A label for people."),
    click.option("--tag", "tags", multiple=True, help="A label to filter by; may be repeated."),
    click.option(
        "--metadata", metavar="JSON", callback=read_json_object, help="Additional information: a JSON object."
    ),
    click.option("--tenant", help="The organisation that the task belongs to."),
    click.option("--user", help="The person that the task belongs to."),
    retry_options,
    click.option("--on-missed", metavar="POLICY", help="What to do with missed ticks: once, skip or all."),
    click.option("--catchup-window", metavar="DURATION", help="Do not run missed ticks older than this."),
    click.option(
        "--overlap", metavar="POLICY", help="What to do with a tick while the previous one runs: skip or allow."
    ),
    click.option("--jitter", metavar="DURATION", help="Delay each start by a random time up to this."),
    click.option("--depends-on", metavar="IDS", callback=read_ids, help="Run after these tasks: 1,2."),
    click.option(
        "--dependency-mode",
        metavar="MODE",
        help="Wait for all of them or any of them; each: run after every tick of one schedule.",
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
    click.option(
        "--overlap", metavar="POLICY", help="What to do with a tick while the previous one runs: skip or allow."
    ),
    click.option(
        "--on-dependency-dead", metavar="POLICY", help="What to do if a dependency is dead: cancel, run or wait."
    ),
    click.option("--concurrency-key", metavar="KEY", help="The key of the queue's per-key limits."),
)
"""Options that a queue may set for all of its tasks."""
task_options = option_group(
    click.option(
        "--payload",
        metavar="JSON",
        callback=read_json_object,
        help="The arguments of the handler: a JSON object, @FILE, or - for stdin.",
    ),
    group_options,
)
"""Every option of a task."""
disabled_option = click.option("--disabled", is_flag=True, help="Add it disabled: it does not run until it is enabled.")

conflict_option = click.option(
    "--on-conflict",
    type=click.Choice(get_args(OnConflict)),
    default="return",
    help="What to do if a task already has the --key: return it unchanged (or keep), update it to the given options, "
    "replace it by a new task, or raise an error.",
)

unique_options = option_group(
    click.option("--unique", is_flag=True, help="Add no task while one of the same type and payload waits or runs."),
    click.option(
        "--unique-by",
        "unique_by",
        metavar="PART",
        multiple=True,
        help="What makes two tasks of a type equal: payload (the default), payload.KEY or queue; may be repeated.",
    ),
    click.option(
        "--within",
        metavar="DURATION",
        help="Add no task within this time after an equal one was added, even if that one has finished.",
    ),
    click.option(
        "--unique-state",
        "unique_states",
        type=click.Choice(STATUSES),
        multiple=True,
        help="Add no task while an equal one has this status; may be repeated.  [default: pending, blocked, running]",
    ),
    click.option(
        "--debounce",
        metavar="DURATION",
        help="Run this long after the last call; each call updates the waiting task.",
    ),
    click.option(
        "--max-wait", metavar="DURATION", help="With --debounce: run at the latest this long after the first call."
    ),
)
"""When a task is not added because an equal one exists."""

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


@click.command(
    epilog=examples(
        """pgsched task add invoice --payload '{"order": 17}' --key invoice-17""",
        "pgsched task add reminder --at +2h",
        "pgsched task add report --cron '0 7 * * mon-fri' --timezone Europe/Berlin --key daily-report",
    )
)
@type_argument
@task_options
@disabled_option
@conflict_option
@unique_options
@json_option
@pass_client
def add(client: Client, /, task_type: str, payload: Any, as_json: bool, on_conflict: OnConflict, **given: Any) -> None:
    """Add a task and print its id.

    Without --at, --delay, --cron or --every the task is due immediately. Options that are left out have the defaults of
    the handler, the queue or the table. If a task already has the --key but other options, a line on stderr names them.
    With --on-conflict update or replace, the outcome is printed after the id: created, updated, unchanged or replaced;
    with --unique, --within or --debounce: created, existing or updated.
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
    """Remove the unique options from the given ones and return their rule; None if none was given."""
    wanted = given.pop("unique")
    by, states = given.pop("unique_by"), given.pop("unique_states")
    rule = {
        "by": list(by) or None,
        "states": list(states) or None,
        **{name: given.pop(name) for name in ("within", "debounce", "max_wait")},
    }
    return Unique(**rule) if wanted or any(value is not None for value in rule.values()) else None


def say_outcome(scheduled: Scheduled, on_conflict: OnConflict, unique: Unique | None) -> None:
    """Print the id; also the outcome if the options do more than return an existing task."""
    has_outcome = unique is not None or on_conflict in ("update", "replace")
    say(f"{scheduled} {scheduled.outcome}" if has_outcome else str(scheduled))


def say_differs(scheduled: Scheduled, key: str | None) -> None:
    """Say on stderr that the task already existed, and which options differ from the given ones."""
    if scheduled.differs:
        differs = ", ".join(map(_word_of, scheduled.differs))
        known = "already exists" if key is None else f"already has the key {shown(key)}"
        say_error(f"task {scheduled} {known} and is left unchanged; it differs in {differs}")


def _word_of(name: str) -> str:
    return _WORDS.get(name, name).replace("_", "-").removeprefix("task-")


def _refuse_key_as_type(client: Client, task_type: str) -> None:
    """Refuse the key of a task in place of a type: that would add a task that no handler runs."""
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


@click.command(epilog=examples("pgsched task edit nightly-report --cron '0 6 * * *' --clear timeout"))
@task_argument("--task-key")
@task_options
@click.option(
    "--clear", type=click.Choice(sorted(CLEARABLE)), multiple=True, help="Unset this option; may be repeated."
)
@click.option(
    "--if-version",
    metavar="VERSION",
    help="Change nothing if the task was edited after it had this version, which 'task show' prints.",
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

    A running attempt keeps the old values; the next one has the new ones. A time without an offset is in --timezone, or
    else in the time zone of the task.
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
        say_done(f"task {task_id}: changed")

"""``pgsched queue``: lists, shows, pauses, resumes, limits and configures queues."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from pgsched.cli.names import hint_unknown, nearest
from pgsched.cli.options import confirm, examples, queue_argument, yes_option
from pgsched.cli.output import Columns, cell, count, fields, say, say_done
from pgsched.cli.reasons import say_why_queue
from pgsched.cli.session import lists, pass_client, shows
from pgsched.cli.settings import chosen, clear_option, confirm_change, retention_in_words, retention_options
from pgsched.cli.task_add import chosen_options, default_options
from pgsched.cli.task_bulk import change
from pgsched.cli.times import span
from pgsched.db.queries.queues import MAX_LIMIT_OF_QUEUE, ORDERINGS, QueueLimits, QueueOptions, set_queue
from pgsched.db.queries.settings import RETENTION
from pgsched.domain.errors import PgschedError
from pgsched.domain.records import QueueInfo, QueueSettings
from pgsched.domain.waiting.reasons import WhyQueue

if TYPE_CHECKING:
    from pgsched.client.client import Client

NONE_YET = "no queues yet: a queue appears with its first task"
LIMIT = click.IntRange(1, MAX_LIMIT_OF_QUEUE)


def ordering_in_words(queue: QueueInfo | QueueSettings) -> str:
    """Describe how a queue is ordered: ``fifo, ageing 1h``."""
    return queue.ordering if queue.ageing is None else f"{queue.ordering}, ageing {queue.ageing.to_short_text()}"


def limits_in_words(queue: QueueInfo) -> str:
    """Describe a queue's limits: ``3 at once, 2 at once per key, 100 starts in 1 second``."""
    per = queue.limits.get("per", "1 second")
    words = {
        "concurrency": "at once",
        "concurrency_per_key": "at once per key",
        "rate": f"starts in {per}",
        "rate_per_key": f"starts in {per} per key",
    }
    return ", ".join(f"{queue.limits[limit]} {text}" for limit, text in words.items() if limit in queue.limits)


def _number(name: str) -> Callable[[QueueInfo], object]:
    """A number of a queue; an estimate begins with ``about``."""
    return lambda one: f"about {getattr(one, name):,}" if name in one.estimated else getattr(one, name)


COLUMNS: Columns = {
    "QUEUE": "name",
    "PAUSED": "paused",
    "PENDING": _number("pending"),
    "READY": _number("due"),
    "ACTIVE": _number("running"),
    "DEAD": _number("dead"),
    "LATENCY": lambda one: None if one.oldest_due_seconds is None else span(one.oldest_due_seconds),
    "ORDERING": ordering_in_words,
    "LIMITS": lambda one: limits_in_words(one) or None,
}


@click.group()
def queue() -> None:
    """List, show, pause, limit and configure queues."""


@queue.command("list")
@lists(COLUMNS, empty=NONE_YET)
def list_(client: Client) -> list[QueueInfo]:
    """List the queues that have tasks, settings or workers."""
    return client.queues()


class ShownQueue(NamedTuple):
    """A queue: how many tasks it has, and its settings."""

    info: QueueInfo
    settings: QueueSettings

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dictionary."""
        return self.settings.as_dict() | self.info.as_dict()


def _in_words(shown: ShownQueue) -> None:
    info, settings = shown
    defaults = ", ".join(f"{option} {cell(value)}" for option, value in (settings.defaults or {}).items())
    say(
        fields(
            [
                ("queue", info.name),
                ("paused", info.paused),
                *((header.lower(), of(info)) for header, of in COLUMNS.items() if callable(of)),
                ("events", settings.events),
                ("retention", retention_in_words(settings) or None),
                ("defaults", defaults or None),
            ]
        )
    )


@queue.command()
@queue_argument
@shows(_in_words)
def show(client: Client, name: str) -> ShownQueue:
    """Show a queue: its numbers of tasks, limits, order, retention and defaults."""
    found = [one for one in client.queues() if one.name == name]
    if not found:
        near = nearest(client, "queue", name)
        raise PgschedError(f"queue {name!r} does not exist" + (f". Did you mean {near!r}?" if near else ""))
    return ShownQueue(found[0], client.queue(name))


@queue.command()
@queue_argument
@pass_client
def pause(client: Client, name: str) -> None:
    """Stop claiming from a queue; running tasks continue."""
    hint_unknown(client, "queue", [name])
    client.pause_queue(name, paused_by=getpass.getuser())
    say_done(f"queue {name}: paused")


@queue.command()
@queue_argument
@pass_client
def resume(client: Client, name: str) -> None:
    """Claim from a paused queue again."""
    hint_unknown(client, "queue", [name])
    client.resume_queue(name)
    say_done(f"queue {name}: resumed")


@queue.command()
@queue_argument
@shows(say_why_queue)
def why(client: Client, name: str) -> WhyQueue:
    """Explain why the tasks of a queue wait, how many are due, and when the backlog will be drained."""
    hint_unknown(client, "queue", [name])
    return client.why_queue(name)


@queue.command()
@queue_argument
@yes_option
@pass_client
def clear(client: Client, name: str, yes: bool) -> None:
    """Permanently delete every task of a queue that is not running; its settings and the history are kept.

    Each transaction deletes up to 1,000 tasks. If the command is interrupted, run it again to continue.
    """
    hint_unknown(client, "queue", [name])
    confirm(f"Delete every task of queue {name} permanently?", yes=yes)
    say_done(f"queue {name}: {count(change(client, 'delete', {'queue': [name]}), 'task')} deleted")


@queue.command()
@queue_argument
@click.argument("switch", metavar="on|off", type=click.Choice(["on", "off"]))
@pass_client
def events(client: Client, name: str, switch: str) -> None:
    """Publish the events of a queue's tasks, for `pgsched event follow` and other programs; or stop."""
    client.set_queue_events(name, switch == "on")
    say_done(f"queue {name}: events {switch}")


@queue.command(
    epilog=examples("pgsched queue limit mail --concurrency 5 --rate 100 --per 1m", "pgsched queue limit mail --none")
)
@queue_argument
@click.option(
    "--concurrency", metavar="N", type=LIMIT, help="Maximum number of its tasks that run at once, across all workers."
)
@click.option(
    "--per-key",
    "concurrency_per_key",
    metavar="N",
    type=LIMIT,
    help="Maximum number that run at once with the same concurrency key.",
)
@click.option("--rate", metavar="N", type=LIMIT, help="Maximum number that start within --per.")
@click.option(
    "--rate-per-key",
    metavar="N",
    type=LIMIT,
    help="Maximum number that start within --per with the same concurrency key.",
)
@click.option("--per", metavar="DURATION", help="The period of a rate: 1s, 1m, 1h.  [default: 1s]")
@click.option("--none", "no_limits", is_flag=True, help="Remove all limits.")
@pass_client
def limit(client: Client, /, name: str, no_limits: bool, **given: Any) -> None:
    """Limit a queue across all workers. The given limits replace the previous ones."""
    limits = cast(QueueLimits, {limit: value for limit, value in given.items() if value is not None})
    if no_limits:
        if limits:
            raise click.UsageError("--none excludes the other options.", click.get_current_context())
        client.unlimit_queue(name)
        say_done(f"queue {name}: no limits")
        return
    if not set(limits) - {"per"}:
        raise click.UsageError(
            "Give --concurrency, --per-key, --rate, --rate-per-key or --none.", click.get_current_context()
        )
    client.limit_queue(name, **limits)
    (one,) = [found for found in client.queues() if found.name == name]
    say_done(f"queue {name}: {limits_in_words(one)}")


@queue.command("set", epilog=examples("pgsched queue set mail --ordering lifo --retention 7d"))
@queue_argument
@click.option(
    "--ordering",
    type=click.Choice(ORDERINGS),
    help="Run the task that has been due longest first (fifo) or last (lifo).",
)
@click.option(
    "--ageing",
    metavar="DURATION",
    help="Raise the priority of a waiting task by one each time this has passed; none: off.",
)
@retention_options
@clear_option(RETENTION)
@pass_client
def set_(
    client: Client,
    /,
    name: str,
    ordering: str | None,
    ageing: str | None,
    clear: tuple[str, ...],
    yes: bool,
    allow_short: bool,
    **kept: Any,
) -> None:
    """Configure the order of a queue's tasks, and how long finished ones are kept."""
    options = cast(QueueOptions, chosen(kept, clear))
    if ordering is not None:
        options["ordering"] = ordering
    if ageing is not None:
        options["ageing"] = None if ageing.strip().lower() == "none" else ageing
    if not options:
        raise click.UsageError(
            "Give at least one setting, as --ordering, --ageing or --retention.", click.get_current_context()
        )
    options["allow_short"] = allow_short
    confirm_change(client.database.address(), options, set_queue(name, options), yes=yes)
    client.set_queue(name, **options)
    now = client.queue(name)
    words = retention_in_words(now)
    say_done(f"queue {name}: {ordering_in_words(now)}" + (f"; {words}" if words else ""))


@queue.command(epilog=examples("pgsched queue defaults mail --max-attempts 5 --timeout 30s"))
@queue_argument
@default_options
@click.option("--none", "no_defaults", is_flag=True, help="Remove all defaults.")
@pass_client
def defaults(client: Client, /, name: str, no_defaults: bool, **given: Any) -> None:
    """Set the options of a queue's tasks that neither the task nor its handler sets; replaces the previous ones."""
    options = chosen_options(given)
    if no_defaults == bool(options):
        raise click.UsageError("Give options, as --max-attempts 5, or --none.", click.get_current_context())
    client.set_queue(name, defaults=options or None)
    now = client.queue(name).defaults or {}
    say_done(
        f"queue {name}: " + (", ".join(f"{option} {cell(value)}" for option, value in now.items()) or "no defaults")
    )

"""``pgsched queue``: the queues, paused and resumed, their limits and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import click

from pgsched.cli.events import queue_events
from pgsched.cli.options import json_option
from pgsched.cli.output import duration, say, say_rows, span
from pgsched.cli.retention_options import chosen, clear_option, confirm_change, retention_in_words, retention_options
from pgsched.cli.session import Session
from pgsched.db.queue_commands import MAX_LIMIT_OF_QUEUE, ORDERINGS, QueueLimits, QueueOptions, set_queue
from pgsched.db.settings_commands import RETENTION
from pgsched.domain.records import QueueInfo

HEADERS = ("QUEUE", "PAUSED", "PENDING", "DUE", "RUNNING", "DEAD", "OLDEST DUE FOR", "ORDERING", "LIMITS")
NONE_YET = "no queues yet: a queue appears with its first task"


def rows(queues: Sequence[QueueInfo]) -> list[tuple[object, ...]]:
    """The rows of a table of queues."""
    return [
        (
            one.name,
            one.paused,
            one.pending,
            one.due,
            one.running,
            one.dead,
            None if one.oldest_due_seconds is None else span(one.oldest_due_seconds),
            one.ordering if one.ageing is None else f"{one.ordering}, ageing {duration(one.ageing)}",
            limits_in_words(one) or None,
        )
        for one in queues
    ]


def limits_in_words(queue: QueueInfo) -> str:
    """``3 at once, 2 at once per key, 100 starts in 1 second``."""
    limits = queue.limits
    at_once = [
        f"{limits['concurrency']} at once" if "concurrency" in limits else "",
        f"{limits['concurrency_per_key']} at once per key" if "concurrency_per_key" in limits else "",
    ]
    per = limits.get("per", "1 second")
    rates = [
        f"{limits['rate']} starts in {per}" if "rate" in limits else "",
        f"{limits['rate_per_key']} starts in {per} per key" if "rate_per_key" in limits else "",
    ]
    return ", ".join(filter(None, at_once + rates))


@click.group()
def queue() -> None:
    """List, pause, resume, limit and set up queues."""


queue.add_command(queue_events)


@queue.command("list")
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the queues that have tasks or settings."""
    with session.client() as client:
        found = client.queues()
    say_rows(found, HEADERS, rows(found), as_json=as_json, empty=NONE_YET)


@queue.command()
@click.argument("name")
@click.pass_obj
def pause(session: Session, name: str) -> None:
    """Claim nothing more of a queue; what runs goes on."""
    with session.client() as client:
        client.pause_queue(name)
    say(f"queue {name}: paused")


@queue.command()
@click.argument("name")
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """Work on a paused queue again."""
    with session.client() as client:
        client.resume_queue(name)
    say(f"queue {name}: resumed")


LIMIT = click.IntRange(1, MAX_LIMIT_OF_QUEUE)


@queue.command()
@click.argument("name")
@click.option("--concurrency", metavar="N", type=LIMIT, help="So many of its tasks run at once, over all workers.")
@click.option(
    "--per-key",
    "concurrency_per_key",
    metavar="N",
    type=LIMIT,
    help="So many with the same concurrency key run at once.",
)
@click.option("--rate", metavar="N", type=LIMIT, help="So many start within --per.")
@click.option(
    "--rate-per-key", metavar="N", type=LIMIT, help="So many with the same concurrency key start within --per."
)
@click.option("--per", metavar="DURATION", help="The time of a rate, as 1s, 1m, 1h.  [default: 1s]")
@click.option("--none", "no_limits", is_flag=True, help="No limits.")
@click.pass_obj
def limit(session: Session, /, name: str, no_limits: bool, **given: Any) -> None:
    """Limit what runs and starts of a queue, over all workers; instead of the limits it had."""
    limits = cast(QueueLimits, {limit: value for limit, value in given.items() if value is not None})
    if no_limits and limits:
        raise click.UsageError("--none excludes the other options")
    if not no_limits and not set(limits) - {"per"}:
        raise click.UsageError("give --concurrency, --per-key, --rate or --rate-per-key, or --none")
    with session.client() as client:
        if no_limits:
            client.unlimit_queue(name)
            say(f"queue {name}: no limits")
            return
        client.limit_queue(name, **limits)
        (one,) = [found for found in client.queues() if found.name == name]
    say(f"queue {name}: {limits_in_words(one)}")


@queue.command("set")
@click.argument("name")
@click.option("--ordering", type=click.Choice(ORDERINGS), help="The row that is due longest first, or last.")
@click.option(
    "--ageing",
    metavar="DURATION",
    help="A row that has waited so long counts as one priority higher, for each such span; none: off.",
)
@retention_options
@clear_option(RETENTION)
@click.pass_obj
def set_(
    session: Session,
    /,
    name: str,
    ordering: str | None,
    ageing: str | None,
    clear: tuple[str, ...],
    yes: bool,
    allow_short: bool,
    **kept: Any,
) -> None:
    """Set up in which order the tasks of a queue run, and how long those that are finished are kept."""
    options = cast(QueueOptions, chosen(kept, clear))
    if ordering is not None:
        options["ordering"] = ordering
    if ageing is not None:
        options["ageing"] = None if ageing.strip().lower() == "none" else ageing
    if not options:
        raise click.UsageError("nothing to set: give an option, as --ordering, --ageing or --retention")
    options["allow_short"] = allow_short
    with session.client() as client:
        confirm_change(client.database.address(), options, set_queue(name, options), yes=yes)
        client.set_queue(name, **options)
        now = client.queue(name)
    order = now.ordering if now.ageing is None else f"{now.ordering}, ageing {duration(now.ageing)}"
    words = retention_in_words(now)
    say(f"queue {name}: {order}" + (f"; {words}" if words else ""))

"""Changes to tasks, schedules, queues and calendars, each with its entry in the audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.dead_tasks import purge_dead, retry_dead
from pgsched.db.queries.payload_edits import EditedPayloads
from pgsched.db.queries.queues import lock_queue
from pgsched.db.queries.saved_views import list_views
from pgsched.db.queries.schedules import list_calendars, lock_calendar
from pgsched.db.queries.task_search import BATCH, MAX_CHANGED, Changed, among, chunks
from pgsched.db.queries.tasks import expect_version
from pgsched.domain.bulk_changes import without_secrets
from pgsched.domain.errors import VersionConflict
from pgsched.domain.records import QueueSettings, Task, to_json_able
from pgsched.domain.saved_views import SavedView
from pgsched.domain.scheduled import BackfillTick, OnConflict, Scheduled
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.domain.task_filters import TaskFilters
from pgsched.domain.task_spec import TaskOptions
from pgsched.domain.unique import Unique
from pgsched.domain.validation import RULES
from pgsched.domain.versions import check_version, version_of
from pgsched.web.auth.access import Actor
from pgsched.web.services.audit import Change, audited, differences

Work = Callable[[AsyncClient], Awaitable[object]]
Versions = tuple[str, ...] | None
"""The object must have one of these versions; None: any."""
SHOWN_IDS: Final = 1000
"""Maximum number of ids of changed tasks in an answer."""


class Made(NamedTuple):
    """The task of a create request, and its outcome."""

    task: Task
    outcome: str
    """``created``, ``existing``, ``updated``, ``unchanged`` or ``replaced``."""
    differs: Sequence[str] = ()
    """The given columns whose values differ from those of an existing task."""
    warnings: Sequence[str] = ()
    """Warnings of the database: that the task's type is not registered."""


class Edited(NamedTuple):
    """A task after an edit."""

    task: Task
    version: str


async def create_task(
    actor: Actor,
    task_type: str,
    payload: Mapping[str, Any] | None,
    options: TaskOptions,
    *,
    on_conflict: OnConflict = "return",
    unique: Unique | None = None,
) -> Made:
    """Schedule a task. Raises like the client's ``schedule``."""
    async with audited(actor, "task.create") as change:
        was = await _known(change, options, on_conflict)
        scheduled = await change.client.schedule(task_type, payload, on_conflict=on_conflict, unique=unique, **options)
        return await _made(change, scheduled, was)


async def create_group(
    actor: Actor,
    steps: Sequence[dict[str, Any] | str],
    options: TaskOptions,
    *,
    on_conflict: OnConflict = "return",
    unique: Unique | None = None,
) -> Made:
    """Schedule a group of steps. Raises like the client's ``schedule_group``."""
    async with audited(actor, "group.create") as change:
        was = await _known(change, options, on_conflict)
        scheduled = await change.client.schedule_group(
            {"steps": steps}, on_conflict=on_conflict, unique=unique, **options
        )
        return await _made(change, scheduled, was)


async def add_steps(actor: Actor, group_id: int, steps: Sequence[dict[str, Any] | str]) -> list[int]:
    """Add steps to a running group; return their ids. Raises like the client's ``add_steps``."""
    async with audited(actor, "group.add_steps", task_id=group_id) as change:
        ids = await change.client.add_steps(group_id, {"steps": steps})
        change.before, change.after = {}, {"number": len(ids), "ids": ids[:SHOWN_IDS]}
    return ids


async def _known(change: Change, options: TaskOptions, on_conflict: OnConflict) -> Task | None:
    """Return the current task that is to be changed."""
    key = options.get("idempotency_key")
    if on_conflict not in ("update", "replace") or key is None:
        return None
    return next(iter((await change.client.find_tasks(idempotency_key=key)).tasks), None)


async def _made(change: Change, scheduled: Scheduled, was: Task | None = None) -> Made:
    """Return the task that was created, or that already had the key; ``was``: its previous state."""
    outcome = scheduled.outcome or "created"
    change.task_id, change.nothing = int(scheduled), outcome in ("existing", "unchanged")
    task = await change.client.get(scheduled)
    if outcome == "updated":
        change.action = "task.update"
        change.before, change.after = differences(was, task)
    elif outcome == "replaced":
        change.action = "task.replace"
        change.before = {} if was is None else {"id": was.id, "status": was.status}
        change.after = {"id": task.id}
    differs = sorted(RULES[name].parameter for name in scheduled.differs)
    return Made(task, outcome, differs, scheduled.warnings)


async def update_task(
    actor: Actor, id: int, payload: Mapping[str, Any] | None, options: TaskOptions, *, versions: Versions = None
) -> Edited:
    """Change the given options of a task and return the task. Raises like the client's ``update``."""
    async with audited(actor, "task.update", task_id=id) as change:
        if_version = await _expected(change.client, id, versions)
        await change.client.update(id, payload, if_version=if_version, **options)
        return Edited(await change.client.get(id), await change.client.version(id))


async def delete_task(actor: Actor, id: int, *, versions: Versions = None) -> None:
    """Delete a task. Raises TaskNotFound, VersionConflict, and TransitionRefused while it runs."""
    async with audited(actor, "task.delete", task_id=id) as change:
        await change.client.delete(id, if_version=await _expected(change.client, id, versions))


async def _expected(client: AsyncClient, id: int, versions: Versions) -> str | None:
    """Return the version to compare: the current one, if it is among several."""
    if versions is None or len(versions) < 2:
        return versions[0] if versions else None
    now = await client.version(id)
    return now if now in versions else " or ".join(versions)


async def act_on_task(
    actor: Actor,
    verb: str,
    id: int,
    *,
    catch_up: bool = True,
    payload: Mapping[str, Any] | None = None,
    versions: Versions = None,
) -> Task:
    """Enable, disable, run, cancel, retry, replan or skip; return the task, for ``run`` the one that runs.

    ``catch_up`` belongs to enable, ``payload`` to retry. Raises TaskNotFound, VersionConflict, and TransitionRefused in
    a status that does not allow it.
    """
    async with audited(actor, f"task.{verb}", task_id=id) as change:
        client, shown = change.client, id
        if (version := await _expected(client, id, versions)) is not None:
            await client.database.run(expect_version(id, version))
        match verb:
            case "enable":
                change.nothing = not await client.enable(id, catch_up=catch_up)
            case "disable":
                change.nothing = not await client.disable(id)
            case "run":
                shown = await client.run_now(id, run_by=actor.name)
                if shown != id:
                    change.before, change.after = {}, {"copy": shown}
            case "retry":
                await client.retry(id, payload=payload)
            case _:
                steps = {"cancel": client.cancel, "replan": client.replan, "skip": client.skip_next}
                await steps[verb](id)
        return await client.get(shown)


async def change_tasks(
    actor: Actor,
    action: str,
    filters: TaskFilters,
    *,
    limit: int = MAX_CHANGED,
    dry_run: bool = False,
    before_id: int | None = None,
) -> Changed:
    """Apply an action to all matching tasks that allow it, in transactions of limited size, each with its entry.

    Raises like the client's ``change_tasks``.
    """
    tried = await actor.client.change_tasks(action, limit=limit, dry_run=True, before_id=before_id, **filters)
    if dry_run:
        return tried
    changed: list[int] = []
    for chunk in chunks(tried.changed, BATCH):
        async with audited(actor, f"tasks.{action}", target="tasks") as change:
            fitting = among(filters, chunk)
            done = await change.client.change_tasks(action, limit=len(chunk), run_by=actor.name, **fitting)
            change.nothing = not done.changed
            change.before = {"filter": without_secrets(filters)}
            change.after, change.task_ids = {"changed": len(done.changed)}, done.changed
        changed += done.changed
    return tried._replace(changed=changed)


async def edit_payloads(
    actor: Actor, patch: Mapping[str, Any], filters: TaskFilters, *, limit: int, before_id: int | None, dry_run: bool
) -> EditedPayloads:
    """Change the payloads of a batch of waiting tasks. Raises like the client's ``edit_payload_batch``."""
    async with audited(actor, "tasks.edit_payloads", target="tasks") as change:
        done = await change.client.edit_payload_batch(
            patch, limit=limit, before_id=before_id, dry_run=dry_run, **filters
        )
        change.nothing = dry_run or not done.edited
        change.before = {"filter": without_secrets(filters)}
        change.after, change.task_ids = {"edited": done.edited, "keys": sorted(patch)}, done.ids
    return done


async def change_dead(actor: Actor, verb: str, **which: Any) -> int:
    """Retry or purge dead tasks and return how many; ``which`` holds arguments of the client's ``retry_dead`` etc.

    In transactions of limited size, each with its entry.
    """
    following = retry_dead(**_of_all(which)) if verb == "retry" else purge_dead(**_of_all(which, "older_than"))
    number, done = 0, None
    while done is None or done.last is not None:
        async with audited(actor, f"dead.{verb}", queue=which.get("queue"), target="dead") as change:
            done = await change.client.database.run(following(done))
            change.nothing = done.changed == 0
            change.before = {name: value for name, value in which.items() if value}
            change.after, change.task_ids = {"number": done.changed}, done.ids
        number += done.changed
    return number


def _of_all(which: Mapping[str, Any], *others: str) -> dict[str, Any]:
    return {"all": which.get("all", False)} | {name: which.get(name) for name in ("queue", "task_type", *others)}


async def backfill(
    actor: Actor, task_id: int, since: datetime, until: datetime, *, max_ticks: int, dry_run: bool
) -> Sequence[BackfillTick]:
    """Run past ticks of a schedule, or return which would run. Raises like the client's ``backfill``."""
    async with audited(actor, "task.backfill", task_id=task_id) as change:
        ticks = await change.client.backfill(task_id, since, until, max_ticks=max_ticks, dry_run=dry_run)
        made = number_to_run(ticks)
        change.nothing = dry_run or not made
        told = {"from": to_json_able(since), "to": to_json_able(until), "max_ticks": max_ticks, "made": made}
        change.before, change.after = {}, told
    return ticks


def number_to_run(ticks: Sequence[BackfillTick]) -> int:
    """Return how many of the ticks run now: not those that ran before or that the schedule itself will run."""
    return sum(one.outcome == "run" for one in ticks)


async def change_queue(
    actor: Actor, verb: str, name: str, work: Work, *, versions: Versions = None
) -> tuple[QueueSettings, Change]:
    """Let ``work`` change a queue in one transaction; return its settings, and which of them changed.

    Raises InvalidTask for an invalid queue name, and VersionConflict.
    """
    async with audited(actor, f"queue.{verb}", queue=name) as change:
        await change.client.database.run(lock_queue(name))
        was = await change.client.queue(name)
        await work(change.client)  # First: an invalid request is reported before a concurrent edit.
        check_version(f"queue {name!r}", version_of_queue(was), versions)
        now = await change.client.queue(name)
        change.note(was.as_dict(), now.as_dict())
    actor.state.stats.forget()
    return now, change


def version_of_queue(one: QueueSettings) -> str:
    """Return the version of a queue's settings; it does not cover whether the queue is paused."""
    return version_of({name: value for name, value in one.as_dict().items() if name != "paused"})


async def pause_queue(actor: Actor, name: str) -> QueueSettings:
    """Pause a queue: claim no more of its tasks; running tasks continue."""
    return (await change_queue(actor, "pause", name, lambda client: client.pause_queue(name, paused_by=actor.name)))[0]


async def resume_queue(actor: Actor, name: str) -> QueueSettings:
    """Resume a paused queue."""
    return (await change_queue(actor, "resume", name, lambda client: client.resume_queue(name)))[0]


async def find_calendar(client: AsyncClient, name: str) -> Calendar | None:
    """Return a calendar; None when it does not exist. Raises InvalidTask for an invalid name."""
    found = await client.database.run(list_calendars(name))
    return found[0] if found else None


async def set_calendar(
    actor: Actor, name: str, days: Iterable[str], *, versions: Versions = None, exists: bool = False
) -> tuple[Calendar, Change]:
    """Create a calendar or replace its days; return it, and what changed.

    Raises InvalidTask, and VersionConflict; where the calendar must exist, also when it does not.
    """
    async with audited(actor, "calendar.set", target=name) as change:
        await change.client.database.run(lock_calendar(name))
        was = await find_calendar(change.client, name)
        change.before = _noted(was)
        await change.client.set_calendar(name, days)
        if was is None and exists:
            raise VersionConflict(f"calendar {name!r}", version=None, expected=" or ".join(versions or ("*",)))
        check_version(f"calendar {name!r}", version_of_calendar(was), versions)
        (now,) = await change.client.database.run(list_calendars(name))
        change.after = _noted(now)
        change.nothing = change.before == change.after
    return now, change


def version_of_calendar(one: Calendar | None) -> str:
    """Return the version of a calendar, which covers its days; empty while it does not exist."""
    return "" if one is None else version_of({"days": one.days})


async def delete_calendar(actor: Actor, name: str, *, versions: Versions = None) -> None:
    """Delete a calendar.

    Raises CalendarNotFound, VersionConflict, and TransitionRefused while a cron expression uses it.
    """
    async with audited(actor, "calendar.delete", target=name) as change:
        await change.client.database.run(lock_calendar(name))
        was = await find_calendar(change.client, name)
        if was is not None:
            check_version(f"calendar {name!r}", version_of_calendar(was), versions)
        change.before = _noted(was)
        await change.client.delete_calendar(name)


async def set_view(actor: Actor, name: str, query: str) -> tuple[SavedView, Change]:
    """Save a view or replace its query; return it, and what changed. Raises InvalidTask."""
    async with audited(actor, "view.set", target=name) as change:
        known = await change.client.database.run(list_views(name))
        was = known[0] if known else None
        await change.client.set_view(name, query, saved_by=actor.name)
        now = await change.client.view(name)
        change.before = None if was is None else {"saved_by": was.saved_by}
        change.after = {"saved_by": now.saved_by}  # A search text may quote payloads.
        change.nothing = was is not None and was.query == now.query
    return now, change


async def delete_view(actor: Actor, name: str) -> None:
    """Delete a view. Raises ViewNotFound."""
    async with audited(actor, "view.delete", target=name) as change:
        change.before = {}
        await change.client.delete_view(name)


def _noted(one: Calendar | None) -> dict[str, list[str]] | None:
    return None if one is None else {"days": one.days}

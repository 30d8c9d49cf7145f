"""Task types: their throughput, failures, waits and durations; and a page with all details of one type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.workers import handlers as list_handlers
from pgsched.domain.counted import CountedTime, Deployment, ErrorStats, HistogramBin, TypeBucket, TypeStats
from pgsched.domain.validation import one_of
from pgsched.web.auth.access import Actor, Viewer
from pgsched.web.dashboard.handlers import workers_with
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import link, show
from pgsched.web.services.counted import BESIDES, RANGES, ago_of
from pgsched.web.svg.charts import Series
from pgsched.web.svg.series import Buckets, Line, Mark, histogram, history_bars, history_lines

_within = one_of(*RANGES)
_beside = one_of(*BESIDES)
SORTS: Final[Mapping[str, Callable[[TypeStats], float]]] = {
    "processed": lambda one: one.processed,
    "failed": lambda one: one.failed_share or 0,
    "wait": lambda one: one.wait_p95 or 0,
    "run": lambda one: one.run_p95 or 0,
}
"""The orders of the list, the largest first."""
_sort = one_of(*SORTS)
TYPE_ERRORS = 10
"""Maximum number of errors of a type on its page."""

router = page_router()


class Asked(NamedTuple):
    """The period that a page shows, and the one that it compares with."""

    within: str
    beside: str
    queue: str | None

    @property
    def ago(self) -> str | None:
        """How much earlier the other period ends."""
        return ago_of(self.within, self.beside)

    @property
    def query(self) -> dict[str, str | None]:
        """The parameters of a link."""
        return {"within": self.within, "beside": self.beside, "queue": self.queue}


def asked_of(actor: Actor, *, within: str = "1h") -> Asked:
    """Parse the requested period. Raises InvalidTask."""
    given = actor.request.query_params
    return Asked(
        _within("within", given.get("within") or within),
        _beside("beside", given.get("beside") or "day"),
        given.get("queue", "").strip() or None,
    )


def time_choices(actor: Actor, asked: Asked, path: str, **also: Any) -> dict[str, Any]:
    """Return the data of the period bar: links to the other ranges and comparisons."""
    return {
        "asked": asked,
        "ranges": [(one, link(actor, path, {**asked.query, "within": one, **also})) for one in RANGES],
        "besides": [(one, link(actor, path, {**asked.query, "beside": one, **also})) for one in BESIDES],
        "compared": {
            "7d": "the 7 days before",
            "30d": "the 30 days before",
        }.get(asked.within, {"day": "a day before", "week": "a week before"}.get(asked.beside, ""))
        if asked.ago
        else None,
    }


@router.get("/types")
async def types(actor: Viewer) -> Response:
    """Show every type with finished attempts."""
    asked = asked_of(actor)
    sort = _sort("sort", actor.request.query_params.get("sort") or "processed")
    look = await actor.state.counted.types(asked.within, asked.ago, asked.queue)
    rows = sorted(look.now, key=SORTS[sort], reverse=True)
    return show(
        actor,
        "types.html",
        at="types",
        **time_choices(actor, asked, "/types", sort=sort),
        time=look.time,
        sort=sort,
        sorts={one: link(actor, "/types", {**asked.query, "sort": one}) for one in SORTS},
        types=[(row, look.before.get(row.task_type)) for row in rows],
        delta=delta,
    )


@router.get("/types/type")
@router.get("/handlers/type")
async def one_type(actor: Viewer, name: str) -> Response:
    """Show all details of one type: its finished attempts and its registration."""
    asked = asked_of(actor)
    client = actor.client
    registered = await client.database.run(list_handlers(name))
    async with client.transaction() as one:
        found = await _of_type(one, name, asked)
    if not registered and not found.known:
        raise HTTPException(404, "no handler of this type is registered, and none of its attempts has ended")
    survey = await actor.state.surveys.get()
    buckets = Buckets(times=[row.at for row in found.history], seconds=found.time.seconds)
    marks = [
        Mark(at=row.at, words=f"version {row.version or 'unknown'}, {row.at:%Y-%m-%d %H:%M} UTC")
        for row in found.deployments
    ]
    return show(
        actor,
        "handler.html" if registered else "type.html",
        at="handlers" if actor.request.url.path.endswith("/handlers/type") else "types",
        handler=registered[0] if registered else None,
        workers=workers_with(registered[0], survey.workers) if registered else [],
        standby=client.database.standby,
        name=name,
        **time_choices(actor, asked, "/types/type", name=name),
        time=found.time,
        stats=found.stats,
        before=found.before,
        delta=delta,
        history=found.history,
        deployments=found.deployments,
        bins=found.bins,
        errors=found.errors,
        charts=_charts(name, buckets, found, marks),
    )


class _Found(NamedTuple):
    time: CountedTime
    stats: TypeStats | None
    before: TypeStats | None
    history: list[TypeBucket]
    earlier: list[TypeBucket]
    bins: list[HistogramBin]
    errors: list[ErrorStats]
    deployments: list[Deployment]
    known: bool


async def _of_type(one: AsyncClient, name: str, asked: Asked) -> _Found:
    time = await one.counted_time(within=asked.within)
    stats = await one.type_stats(name, within=asked.within, queue=asked.queue)
    earlier: list[TypeBucket] = []
    before: list[TypeStats] = []
    if asked.ago is not None:
        before = await one.type_stats(name, within=asked.within, ago=asked.ago, queue=asked.queue)
        earlier = await one.type_history(name, within=asked.within, ago=asked.ago, queue=asked.queue)
    return _Found(
        time=time,
        stats=next(iter(stats), None),
        before=next(iter(before), None),
        history=await one.type_history(name, within=asked.within, queue=asked.queue),
        earlier=earlier,
        bins=await one.type_histogram(name, within=asked.within, queue=asked.queue),
        errors=await one.errors(task_type=name, within=asked.within, queue=asked.queue, limit=TYPE_ERRORS),
        deployments=await one.deployments(since=time.since, until=time.until, task_type=name),
        known=bool(stats or before or await one.type_stats(name, within="400d")),
    )


def _charts(name: str, buckets: Buckets, found: _Found, marks: Sequence[Mark]) -> dict[str, Any]:
    rows = found.history
    bars = [
        Series(name="completed", css="bar-completed", values=[row.completed for row in rows]),
        Series(
            name="failed, timed out or lost",
            css="bar-failed",
            values=[row.failed + row.timed_out + row.lost for row in rows],
        ),
        Series(name="cancelled", css="bar-cancelled", values=[row.cancelled for row in rows]),
    ]
    charts: dict[str, Any] = {"throughput": history_bars(f"Throughput of {name}", buckets, bars, marks)}
    for kind in ("run", "wait"):
        lines = [
            Line(name=f"p{q}", css=f"line-p{q}", values=[getattr(row, f"{kind}_p{q}") for row in rows])
            for q in (50, 95, 99)
        ]
        if found.earlier:
            values = [getattr(row, f"{kind}_p95") for row in found.earlier]
            lines.append(Line(name="p95 before", css="line-before", values=values))
        charts[kind] = history_lines(f"{kind} of {name}", buckets, lines, marks)
        bins = [(row.longer_than, row.up_to, getattr(row, f"{kind}s")) for row in found.bins]
        shown = filled(bins)
        charts[f"{kind}_histogram"] = histogram(f"{kind} of {name}", shown) if shown else None
    return charts


def filled(bins: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Return bins including the empty ones between them, but not those at the ends."""
    some = [one for one in bins if one[2]]
    found: list[tuple[float, float, int]] = []
    for low, high, number in some:
        while found and found[-1][1] < low * 0.999:
            found.append((found[-1][1], found[-1][1] * 2**0.25, 0))
        found.append((low, high, number))
    return found


def delta(now: float | None, before: float | None) -> str | None:
    """Return the difference of a number from the previous one: ``+12 %``; None: one of them is not known."""
    if now is None or before is None:
        return None
    if before == 0:
        return "new" if now else "="
    change = now / before - 1
    if abs(change) < 0.005:
        return "="
    return f"×{now / before:,.1f}" if change > 9 else f"{change:+.0%}".replace("%", " %")

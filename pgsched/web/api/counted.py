"""Types and errors, from the counters that workers keep of the history."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query
from pydantic import Field, StrictBool
from starlette.responses import Response

from pgsched.db.queries.counted import CountedOptions
from pgsched.domain.counted import Deployment, ErrorStats, HistogramBin, TypeBucket, TypeStats
from pgsched.web.api import counted_examples as examples
from pgsched.web.api.documented import answers, json_body, reply
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import NumberShape, list_of, shape_of
from pgsched.web.api.values import StrictModel
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.services.error_changes import MAX_COUNTED, change_error

router = api_router("types and errors")

TypeShape = shape_of(TypeStats, "TypeStats")
TypeBucketShape = shape_of(TypeBucket, "TypeBucket")
HistogramBinShape = shape_of(HistogramBin, "HistogramBin")
ErrorShape = shape_of(ErrorStats, "ErrorStats")
DeploymentShape = shape_of(Deployment, "Deployment")
Types = list_of(TypeShape, "Types", "Types, those with the most attempts first.")
TypeHistory = list_of(TypeBucketShape, "TypeHistory", "Buckets in order, including empty ones.")
TypeHistogram = list_of(HistogramBinShape, "TypeHistogram", "Bins that are not empty, in order.")
Errors = list_of(ErrorShape, "Errors", "Groups of errors, the most frequent first.")
Deployments = list_of(DeploymentShape, "Deployments", "Versions, the latest first.")

Within = Annotated[str, Query(description='Length of the period until now: "1h", "7d"; 5 minutes to 400 days.')]
Ago = Annotated[str | None, Query(description='An earlier period of the same length: "1d" shifts it back by a day.')]
OfQueue = Annotated[str | None, Query(description="Only this queue.")]
OfType = Annotated[str | None, Query(description="Only this type.")]


def time_of(within: Within = "1h", ago: Ago = None, queue: OfQueue = None) -> CountedOptions:
    """The period and the queue."""
    return CountedOptions(within=within, ago=ago, queue=queue)


Time = Annotated[CountedOptions, Depends(time_of)]


class ErrorAct(StrictModel):
    """What to do with the dead tasks of an error."""

    dry_run: StrictBool = Field(False, description="true: only count them, up to 10,000.")


@router.get(
    "/types", summary="Read throughput, failures and durations of types", responses=answers(Types, [examples.TYPE])
)
async def list_types(actor: Viewer, time: Time, task_type: OfType = None) -> Response:
    """Waits are the seconds from due to start of first attempts; quantiles are accurate to 9 %. Workers update the
    counters once a minute.
    """
    return reply(actor, await actor.client.type_stats(task_type, **time))


@router.get(
    "/types/history",
    summary="Read finished tasks of a type over time",
    responses=answers(TypeHistory, [examples.BUCKET]),
)
async def list_type_history(actor: Viewer, time: Time, task_type: OfType = None) -> Response:
    """In buckets of 5 minutes for up to 6 hours, of an hour for up to a day, of 6 hours for up to 7 days, else of a
    day.
    """
    return reply(actor, await actor.client.type_history(task_type, **time))


@router.get(
    "/types/histogram",
    summary="Read histograms of the run and wait times of a type",
    responses=answers(TypeHistogram, [examples.BIN]),
)
async def list_type_histogram(actor: Viewer, time: Time, task_type: OfType = None) -> Response:
    """Four bins for each doubling of the time, in seconds."""
    return reply(actor, await actor.client.type_histogram(task_type, **time))


@router.get("/deployments", summary="List versions of the code", responses=answers(Deployments, [examples.DEPLOYMENT]))
async def list_deployments(
    actor: Viewer,
    within: Within = "30d",
    task_type: OfType = None,
) -> Response:
    """When each version became the newest in the register, with the types that it registered."""
    async with actor.client.transaction() as client:
        time = await client.counted_time(within=within)
        found = await client.deployments(since=time.since, until=time.until, task_type=task_type)
    return reply(actor, found)


@router.get("/errors", summary="List errors of attempts, grouped", responses=answers(Errors, [examples.ERROR]))
async def list_errors(
    actor: Viewer,
    task_type: OfType = None,
    within: Within = "1d",
    ago: Ago = None,
    queue: OfQueue = None,
    limit: Annotated[int, Query(description="1 to 10,000.")] = 200,
) -> Response:
    """Two errors belong to the same group when exception and message are equal except for numbers, ids, quoted texts
    and times.
    """
    return reply(
        actor, await actor.client.errors(task_type=task_type, within=within, ago=ago, queue=queue, limit=limit)
    )


@router.get("/errors/{id}", summary="Read a group of errors", responses=answers(ErrorShape, examples.ERROR, 404))
async def get_error(actor: Viewer, id: str, within: Within = "90d") -> Response:
    """Its `id` is the one in `GET /errors`."""
    return reply(actor, await actor.client.error(id, within=within))


@router.post(
    "/errors/{id}/retry",
    summary="Retry all dead tasks of an error",
    responses=answers(NumberShape, {"number": 2}, 400, 404),
)
async def retry_error(
    actor: Operator, id: str, body: Annotated[ErrorAct, json_body(all=("All of them", {}))]
) -> Response:
    """1,000 of them per transaction. Not available for `other`."""
    return await _act(actor, "retry", id, body)


@router.post(
    "/errors/{id}/delete",
    summary="Delete all dead tasks of an error",
    responses=answers(NumberShape, {"number": 2}, 400, 404),
)
async def delete_error(
    actor: Operator, id: str, body: Annotated[ErrorAct, json_body(all=("All of them", {}))]
) -> Response:
    """1,000 of them per transaction; their history stays. Not available for `other`."""
    return await _act(actor, "delete", id, body)


async def _act(actor: Operator, verb: str, id: str, body: ErrorAct) -> Response:
    if body.dry_run:
        return reply(actor, {"number": await actor.client.count_dead_of_error(id, most=MAX_COUNTED)})
    return reply(actor, {"number": await change_error(actor, verb, id)})

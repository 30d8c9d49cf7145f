"""Client methods that explain a wait: why a task or a queue waits, and when a backlog will be drained."""

from __future__ import annotations

from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries import reasons as reason_commands
from pgsched.db.queries import tasks as task_commands
from pgsched.db.queries import workers as worker_commands
from pgsched.domain.waiting.backlog import Forecast, forecast
from pgsched.domain.waiting.facts import Fleet
from pgsched.domain.waiting.queue import judge_queue
from pgsched.domain.waiting.reasons import Why, WhyQueue
from pgsched.domain.waiting.task import judge_task, of_departed


class AsyncReasonClient:
    """The part of :class:`pgsched.AsyncClient`."""

    _database: AsyncDatabase

    async def why(self, task_id: int) -> Why:
        """Return why a task waits: its queue is paused or at a limit, no worker takes it, it has dependencies, etc.

        ``is_ready``: nothing keeps it, and the next claim of a worker takes it. The judgement uses the workers' last
        heartbeats. Raises TaskNotFound.
        """
        async with self._database.transaction() as one:
            task = await one.run(reason_commands.look_at_task(task_id))
            if task is None:
                return of_departed(await one.run(task_commands.get(task_id)))
            fleet = Fleet(await one.run(worker_commands.workers()), task.queue, task.task_type)
            looked = reason_commands.look_at_queue(task.queue, key=task.concurrency_key, task_type=task.task_type)
            queue = await one.run(looked)
            ahead = None
            if task.is_claimable and fleet.claiming:
                ahead = await one.run(reason_commands.count_ahead(task, queue, fleet.rival_types(queue)))
        return judge_task(task, queue, fleet, ahead)

    async def why_queue(self, name: str) -> WhyQueue:
        """Return why the tasks of a queue wait, how many are due, and when the backlog drains. Raises InvalidTask."""
        async with self._database.transaction() as one:
            queue = await one.run(reason_commands.look_at_queue(name))
            fleet = Fleet(await one.run(worker_commands.workers()), name, None)
            due = await one.run(reason_commands.look_at_due(name))
            samples = await one.run(reason_commands.list_backlogs(name))
        unhandled = [one_type for one_type in due.by_type if not Fleet(fleet.workers, name, one_type).able]
        return judge_queue(
            queue,
            fleet,
            unhandled,
            due=sum(due.by_type.values()),
            due_is_capped=due.is_capped,
            oldest_due_at=due.oldest_due_at,
            forecast=forecast(samples.get(name, []), queue.now),
        )

    async def forecasts(self) -> dict[str, Forecast]:
        """Return a prediction for the backlog of each queue, if the trend of the last quarter of an hour continues."""
        async with self._database.transaction() as one:
            now = await one.run(reason_commands.read_clock())
            samples = await one.run(reason_commands.list_backlogs())
        return {queue: forecast(found, now) for queue, found in samples.items()}

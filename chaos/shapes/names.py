"""Thousands of names, and payloads as large as they may be."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.shapes.app import TYPES
from chaos.shapes.model import CLAIM_BYTES, OddShape
from chaos.shapes.stage import MB, Stage

OVER = "select not exists (select from pgsched.tasks where status <> 'completed' and {})"


class ManyQueues(OddShape):
    """A worker that serves a pattern."""

    name = "queues"
    does = "Queues with four tasks each, all served by one worker as `tenant-*`; every tenth has settings of its own."
    size = 5_000
    things = "queues"
    worker_options = ("--queue", "ordinary", "--queue", "tenant-*", "--concurrency", "20")
    pages = (
        "/queues",
        "/",
        "/tasks",
        "/workers",
        "/api/v1/queues",
        "/queues/show?queue=tenant-00001",
        "/tasks?queue=tenant-00001",
    )

    def run(self, stage: Stage, size: int) -> None:
        stage.execute(
            "insert into pgsched.queues (name, retention) select 'tenant-' || to_char(n, 'fm00000'), '1 day'"
            f" from generate_series(1, {size}, 10) n;"
            "insert into pgsched.tasks (task_type, queue) select 'thing', 'tenant-' || to_char(n, 'fm00000')"
            f" from generate_series(1, {size}) n, generate_series(1, 4)"
        )
        stage.wait_for(OVER.format("queue like 'tenant-%'"))

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        late = stage.execute(
            "select extract(epoch from max(last_run_at) - min(last_run_at))::float8 as seconds"
            " from pgsched.tasks where queue like 'tenant-%'"
        )[0]["seconds"]
        self.told.append(f"{4 * size:,} tasks ran, all within {late:.1f} s.")
        return ()


class ManyTypes(OddShape):
    """An app that registers thousands of handlers."""

    name = "types"
    does = "An app with that many handlers, and five tasks of each type."
    size = 2_000
    things = "types"
    pages = ("/types", "/handlers", "/", "/tasks", "/api/v1/types", "/api/v1/handlers", "/errors")

    def set_up(self, stage: Stage, size: int) -> None:
        stage.environment[TYPES] = str(size)

    def run(self, stage: Stage, size: int) -> None:
        stage.execute(
            "insert into pgsched.tasks (task_type, queue) select 'type_' || to_char(n, 'fm00000'), 'shape'"
            f" from generate_series(0, {size} - 1) n, generate_series(1, 5)"
        )
        stage.wait_for(OVER.format("queue = 'shape'"))


class LargePayloads(OddShape):
    """Claimed by size, not by number."""

    name = "large-payloads"
    does = "Tasks whose payloads have a megabyte each, due at once: a worker holds 16 MiB of payloads at most."
    size = 500
    things = "payloads of 1 MiB"
    pages = ("/tasks", "/tasks?queue=shape", "/api/v1/tasks?queue=shape&fields=id,status")
    most_mb = 300.0
    """What the memory may grow by: payloads are read as text, parsed, and given to handlers."""

    def set_up(self, stage: Stage, size: int) -> None:
        stage.execute("select pgsched.pause_queue('shape')")
        # Random text, which PostgreSQL does not compress; 64 bytes are left for the key.
        stage.execute(
            "insert into pgsched.tasks (task_type, queue, payload)"
            " select 'large', 'shape', jsonb_build_object('text', left(t.text, 1024 * 1024 - 64))"
            f" from generate_series(1, {size}) n cross join lateral ("
            "  select string_agg(md5(random()::text || n || m), '') as text from generate_series(1, 32768) m) t"
        )

    def run(self, stage: Stage, size: int) -> None:
        stage.execute("select pgsched.resume_queue('shape')")
        stage.wait_for(OVER.format("queue = 'shape'"))

    def paths(self, stage: Stage) -> Iterable[str]:
        one = stage.number("select min(id) from pgsched.tasks where queue = 'shape'")
        for path in (f"/tasks/{one}", f"/api/v1/tasks/{one}"):
            self.told.append(
                f"`{path.replace(f'/{one}', '/ID')}`, with a payload of 1 MiB: {stage.page_seconds(path):.2f} s."
            )
        return self.pages

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        assert stage.worker is not None
        grown = (stage.worker_peak - stage.worker_quiet) / MB
        if grown > self.most_mb:
            yield f"the worker's memory grew by {grown:.0f} MB beside {CLAIM_BYTES // MB} MiB of payloads"
        wrong = stage.number(
            "select count(*) from pgsched.tasks where queue = 'shape' and result <> to_jsonb(1024 * 1024 - 64)"
        )
        if wrong:
            yield f"{wrong} payloads were cut"

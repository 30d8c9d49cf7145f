"""Many that wait for one, one that waits for many, and a long line of which each waits for the one before it."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.shapes.model import OddShape
from chaos.shapes.stage import Stage

OVER = "select not exists (select from pgsched.tasks where queue = 'shape' and status <> 'completed')"


class DependentsOfOne(OddShape):
    """Wide downwards."""

    name = "dependents-of-one"
    does = "Tasks that all depend on one task, which ends: they become due in the transaction of its end."
    size = 100_000
    things = "dependents"

    def set_up(self, stage: Stage, size: int) -> None:
        stage.execute(
            "insert into pgsched.tasks (task_type, queue, enabled) values ('thing', 'shape', false);"
            "insert into pgsched.tasks (task_type, queue, parent_id, depends_on)"
            " select 'thing', 'shape', t.id, array[t.id] from pgsched.tasks t,"
            f" generate_series(1, {size}) where t.queue = 'shape'"
        )

    def run(self, stage: Stage, size: int) -> None:
        stage.execute("update pgsched.tasks set enabled = true where queue = 'shape' and parent_id is null")
        stage.wait_for(OVER)

    def paths(self, stage: Stage) -> Iterable[str]:
        parent = stage.number("select id from pgsched.tasks where queue = 'shape' and parent_id is null")
        child = stage.number("select max(id) from pgsched.tasks where queue = 'shape'")
        return (
            *(f"/tasks/{parent}", f"/tasks?parent_id={parent}", f"/workflows/{parent}", f"/api/v1/tasks/{parent}/tree"),
            *(f"/tasks/{child}", f"/workflows/{child}", f"/workflows/{parent}?view=time", "/workflows", "/"),
        )

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        if left := stage.number("select count(*) from pgsched.dependencies"):
            yield f"{left} edges are left"


class JoinOfMany(OddShape):
    """Wide upwards."""

    name = "join-of-many"
    does = "One task that depends on all others, which run: each end counts down what it waits for."
    size = 100_000
    things = "dependencies"

    def set_up(self, stage: Stage, size: int) -> None:
        stage.execute(
            "select pgsched.pause_queue('shape');"
            f"insert into pgsched.tasks (task_type, queue) select 'thing', 'shape' from generate_series(1, {size});"
            "insert into pgsched.tasks (task_type, queue, task_name, depends_on)"
            " select 'thing', 'shape', 'join', array_agg(id) from pgsched.tasks where queue = 'shape'"
        )

    def run(self, stage: Stage, size: int) -> None:
        stage.execute("select pgsched.resume_queue('shape')")
        stage.wait_for(OVER)

    def paths(self, stage: Stage) -> Iterable[str]:
        join = stage.number("select id from pgsched.tasks where task_name = 'join'")
        first = stage.number("select min(id) from pgsched.tasks where queue = 'shape'")
        return (
            *(f"/tasks/{join}", f"/workflows/{join}", f"/api/v1/tasks/{join}/tree", f"/api/v1/tasks/{join}"),
            *(f"/tasks/{first}", f"/workflows/{first}", "/tasks", "/api/v1/tasks", "/workflows"),
        )

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        early = stage.number(
            "select count(*) from pgsched.tasks j join pgsched.tasks t on t.id = any(j.depends_on)"
            " where j.task_name = 'join' and t.completed_at > j.last_run_at"
        )
        if early:
            yield f"the join began before {early} of its dependencies had ended"


class DurableChildren(OddShape):
    """As wide as one durable run may be."""

    name = "durable-children"
    does = (
        "A durable run that starts its children all at once and waits for all of them; a run has 10,000 steps at most."
    )
    size = 5_000
    things = "children"

    def run(self, stage: Stage, size: int) -> None:
        stage.execute(
            "select pgsched.schedule('family', jsonb_build_object('children', %s::int), queue => 'shape')", size
        )
        stage.wait_for(OVER)

    def paths(self, stage: Stage) -> Iterable[str]:
        parent = stage.number("select id from pgsched.tasks where task_type = 'family'")
        return f"/tasks/{parent}", f"/workflows/{parent}", f"/tasks?parent_id={parent}"

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        if (found := stage.number("select count(*) from pgsched.tasks where parent_id is not null")) != size:
            yield f"{found} children were made, not {size}"
        resumes = stage.number("select count(*) from pgsched.executions where task_type = 'family'")
        self.told.append(f"Rows of the run in the history: {resumes}.")


class Chain(OddShape):
    """Long."""

    name = "chain"
    does = "Tasks of which each depends on the one before it; then such a chain is cancelled by its first task."
    size = 5_000
    things = "links"

    def set_up(self, stage: Stage, size: int) -> None:
        for name in ("run", "cancelled"):
            stage.execute(
                f"""
                do $$ declare last bigint; begin
                  insert into pgsched.tasks (task_type, queue, task_name, enabled)
                  values ('thing', 'shape', '{name} 1', false) returning id into last;
                  for number in 2..{size} loop
                    insert into pgsched.tasks (task_type, queue, task_name, depends_on)
                    values ('thing', 'shape', '{name} ' || number, array[last]) returning id into last;
                  end loop;
                end $$"""
            )

    def run(self, stage: Stage, size: int) -> None:
        stage.execute("select pgsched.enable(id) from pgsched.tasks where task_name = 'run 1'")
        stage.wait_for(OVER.replace("where", "where task_name like 'run %%' and").replace("%%", "%"))

    def paths(self, stage: Stage) -> Iterable[str]:
        ids = [
            stage.number(f"select id from pgsched.tasks where task_name = 'run {place}'")
            for place in (1, self._middle(stage))
        ]
        return [path for id in ids for path in (f"/tasks/{id}", f"/workflows/{id}", f"/api/v1/tasks/{id}/tree")]

    def _middle(self, stage: Stage) -> int:
        return stage.number("select count(*) / 2 from pgsched.tasks where task_name like 'run %'")

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        begun = stage.execute("select clock_timestamp() as at")[0]["at"]
        stage.execute("select pgsched.cancel(id) from pgsched.tasks where task_name = 'cancelled 1'")
        took = (stage.execute("select clock_timestamp() as at")[0]["at"] - begun).total_seconds()
        self.told.append(f"The cancellation of {size:,} links took {took:.2f} s in one transaction.")
        wrong = stage.number(
            "select count(*) from pgsched.tasks where task_name like 'cancelled %' and status <> 'cancelled'"
        )
        if wrong:
            yield f"{wrong} links were not cancelled"
        disorder = stage.number(
            "select count(*) from pgsched.tasks t join pgsched.tasks u on u.id = t.depends_on[1]"
            " where t.task_name like 'run %' and t.last_run_at < u.completed_at"
        )
        if disorder:
            yield f"{disorder} links began before the one before them had ended"

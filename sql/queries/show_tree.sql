-- Returns a task and its relatives, each with the relation: the steps of groups (of the current tick, otherwise of the
-- last; for a schedule that may overlap itself, of the child that is the tick), upwards its dependencies, downwards the
-- tasks that still wait. Steps wait for each other, so only the steps of a step are followed. Tasks that have left are
-- in the history.
with recursive found(kind, id) as (
  select 'self', %(id)s::bigint
  union
  select next.kind, next.id
  from found
  cross join lateral (select * from pgsched.known_tasks k where k.id = found.id limit 1) t
  cross join lateral (
    select 'child', c.id
    from pgsched.tasks c
    where found.kind in ('self', 'child') and t.task_type = 'pgsched.group' and c.parent_id = t.id
      and case when t.fired is not null then c.id = any(t.fired)
        else (c.observed or c.idempotency_key like 'tick:%%') and c.created_at = (
          select max(l.created_at) from pgsched.tasks l
          where l.parent_id = t.id and (l.observed or l.idempotency_key like 'tick:%%')) end
    union all
    select 'up', d from unnest(t.depends_on) as d where found.kind in ('self', 'up')
    union all
    select 'down', d.task_id
    from pgsched.dependencies d
    where found.kind in ('self', 'down') and d.upstream_id = t.id and d.task_id is distinct from t.parent_id
  ) as next(kind, id)
)
select f.kind, t.id, t.task_name, t.task_type, t.status, t.depends_on, t.parent_id, t.last_error,
  extract(epoch from coalesce(t.completed_at, t.died_at, clock_timestamp()) - case
    when t.status in ('completed', 'dead', 'cancelled') then coalesce(t.last_run_at, t.started_at)
    when t.fired is not null then t.last_run_at
    when t.status = 'running' then t.started_at end)::double precision as duration
from (select * from found limit %(limit)s) f
cross join lateral (select * from pgsched.known_tasks k where k.id = f.id limit 1) t

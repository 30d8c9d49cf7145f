-- Finds tasks that are still blocked although everything they waited for has ended, which should have unblocked them.
-- It reads only the latest edges and the latest rows of workflows.
with by_edge as (
  select t.id
  from (select d.task_id, d.upstream_id from pgsched.dependencies d limit %(cap)s) d
  join pgsched.tasks t on t.id = d.task_id and t.status = 'blocked'
  left join pgsched.tasks u on u.id = d.upstream_id
  where u.id is null or u.updated_at < now() - interval '1 minute' and (
    u.status = 'completed' and t.dependency_mode <> 'each'
    or u.status in ('dead', 'cancelled') and case when t.dependency_mode = 'each' then t.on_dependency_dead = 'cancel'
      else t.on_dependency_dead <> 'wait' or t.fired is not null end)
),
without_edges as (
  select t.id
  from (select t.id, t.status, t.updated_at from pgsched.tasks t
        where t.task_type = 'pgsched.group' or cardinality(t.depends_on) > 0
        order by t.id desc limit %(cap)s) t
  where t.status = 'blocked' and t.updated_at < now() - interval '1 minute'
    and not exists (select from pgsched.dependencies d where d.task_id = t.id)
    and not exists (select from pgsched.durable_runs r where r.task_id = t.id and r.awaits is not null)
)
select count(*) as number, (array_agg(s.id order by s.id))[1:3] as ids,
  (select array_agg(distinct d.upstream_id) from pgsched.dependencies d
   where d.task_id = any((array_agg(s.id order by s.id))[1:3])) as upstream
from (select id from by_edge union select id from without_edges) s

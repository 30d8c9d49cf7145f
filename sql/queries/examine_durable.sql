-- Finds durable runs in trouble: those whose code no longer has a step that they recorded, and those that should have
-- been woken a minute ago and were not.
select d.*
from (
  select 'unasked' as kind, t.task_type, count(*) as number, (array_agg(r.task_id order by r.task_id))[1:3] as ids,
    (array_agg(distinct u))[1:3] as names
  from (select * from pgsched.durable_runs r where r.unasked is not null limit %(cap)s) r
  join pgsched.tasks t on t.id = r.task_id and t.status in ('pending', 'blocked', 'running', 'dead')
  cross join lateral unnest(r.unasked) u
  group by t.task_type
  union all
  select 'unwoken', t.task_type, count(*), (array_agg(r.task_id order by r.task_id))[1:3], '{}'::text[]
  from (
    select * from pgsched.durable_runs r where r.wakes_at < now() - interval '1 minute'
    order by r.wakes_at limit %(cap)s
  ) r
  join pgsched.tasks t on t.id = r.task_id and t.status = 'blocked'
  group by t.task_type
) d
order by d.kind desc, d.task_type
limit 20

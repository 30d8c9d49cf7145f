-- Finds where a worker of very many queues has something to claim: each queue and priority that has rows which may ever
-- be claimed, whether one of them is due, and in how many seconds the next one becomes due. A loose index scan: two or
-- three steps for each pair, however many rows it has, and none for a queue without rows.
with recursive pair as (
  (select t.queue::text as queue, t.priority, t.next_run_at
   from pgsched.tasks t
   where t.next_run_at is not null and t.enabled
   order by t.queue, t.priority desc, t.next_run_at
   limit 1)
  union all
  select following.*
  from pair
  cross join lateral (
    -- The second step is only made if the first one finds nothing.
    select * from (
      (select t.queue::text, t.priority, t.next_run_at
       from pgsched.tasks t
       where t.queue = pair.queue and t.priority < pair.priority and t.next_run_at is not null and t.enabled
       order by t.priority desc, t.next_run_at
       limit 1)
      union all
      (select t.queue::text, t.priority, t.next_run_at
       from pgsched.tasks t
       where t.queue > pair.queue and t.next_run_at is not null and t.enabled
       order by t.queue, t.priority desc, t.next_run_at
       limit 1)
    ) steps
    limit 1
  ) following
)
select pair.queue, pair.priority, pair.next_run_at <= now() as due,
  extract(epoch from
    case when pair.next_run_at > now() then pair.next_run_at else upcoming.next_run_at end - now())::float8
from pair
left join lateral (
  select t.next_run_at
  from pgsched.tasks t
  where pair.next_run_at <= now() and t.queue = pair.queue and t.priority = pair.priority and t.next_run_at is not null
    and t.enabled and t.next_run_at > now()
  order by t.next_run_at
  limit 1
) upcoming on true

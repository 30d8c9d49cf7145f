-- Finds the rows that claim_tasks.sql would claim, in its order, after the database rejected the claim: without locks
-- and without payloads.
select found.id, found.task_type, found.queue
from unnest(%(queues)s::text[], %(priorities)s::smallint[], %(sinces)s::timestamptz[],
  %(cursor_ats)s::timestamptz[], %(cursor_ids)s::bigint[], %(untils)s::timestamptz[])
  with ordinality as p(queue, priority, since, cursor_at, cursor_id, until, place)
left join pgsched.queues q on q.name = p.queue
cross join lateral (
  select * from (
    select t.id, t.task_type, t.queue
    from pgsched.tasks t
    where q.ordering is distinct from 'lifo' and t.queue = p.queue and t.priority = p.priority
      and pgsched.is_claimable(t)
      and (t.next_run_at, t.id) > (coalesce(p.cursor_at, p.since, '-infinity'), coalesce(p.cursor_id, 0))
      and t.next_run_at <= coalesce(p.until, 'infinity')
      and t.task_type = any(%(task_types)s::text[]) and t.id <> all(%(set_aside)s::bigint[])
    order by t.next_run_at, t.id
    limit %(limit)s) first_in
  union all
  select * from (
    select t.id, t.task_type, t.queue
    from pgsched.tasks t
    where q.ordering = 'lifo' and t.queue = p.queue and t.priority = p.priority
      and pgsched.is_claimable(t) and t.next_run_at > coalesce(p.since, '-infinity')
      and t.next_run_at <= coalesce(p.until, 'infinity')
      and t.task_type = any(%(task_types)s::text[]) and t.id <> all(%(set_aside)s::bigint[])
    order by t.next_run_at desc, t.id desc
    limit %(limit)s) last_in
) found
where q.paused is not true and q.apart is not true
order by p.place
limit %(limit)s

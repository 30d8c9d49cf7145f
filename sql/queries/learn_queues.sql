-- Returns what a worker must know about its queues besides their names: which ones have limits, and which match its
-- patterns. A queue is found by its settings, or by its waiting rows with a loose index scan: one step per queue.
with recursive waiting as (
  (select t.queue::text as name
   from pgsched.tasks t
   where cardinality(%(patterns)s::text[]) > 0 and t.next_run_at is not null and t.enabled
   order by t.queue
   limit 1)
  union all
  select (
    select t.queue::text
    from pgsched.tasks t
    where t.queue > waiting.name and t.next_run_at is not null and t.enabled
    order by t.queue
    limit 1)
  from waiting where waiting.name is not null
)
select q.name::text, q.apart
from pgsched.queues q
where q.apart and q.name = any(%(queues)s::text[]) or q.name like any (%(patterns)s::text[])
union all
select w.name, false
from waiting w
where w.name like any (%(patterns)s::text[]) and not exists (select from pgsched.queues q where q.name = w.name)
order by 1

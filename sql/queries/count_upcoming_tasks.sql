-- Counts the one-time tasks that become due within a time range, by queue and interval: one probe of the due clock for
-- each queue and priority, each of which reads a bounded number of rows. Leaves out paused queues.
with found as materialized (
  select n.name, p.priority, f.next_run_at
  from pgsched.queues_in_use() as n(name)
  cross join generate_series(10, 1, -1) as p(priority)
  cross join lateral (
    select t.next_run_at
    from pgsched.tasks t
    where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
      and t.next_run_at > %(since)s and t.next_run_at < %(until)s
      and t.schedule_type = 'one_time' and t.status <> 'running'
    order by t.next_run_at, t.id
    limit %(each)s
  ) f
  where (%(queue)s::text is null or n.name = %(queue)s::text)
    and not exists (select from pgsched.queues q where q.name = n.name and q.paused)
  limit %(cap)s
)
select c.name as queue, c.bucket, c.number, not ends.full as complete
from (
  select (count(*) >= %(cap)s or exists (
    select from found f group by f.name, f.priority having count(*) >= %(each)s)) as full
  from found
) ends
left join (
  select f.name, floor(extract(epoch from f.next_run_at - %(begin)s) / %(width)s)::integer as bucket,
    count(*)::integer as number
  from found f
  group by 1, 2
) c on true

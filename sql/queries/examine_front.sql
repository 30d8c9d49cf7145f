-- Finds what should not be at the front of the due clock: schedules that should have run, rows whose lease expired long
-- ago, and rows leased to a worker that does not exist. It reads only the first rows of each queue and priority, since
-- stuck rows are the oldest.
with front as (
  select n.name as queue, exists (select from pgsched.queues q where q.name = n.name and q.paused) as paused, f.*
  from pgsched.queues_in_use() as n(name)
  cross join generate_series(10, 1, -1) as p(priority)
  cross join lateral (
    select t.id, t.schedule_type::text, t.status::text, t.next_run_at, t.locked_by, t.locked_until, t.started_at,
      pgsched.is_claimable(t) as claimable
    from pgsched.tasks t
    where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
      and t.next_run_at <= now()
    order by t.next_run_at, t.id
    limit %(cap)s
  ) f
),
judged as (
  select f.*, case
      when f.status = 'running' and f.locked_until < now() - %(stuck)s::float8 * interval '1 second' then 'stuck'
      when f.status = 'running' and f.locked_until >= now() and f.started_at < now() - interval '1 minute'
        and not exists (select from pgsched.workers w where w.id = f.locked_by) then 'orphaned'
      when f.schedule_type <> 'one_time' and f.next_run_at < now() - %(late)s::float8 * interval '1 second'
        and f.claimable and not f.paused then 'stalled' end as kind
  from front f
)
select j.kind, j.queue, j.paused, count(*) as number, (array_agg(j.id order by j.next_run_at, j.id))[1:3] as ids,
  extract(epoch from now() -
    min(case when j.kind = 'stuck' then j.locked_until else j.next_run_at end))::float8 as seconds
from judged j
where j.kind is not null
group by j.kind, j.queue, j.paused
order by j.kind, j.queue

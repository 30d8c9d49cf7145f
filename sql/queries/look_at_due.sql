-- Counts the due tasks of one queue by type, among the first %(cap)s rows of each priority's due clock, and returns
-- since when the oldest one that is not running has been due.
select f.task_type, count(*)::integer as due, min(f.next_run_at) as oldest_due_at, max(f.seen)::integer as seen
from generate_series(10, 1, -1) as p(priority)
cross join lateral (
  select front.task_type, front.next_run_at, front.claimable, count(*) over () as seen
  from (
    select t.task_type::text, t.next_run_at::timestamptz, pgsched.is_claimable(t) as claimable
    from pgsched.tasks t
    where t.queue = %(queue)s and t.priority = p.priority and t.next_run_at is not null and t.enabled
      and t.next_run_at <= now()
    order by t.next_run_at, t.id
    limit %(cap)s) front
) f
where f.claimable
group by f.task_type
order by f.task_type

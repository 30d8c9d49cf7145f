-- Counts the tasks of a queue that a claim for these types takes before the given one: due tasks of a higher priority,
-- and those of its own priority that precede it in the order of the queue. With `anywhere`, all other due tasks. Reads
-- up to %(cap)s entries of the claim's index for each priority, and their rows; above that, the result is a minimum.
select coalesce(sum(found.fitting), 0)::integer as number, coalesce(bool_or(found.ahead >= %(cap)s), false) as is_capped
from generate_series(10, case when %(anywhere)s then 1 else %(priority)s::integer end, -1) as p(priority)
cross join lateral (
  select count(*) filter (where f.is_ahead) as ahead, count(*) filter (where f.is_ahead and f.fits) as fitting
  from (
    select first_in.fits, %(anywhere)s and first_in.id <> %(id)s or not %(anywhere)s and (p.priority > %(priority)s
      or (first_in.next_run_at, first_in.id) < (%(next_run_at)s::timestamptz, %(id)s::bigint)) as is_ahead
    from (
      select t.id, t.next_run_at::timestamptz,
        pgsched.is_claimable(t) and t.task_type = any(%(task_types)s::text[]) as fits
      from pgsched.tasks t
      where not %(lifo)s and t.queue = %(queue)s and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now()
      order by t.next_run_at, t.id
      limit %(cap)s) first_in
    union all
    select last_in.fits, %(anywhere)s and last_in.id <> %(id)s or not %(anywhere)s and (p.priority > %(priority)s
      or (last_in.next_run_at, last_in.id) > (%(next_run_at)s::timestamptz, %(id)s::bigint)) as is_ahead
    from (
      select t.id, t.next_run_at::timestamptz,
        pgsched.is_claimable(t) and t.task_type = any(%(task_types)s::text[]) as fits
      from pgsched.tasks t
      where %(lifo)s and t.queue = %(queue)s and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now()
      order by t.next_run_at desc, t.id desc
      limit %(cap)s) last_in
  ) f
) found

-- Reads a batch of the dead tasks, oldest death first, with a summary of each task's error, by the index of dead tasks.
-- Tasks that died after the first batch started (`until`) are left alone; the next batch starts after the last row. The
-- text is only a preselection: a rule for all groups decides whether a task belongs to a group of errors.
select d.id, d.died_at, d.until, case when strpos(d.headline, %(exception)s) > 0 then d.headline end as headline
from (
  select t.id, t.died_at, coalesce(%(until)s::timestamptz, now()) as until,
    left(coalesce(t.last_error, ''), %(characters)s::integer) as headline
  from pgsched.tasks t
  where t.died_at <= coalesce(%(until)s::timestamptz, now())
    and (%(after_died_at)s::timestamptz is null
      or (t.died_at >= %(after_died_at)s::timestamptz
        and (t.died_at, t.id) > (%(after_died_at)s::timestamptz, %(after_id)s::bigint)))
  order by t.died_at, t.id
  limit %(batch)s) d
order by d.died_at, d.id

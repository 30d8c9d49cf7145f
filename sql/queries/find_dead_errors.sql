-- Reads a batch of the dead tasks, those that died first, with the summary of what each failed with, by the index of
-- dead tasks. What died after the first batch began (`until`) is left alone; the next batch comes after the last row.
-- The text is a first look: whether a task belongs to a group of errors is decided by the rule for all groups.
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

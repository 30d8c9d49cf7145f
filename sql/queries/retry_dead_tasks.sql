-- Gives one batch of the matching dead tasks, those that died first, their full number of attempts again. Locks the
-- rows first, so that each is still dead when it is changed. What died after the first batch began (`until`) is left
-- alone; the next batch comes after the last row of this one. No row was found: that was all.
with fitting as materialized (
  select t.id, t.died_at
  from pgsched.tasks t
  where t.died_at <= coalesce(%(until)s::timestamptz, now())
    and (%(queue)s::text is null or t.queue = %(queue)s::text)
    and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
    and (%(after_died_at)s::timestamptz is null
      or (t.died_at >= %(after_died_at)s::timestamptz
        and (t.died_at, t.id) > (%(after_died_at)s::timestamptz, %(after_id)s::bigint)))
  order by t.died_at, t.id
  limit %(batch)s
  for no key update
),
retried as materialized (select f.id from fitting f cross join lateral (select pgsched.retry(f.id) offset 0) r)
select (select count(*) from fitting) as found, (select count(*) from retried) as changed, l.died_at, l.id,
  coalesce(%(until)s::timestamptz, now()) as until
from (select) one
left join lateral (select f.died_at, f.id from fitting f order by f.died_at desc, f.id desc limit 1) l on true

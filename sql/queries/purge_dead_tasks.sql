-- Permanently deletes one batch of the matching dead tasks, oldest death first, except those that a user's object such
-- as a foreign key keeps. Tasks that died after the first batch started (`until`) are left alone; the next batch starts
-- after the last row of this one. Returns no row when all are done.
with fitting as materialized (
  select t.id, t.died_at
  from pgsched.tasks t
  where t.died_at <= coalesce(%(until)s::timestamptz, now())
    and (%(queue)s::text is null or t.queue = %(queue)s::text)
    and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
    and (%(older_than)s::text is null
      or t.died_at < coalesce(%(until)s::timestamptz, now()) - %(older_than)s::text::interval)
    and (%(after_died_at)s::timestamptz is null
      or (t.died_at >= %(after_died_at)s::timestamptz
        and (t.died_at, t.id) > (%(after_died_at)s::timestamptz, %(after_id)s::bigint)))
  order by t.died_at, t.id
  limit %(batch)s
),
gone as materialized (
  select d.id from pgsched.delete_apart(array(select f.id from fitting f), array['dead']) d where d.refusal is null
)
select (select count(*) from fitting) as found, array(select id from gone) as ids, l.died_at, l.id,
  coalesce(%(until)s::timestamptz, now()) as until
from (select) one
left join lateral (select f.died_at, f.id from fitting f order by f.died_at desc, f.id desc limit 1) l on true

-- Gives one batch of the matching dead tasks, oldest death first, their full number of attempts again. Tasks that died
-- after the first batch started (`until`) are left alone; the next batch starts after the last row of this one. Returns
-- no row when all are done.
--
-- Locks the rows first, so that each is still dead when it is changed; before them the groups of which they are steps,
-- in the order in which finishes lock them. A group continues with those of its steps that match; it is retried as a
-- whole if none does.
with found as materialized (
  select t.id, t.died_at, t.parent_id
  from pgsched.tasks t
  where t.died_at <= coalesce(%(until)s::timestamptz, now())
    and (%(queue)s::text is null or t.queue = %(queue)s::text)
    and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
    and (%(after_died_at)s::timestamptz is null
      or (t.died_at >= %(after_died_at)s::timestamptz
        and (t.died_at, t.id) > (%(after_died_at)s::timestamptz, %(after_id)s::bigint)))
  order by t.died_at, t.id
  limit %(batch)s
),
grouped as materialized (
  select pgsched.lock_steps(array(select f.id from found f where f.parent_id is not null))
),
fitting as materialized (
  select t.id
  from grouped, pgsched.tasks t
  where t.died_at is not null and t.id in (select f.id from found f)
    and not exists (select from unnest(t.fired) s join found f on f.id = s)
  order by t.died_at, t.id
  for no key update of t
),
torn as materialized (select pgsched.torn_groups(array(select f.id from fitting f)) as ids),
retried as materialized (
  select f.id from torn, fitting f cross join lateral (select pgsched.retry_locked(f.id, null, torn.ids) offset 0) r
)
select (select count(*) from found) as found, array(select id from retried) as ids, l.died_at, l.id,
  coalesce(%(until)s::timestamptz, now()) as until
from (select) one
left join lateral (select f.died_at, f.id from found f order by f.died_at desc, f.id desc limit 1) l on true

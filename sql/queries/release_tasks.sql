-- Releases claimed rows with the attempt that the claim counted, and wakes sleeping workers. A row locked by another
-- session is skipped: its lease expires.
with own as (
  select t.id
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
  cross join lateral (
    select t.id from pgsched.tasks t
    where t.id = any(array[d.id]) and t.fencing_token = d.token and t.locked_by = %(worker)s
      and t.status = 'running'
    for no key update skip locked) t
),
released as (
  update pgsched.tasks t
  set status = 'pending', locked_by = null, locked_until = null, attempts = greatest(t.attempts - 1, 0)
  from own
  where t.id = any(array[own.id])
  returning t.id, t.queue
),
woken as (
  select pgsched.wake_sleepers(queue, now()) from (select distinct queue from released) q
)
select (select count(*) from released), (select count(*) from woken)

-- Gives claimed rows back, with the attempt that the claim counted, and wakes who sleeps.
with released as (
  update pgsched.tasks t
  set status = 'pending', locked_by = null, locked_until = null, attempts = greatest(t.attempts - 1, 0)
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
  where t.id = any(array[d.id]) and t.fencing_token = d.token and t.locked_by = %(worker)s
    and t.status = 'running'
  returning t.id, t.queue
),
woken as (
  select pgsched.wake_sleepers(queue, now()) from (select distinct queue from released) q
)
select (select count(*) from released), (select count(*) from woken)

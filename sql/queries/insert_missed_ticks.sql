-- Ticks that were not run, in the transaction that runs or books another instead. It comes before what ends the claim, and
-- locks the rows that this will find: so nothing is noted that the fence keeps out, and nothing twice when a finish is sent
-- again because its answer was lost. Of a schedule that was edited since the claim the worker does not know what is booked, nor
-- what came during the run (pgsched.rebook notes that).
insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)
select d.id, t.task_type, t.queue, d.reason, d.ticks, d.since, case when t.revision = d.revision or d.until <= now() then d.until end
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(reasons)s::text[], %(counts)s::bigint[],
  %(sinces)s::timestamptz[], %(untils)s::timestamptz[], %(revisions)s::integer[])
  as d(id, token, reason, ticks, since, until, revision)
join lateral (
  select t.task_type, t.queue, t.revision
  from pgsched.tasks t
  where t.id = any(array[d.id]) and t.fencing_token = d.token and t.locked_by = %(worker)s
    and t.status = 'running'
  for no key update
) t on true
where d.reason <> 'overlap' or t.revision = d.revision

-- Records ticks that were not run, in the transaction that runs or books another tick instead. It precedes the
-- statement that ends the claim, and locks the same rows, so that it records nothing that the fence rejects, and
-- nothing twice when a finish is repeated because its answer was lost. If a schedule was edited since the claim, the
-- worker knows neither its next tick nor the ticks that passed during the run: pgsched.rebook records those.
insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)
select d.id, t.task_type, t.queue, d.reason, d.ticks, d.since,
  case when t.revision = d.revision or d.until <= now() then d.until end
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

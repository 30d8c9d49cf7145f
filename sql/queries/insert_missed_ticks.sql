-- Ticks that were not run, in the transaction that runs or books another instead; nothing for a finish that was fenced.
insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)
select t.id, t.task_type, t.queue, d.reason, d.ticks, d.since, d.until
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(reasons)s::text[], %(counts)s::bigint[],
  %(sinces)s::timestamptz[], %(untils)s::timestamptz[]) as d(id, token, reason, ticks, since, until)
join pgsched.tasks t on t.id = d.id and t.fencing_token = d.token

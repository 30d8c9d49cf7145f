-- Ticks that are tasks of their own (overlap = allow), and whose handler has ended their schedule: it is over, with that result.
-- After what ends the claims of the ticks, in its transaction: the schedule may be among them. A worker that holds it was only to
-- make a tick of it, and is fenced.
with ended as (
  update pgsched.tasks p
  set status = 'completed', next_run_at = null, completed_at = statement_timestamp(), attempts = 0, locked_by = null,
    locked_until = null, result = t.result, updated_at = statement_timestamp()
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
  join pgsched.tasks t on t.id = d.id and t.fencing_token = d.token and t.status = 'completed'
  where p.id = t.parent_id and p.overlap = 'allow' and p.status in ('pending', 'running')
    and t.idempotency_key = format('tick:%%s:%%s', p.id, extract(epoch from t.scheduled_for))
  returning p.id, p.observed
)
select pgsched.settle(array_agg(id)) from ended where observed

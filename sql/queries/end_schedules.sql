-- Completes schedules whose handler ended them from a tick that is a task of its own (overlap = allow), with the
-- handler's result. It runs after the statements that finish the ticks, in the same transaction, because the schedule
-- may be among them. A worker that holds the schedule was only about to spawn a tick, and is fenced.
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

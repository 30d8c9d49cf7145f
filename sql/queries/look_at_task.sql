-- Reads what determines why a task waits: its row, the first of its pending dependencies, the wait of its durable run,
-- the workers that set it aside, and whether an open transaction has locked it. Each by an index: a handful of rows,
-- however large the tables are. Returns no data that callers or handlers wrote.
select clock_timestamp() as now, t.id, t.task_type::text, t.queue::text, t.priority::integer, t.status::text, t.enabled,
  t.schedule_type::text, t.overlap::text, t.next_run_at::timestamptz, t.end_date::timestamptz,
  case when t.attempts = 0 and t.last_run_at is null then t.expires_at end as expires_at,
  coalesce(t.completed_at, t.died_at) as ended_at, t.started_at, t.locked_by, t.locked_until,
  t.unbegun_token is not distinct from t.fencing_token and t.unbegun_token is not null as held_in_advance,
  t.attempts::integer, t.max_attempts::integer, t.concurrency_key::text, t.dependency_mode::text, t.waiting_for,
  case when t.last_error like 'payload does not fit handler %%, and waits for newer code%%' then 'newer_code'
    when t.last_error like 'Snooze: %%' then 'snoozed' when t.last_error is not null then 'failed' end as note,
  h.versions -> -1 ->> 'version' as needs_version,
  (select coalesce(jsonb_agg(jsonb_build_object('id', u.id, 'status', u.status) order by u.id), '[]')
   from (
     select u.id, u.status
     from (select d.upstream_id from pgsched.dependencies d where d.task_id = t.id limit 20) d
     join pgsched.tasks u on u.id = any(array[d.upstream_id])) u) as upstream,
  r.task_id is not null as is_durable, coalesce(r.awaits, '{}') as awaits, r.wakes_at,
  -- Every open transaction with an id has a lock on it.
  case when t.xmax = '0' then false else exists (
    select from pg_locks l where l.locktype = 'transactionid' and l.transactionid = t.xmax and l.granted
  ) end as locked_by_transaction,
  (select coalesce(jsonb_agg(jsonb_build_object(
     'worker_id', s.worker_id, 'operation', s.operation, 'tries', s.tries, 'since', s.since)), '[]')
   from pgsched.set_aside s where s.task_id = t.id) as set_aside
from pgsched.tasks t
left join pgsched.handlers h on h.task_type = t.task_type
left join pgsched.durable_runs r on r.task_id = t.id
where t.id = %(id)s

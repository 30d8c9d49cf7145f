-- Returns other users of the server and the tables, and whether the current role may clean up after a measurement.
select
  current_setting('server_version') as version,
  pg_is_in_recovery() as standby,
  pg_backend_pid() as backend,
  (select count(*) from pgsched.workers w where w.heartbeat_at > now() - 3 * w.lease) as workers,
  (select count(*) from (
    select from pgsched.tasks t
    where t.next_run_at is not null and t.enabled and t.next_run_at <= now() limit 1000) due) as due,
  (select count(*) from pg_stat_activity a
   where a.state = 'active' and a.backend_type = 'client backend' and a.pid <> pg_backend_pid()) as active,
  has_table_privilege('pgsched.tasks', 'insert, delete') and has_table_privilege('pgsched.executions', 'delete')
    and has_table_privilege('pgsched.queues', 'insert, update, delete') as permitted

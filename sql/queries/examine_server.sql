-- Examines the server: its version, the durability of its commits, and its load. Every role may read all of it.
select current_setting('server_version_num')::int as version,
  pg_is_in_recovery() as standby,
  -- The defaults of other sessions: ours are set explicitly.
  coalesce(
    (select s.reset_val = 'on' from pg_settings s where s.name = 'default_transaction_read_only'), false) as read_only,
  current_setting('fsync')::boolean as fsync,
  current_setting('full_page_writes')::boolean as full_page_writes,
  current_setting('synchronous_commit') <> 'off' as synchronous_commit,
  current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean as autovacuum,
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true), '0')::int as slots,
  (select coalesce(sum(s.numbackends), 0) from pg_stat_database s)::int as connections,
  case when pg_is_in_recovery() then 0 else pg_notification_queue_usage() end::float8 as notification_queue,
  -- A session of any database that listens and stays in a transaction keeps what came since; the oldest are suspects.
  array(
    select concat(a.pid, ' (', concat_ws(', ', a.usename, nullif(a.application_name, ''), a.state), ')')
    from pg_stat_activity a
    where not pg_is_in_recovery() and a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
      and a.xact_start < now() - interval '1 second'
    order by a.xact_start
    limit 3) as oldest_sessions,
  (select age(d.datfrozenxid) from pg_database d where d.datname = current_database()) as xid_age,
  current_user::text as role,
  pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_sessions

-- Returns the database's time and version, how many attempts have ended since the server's statistics started, and the
-- findings of the health scan if they are recent. It reads no task.
select clock_timestamp() as now, current_setting('server_version') as version,
  coalesce((select sum(s.n_tup_ins) from pg_stat_user_tables s
            where s.schemaname = 'pgsched' and s.relname ~ '^executions_(\d{8}|default)$'), 0)::bigint as ended,
  (select w.findings from pgsched.watchdog w where w.looked_at > now() - interval '10 minutes') as findings

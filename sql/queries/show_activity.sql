-- The time of the database, its version, how many attempts the server has seen end since its statistics began, and what the
-- watchdog last found, if it has looked of late: no row of a task is read.
select clock_timestamp() as now, current_setting('server_version') as version,
  coalesce((select sum(s.n_tup_ins) from pg_stat_user_tables s
            where s.schemaname = 'pgsched' and s.relname ~ '^executions_(\d{8}|default)$'), 0)::bigint as ended,
  (select w.findings from pgsched.watchdog w where w.looked_at > now() - interval '10 minutes') as findings

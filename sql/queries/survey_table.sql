-- Returns the approximate size of the task table, and what slows it down: dead rows, and the snapshot that keeps them.
select
  greatest((select c.reltuples from pg_class c where c.oid = 'pgsched.tasks'::regclass), 0)::bigint as about_rows,
  coalesce((select s.n_live_tup from pg_stat_user_tables s where s.relid = 'pgsched.tasks'::regclass), 0) as live_rows,
  coalesce((select s.n_dead_tup from pg_stat_user_tables s where s.relid = 'pgsched.tasks'::regclass), 0) as dead_rows,
  coalesce((select extract(epoch from max(now() - a.xact_start)) from pg_stat_activity a
            where a.backend_xmin is not null), 0)::float8 as oldest_snapshot

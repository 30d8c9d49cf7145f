-- Returns what slows a queue down: dead rows of the task table, the oldest snapshot that keeps them, and the usage of
-- the notification queue.
select
  coalesce((select n_dead_tup from pg_stat_user_tables where schemaname = 'pgsched' and relname = 'tasks'), 0),
  coalesce(
    (select extract(epoch from max(now() - xact_start)) from pg_stat_activity where backend_xmin is not null),
    0)::float8,
  pg_notification_queue_usage()::float8

-- The next rows may use other columns.
drop table pg_temp.pgsched_staged_tasks

-- Drops the staging table: the next batch may use other columns.
drop table pg_temp.pgsched_staged_tasks

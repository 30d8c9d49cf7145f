-- Copies rows into the staging table.
copy pg_temp.pgsched_staged_tasks ({columns}) from stdin

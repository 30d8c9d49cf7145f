-- Returns PostgreSQL's estimate of the number of rows of the task table.
select greatest((select c.reltuples from pg_class c where c.oid = 'pgsched.tasks'::regclass), 0)::bigint as about_rows

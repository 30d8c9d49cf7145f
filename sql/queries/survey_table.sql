-- How many rows the task table has, by PostgreSQL's estimate.
select greatest((select c.reltuples from pg_class c where c.oid = 'pgsched.tasks'::regclass), 0)::bigint as about_rows

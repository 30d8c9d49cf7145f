-- Returns the size of the task table in bytes, or null when it does not exist yet.
select pg_relation_size(to_regclass('pgsched.tasks'))

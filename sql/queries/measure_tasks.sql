-- The bytes of the task table; null when there is none yet.
select pg_relation_size(to_regclass('pgsched.tasks'))

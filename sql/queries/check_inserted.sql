-- Whether a task was inserted by the current transaction rather than found.
select t.xmin = pg_current_xact_id()::xid as inserted from pgsched.tasks t where t.id = %(id)s

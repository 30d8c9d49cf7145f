-- Whether a task was inserted by this very transaction, or was there before.
select t.xmin = pg_current_xact_id()::xid as inserted from pgsched.tasks t where t.id = %(id)s

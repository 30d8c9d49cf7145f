-- Returns when a task was created, which shows how far back a search has come.
select t.created_at from pgsched.tasks t where t.id = %(id)s

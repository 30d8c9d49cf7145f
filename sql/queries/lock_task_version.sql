-- Returns the version of a task, which stays the same until the end of the transaction. No row: there is no such task.
select pgsched.version_of(to_jsonb(t)) as version from pgsched.tasks t where t.id = %(id)s for no key update

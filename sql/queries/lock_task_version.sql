-- Returns the version of a task, which cannot change until the end of the transaction. Returns no row for an unknown
-- task.
select pgsched.version_of(to_jsonb(t)) as version from pgsched.tasks t where t.id = %(id)s for no key update

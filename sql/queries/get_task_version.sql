-- Returns the version of a task, which edits compare.
select pgsched.version_of(to_jsonb(t)) as version from pgsched.known_tasks t where t.id = %(id)s limit 1

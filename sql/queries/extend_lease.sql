-- Extends the lease of one task beyond a statement that locks its row for long: the heartbeat passes over locked rows.
update pgsched.tasks
set locked_until = now() + %(seconds)s::float8 * interval '1 second'
where id = %(id)s and fencing_token = %(token)s and locked_by = %(worker)s and status = 'running'

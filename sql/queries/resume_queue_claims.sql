-- Resumes a queue; a trigger wakes its sleeping workers.
update pgsched.queues set paused = false, updated_at = now() where name = %(name)s and paused
returning name

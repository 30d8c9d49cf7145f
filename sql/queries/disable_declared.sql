-- Schedules that no code declares any more: paused, not deleted, so that history and settings stay. Declared again they
-- are taken over again, and run.
update pgsched.tasks set enabled = false, declared = null where id = any(%(ids)s::bigint[]) and declared is not null

-- Pauses schedules that no code declares any more. They are not deleted, so that their history and settings remain;
-- declaring one again resumes it.
update pgsched.tasks set enabled = false, declared = null where id = any(%(ids)s::bigint[]) and declared is not null

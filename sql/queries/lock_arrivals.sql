-- Lets one transaction at a time insert tasks of other shards, until its end, and lets it insert them as they were.
select pg_advisory_xact_lock(hashtext('pgsched.arrived_tasks')), set_config('pgsched.restoring', 'on', true)

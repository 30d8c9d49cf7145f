-- Runs a task now, whatever its schedule is; a copy records who requested it.
select pgsched.run_now(%(id)s, %(run_by)s::text) as id

-- Runs a task now, whatever its schedule says.
select pgsched.run_now(%(id)s) as id

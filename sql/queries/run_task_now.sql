-- Runs a task now, whatever its schedule says; a copy says who asked for it.
select pgsched.run_now(%(id)s, %(run_by)s::text) as id

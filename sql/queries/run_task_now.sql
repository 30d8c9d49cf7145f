-- By hand, whatever its schedule says.
select pgsched.run_now(%(id)s) as id

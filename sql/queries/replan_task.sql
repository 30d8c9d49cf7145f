-- Rebooks a schedule from now.
select pgsched.replan(%(id)s) as due

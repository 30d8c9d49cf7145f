-- A schedule is booked afresh from now.
select pgsched.replan(%(id)s) as due

-- Books a schedule anew from now.
select pgsched.replan(%(id)s) as due

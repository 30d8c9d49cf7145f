-- Lets a paused task run again; whether it was paused.
select pgsched.enable(%(id)s) as changed

-- Lets a paused task run again, with or without the ticks that passed meanwhile; whether it was paused.
select pgsched.enable(%(id)s, catch_up => %(catch_up)s) as changed

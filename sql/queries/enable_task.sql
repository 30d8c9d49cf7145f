-- Resumes a paused task, with or without the ticks that it missed. Returns false if it was not paused.
select pgsched.enable(%(id)s, catch_up => %(catch_up)s) as changed

-- A day of the history goes as a whole.
select pgsched.drop_history(%(part)s, %(ended_before)s)

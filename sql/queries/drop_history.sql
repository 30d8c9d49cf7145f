-- Drops one partition of the history.
select pgsched.drop_history(%(part)s, %(ended_before)s)

-- Blocks inserts into a partition of the history until the transaction ends.
select pgsched.hold_history(%(part)s, %(ended_before)s)

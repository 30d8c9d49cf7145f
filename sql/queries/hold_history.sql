-- Nothing more comes into this partition until the transaction ends.
select pgsched.hold_history(%(part)s, %(ended_before)s)

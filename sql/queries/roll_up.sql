-- Counts one piece of the history, in the transaction that also writes its errors. Stage null: nothing is left to do.
select r.stage, r.begins, r.ends, r.number, r.grown, r.failed
from pgsched.roll_up(%(minutes)s::integer * interval '1 minute') r

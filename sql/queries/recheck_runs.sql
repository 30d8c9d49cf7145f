-- Wakes those runs suspended earlier in this transaction for which something has arrived meanwhile.
select pgsched.recheck_runs(%(ids)s::bigint[])

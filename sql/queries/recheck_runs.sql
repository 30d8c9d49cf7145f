-- Wakes those of the runs suspended before in this transaction for which something has come meanwhile.
select pgsched.recheck_runs(%(ids)s::bigint[])
